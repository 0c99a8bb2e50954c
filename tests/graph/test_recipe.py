"""A saved network comes back as it was, or says why not."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from architectures import CASES, traced
from convolutions import Bottleneck

from edgesynth.errors import InputError, RunError
from edgesynth.graph import Recipe, load, save_network

NAMES = ["residual", "shared", "vision-transformer", "functional", "tokens", "multi-output", "two-inputs"]


@pytest.mark.parametrize("name", NAMES)
def test_a_network_comes_back_into_its_own_class(name: str, tmp_path: Path) -> None:
    case, prototype = CASES[name], traced(name)
    architecture = prototype.space.sample(7)
    sliced = prototype.slice(architecture)
    with torch.no_grad():
        for parameter in sliced.parameters():
            parameter.add_(0.01)
    save_network(tmp_path, sliced, Recipe.of(prototype, architecture, seed=7))
    loaded = load(case.network(seed=3), tmp_path)
    inputs = case.inputs(3)
    with torch.no_grad():
        expected, actual = sliced(*inputs), loaded(*inputs)
    for a, b in zip(
        torch.utils._pytree.tree_leaves(actual), torch.utils._pytree.tree_leaves(expected), strict=True
    ):
        assert torch.equal(a, b)
    assert type(loaded).__name__ == type(sliced).__name__ or prototype.plan(architecture).rebuilt


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    prototype = traced("bottleneck")
    architecture = prototype.space.sample(1)
    save_network(tmp_path / "network", prototype.slice(architecture), Recipe.of(prototype, architecture))
    return tmp_path / "network"


def test_a_recipe_is_plain_json_that_round_trips(saved: Path) -> None:
    data = json.loads((saved / "recipe.json").read_text())
    assert Recipe.from_json(data).to_json() == data
    assert data["versions"]["torch"] == torch.__version__
    assert sorted(path.name for path in saved.iterdir()) == ["recipe.json", "weights.safetensors"]


def test_equal_networks_are_equal_files(tmp_path: Path) -> None:
    prototype = traced("bottleneck")
    sliced, recipe = prototype.slice(), Recipe.of(prototype, prototype.largest())
    for i in range(8):
        save_network(tmp_path / str(i), sliced, recipe)
    for name in ("weights.safetensors", "recipe.json"):
        assert len({(tmp_path / str(i) / name).read_bytes() for i in range(8)}) == 1


def test_the_wrong_model_is_refused(saved: Path) -> None:
    with pytest.raises(InputError, match="is not the model"):
        load(Bottleneck(groups=4), saved)


def test_damaged_weights_are_refused(saved: Path) -> None:
    weights = saved / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\x07")
    with pytest.raises(RunError, match=r"weights.safetensors is damaged: its SHA-256"):
        load(Bottleneck(), saved)


@pytest.mark.parametrize("name", ["recipe.json", "weights.safetensors"])
def test_a_missing_file_is_named(saved: Path, name: str) -> None:
    (saved / name).unlink()
    with pytest.raises(RunError, match=name):
        load(Bottleneck(), saved)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "is damaged"),
        ("[]", "no JSON object"),
        ('{"format": 99}', "format 99"),
        ("{}", "needs the fields"),
    ],
)
def test_a_damaged_recipe_is_refused(saved: Path, text: str, message: str) -> None:
    (saved / "recipe.json").write_text(text)
    with pytest.raises(RunError, match=message):
        load(Bottleneck(), saved)


def test_a_failed_save_leaves_what_was_there(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    prototype = traced("bottleneck")
    before = {path.name: path.read_bytes() for path in saved.iterdir()}

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(RunError, match="No space left on device"):
        save_network(saved, prototype.slice(), Recipe.of(prototype, prototype.largest()))
    assert {path.name: path.read_bytes() for path in saved.iterdir()} == before
