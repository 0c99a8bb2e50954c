"""What ``import edgesynth`` offers is a promise, and importing it costs next to nothing."""

from __future__ import annotations

import ast
import graphlib
import importlib
import subprocess
import sys
from functools import cache
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
MODULES = {
    ".".join(path.relative_to(SOURCE.parents[1]).with_suffix("").parts).removesuffix(".__init__"): path
    for path in SOURCE.parent.rglob("*.py")
}


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


@cache
def imported(path: Path, *, at_once: bool = False) -> set[str]:
    """Modules of ours that a module imports: ``at_once`` when it is imported itself, else also later."""
    later = (ast.FunctionDef, ast.AsyncFunctionDef) if at_once else ()
    found, left = set(), [ast.parse(path.read_text())]
    while left:
        node = left.pop()
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            continue
        left += (inner for inner in ast.iter_child_nodes(node) if not isinstance(inner, (*later, ast.expr)))
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "edgesynth":
            for alias in node.names:
                name = f"{node.module}.{alias.name}"
                found.add(name if node.module == "edgesynth" or name in MODULES else str(node.module))
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names if alias.name.startswith("edgesynth.")}
    return found


def imports_of(path: Path) -> set[str]:
    """Packages of ours that a module imports when it is imported itself or a function of it runs."""
    return {name.split(".")[1] for name in imported(path)}


BASE = {"closing", "errors", "metrics", "space", "progress", "scratch", "__version__"}
MAY_IMPORT = {
    "agent": set(),
    "graph": set(),
    "zoo": set(),
    "devices": {"agent"},
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


# What every task shares imports nothing but itself; the parts of the house of tasks stand on it.
SHARED = {
    "comparison",
    "description",
    "distillation",
    "division",
    "normalization",
    "protocol",
    "scoring",
    "splits",
    "trees",
}
MAY_IMPORT_INSIDE_TASKS = {
    **{module: set() for module in SHARED},
    "images": set(),
    "training": set(),
    "classification": {"images"},
    "segmentation": {"images"},
    "detection": {"images"},
    "datasets": {"images", "classification", "segmentation", "detection"},
    "registry": {"classification", "segmentation", "detection", "datasets"},
}
TASKS = SOURCE.parent / "tasks"


@pytest.mark.parametrize("part", sorted(MAY_IMPORT_INSIDE_TASKS))
def test_imports_inside_tasks_run_one_way(part: str) -> None:
    allowed = {part, *SHARED, *MAY_IMPORT_INSIDE_TASKS[part]}
    for path in sorted((TASKS / part).rglob("*.py")) or [TASKS / f"{part}.py"]:
        inside = {name for name in imported(path) if name.split(".")[1] == "tasks"}
        # Names of the whole package are for others: it imports all of its parts.
        assert "edgesynth.tasks" not in inside, path
        assert {name.split(".")[2] for name in inside} <= allowed, path


@pytest.mark.parametrize("kind", ["classification", "segmentation", "detection"])
def test_inside_a_task_each_part_stands_on_those_before_it(kind: str) -> None:
    order = ("samples", "judge", "task", "folder")
    for place, part in enumerate(order):
        later = {f"edgesynth.tasks.{kind}.{name}" for name in order[place + 1 :]}
        assert not imported(TASKS / kind / f"{part}.py") & later, part


def test_real_and_synthetic_data_sets_know_nothing_of_each_other() -> None:
    real = sorted((TASKS / "datasets").glob("*.py"))
    synthetic = sorted((TASKS / "datasets" / "synthetic").glob("*.py"))
    for paths, allowed in ((real, False), (synthetic, True)):
        for path in paths:
            sets = {name for name in imported(path) if name.startswith("edgesynth.tasks.datasets")}
            kinds = {name.startswith("edgesynth.tasks.datasets.synthetic.") for name in sets}
            assert kinds <= {allowed}, path
    assert {"fashion", "climate"} <= {path.stem for path in real}
    assert {"glyphs", "scenes", "shapes"} <= {path.stem for path in synthetic}


def test_every_part_of_tasks_is_in_the_import_rule() -> None:
    parts = {path.stem for path in TASKS.glob("*.py")} | {
        path.parent.name for path in TASKS.glob("*/__init__.py")
    }
    assert parts - {"__init__"} == set(MAY_IMPORT_INSIDE_TASKS)


def test_no_modules_import_each_other_in_a_circle() -> None:
    graph = {name: imported(path, at_once=True) for name, path in MODULES.items()}
    graphlib.TopologicalSorter(graph).prepare()


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
