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

import pytest
from dockerfiles import BOARD, FOLDER, HOST, ROOT, arguments, commands, copies, option, software, steps, table
from fake_board import find_python

from edgesynth.devices.agent_package import _members

FILES = sorted(FOLDER.glob("*.Dockerfile"))


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


def test_every_build_command_names_a_file_and_arguments_that_it_has() -> None:
    builds = [words for words in commands() if words[1] == "build"]
    assert {option(words, "-f")[0] for words in builds} == {f"docker/{path.name}" for path in FILES}
    for words in builds:
        path = ROOT / option(words, "-f")[0]
        given = dict(value.split("=", 1) for value in option(words, "--build-arg"))
        assert set(given) <= set(arguments(path))
        assert words[-1] == "."
        if path == BOARD:
            assert (given["BASE"], given["PYTHON"]) in {(row.base, row.python) for row in table()}


def test_every_run_command_runs_what_was_built_without_privileges() -> None:
    built = {option(words, "-t")[0] for words in commands() if words[1] == "build"}
    runs = [words for words in commands() if words[1] == "run"]
    assert len(runs) + len([words for words in commands() if words[1] == "build"]) == len(commands())
    for words in runs:
        assert built & set(words)
        assert "--privileged" not in words
        assert "--rm" in words


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


# A container without an engine: the machine's own programs, and everything else that of the image.
CHROOT = """
mount --bind /usr "$1/usr"
mount -o remount,bind,ro "$1/usr"
mount --rbind /proc "$1/proc"
mount --rbind /dev "$1/dev"
exec chroot $2 "$1" /usr/bin/env -i -C "$3" PATH=/usr/sbin:/usr/bin HOME=/home/edgesynth $4 sh -ec "$5"
"""


class Container:
    """A root that is filled by the steps of an image, in mounts that nobody else sees."""

    def __init__(self, root: Path) -> None:
        self.root = root
        for name in ("usr", "proc", "dev", "etc", "home", "opt", "tmp"):
            (root / name).mkdir(parents=True)
        for name in ("bin", "lib", "lib64", "sbin"):
            if Path("/", name).is_symlink():
                (root / name).symlink_to(Path("/", name).readlink())
        shutil.copy("/etc/login.defs", root / "etc")
        # As in Ubuntu 24.04, which brings a user along.
        (root / "etc/passwd").write_text("root:x:0:0::/root:/bin/sh\nubuntu:x:1000:1000::/:/bin/sh\n")
        (root / "etc/group").write_text("root:x:0:\nvideo:x:44:\nubuntu:x:1000:\n")

    def run(
        self, command: str, *, user: str = "", workdir: str = "/", given: str = "", **variables: str
    ) -> subprocess.CompletedProcess[str]:
        who = f"--userspec={user}" if user else "--userspec=root"
        settings = " ".join(f"{name}={value}" for name, value in variables.items())
        words = ["unshare", "--mount", "sh", "-euc", CHROOT.replace("$4", settings), "sh", str(self.root)]
        return subprocess.run(
            [*words, who, workdir, "", command], input=given, capture_output=True, text=True, check=False
        )


@pytest.fixture
def container(tmp_path: Path) -> Container:
    made = Container(tmp_path / "root")
    if os.geteuid() != 0 or shutil.which("unshare") is None or made.run("true").returncode != 0:
        pytest.skip("only root may mount and chroot, and not in every container")
    return made


def made_by(path: Path) -> str:
    """The commands of an image that make its user and folders."""
    (text,) = [step.text for step in steps(path) if step.verb == "RUN" and "useradd" in step.text]
    return text


def test_the_board_image_is_put_together_and_its_agent_answers_as_its_user(container: Container) -> None:
    last = {step.verb: step.text for step in steps(BOARD)}
    done = container.run(made_by(BOARD))
    assert done.returncode == 0, done.stderr
    build_context(BOARD, container.root, "/")
    home = container.root / "home/edgesynth"
    assert home.stat().st_uid == (home / ".cache").stat().st_uid == 1001
    assert "video:x:44:edgesynth" in (container.root / "etc/group").read_text()

    entry = shlex.join([*json.loads(last["ENTRYPOINT"]), "info"])
    set_ = dict(word.split("=", 1) for word in last["ENV"].split())
    done = container.run(entry, user=last["USER"], workdir=last["WORKDIR"], given="{}", **set_)

    assert done.returncode == 0, done.stderr
    (told,) = [event for event in map(json.loads, done.stdout.splitlines()) if event.get("event") == "info"]
    assert set(told["missing"]) >= {"l4t", "tensorrt"}  # this is no board
    assert not list(container.root.glob("opt/**/__pycache__"))


def test_the_build_of_a_board_image_stops_at_another_python(container: Container) -> None:
    (text,) = [step.text for step in steps(BOARD) if step.verb == "RUN" and "apt-get" in step.text]
    check = text.split("&&")[-1].strip()
    assert check.startswith("test ")
    found = container.run("python3 -c 'import sys; print(\"%d.%d\" % sys.version_info[:2])'").stdout.strip()
    if not found:
        pytest.skip("this machine has no /usr/bin/python3")
    assert container.run(check, PYTHON=found).returncode == 0
    for python in {row.python for row in table()} - {found}:
        assert container.run(check, PYTHON=python).returncode == 1


def test_the_host_image_gives_its_user_the_id_that_is_asked_for(container: Container) -> None:
    done = container.run(made_by(HOST), UID="4321")
    assert done.returncode == 0, done.stderr
    assert (
        (container.root / "home/edgesynth").stat().st_uid == (container.root / "work").stat().st_uid == 4321
    )


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
