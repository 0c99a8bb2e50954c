"""The description of the schema is complete, and its example is a profile."""

import re
from dataclasses import MISSING, fields

import pytest

from edgesynth.devices import load_profile, profile
from edgesynth.devices.catalog import find_profile

README = find_profile("jetson-tx2").with_name("README.md").read_text()
SECTIONS = {
    "`profile`": profile.Profile,
    "`[gpu]`": profile.Gpu,
    "`[dla]`": profile.Dla,
    "`[memory]`": profile.Memory,
    "`[precisions.NAME]`": profile.Compute,
    "`[[modes]]`": profile.Mode,
    "`[compiler]`": profile.Compiler,
    "`[software]`": profile.Software,
    "`[rails]`": profile.Rails,
    "`[sensor]`": profile.Sensor,
    "`[simulation]`": profile.Simulation,
    "`[simulation.rails.RAIL]`": profile.RailPower,
    "`[calibration]`": profile.Calibration,
}


def sections():
    parts = re.split(r"^### (`[^`]+`).*$", README, flags=re.MULTILINE)[1:]
    return dict(zip(parts[::2], parts[1::2], strict=True))


def rows(section):
    cells = re.findall(r"^\| `(\w+)` \| (.+?) \| (.*?) ?\| (.+) \|$", section, re.MULTILINE)
    return {key: (kind, default, purpose) for key, kind, default, purpose in cells}


def test_every_table_of_the_schema_has_a_section():
    described = [getattr(profile, name) for name in profile.__all__]

    assert sections().keys() == SECTIONS.keys()
    assert {kind for kind in described if hasattr(kind, "__dataclass_fields__")} == set(SECTIONS.values())


@pytest.mark.parametrize("heading", SECTIONS)
def test_every_key_is_described_and_every_described_key_exists(heading):
    described = rows(sections()[heading])
    known = {entry.name: entry for entry in fields(SECTIONS[heading])}

    assert list(described) == list(known)
    for key, (_, default, _) in described.items():
        required = known[key].default is MISSING and known[key].default_factory is MISSING
        assert (default == "") == required, key


def test_the_example_is_a_profile(tmp_path):
    (example,) = re.findall(r"^```toml\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
    path = tmp_path / "my-orin-nx.toml"
    path.write_text(example)

    mine = load_profile(path)
    assert mine.name == path.stem
    assert mine.has_energy
    assert mine.mode().gpu_clock_mhz is None


def test_every_default_that_is_written_is_the_one_that_holds():
    for heading, kind in SECTIONS.items():
        described = rows(sections()[heading])
        for entry in fields(kind):
            written = described[entry.name][1]
            if written.startswith("`"):
                assert written in {f"`{entry.default}`", f'`"{entry.default}"`'}, entry.name
