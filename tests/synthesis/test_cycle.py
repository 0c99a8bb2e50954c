"""One cycle after another: what is read, what is recorded, and what can be gone on with."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from small_synthesis import BOUND, REQUIREMENTS, SETTINGS, Watch

from edgesynth.errors import RunError
from edgesynth.graph import Prototype
from edgesynth.metrics import Provenance
from edgesynth.runs import Run
from edgesynth.synthesis.cycle import Synthesizer
from edgesynth.synthesis.requirements import Requirements
from edgesynth.tasks import ClassificationTask


def test_test_data_are_not_read_before_the_last_cycle_has_ended(finished) -> None:
    # Before anything else, a few samples of every split are read to know the data again.
    known = [read for read in finished.log.reads if read == ("before", "test")]
    assert len(known) == 2
    late = {"draw networks from unseen seeds", finished.watch.phases[-2]}
    assert finished.log.read("test") <= {"before", *late}
    last = max(i for i, (_, split) in enumerate(finished.log.reads) if split == "train")
    learning = [(now, split) for now, split in finished.log.reads if now.startswith(("rank", "cycle"))]
    # After the last cycle the prototype is the first to be tested; its phase name still stands.
    tests = [i for i, (_, split) in enumerate(learning) if split == "test"]
    assert tests in ([], [len(learning) - 1])
    assert last > 0


def test_nothing_is_decided_on_training_data(finished) -> None:
    assert not any("evaluate" in now for now in finished.log.read("train"))
    assert any("evaluate" in now for now in finished.log.read("validation"))


def test_there_is_a_record_of_every_cycle(finished, prototype: Prototype) -> None:
    with finished.open() as run:
        cycles = run.cycles()
        assert run.status == "finished"
    assert [record.cycle for record in cycles] == list(range(SETTINGS.cycles))
    for record in cycles:
        assert 0 < record.quality <= 1
        assert 0 < record.macs <= BOUND
        assert record.latency_ms is not None
        assert record.latency_ms > 0
        assert record.inferences_per_joule is not None
        assert 0 <= record.feasible_fraction <= 1
        assert 0 < record.distinct_fraction <= 1
        assert 0 <= record.mean_distance <= 1
        assert record.bytes == pytest.approx(4 * record.parameters)
        assert record.information_density > 0
        assert record.binding in {requirement.text for requirement in REQUIREMENTS}
        assert set(record.efficiency) <= {d.name for d in prototype.dimensions}
        assert all(value > 0 for value in record.efficiency.values())
        assert {"generate", "train", "evaluate", "probe", "learn", "record"} <= set(record.seconds)
        assert all(seconds >= 0 for seconds in record.seconds.values())
    # The others train too little to pay for a probe.
    assert cycles[0].efficiency


def test_the_epochs_asked_for_are_spent_and_no_more(finished) -> None:
    with finished.open() as run:
        spent = [record.epochs for record in run.cycles()]
    assert spent == sorted(spent)
    assert spent[-1] == pytest.approx(SETTINGS.epochs)


def test_candidates_are_recorded_as_they_were_found(finished, prototype: Prototype) -> None:
    with finished.open() as run:
        candidates = run.networks("candidate")
    assert {record.cycle for record in candidates} == set(range(SETTINGS.cycles))
    for record in candidates:
        assert record.key == prototype.space.key(record.architecture)
        assert record.test_metrics == {}
        assert set(record.verdicts) == {requirement.text for requirement in REQUIREMENTS}
        quality = record.metrics["accuracy"]
        assert quality.provenance is Provenance.MEASURED
        # What was seen, not what is expected of more training: a whole number of right answers.
        assert quality.value * SETTINGS.validation_limit == pytest.approx(
            round(quality.value * SETTINGS.validation_limit)
        )
        assert quality.source == "digits validation"


def test_every_cycles_generator_is_kept(finished) -> None:
    with finished.open() as run:
        assert run.checkpoint_cycles() == tuple(range(SETTINGS.cycles))


def test_the_generator_handed_over_is_the_one_that_was_trained_last(
    finished, fresh: Callable[[], Prototype], task: ClassificationTask
) -> None:
    with finished.open() as run:
        synthesizer = make(fresh(), task, run)
        synthesizer.resume()
        kept = []
        for cycle in range(SETTINGS.cycles):
            synthesizer.recall_policy(cycle)
            kept.append(synthesizer.pair.policy.theta)
        moved = [bool(record.notes["update"]) for record in run.cycles()]
    assert moved == [False, *[True] * (SETTINGS.cycles - 2), False]
    assert np.array_equal(kept[-2], kept[-1])


@pytest.mark.parametrize("chance", [0.49, 0.5])
def test_an_update_stands_only_if_its_networks_are_no_worse(
    fresh: Callable[[], Prototype],
    task: ClassificationTask,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    chance: float,
) -> None:
    monkeypatch.setattr("edgesynth.synthesis.cycle.superiority", lambda *_: chance)
    with Run.create(tmp_path / "run", {}) as run:
        synthesizer = make(fresh(), task, run, cycles=3, epochs=1)
        synthesizer.learn()
        before, after = (run.checkpoint_at(cycle) for cycle in (0, 1))
        records = run.cycles()
    same = torch.equal(before.tensors["pair.policy.theta"], after.tensors["pair.policy.theta"])
    assert same is (chance < 0.5)
    assert [record.better for record in records] == [None, chance, None]
    assert [record.stands for record in records] == [True, not same, True]
    # What the inquisitor was told of the networks that lost is not forgotten.
    assert len(after.state["pair"]["known"]) > len(before.state["pair"]["known"])


def test_two_cycles_are_enough_to_move_the_generator(
    fresh: Callable[[], Prototype], task: ClassificationTask, tmp_path: Path
) -> None:
    with Run.create(tmp_path / "run", {}) as run:
        make(fresh(), task, run, cycles=2, epochs=0.5).learn()
        assert [bool(record.notes["update"]) for record in run.cycles()] == [False, True]


def test_what_was_seen_on_weights_of_long_ago_is_forgotten(finished) -> None:
    with finished.open() as run:
        checkpoint = run.latest_checkpoint()
        candidates = {record.key: record.cycle for record in run.networks("candidate")}
    told = checkpoint.state["pair"]["known"]
    weights = sorted(item["values"]["accuracy"][1] for item in told if "accuracy" in item["values"])
    assert weights[0] < 1
    assert weights[-1] >= 1
    assert len(told) >= len(candidates)


def test_the_network_reported_is_as_good_as_it_says(finished, task: ClassificationTask) -> None:
    from edgesynth.graph import load

    (record, *_) = finished.result.networks
    from small_synthesis import untrained

    module = load(untrained(), finished.folder / record.files["recipe"])
    assert task.score(module, "test").metric == record.test_metrics["accuracy"]
    assert task.score(module, "validation").metric == record.metrics["accuracy"]


def make(prototype: Prototype, task: ClassificationTask, run: Run, **changes: object) -> Synthesizer:
    from dataclasses import replace

    settings = replace(SETTINGS, **changes)
    return Synthesizer(prototype, task, REQUIREMENTS, None, run, settings, Watch())


def test_without_a_device_the_cycle_goes_round_and_says_nothing_of_one(
    fresh: Callable[[], Prototype], task: ClassificationTask, tmp_path: Path
) -> None:
    with Run.create(tmp_path / "run", {}) as run:
        synthesizer = make(fresh(), task, run, cycles=1, epochs=0.5)
        assert synthesizer.resume() is False
        synthesizer.learn()
        (record,) = run.cycles()
        assert synthesizer.next_cycle == 1
        assert record.latency_ms is None
        assert record.inferences_per_joule is None


def test_another_process_has_what_the_first_had(
    fresh: Callable[[], Prototype], task: ClassificationTask, tmp_path: Path
) -> None:
    with Run.create(tmp_path / "run", {}) as run:
        first = make(fresh(), task, run, cycles=1, epochs=0.5)
        first.learn()
        second = make(fresh(), task, run, cycles=1, epochs=0.5)
        assert second.resume() is True
    assert second.next_cycle == 1
    assert second.trainer.step == first.trainer.step
    state = first.weights.state()
    assert all(torch.equal(tensor, state[name]) for name, tensor in second.weights.state().items())
    ranking = first.prototype.ranking
    assert all(torch.equal(order, ranking[name]) for name, order in second.prototype.ranking.items())
    assert [first.pair.generate(s) for s in range(20)] == [second.pair.generate(s) for s in range(20)]


def test_a_cycle_that_never_was_cannot_be_recalled(
    finished,
    fresh: Callable[[], Prototype],
    task: ClassificationTask,
) -> None:
    with finished.open() as run:
        synthesizer = make(fresh(), task, run)
        with pytest.raises(RunError, match=r"no checkpoint of cycle 9; it has those of cycles \[0, 1, 2\]"):
            synthesizer.recall_policy(9)


def test_channels_are_ranked_by_impact_not_by_place(
    fresh: Callable[[], Prototype], task: ClassificationTask, tmp_path: Path
) -> None:
    prototype = fresh()
    with torch.no_grad():
        prototype.module.get_parameter("head.weight")[:, 11] = 0  # loud, but nobody listens
        prototype.module.get_parameter("last_norm.weight")[11] = 9
    with Run.create(tmp_path / "run", {}) as run:
        make(prototype, task, run, cycles=1, epochs=0.1).learn()
    last = next(d for d in prototype.dimensions if d.layers[0] == "last")
    assert int(prototype.ranking[last.name][-1]) == 11


def test_requirements_of_another_run_do_not_fit_its_state(
    finished,
    fresh: Callable[[], Prototype],
    task: ClassificationTask,
) -> None:
    other = Requirements({"macs": "<= 1M"})
    with finished.open() as run:
        synthesizer = Synthesizer(fresh(), task, other, None, run, SETTINGS, Watch())
        with pytest.raises(RunError, match="requirements"):
            synthesizer.resume()
