"""What a board says of itself; whatever it lacks is a null with a reason."""

import pytest


def ask(board, *only):
    (event,) = board.ask("info", **({"only": list(only)} if only else {}))
    return event["facts"], event["missing"]


def test_a_whole_board_tells_everything(board, python):
    board.use_python(python)
    board.write("sys/class/thermal/cooling_device0/type", "gpu-throttle-alert")
    board.write("sys/class/thermal/cooling_device0/cur_state", "0")

    facts, missing = ask(board)

    assert facts["model"] == "NVIDIA Jetson TX2 Developer Kit"
    assert (facts["soc"], facts["l4t"], facts["cuda"]) == ("tegra186", "R32.7.6", "10.2.300")
    assert (facts["tensorrt"], facts["trtexec_version"]) == ("8.2.1", "8.2.1")
    assert facts["power_mode"] == {"name": "MAXP_CORE_ARM", "id": 3}
    assert facts["clocks"]["gpu_max"] == 1300.5
    assert facts["memory_mb"]["available"] == 6144
    assert facts["power"] == {"way": "sudo tegrastats", "rails": ["VDD_SYS_GPU", "VDD_IN", "VDD_SYS_CPU"]}
    assert facts["cooling"] == {"gpu-throttle-alert": 0}
    assert set(missing) == {"sensor_modes"}
    board.wait_until_quiet()


def test_a_board_without_any_tool_tells_why_each_fact_is_missing(bare_board):
    bare_board.remove("tegrastats", "nvpmodel", "jetson_clocks", "sudo", "trtexec")
    for name in ("device-tree/model", "device-tree/compatible", "meminfo"):
        (bare_board.root / "proc" / name).unlink()
    for path in ("etc/nv_tegra_release", "usr/local/cuda/version.txt", "etc/nvpmodel.conf"):
        (bare_board.root / path).unlink()
    (bare_board.root / "var/lib/nvpmodel/status").unlink()

    facts, missing = ask(bare_board)

    assert {name for name, value in facts.items() if value is not None} == {"python", "sudo"}
    assert facts["sudo"] is False
    assert set(missing) == set(facts) - {"python", "sudo"}
    assert all(missing.values())
    assert "no tegrastats and no INA chip" in missing["power"]


def test_a_tensorrt_that_crashes_on_import_does_not_take_the_agent(board):
    board.set("tensorrt", **{"import": "crash"})

    facts, missing = ask(board, "tensorrt", "soc")

    assert facts == {"soc": "tegra186", "tensorrt": None}
    assert "cannot import tensorrt" in missing["tensorrt"]


def test_sudo_that_asks_for_a_password_is_no_sudo(bare_board):
    bare_board.trust()

    facts, missing = ask(bare_board, "sudo", "clocks", "power_mode")

    assert facts["sudo"] is False
    assert "a password is required" in missing["clocks"]
    assert facts["power_mode"]["name"] == "MAXP_CORE_ARM"


def test_tools_that_print_nonsense_are_facts_that_are_missing(bare_board):
    bare_board.set("nvpmodel", garbage=True)
    (bare_board.root / "var/lib/nvpmodel/status").write_text("nonsense")
    bare_board.write("etc/nv_tegra_release", "\x00\x01")
    bare_board.write("proc/meminfo", "MemTotal: many kB\nMemAvailable")

    facts, missing = ask(bare_board, "power_mode", "l4t", "memory_mb")

    assert set(facts.values()) == {None}
    assert missing["power_mode"] == "nvpmodel -q printed no mode"


@pytest.mark.parametrize("rights", [["ALL"], []])
def test_the_mode_is_told_even_where_nvpmodel_needs_root(bare_board, rights):
    bare_board.set("nvpmodel", query_needs_root=True)
    bare_board.trust(*rights)

    assert ask(bare_board, "power_mode")[0]["power_mode"] == {"name": "MAXP_CORE_ARM", "id": 3}
