"""The wheel is complete: installed into an empty environment it gives a working command."""

from __future__ import annotations

import json
import os
import re
import site
import subprocess
import sys
import tomllib
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("hatchling", reason="hatchling is not installed (pip install -e '.[dev]')")
    out = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(out), str(ROOT)],
        check=True,
        capture_output=True,
    )
    (built,) = out.glob("*.whl")
    return built


def test_the_wheel_holds_every_module_profile_and_data_file(wheel: Path) -> None:
    inside = set(zipfile.ZipFile(wheel).namelist())
    source = {
        str(path.relative_to(ROOT))
        for path in (ROOT / "edgesynth").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    profiles = {f"edgesynth/devices/profiles/{path.name}" for path in (ROOT / "profiles").glob("*.toml")}
    assert source <= inside
    assert profiles
    assert profiles <= inside
    assert not [name for name in inside if name.startswith(("tests", "benchmarks", "docker"))]


def test_the_wheel_states_licence_version_and_command(wheel: Path) -> None:
    archive = zipfile.ZipFile(wheel)
    (info,) = {name.split("/")[0] for name in archive.namelist() if ".dist-info/" in name}
    metadata = archive.read(f"{info}/METADATA").decode()
    assert "License-Expression: Apache-2.0" in metadata
    assert "edgesynth = edgesynth.cli:main" in archive.read(f"{info}/entry_points.txt").decode()
    assert f"{info}/licenses/LICENSE" in archive.namelist()


@pytest.mark.slow
def test_a_fresh_environment_runs_the_command_from_anywhere(wheel: Path, tmp_path: Path) -> None:
    venv.create(tmp_path / "env", with_pip=False)
    python = tmp_path / "env" / "bin" / "python"
    installed = subprocess.run(
        [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet", "--no-deps", str(wheel)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert installed.returncode == 0, installed.stderr
    # What the package depends on is borrowed from here instead of being downloaded once more.
    (packages,) = (tmp_path / "env" / "lib").glob("python*/site-packages")
    borrowed = [path for path in site.getsitepackages() if Path(path).is_dir()]
    (packages / "borrowed.pth").write_text("".join(f"{path}\n" for path in borrowed))
    command = tmp_path / "env" / "bin" / "edgesynth"
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()

    listed = subprocess.run(
        [command, "devices", "--json"], cwd=elsewhere, capture_output=True, text=True, check=False
    )
    assert listed.returncode == 0, listed.stderr
    assert "jetson-tx2" in {entry["name"] for entry in json.loads(listed.stdout)}

    # A checkout on the path of whoever runs the tests would be found first.
    clean = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    where = subprocess.run(
        [python, "-c", "import edgesynth.devices; print(edgesynth.devices.__file__)"],
        cwd=elsewhere,
        env=clean,
        capture_output=True,
        text=True,
        check=True,
    )
    assert where.stdout.startswith(str(packages))


def names(requirements: list[str]) -> set[str]:
    return {re.match(r"[A-Za-z0-9_.-]+", line)[0].lower().replace("_", "-") for line in requirements}


def test_every_direct_dependency_is_pinned_exactly() -> None:
    lines = [
        line
        for line in (ROOT / "constraints.txt").read_text().splitlines()
        if line and not line.startswith("#")
    ]
    assert all(re.fullmatch(r"[a-z0-9.-]+==[0-9][0-9a-z.]*", line) for line in lines)
    extras = PROJECT["project"]["optional-dependencies"]
    tested = [*PROJECT["project"]["dependencies"]]
    for extra in ("cpu", "data", "detection", "dev", "optuna", "bench"):
        tested += extras[extra]
    direct = names(tested)
    assert direct - {"edgesynth"} <= {line.split("==")[0] for line in lines}


def test_the_promised_extras_exist() -> None:
    assert set(PROJECT["project"]["optional-dependencies"]) == {
        "cpu",
        "gpu",
        "rtx",
        "tensorrt",
        "pycuda",
        "ray",
        "optuna",
        "data",
        "detection",
        "bench",
        "dev",
    }
