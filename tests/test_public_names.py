"""What ``import edgesynth`` offers is a promise, and importing it costs next to nothing."""

from __future__ import annotations

import ast
import importlib
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

import edgesynth

PUBLIC = [
    "Architecture",
    "Choice",
    "EdgesynthError",
    "GeneratorInquisitor",
    "InformationDensity",
    "Job",
    "Metric",
    "MetricKind",
    "NetScore",
    "Prototype",
    "Provenance",
    "Requirements",
    "Space",
    "Switch",
    "SynthesisSettings",
    "Width",
    "__version__",
    "compare_with_runtime",
    "deploy",
    "export_onnx",
    "list_profiles",
    "load_generator",
    "load_job",
    "load_profile",
    "open_device",
    "register_metric",
    "synthesize",
]
SOURCE = Path(edgesynth.__file__)


def test_the_public_names_are_pinned() -> None:
    assert edgesynth.__all__ == PUBLIC


@pytest.mark.parametrize("name", PUBLIC)
def test_every_public_name_can_be_had(name: str) -> None:
    # A module would mean that a submodule hides the function of the same name; this one can be called.
    assert not isinstance(getattr(edgesynth, name), ModuleType) or (
        name == "deploy" and callable(edgesynth.deploy)
    )
    assert name in dir(edgesynth)


def test_type_checkers_see_the_names_that_are_had_at_run_time() -> None:
    tree = ast.parse(SOURCE.read_text())
    block = next(node for node in tree.body if isinstance(node, ast.If))
    seen = {
        alias.name: node.module
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert seen == edgesynth._HOMES
    assert set(seen) | {"__version__"} == set(PUBLIC)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        edgesynth.nonsense  # noqa: B018


def test_importing_the_package_loads_nothing_slow() -> None:
    slow = ("torch", "numpy", "pydantic", "onnx", "matplotlib")
    code = (
        "import sys, time; begin = time.perf_counter(); import edgesynth; "
        f"print(time.perf_counter() - begin, *(name for name in {slow} if name in sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    took, *loaded = done.stdout.split()
    assert loaded == []
    assert float(took) < 0.2


def imports_of(path: Path) -> set[str]:
    """Packages of ours that a module imports when it is imported itself or a function of it runs."""
    tree = ast.parse(path.read_text())
    typing_only = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        for inner in ast.walk(node)
    }
    found = set()
    for node in ast.walk(tree):
        if id(node) in typing_only:
            continue
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("edgesynth"):
            rest = node.module.split(".")[1:]
            found |= {rest[0]} if rest else {alias.name for alias in node.names}
        elif isinstance(node, ast.Import):
            found |= {a.name.split(".")[1] for a in node.names if a.name.startswith("edgesynth.")}
    return found


BASE = {"closing", "errors", "metrics", "space", "progress", "__version__"}
MAY_IMPORT = {
    "agent": set(),
    "graph": set(),
    "zoo": set(),
    "devices": set(),
    "tasks": {"graph", "devices"},
    "runs": {"graph", "devices"},
    "profiler": {"graph", "devices", "agent", "runs"},
    "deploy": {"graph", "devices", "profiler", "tasks", "runs", "agent"},
    "synthesis": {"graph", "devices", "profiler", "tasks", "runs", "deploy"},
    "report": {"graph", "devices", "profiler", "tasks", "runs"},
    "job": {"graph", "devices", "zoo", "profiler", "tasks", "runs", "synthesis"},
    "cli": {"graph", "devices", "zoo", "profiler", "tasks", "runs", "synthesis", "deploy", "report", "job"},
}


@pytest.mark.parametrize("package", sorted(MAY_IMPORT))
def test_imports_run_one_way(package: str) -> None:
    allowed = {package, *MAY_IMPORT[package]} | (BASE if package != "agent" else set())
    for path in sorted((SOURCE.parent / package).rglob("*.py")):
        assert imports_of(path) <= allowed, path


def test_synthesis_knows_no_board_and_the_profiler_no_generator() -> None:
    for package, words in {
        "synthesis": ("tensorrt", "ssh", "tegrastats"),
        "profiler": ("generator", "inquisitor"),
    }.items():
        for path in sorted((SOURCE.parent / package).rglob("*.py")):
            names = {
                node.id.lower()
                for node in ast.walk(ast.parse(path.read_text()))
                if isinstance(node, ast.Name)
            }
            assert not [name for name in names for word in words if word in name], path


def test_every_package_is_in_the_import_rule() -> None:
    packages = {path.parent.name for path in SOURCE.parent.glob("*/__init__.py")}
    assert packages == set(MAY_IMPORT)


def test_every_module_can_be_imported_by_itself() -> None:
    for name in ("edgesynth.cli", "edgesynth.job", "edgesynth.deploy.onnx"):
        assert importlib.import_module(name).__doc__
