"""The product: seeds in, distinct networks out, with weights, inside the bounds."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from small_synthesis import BOUND, REQUIREMENTS, SETTINGS, ReadLog, SmallNet
from torch import Tensor

from edgesynth.devices import Device
from edgesynth.errors import InputError, RequirementError, RequirementsNotMet, RunError
from edgesynth.graph import Prototype, load
from edgesynth.metrics import Provenance
from edgesynth.runs import Run
from edgesynth.synthesis.api import load_generator, synthesize
from edgesynth.synthesis.generator import Generator
from edgesynth.synthesis.pair import GeneratorInquisitor
from edgesynth.synthesis.performance import NetScore
from edgesynth.synthesis.polish import Polish
from edgesynth.synthesis.requirements import Requirements
from edgesynth.tasks import ClassificationTask

POLISH = Polish(epochs=2, batch_size=64)


@pytest.fixture(scope="module")
def log(task: ClassificationTask) -> ReadLog:
    return ReadLog(task)


@pytest.fixture(scope="module")
def generator(finished, fresh: Callable[[], Prototype], log: ReadLog, board: Device) -> Generator:
    return load_generator(finished.folder, fresh(), log, board)


def under(generator: Generator, requirements: Requirements) -> Generator:
    """The same generator, judged by other requirements."""
    return Generator(generator.prototype, generator.pair, generator.evaluator, requirements, generator.task)


def same(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(tensor, b[name]) for name, tensor in a.items())


def test_a_seed_always_gives_the_same_network(generator: Generator) -> None:
    one, two = generator.generate(41), generator.generate(41)
    assert one.key == two.key
    assert one.architecture == two.architecture == generator.architecture(41)
    assert same(one.module.state_dict(), two.module.state_dict())
    assert one.measurements == two.measurements


def test_a_polished_network_is_as_repeatable(generator: Generator) -> None:
    one, two = generator.generate(5, polish=POLISH), generator.generate(5, polish=POLISH)
    assert same(one.module.state_dict(), two.module.state_dict())
    assert one.measurements == two.measurements


def test_the_bound_on_macs_always_holds(generator: Generator) -> None:
    drawn = [generator.architecture(seed) for seed in range(200)]
    assert max(generator.prototype.cost(architecture).macs for architecture in drawn) <= BOUND
    assert len({generator.prototype.space.key(architecture) for architecture in drawn}) > 5


def test_drawn_networks_are_distinct_feasible_and_from_the_seeds_asked_for(generator: Generator) -> None:
    networks = list(generator.draw(3, first_seed=100))
    assert len({network.key for network in networks}) == 3
    assert all(network.judgement.feasible for network in networks)
    seeds = [network.seed for network in networks]
    assert seeds == sorted(set(seeds))
    assert seeds[0] >= 100


def test_a_network_is_judged_on_all_validation_data_and_measured_as_for_a_report(
    generator: Generator, task: ClassificationTask
) -> None:
    network = generator.generate(7)
    assert network.measurements["accuracy"].samples == task.size("validation")
    assert network.measurements["latency_ms"].samples >= 1000
    assert network.measurements["latency_ms"].provenance is Provenance.SIMULATED
    counted = sum(parameter.numel() for parameter in network.module.parameters())
    assert network.measurements["parameters"].value == counted
    assert not network.module.training


def test_polish_lowers_the_training_loss_of_that_network_alone(
    generator: Generator, task: ClassificationTask
) -> None:
    shared = {name: tensor.clone() for name, tensor in generator.evaluator.weights.state().items()}
    whole = {name: tensor.clone() for name, tensor in generator.prototype.module.state_dict().items()}
    for seed in (0, 3):
        plain, polished = generator.generate(seed), generator.generate(seed, polish=POLISH)
        assert polished.key == plain.key
        assert task.score(polished.module, "train").loss < task.score(plain.module, "train").loss
    assert same(generator.evaluator.weights.state(), shared)
    assert same(generator.prototype.module.state_dict(), whole)


def test_a_place_where_no_folder_can_be_is_told(generator: Generator, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(RunError, match=r"cannot save the network to .*choose another folder"):
        generator.generate(2).save(tmp_path / "file" / "net")


def test_what_is_missed_says_what_would_help(generator: Generator) -> None:
    value = under(generator, REQUIREMENTS).generate(2).measurements["accuracy"].value
    for bound, more in ((value, "validation samples"), (1.0, "cycles or epochs")):
        strict = under(generator, Requirements({"accuracy": f">= {bound}"}))
        assert strict._explain(strict.generate(2)).endswith(f"loosen the bound, or give more {more}")


def test_no_polish_is_no_training(generator: Generator) -> None:
    none = generator.generate(2, polish=Polish(epochs=0))
    cut = generator.evaluator.extract(none.architecture)
    assert same(cut.state_dict(), none.module.state_dict())


def test_polish_is_the_generators_own_unless_a_call_says_otherwise(generator: Generator) -> None:
    plain, own = generator.generate(2), generator.generate(2, polish=generator.polish)
    assert generator.polish.epochs > 0
    assert same(plain.module.state_dict(), own.module.state_dict())


def test_test_data_are_read_when_asked_for_and_not_before(
    generator: Generator, log: ReadLog, task: ClassificationTask
) -> None:
    log.reads.clear()
    network = generator.generate(9, polish=POLISH)
    assert network.test_metrics == {}
    assert log.read("test") == set()
    tested = generator.tested(network)
    assert [split for _, split in log.reads].count("test") == 1
    assert tested.test_metrics["accuracy"].samples == task.size("test")
    assert tested.test_metrics["accuracy"].source == "digits test"
    assert tested.measurements == network.measurements


def test_what_no_network_meets_is_explained_by_requirement_and_value(generator: Generator) -> None:
    strict = under(generator, Requirements({"accuracy": ">= 0.999", "macs": f"<= {BOUND}"}))
    with pytest.raises(RequirementsNotMet) as caught:
        list(strict.draw(1, first_seed=50, patience=3))
    message = str(caught.value)
    assert "3 seeds in a row from 50" in message
    assert "accuracy >= 0.999 is violated at 0." in message
    assert "macs" not in message
    assert caught.value.exit_code == 1


def test_infeasible_networks_are_yielded_when_asked_for(generator: Generator) -> None:
    strict = under(generator, Requirements({"accuracy": ">= 0.999"}))
    networks = list(strict.draw(2, first_seed=50, reject=False))
    assert len({network.key for network in networks}) == 2
    assert not any(network.judgement.feasible for network in networks)


@pytest.fixture
def family_of_one(generator: Generator) -> Generator:
    """A generator whose bound leaves the smallest network alone."""
    prototype = generator.prototype
    least = Requirements({"macs": f"<= {prototype.cost(prototype.smallest()).macs}"})
    pair = GeneratorInquisitor(
        prototype.space,
        least,
        NetScore(),
        computed=lambda a: {"macs": prototype.cost(a).macs, "parameters": prototype.cost(a).parameters},
    )
    return Generator(prototype, pair, generator.evaluator, least, generator.task)


def test_the_same_network_is_never_drawn_twice(family_of_one: Generator) -> None:
    drawing = family_of_one.draw(2, patience=4)
    first = next(drawing)
    assert first.cost.macs == family_of_one.prototype.cost(family_of_one.prototype.smallest()).macs
    # Widths inside a block that is left out make no other network of it.
    with pytest.raises(RequirementsNotMet, match="4 seeds in a row"):
        next(drawing)


def test_running_out_of_new_networks_is_explained(family_of_one: Generator) -> None:
    drawing = family_of_one.draw(1000, patience=4)
    with pytest.raises(RequirementsNotMet, match=r"4 seeds in a row from \d+ gave no new .*; \w+"):
        list(drawing)


def test_a_negative_seed_is_refused_in_words(generator: Generator) -> None:
    with pytest.raises(InputError, match="seed"):
        generator.architecture(-1)
    with pytest.raises(InputError, match="seed"):
        generator.generate(1.5)  # type: ignore[arg-type]


def test_an_integer_of_numpy_is_a_seed_that_a_recipe_can_name(generator: Generator) -> None:
    network = generator.generate(np.int64(12))  # type: ignore[arg-type]
    assert json.loads(json.dumps(network.recipe.metadata)) == {"seed": 12}


def test_an_earlier_cycles_generator_is_usable(
    finished,
    fresh: Callable[[], Prototype],
    task: ClassificationTask,
    generator: Generator,
) -> None:
    first = load_generator(finished.folder, fresh(), task, cycle=0)
    with Run.open(finished.folder) as kept:
        stored = kept.checkpoint_at(0).tensors["pair.policy.theta"].numpy()
    assert np.array_equal(first.pair.policy.theta, stored)
    assert first.pair.cycles < generator.pair.cycles
    drawn = [first.architecture(seed) for seed in range(50)]
    assert max(first.prototype.cost(architecture).macs for architecture in drawn) <= BOUND


def test_a_saved_network_comes_back_and_onnx_runtime_agrees(
    generator: Generator, task: ClassificationTask, tmp_path: Path
) -> None:
    inputs = next(task.batches("validation", batch_size=16)).inputs
    for seed in (0, 3):
        network = generator.generate(seed, polish=POLISH)
        files = network.save(tmp_path / str(seed))
        assert {kind: (tmp_path / str(seed) / name).is_file() for kind, name in files.items()} == {
            "recipe": True,
            "weights": True,
            "onnx": True,
        }
        with torch.no_grad():
            expected = network.module(inputs)
            again = load(SmallNet(), tmp_path / str(seed))(inputs)
        assert torch.equal(again, expected)
        session = onnxruntime.InferenceSession(tmp_path / str(seed) / files["onnx"])
        name = session.get_inputs()[0].name
        # The file may be for one sample at a time: what an embedded engine is built for.
        said = np.concatenate([session.run(None, {name: sample[None].numpy()})[0] for sample in inputs])
        assert np.allclose(said, expected.numpy(), atol=1e-4)


def test_a_recipe_names_its_seed_and_its_architecture(generator: Generator) -> None:
    network = generator.generate(12)
    assert network.recipe.metadata == {"seed": 12}
    assert network.recipe.architecture == network.architecture


def test_a_budget_that_was_not_taught_is_refused(generator: Generator) -> None:
    tighter = generator.requirements.replaced(Requirements({"macs": f"<= {BOUND / 2}"}))
    with pytest.raises(RequirementError, match=r"budgets up to 1 times .* larger \[synthesis\] budget_range"):
        generator.under(tighter)
    with pytest.raises(RequirementError, match="budgets up to 1 times"):
        generator.under(tighter.to_json())
    with pytest.raises(RequirementError, match="metric name"):
        generator.under("macs <= 2M")  # type: ignore[arg-type]


def test_one_generator_serves_the_budgets_it_was_taught(
    fresh: Callable[[], Prototype], task: ClassificationTask, tmp_path: Path
) -> None:
    result = synthesize(
        fresh(),
        task,
        REQUIREMENTS,
        run_dir=tmp_path / "run",
        settings=replace(SETTINGS, budget_range=2.0, networks=1, polish_epochs=0),
    )
    half = result.generator.requirements.replaced(Requirements({"macs": f"<= {BOUND / 2}"}))
    smaller = result.generator.under(half)
    costs = [
        [generator.prototype.cost(generator.architecture(seed)).macs for seed in range(20)]
        for generator in (result.generator, smaller)
    ]
    assert max(costs[0]) <= BOUND
    assert max(costs[1]) <= BOUND / 2
    # It draws larger networks where it may.
    assert np.mean(costs[0]) > np.mean(costs[1])
    assert smaller.generate(3).judgement.verdicts[1].requirement.bound == BOUND / 2
