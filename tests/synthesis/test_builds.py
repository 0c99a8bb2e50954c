"""Every network that a small real synthesis generates is built by a real TensorRT, in every precision."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import pytest
from real_builder import PRECISIONS, delivered, needs_builder
from small_runs import SmallRun

from edgesynth.zoo import PROTOTYPES, TaskKind, prototype_kind, prototype_names

SEED = 12345  # no run kept a network of it
SLOW = ("segmentation", *prototype_names("detection"))
RUNS = ["classification", *(pytest.param(name, marks=pytest.mark.slow) for name in SLOW)]


def files(run: SmallRun) -> dict[str, Path]:
    """The ONNX file of every network that a run kept, and of one drawn from what it learned."""
    kept = {record.key: run.folder / record.files["onnx"] for record in run.result.networks}
    assert len(kept) == len(run.result.networks) > 0
    assert SEED not in {record.seed for record in run.result.networks}
    drawn = run.folder.parent / "drawn"
    if not drawn.exists():
        run.generator().generate(SEED, thorough=False).save(drawn)
    return {**kept, f"seed {SEED}": drawn / "network.onnx"}


@needs_builder
@pytest.mark.parametrize(
    "precision",
    [pytest.param(name, marks=() if name == "fp16" else pytest.mark.slow) for name in PRECISIONS],
)
@pytest.mark.parametrize("name", RUNS)
def test_every_generated_network_is_built(
    name: str, precision: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    run = request.getfixturevalue(f"{name}_run")
    for source in files(run).values():
        delivered(source, tmp_path / "out.onnx", precision, run.task)


def test_every_kind_of_task_has_such_a_run() -> None:
    kinds = {prototype_kind(name) if name in PROTOTYPES else name for name in ("classification", *SLOW)}
    assert kinds == set(get_args(TaskKind))
