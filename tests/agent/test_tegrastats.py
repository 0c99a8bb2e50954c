"""The parser reads what boards really print."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgesynth.agent import tegrastats
from edgesynth.agent.tegrastats import CpuCore, parse_line

DATA = Path(__file__).parent / "data" / "tegrastats_records.json"
RECORDS = json.loads(DATA.read_text())
BY_DEVICE = {record["device"]: record["line"] for record in RECORDS}


def summary(record):
    return {
        "ram": [record.ram_used_mb, record.ram_total_mb],
        "cores": [None if core is None else list(core) for core in record.cpu],
        "gpu": [record.gpu_load_percent, record.gpu_clock_mhz],
        "emc": [record.emc_load_percent, record.emc_clock_mhz],
        "rails": record.rails,
        "temperatures": record.temperatures_c,
        "gated": list(record.gated_zones),
    }


@pytest.mark.parametrize("record", RECORDS, ids=[record["device"] for record in RECORDS])
def test_every_record_of_a_real_board_is_read_in_full(record):
    found = parse_line(record["line"])

    assert summary(found) == record["expected"]
    assert found.unread == ()


@pytest.mark.parametrize(
    ("line", "cores", "emc", "gpu"),
    [
        (
            "RAM 2350/3983MB (lfb 17x4MB) cpu [40%,45%,off,42%]@1734 EMC 55%@1600 APE 25 NVDEC 716 MSENC 716 "
            "GR3D 0%@76",
            (CpuCore(40, 1734), CpuCore(45, 1734), None, CpuCore(42, 1734)),
            (55, 1600),
            (0, 76),
        ),
        (
            "CPU [14%,0%]@345 EMC_FREQ 3%@665 GR3D_FREQ 25.5%@114",
            (CpuCore(14, 345), CpuCore(0, 345)),
            (3, 665),
            (25, 114),
        ),
    ],
    ids=["first TX1", "R24"],
)
def test_the_first_releases_had_other_names_and_one_clock_for_all_cores(line, cores, emc, gpu):
    record = parse_line(line)

    assert record.cpu == cores
    assert (record.emc_load_percent, record.emc_clock_mhz) == emc
    assert (record.gpu_load_percent, record.gpu_clock_mhz) == gpu
    assert not {"EMC", "GR3D"} & set(record.engines_mhz)
    assert record.unread == ()


def test_tx2_record_gives_its_rails_clocks_and_temperatures():
    record = parse_line(
        "RAM 3276/7859MB (lfb 5x4MB) SWAP 1626/12122MB (cached 181MB) "
        "CPU [44%@1421,49%@2031,67%@2034,17%@1420,25%@1419,8%@1420] EMC_FREQ 1%@1866 "
        "GR3D_FREQ 0%@114 APE 150 "
        "MTS fg 1% bg 1% PLL@42.5C MCPU@42.5C PMIC@50C Tboard@38C GPU@39.5C BCPU@42.5C thermal@41.3C "
        "Tdiode@39.25C VDD_SYS_GPU 182/182 VDD_SYS_SOC 730/730 VDD_4V0_WIFI 0/0 VDD_IN 5297/5297 "
        "VDD_SYS_CPU 1917/1917 VDD_SYS_DDR 1241/1241"
    )

    assert record.rails["VDD_IN"] == 5297
    assert sum(record.rails.values()) - record.rails["VDD_IN"] < record.rails["VDD_IN"]
    assert (record.gpu_load_percent, record.gpu_clock_mhz) == (0, 114)
    assert (record.emc_load_percent, record.emc_clock_mhz) == (1, 1866)
    assert record.cpu[2] == CpuCore(67, 2034)
    assert record.temperatures_c["GPU"] == 39.5
    assert (record.swap_used_mb, record.swap_total_mb) == (1626, 12122)
    assert record.engines_mhz == {"APE": 150}


def test_a_core_that_is_off_is_none():
    assert parse_line("CPU [0%@499,off,off,7%@499]").cpu == (CpuCore(0, 499), None, None, CpuCore(7, 499))


def test_negative_power_is_kept():
    assert parse_line("VDD_CPU_CV -398mW/-398mW").rails == {"VDD_CPU_CV": -398}


def test_of_triples_only_the_first_number_is_power():
    record = parse_line("VDD_GPU_SOC 5139mW/5000mW/4000mW VDD_CPU_CV 3268mW/3268mW/3268mW")

    assert record.rails == {"VDD_GPU_SOC": 5139, "VDD_CPU_CV": 3268}
    assert record.rails_mean["VDD_GPU_SOC"] == 5000


def test_bare_rail_names_are_not_confused_with_loads_and_zones():
    record = parse_line("CPU [2%@1190] GPU@37.5C CPU@36C GPU 0/0 CPU 311/312 SOC 932/932 CV 0/0")

    assert record.rails == {"GPU": 0, "CPU": 311, "SOC": 932, "CV": 0}
    assert record.temperatures_c == {"GPU": 37.5, "CPU": 36.0}
    assert record.cpu == (CpuCore(2, 1190),)


def test_channels_that_are_not_connected_are_no_rails():
    record = parse_line("NC 0mW/0mW VDD_IN 4761mW/4778mW NC 0mW/0mW")

    assert record.rails == {"VDD_IN": 4761}
    assert record.unread == ()


def test_a_rail_that_repeats_keeps_its_first_reading_and_says_so():
    record = parse_line("VDD_IN 4761/4778 VDD_IN 1/2")

    assert record.rails == {"VDD_IN": 4761}
    assert record.unread == ("VDD_IN 1/2",)


def test_a_powered_down_zone_is_no_temperature():
    record = parse_line("CV0@-256C CPU@41.375C")

    assert record.temperatures_c == {"CPU": 41.375}
    assert record.gated_zones == ("CV0",)


@pytest.mark.parametrize(
    ("text", "load", "clock"),
    [
        ("GR3D_FREQ 99%", 99, None),
        ("GR3D_FREQ 63%@[621]", 63, 621),
        ("GR3D_FREQ 12%@[0,1300]", 12, 1300),
        ("GR3D_FREQ @[494,494,494]", None, 494),
        ("GR3D_FREQ 0%@305 GR3D2_FREQ 0%@0", 0, 305),
    ],
)
def test_gpu_load_and_clock_in_every_form(text, load, clock):
    record = parse_line(text)

    assert (record.gpu_load_percent, record.gpu_clock_mhz) == (load, clock)
    assert record.unread == ()


def test_memory_in_kilobytes_and_without_blanks_is_read():
    record = parse_line(
        "RAM 775/7620MB (lfb 1x512kB) IRAM 0/252kB(lfb 252kB) NVENC 716 NVENC off VIC_FREQ  729"
    )

    assert record.ram_total_mb == 7620
    assert record.unread == ()


def test_what_cannot_be_read_is_said():
    record = parse_line("RAM 1/2MB VDD_IN 18 76/x something")

    assert record.rails == {}
    assert "something" in record.unread
    assert "76/x" in record.unread


def test_a_line_cut_short_loses_only_its_end():
    line = BY_DEVICE[RECORDS[1]["device"]]
    record = parse_line(line[: line.index("VDD_SYS_CPU") + 15])

    assert record.rails["VDD_IN"] == parse_line(line).rails["VDD_IN"]
    assert "VDD_SYS_CPU" not in record.rails


@given(st.text(max_size=300))
def test_any_text_is_accepted(text):
    record = parse_line(text)

    assert all(isinstance(power, int) for power in record.rails.values())


@pytest.mark.parametrize(
    "line",
    [
        "CPU [²%@345,1%@²]",
        "VDD_IN {n}/{n}",
        "CPU [{n}%@345]",
        "APE {n}",
        "GR3D_FREQ {n}%@[{n}]",
        "GPU@{n}C",
        "RAM {n}/{n}MB",
    ],
)
def test_what_is_no_number_of_a_board_is_not_read_as_one(line):
    record = parse_line(line.format(n="9" * 5000))

    assert record.unread
    assert record._replace(unread=(), cpu=()) == parse_line("")
    assert not any(record.cpu)


FIELDS = [
    "GPU@39C",
    "CPU@40C",
    "VDD_IN 5297/5297",
    "GPU 0/0",
    "CPU [1%@345,off]",
    "APE 150",
    "VIC off",
    "RAM 1/2MB",
]


@given(st.permutations(FIELDS))
def test_fields_are_read_in_any_order(fields):
    record = parse_line(" ".join(fields))

    assert record.rails == {"VDD_IN": 5297, "GPU": 0}
    assert record.temperatures_c == {"GPU": 39.0, "CPU": 40.0}
    assert record.cpu == (CpuCore(1, 345), None)
    assert record.unread == ()


def old_pythons():
    root = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    for minor in ("3.6", "3.8", "3.10"):
        found = sorted(root.glob(f"{minor}.*/bin/python")) if root.is_dir() else []
        place = str(found[-1]) if found else shutil.which(f"python{minor}")
        mark = pytest.mark.skipif(place is None, reason=f"no python{minor} on this machine")
        yield pytest.param(place, id=minor, marks=mark)


@pytest.mark.parametrize("python", list(old_pythons()))
def test_the_pythons_of_boards_read_the_same(python):
    program = (
        "import json, sys, tegrastats\n"
        "lines = [record['line'] for record in json.load(open(sys.argv[1]))]\n"
        "print(json.dumps([tegrastats.parse_line(line)._asdict() for line in lines]))\n"
    )
    folder = str(Path(tegrastats.__file__).parent)
    done = subprocess.run(
        [python, "-c", program, str(DATA)],
        capture_output=True,
        check=False,
        env={"PYTHONPATH": folder, "PYTHONDONTWRITEBYTECODE": "1"},
    )

    assert done.returncode == 0, done.stderr.decode()
    here = [parse_line(record["line"])._asdict() for record in RECORDS]
    assert json.loads(done.stdout) == json.loads(json.dumps(here))
