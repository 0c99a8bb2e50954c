"""The images of docker/, as far as they can be checked without a container engine."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import site
import subprocess
import sys
import tomllib
import venv
from pathlib import Path
from typing import NamedTuple

import pytest
from fake_board import find_python

from edgesynth.devices.agent_package import _members

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "docker"
README = (FOLDER / "README.md").read_text()
FILES = sorted(FOLDER.glob("*.Dockerfile"))
HOST, BOARD = FOLDER / "host.Dockerfile", FOLDER / "board.Dockerfile"


class Step(NamedTuple):
    verb: str
    text: str


def steps(path: Path) -> list[Step]:
    """The instructions of a Dockerfile; that it is one is for hadolint to say."""
    lines = [line for line in path.read_text().splitlines() if not line.lstrip().startswith("#")]
    joined = "\n".join(lines).replace("\\\n", " ")
    return [Step(*line.split(maxsplit=1)) for line in joined.splitlines() if line.strip()]


def arguments(path: Path) -> dict[str, str]:
    return dict(step.text.split("=", 1) for step in steps(path) if step.verb == "ARG")


def copies(path: Path) -> list[tuple[list[str], str]]:
    """What is copied from the checkout: sources, destination."""
    words = [step.text.split() for step in steps(path) if step.verb == "COPY"]
    return [(line[:-1], line[-1]) for line in words if not line[0].startswith("--from")]


def ignored(path: str) -> bool:
    """Whether .dockerignore keeps a path out: the last pattern that matches it or a folder of it decides."""
    verdict = False
    parts = path.split("/")
    for line in (ROOT / ".dockerignore").read_text().splitlines():
        if not line or line.startswith("#"):
            continue
        pattern = re.escape(line.removeprefix("!")).replace(r"\*\*/", "(?:.*/)?").replace(r"\*", "[^/]*")
        if any(re.fullmatch(pattern, "/".join(parts[:count])) for count in range(1, len(parts) + 1)):
            verdict = not line.startswith("!")
    return verdict


def build_context(path: Path, into: Path, workdir: str) -> None:
    """Do the COPY instructions as an engine would: below ``into``, without what is ignored."""
    for sources, destination in copies(path):
        target = into / (Path(workdir) / destination).as_posix().lstrip("/")
        for source in (found for pattern in sources for found in sorted(ROOT.glob(pattern))):
            for file in (
                [source] if source.is_file() else [item for item in source.rglob("*") if item.is_file()]
            ):
                if ignored(file.relative_to(ROOT).as_posix()):
                    continue
                inner = file.relative_to(source) if source.is_dir() else Path(source.name)
                is_folder = source.is_dir() or destination.endswith("/")
                goal = target / inner if is_folder else target
                goal.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(file, goal)


def commands() -> list[list[str]]:
    """Every docker command of the README, as words."""
    blocks = re.findall(r"^```sh\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
    lines = [line for block in blocks for line in block.replace("\\\n", " ").splitlines()]
    return [shlex.split(line[line.index("docker ") :]) for line in lines]


def option(words: list[str], name: str) -> list[str]:
    return [words[index + 1] for index, word in enumerate(words) if word == name]


def table() -> list[list[str]]:
    """The rows of the table of L4T lines: L4T, JetPack, BASE, PYTHON, TensorRT, where it is."""
    rows = re.findall(r"^\| (R\d.*) \|$", README, re.MULTILINE)
    return [[cell.strip().strip("`") for cell in row.split("|")] for row in rows]


def software() -> dict[str, dict[str, str]]:
    profiles = [tomllib.loads(path.read_text()) for path in sorted((ROOT / "profiles").glob("jetson-*.toml"))]
    return {profile["name"]: profile["software"] for profile in profiles}


def test_there_is_one_file_for_the_host_and_one_for_boards() -> None:
    assert FILES == [BOARD, HOST]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_hadolint_parses_it_and_has_nothing_to_warn_of(path: Path) -> None:
    hadolint = shutil.which("hadolint", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    if hadolint is None:
        pytest.skip("hadolint is not installed (pip install -e '.[dev]')")
    done = subprocess.run(
        [hadolint, "--failure-threshold", "warning", path], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_whatever_it_copies_exists_and_reaches_the_build(path: Path) -> None:
    sources = [source for line, _ in copies(path) for source in line]
    assert sources
    for source in sources:
        found = [item.relative_to(ROOT).as_posix() for item in ROOT.glob(source)]
        assert found, source
        assert not [item for item in found if ignored(item)]


@pytest.mark.parametrize(
    "name", [".git", ".venv/bin/python", "runs/a/job.toml", "data/a.npz", "id_rsa", "tests"]
)
def test_nothing_else_of_a_checkout_reaches_a_build(name: str) -> None:
    assert ignored(name)
    assert ignored("edgesynth/agent/__pycache__/ina.cpython-311.pyc")
    assert not ignored("edgesynth/agent/ina.py")


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_its_program_runs_as_a_user_without_root_rights(path: Path) -> None:
    last = {step.verb: (index, step.text) for index, step in enumerate(steps(path))}
    (made,) = [step.text for step in steps(path) if "useradd" in step.text]
    assert last["USER"][1] == "edgesynth"
    assert re.search(r"useradd [^&]*\bedgesynth\b", made)
    assert last["USER"][0] > max(last["RUN"][0], last["COPY"][0])  # nothing is done as root after it
    assert not [step for step in steps(path) if "sudo" in step.text]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_it_holds_no_secret_and_fetches_nothing_by_address(path: Path) -> None:
    assert not [step for step in steps(path) if step.verb == "ADD"]
    assert not re.search(
        r"(?i)password|passwd|secret|token|api_key|private key|\bcurl\b|\bwget\b", path.read_text()
    )
    assert set(re.findall(r"https?://[^\s\"]+", path.read_text())) <= {
        "https://download.pytorch.org/whl/cpu",
        "https://pypi.org/simple",
    }


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_bases_have_a_tag_and_installations_are_constrained(path: Path) -> None:
    values = arguments(path)
    for step in steps(path):
        if step.verb == "FROM":
            base = re.sub(r"\$\{(\w+)\}", lambda found: values[found[1]], step.text.split()[0])
            assert re.fullmatch(r"[\w./-]+:[\w.-]+", base)
            assert not base.endswith(":latest")
        for line in step.text.split("&&"):
            if re.search(r"\bpip\b.* install\b", line):
                assert "-c constraints.txt" in line
            if "apt-get install" in line:
                assert "--no-install-recommends" in line
                assert "/var/lib/apt/lists" in step.text


def test_the_host_has_a_python_that_edgesynth_takes_and_one_of_its_extras() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    values = arguments(HOST)
    assert f">={values['PYTHON']}" == project["requires-python"]
    extras = {
        values["EXTRA"],
        *(word.removeprefix("EXTRA=") for line in commands() for word in line if "EXTRA=" in word),
    }
    assert extras == {"cpu", "gpu"}
    assert extras <= set(project["optional-dependencies"])
    assert [step.text for step in steps(HOST) if step.verb == "ENTRYPOINT"] == ['["edgesynth"]']
    assert "edgesynth" in project["scripts"]


@pytest.mark.parametrize("row", table(), ids=lambda row: row[0])
def test_a_line_of_l4t_agrees_with_every_profile_of_it(row: list[str]) -> None:
    line, jetpack, base, python, tensorrt, where = row
    of_line = [facts for facts in software().values() if f"{facts['l4t']}.".startswith(f"{line}.")]
    assert of_line
    for facts in of_line:
        assert facts["jetpack"] == jetpack
        assert facts["python"] == python
        assert f"{facts['tensorrt']}.".startswith(f"{tensorrt}.")
    tag = base.rpartition(":")[2]
    if "/l4t-" in base:
        assert tag.startswith(f"{line.lower()}.")
    # Only on R32 the NVIDIA runtime mounts the host's libraries.
    assert ("host" in where) == (line == "R32.7")


def test_every_board_has_its_line_and_the_default_is_one_of_them() -> None:
    lines = [row[0] for row in table()]
    for name, facts in software().items():
        assert [line for line in lines if f"{facts['l4t']}.".startswith(f"{line}.")], name
    values = arguments(BOARD)
    assert (values["BASE"], values["PYTHON"]) in {(row[2], row[3]) for row in table()}


def test_every_build_command_names_a_file_and_arguments_that_it_has() -> None:
    builds = [words for words in commands() if words[1] == "build"]
    assert {option(words, "-f")[0] for words in builds} == {f"docker/{path.name}" for path in FILES}
    for words in builds:
        path = ROOT / option(words, "-f")[0]
        given = dict(value.split("=", 1) for value in option(words, "--build-arg"))
        assert set(given) <= set(arguments(path))
        assert words[-1] == "."
        if path == BOARD:
            assert (given["BASE"], given["PYTHON"]) in {(row[2], row[3]) for row in table()}


def test_every_run_command_runs_what_was_built_without_privileges() -> None:
    built = {option(words, "-t")[0] for words in commands() if words[1] == "build"}
    runs = [words for words in commands() if words[1] == "run"]
    assert len(runs) + len([words for words in commands() if words[1] == "build"]) == len(commands())
    for words in runs:
        assert built & set(words)
        assert "--privileged" not in words
        assert "--rm" in words


def test_what_is_mounted_into_a_board_container_is_what_the_agent_reads() -> None:
    agent = "\n".join(path.read_text() for path in (ROOT / "edgesynth" / "agent").glob("*.py"))
    (words,) = [words for words in commands() if words[-1] == "info"]
    mounts = [mount.split(":") for mount in option(words, "-v")]
    read = [mount[1] for mount in mounts if mount[-1] == "ro"]
    assert len(read) == 4
    assert not [path for path in read if f'"{path}' not in agent]
    # The only folder it may write to is its own.
    assert [mount[1] for mount in mounts if mount[-1] != "ro"] == ["/home/edgesynth"]


@pytest.fixture
def image(tmp_path: Path) -> Path:
    """What board.Dockerfile copies, where it copies it."""
    build_context(BOARD, tmp_path / "image", "/")
    return tmp_path / "image"


def test_the_board_image_holds_the_agent_that_goes_over_a_link(image: Path) -> None:
    home = image / "opt" / "edgesynth"
    held = {
        path.relative_to(home).as_posix(): path.read_bytes() for path in home.rglob("*") if path.is_file()
    }
    # The zipapp's empty edgesynth/__init__.py is not needed: a folder is a package without it.
    assert held == {name: text for name, text in _members().items() if text}


def test_the_agent_of_the_board_image_knows_its_board_and_reads_power(image: Path, tmp_path: Path) -> None:
    python = find_python("3.6") or sys.executable
    root = tmp_path / "board"
    files = {  # as a container sees them: /proc/device-tree is hidden, INA files are not, no tool is there
        "run/device-tree/model": "NVIDIA Jetson TX2\0",
        "run/device-tree/compatible": "nvidia,p2771-0000\0nvidia,tegra186\0",
        "etc/nv_tegra_release": "# R32 (release), REVISION: 7.6, GCID: 1, BOARD: t186ref\n",
        "etc/nvpmodel.conf": "< POWER_MODEL ID=3 NAME=MAXP_CORE_ARM >\n",
        "var/lib/nvpmodel/status": "pmode:0003\n",
        "sys/bus/i2c/devices/0-0041/name": "ina3221x\n",
        "sys/bus/i2c/devices/0-0041/iio:device0/rail_name_0": "VDD_IN\n",
        "sys/bus/i2c/devices/0-0041/iio:device0/in_power0_input": "5297\n",
    }
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    (entry,) = [json.loads(step.text) for step in steps(BOARD) if step.verb == "ENTRYPOINT"]
    assert entry[0] == "python3"
    wanted = ["model", "soc", "l4t", "power_mode", "power"]
    done = subprocess.run(
        [python, f"{image}{entry[1]}", "info"],
        input=json.dumps({"only": wanted}),
        env={"PATH": os.defpath, "EDGESYNTH_ROOT": str(root), "PYTHONDONTWRITEBYTECODE": "1"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    (told,) = [event for event in map(json.loads, done.stdout.splitlines()) if event.get("event") == "info"]
    assert told["missing"] == {}
    assert told["facts"] == {
        "model": "NVIDIA Jetson TX2",
        "soc": "tegra186",
        "l4t": "R32.7.6",
        "power_mode": {"name": "MAXP_CORE_ARM", "id": 3},
        "power": {"way": "sysfs", "rails": ["VDD_IN"]},
    }


@pytest.mark.slow
def test_the_host_images_own_pip_commands_install_what_it_copies(tmp_path: Path) -> None:
    pytest.importorskip("hatchling", reason="hatchling is not installed (pip install -e '.[dev]')")
    (workdir, _) = [step.text for step in steps(HOST) if step.verb == "WORKDIR"]
    build_context(HOST, tmp_path, workdir)
    environment = tmp_path / "opt" / "edgesynth"
    venv.create(environment, with_pip=False)
    # What the package depends on is borrowed from here instead of being downloaded once more.
    (packages,) = environment.glob("lib/python*/site-packages")
    borrowed = [path for path in site.getsitepackages() if Path(path).is_dir()]
    (packages / "borrowed.pth").write_text("".join(f"{path}\n" for path in borrowed))
    (line,) = [step.text for step in steps(HOST) if step.verb == "RUN" and "pip install" in step.text]
    made, *installed = [part.strip() for part in line.split("&&")]
    assert made == "python -m venv /opt/edgesynth"
    assert installed
    # An environment that borrows has no pip of its own.
    pip = shlex.join([sys.executable, "-m", "pip", "--python", str(environment / "bin" / "python")])
    for command in installed:
        done = subprocess.run(
            ["sh", "-ec", command.replace("/opt/edgesynth/bin/pip", pip)],
            cwd=tmp_path / workdir.lstrip("/"),
            env={**os.environ, **arguments(HOST), "PIP_NO_INDEX": "1", "PIP_NO_DEPS": "1"},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
    assert (packages / "edgesynth" / "cli").is_dir()
    listed = subprocess.run(
        [environment / "bin" / "edgesynth", "devices", "--json"],
        cwd=tmp_path,
        env={name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert listed.returncode == 0, listed.stderr
    assert set(software()) <= {entry["name"] for entry in json.loads(listed.stdout)}
