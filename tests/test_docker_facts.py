"""What docker/ says of releases, packages and paths, held against where it is known from.

Nothing here can ask a registry or a board: a fact is what the named source says, written down once.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import NamedTuple

import pytest
from dockerfiles import (
    BOARD,
    FOLDER,
    HOST,
    README,
    ROOT,
    Row,
    arguments,
    commands,
    option,
    software,
    steps,
    table,
)

JETSON_CONTAINERS = "dusty-nv/jetson-containers, jetson_containers/l4t_version.py"
NGC = "public Dockerfiles that start from it"
TRITON = "triton-inference-server/server, docs/introduction/compatibility.md (Python of the month's images)"


class Base(NamedTuple):
    """What is known of one image that the board's is built on.

    Attributes:
        ubuntu: The Ubuntu in it, which decides its Python.
        tensorrt: Of the image; ``""`` where the board's own is mounted into it.
        source: Who says so.
    """

    ubuntu: str
    tensorrt: str
    source: str


BASES = {
    "nvcr.io/nvidia/l4t-base:r32.7.1": Base("18.04", "", JETSON_CONTAINERS),
    "nvcr.io/nvidia/l4t-jetpack:r35.4.1": Base("20.04", "8.5.2", JETSON_CONTAINERS),
    "nvcr.io/nvidia/l4t-jetpack:r36.4.0": Base("22.04", "10.3.0", NGC),
    "nvcr.io/nvidia/tensorrt:25.09-py3": Base("24.04", "10.13.3", f"{NGC}, for JetPack 7; {TRITON}"),
    "nvcr.io/nvidia/tensorrt:26.05-py3": Base("24.04", "10.16.1", f"{NGC}, for JetPack 7.2; {TRITON}"),
}
PYTHONS = {"18.04": "3.6", "20.04": "3.8", "22.04": "3.10", "24.04": "3.12"}  # packages.ubuntu.com/python3

# packages.ubuntu.com and packages.debian.org, suite "main" of every release named.
PACKAGES = {
    "python3": ("bionic", "focal", "jammy", "noble"),
    "python3-numpy": ("bionic", "focal", "jammy", "noble"),
    "openssh-client": ("bookworm",),
}

KERNEL = "the kernel's Documentation/ABI/testing"
NVPMODEL = "NVIDIA, Jetson Linux Developer Guide, Power Management"
PATHS = {
    # of every Ubuntu and Debian
    "/var/lib/apt/lists/*": "apt(8)",
    "/tmp": "Filesystem Hierarchy Standard 3.0",
    # of L4T
    "/etc/nv_tegra_release": JETSON_CONTAINERS,
    "/etc/nvpmodel.conf": NVPMODEL,
    "/var/lib/nvpmodel": f"{NVPMODEL}: holds status",
    "/usr/bin/tegrastats": "NVIDIA, Jetson Linux Developer Guide, tegrastats",
    "/etc/nvidia-container-runtime/host-files-for-container.d/*.csv": (
        "NVIDIA/nvidia-container-toolkit, cmd/nvidia-container-runtime/README.md"
    ),
    # of the kernel
    "/sys/firmware/devicetree/base": f"{KERNEL}/sysfs-firmware-ofw",
    "/proc/device-tree": f"{KERNEL}/sysfs-firmware-ofw: a link to the former",
    "/sys/bus/i2c/devices": "the kernel's Documentation/i2c/i2c-sysfs.rst",
    # made by us
    "/opt/edgesynth": "",
    "/home/edgesynth": "",
    "/run/device-tree": "",
    "/source": "",
    "/work": "",
    "/bundle": "",
    "/ssh-agent": "",
}

# The profiles of Orin and Thor name a release that runs on them besides their own.
BESIDES = re.compile(r"# \[nvidia\] JetPack (\S+) \((R\S+), TensorRT (\S+)\) runs on it too")


def besides() -> dict[str, tuple[str, ...]]:
    """By profile: JetPack, L4T and TensorRT of the other release that runs on it."""
    texts = {path.stem: path.read_text() for path in (ROOT / "profiles").glob("jetson-*.toml")}
    return {name: found.groups() for name, text in texts.items() if (found := BESIDES.search(text))}


def paths(text: str) -> set[str]:
    """Absolute paths in a text; addresses have none."""
    return set(re.findall(r"(?<![\w./}*-])/[a-z][\w./*-]*", re.sub(r"\w+://\S+", "", text)))


def shown() -> str:
    """What the README shows as commands, or between backticks."""
    fence = re.compile(r"^```\w*\n(.*?)^```", re.MULTILINE | re.DOTALL)
    return "\n".join([*fence.findall(README), *re.findall(r"`([^`\n]+)`", fence.sub("", README))])


def known(path: str) -> str:
    """The path of the table that this one is, or is below; ``""`` without one."""
    found = [name for name in PATHS if path.rstrip("/") == name or path.startswith(f"{name}/")]
    return max(found, key=len, default="")


@pytest.mark.parametrize("row", table(), ids=lambda row: row.l4t)
def test_a_row_is_what_is_known_of_its_base(row: Row) -> None:
    base = BASES[row.base]
    assert PYTHONS[base.ubuntu] == row.python
    assert base.source
    # Only on R32 the NVIDIA runtime mounts the board's own libraries.
    assert ("host" in row.where) == (not base.tensorrt) == (row.l4t == "R32.7")
    if base.tensorrt:
        assert f"{base.tensorrt}.".startswith(f"{row.tensorrt}.")
    name, tag = row.base.rpartition("/")[2].split(":")
    if name.startswith("l4t-"):
        assert row.holds(tag.upper())
    else:
        # From R38 on; what ends in -igpu is for the boards before.
        assert int(row.l4t[1:3]) >= 38
        assert re.fullmatch(r"2\d\.\d\d-py3", tag)


def test_no_base_is_known_for_nothing() -> None:
    assert {row.base for row in table()} == set(BASES)
    assert len({row.l4t for row in table()}) == len(table())


@pytest.mark.parametrize("row", table(), ids=lambda row: row.l4t)
def test_a_row_agrees_with_every_profile_of_its_line(row: Row) -> None:
    own = [facts for facts in software().values() if row.holds(facts["l4t"])]
    for facts in own:
        assert facts["jetpack"] == row.jetpack
        assert facts["python"] == row.python
        assert facts["ubuntu"] == BASES[row.base].ubuntu
        assert f"{facts['tensorrt']}.".startswith(f"{row.tensorrt}.")
    others = [release for release in besides().values() if row.holds(release[1])]
    assert all(release == (row.jetpack, row.l4t, row.tensorrt) for release in others)
    assert own or others


def test_every_release_of_a_profile_has_a_row_and_the_default_is_one_of_them() -> None:
    releases = {name: facts["l4t"] for name, facts in software().items()}
    assert len(releases) == len(list((ROOT / "profiles").glob("jetson-*.toml")))
    assert set(besides()) == {name for name, facts in software().items() if int(facts["l4t"][1:3]) >= 36}
    for name, release in [*releases.items(), *((name, other[1]) for name, other in besides().items())]:
        assert [row for row in table() if row.holds(release)], name
    values = arguments(BOARD)
    assert (values["BASE"], values["PYTHON"]) in {(row.base, row.python) for row in table()}


def installed(path: Path) -> list[list[str]]:
    """What is installed by apt, per command, as words after ``apt-get``."""
    runs = [step.text for step in steps(path) if step.verb == "RUN"]
    lines = [line.split() for text in runs for line in text.split("&&") if "apt-get install" in line]
    return [line[line.index("apt-get") + 1 :] for line in lines]


@pytest.mark.parametrize(
    ("path", "suites"), [(HOST, {"bookworm"}), (BOARD, {"bionic", "focal", "jammy", "noble"})]
)
def test_every_package_is_in_every_release_that_it_is_installed_on(path: Path, suites: set[str]) -> None:
    for line in installed(path):
        for package in line[1:]:
            if not package.startswith("--"):
                assert suites <= set(PACKAGES[package]), package
    if path == HOST:
        bases = {step.text.split()[0].rpartition("-")[2] for step in steps(path) if step.verb == "FROM"}
        assert bases == suites


def test_no_package_is_known_for_nothing() -> None:
    words = {word for path in (HOST, BOARD) for line in installed(path) for word in line[1:]}
    assert {word for word in words if not word.startswith("--")} == set(PACKAGES)


@pytest.mark.parametrize("path", [HOST, BOARD], ids=lambda path: path.name)
def test_apt_would_install_it(path: Path) -> None:
    """As far as apt goes without changing anything: on this Debian, or Ubuntu, of which it has lists."""
    if shutil.which("apt-get") is None or not list(Path("/var/lib/apt/lists").glob("*_Packages*")):
        pytest.skip("apt has no lists here (apt-get update)")
    for words in installed(path):
        done = subprocess.run(
            ["apt-get", "--simulate", *words],
            env={**os.environ, "LC_ALL": "C"},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        for name in (word for word in words[1:] if not word.startswith("--")):
            assert re.search(rf"^(Inst {name} |{name} is already the newest)", done.stdout, re.MULTILINE)


def test_every_path_is_known_from_somewhere() -> None:
    told = {*paths(HOST.read_text()), *paths(BOARD.read_text()), *paths(shown())}
    assert not {path for path in told if not known(path)}
    assert {known(path) for path in told} == set(PATHS)
    # What is made here needs no source, and is nowhere that a system keeps its own.
    made = {path.split("/")[1] for path, source in PATHS.items() if not source}
    assert not made & {"dev", "etc", "lib", "proc", "sys", "usr", "var"}


def test_what_is_mounted_into_a_board_container_is_what_the_agent_reads() -> None:
    agent = "\n".join(path.read_text() for path in (ROOT / "edgesynth" / "agent").glob("*.py"))
    (words,) = [words for words in commands() if words[-1] == "info"]
    mounts = [mount.split(":") for mount in option(words, "-v")]
    read = [mount for mount in mounts if mount[-1] == "ro"]
    assert len(read) == 4
    assert not [inside for _, inside, _ in read if f'"{inside}' not in agent]
    # Where the board has it, which for the device tree alone is another place.
    assert {outside: inside for outside, inside, _ in read if outside != inside} == {
        "/sys/firmware/devicetree/base": "/run/device-tree"
    }
    assert all(PATHS[known(outside)] for outside, _, _ in read)
    # The only folder it may write to is its own.
    assert [mount[1] for mount in mounts if mount[-1] != "ro"] == ["/home/edgesynth"]


def test_the_readme_names_where_its_facts_are_from() -> None:
    for source in {base.source.split(",")[0] for base in BASES.values()} - {NGC}:
        assert source in README
    assert f"[tests/{Path(__file__).name}]" in README
    assert (FOLDER / "../tests" / Path(__file__).name).resolve() == Path(__file__).resolve()
