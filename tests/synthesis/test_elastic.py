"""Shared weights: every network is a slice of them, and training one trains its share."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pytest
import torch
from small_synthesis import SmallNet, traced
from torch import Tensor, nn

from edgesynth.errors import TrainingError
from edgesynth.graph import Prototype
from edgesynth.progress import NullProgress
from edgesynth.space import Architecture, Switch
from edgesynth.synthesis.elastic import (
    LONGEST,
    ElasticTrainer,
    ElasticWeights,
    StepSchedule,
    suitable_rate,
)
from edgesynth.tasks import ClassificationTask, TeacherCache
from edgesynth.zoo import build

PHASE = NullProgress().phase("train")


def trainer_of(
    weights: ElasticWeights, task: ClassificationTask, epochs: float = 2.0, **options: float
) -> ElasticTrainer:
    return ElasticTrainer(
        weights,
        task,
        TeacherCache(weights.prototype.module),
        StepSchedule(0.05),
        total_epochs=epochs,
        batch_size=64,
        **options,
    )


def some(prototype: Prototype, count: int = 4) -> list[Architecture]:
    """The ends of the space and a few in between; with and without the block."""
    space = prototype.space
    block = next(d.name for d in space if isinstance(d, Switch))
    between = [{**space.sample(seed), block: bool(seed % 2)} for seed in range(count)]
    return [space.largest(), space.smallest(), *between]


def narrow(prototype: Prototype) -> Architecture:
    """Half of everything, with the block."""
    space = prototype.space
    return {d.name: d.values[len(d.values) // 2] for d in space}


def outside(prototype: Prototype, architecture: Architecture) -> dict[str, Tensor]:
    """Per tensor, where the architecture has no share of it."""
    plan = prototype.plan(architecture)
    state = prototype.module.state_dict()
    masks = {name: torch.ones(tensor.shape, dtype=torch.bool) for name, tensor in state.items()}
    plan.scatter_(masks, {name: torch.zeros_like(part) for name, part in plan.gather(masks).items()})
    return masks


def snapshot(weights: ElasticWeights) -> dict[str, Tensor]:
    return {name: tensor.detach().clone() for name, tensor in weights.state().items()}


def test_the_shared_weights_begin_as_the_prototypes_own(
    prototype: Prototype, task: ClassificationTask
) -> None:
    inputs = next(task.batches("validation", batch_size=32)).inputs
    twin = ElasticWeights(prototype).extract(prototype.largest())
    with torch.no_grad():
        assert torch.allclose(twin(inputs), prototype.module(inputs), atol=1e-6)


def test_an_extracted_network_computes_what_training_ran(
    prototype: Prototype, task: ClassificationTask
) -> None:
    weights = ElasticWeights(prototype)
    inputs = next(task.batches("train", batch_size=32)).inputs
    for architecture in some(prototype):
        trained_on = weights.forward(architecture, inputs)
        with torch.no_grad():
            alone = weights.extract(architecture).train()(inputs)
        assert torch.allclose(trained_on, alone, atol=1e-5)


def test_an_extracted_network_equals_the_prototype_with_the_rest_masked(
    prototype: Prototype, task: ClassificationTask
) -> None:
    weights = ElasticWeights(prototype)
    inputs = next(task.batches("validation", batch_size=32)).inputs
    for architecture in some(prototype):
        with torch.no_grad():
            masked = prototype.mask(architecture).eval()(inputs)
            assert torch.allclose(weights.extract(architecture)(inputs), masked, atol=1e-5)


def test_an_extracted_network_owns_its_weights(prototype: Prototype) -> None:
    weights = ElasticWeights(prototype)
    before = snapshot(weights)
    network = weights.extract(narrow(prototype))
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.zero_()
    assert all(torch.equal(tensor, before[name]) for name, tensor in weights.state().items())


def test_training_one_architecture_changes_only_its_share(
    prototype: Prototype, task: ClassificationTask
) -> None:
    weights = ElasticWeights(prototype)
    before = snapshot(weights)
    architecture = narrow(prototype)
    trainer_of(weights, task, weight_decay=0.0).train([architecture], 3, PHASE)
    rest = outside(prototype, architecture)
    changed = 0
    for name, tensor in weights.parameters():
        moved = tensor.detach() != before[f"now.{name}"]
        assert not bool((moved & rest[name]).any()), name
        changed += int(moved.sum())
    assert changed > 100


def test_the_rest_only_decays(prototype: Prototype, task: ClassificationTask) -> None:
    weights = ElasticWeights(prototype)
    before = snapshot(weights)
    architecture = narrow(prototype)
    trainer_of(weights, task, weight_decay=0.01).train([architecture], 3, PHASE)
    for name, tensor in weights.parameters():
        rest = outside(prototype, architecture)[name]
        now, then = tensor.detach()[rest], before[f"now.{name}"][rest]
        assert bool((now.abs() <= then.abs()).all()), name
        assert bool((now * then >= 0).all()), name


def test_a_removed_block_is_not_trained_at_all(prototype: Prototype, task: ClassificationTask) -> None:
    weights = ElasticWeights(prototype)
    before = snapshot(weights)
    block = prototype.blocks[0]
    trainer_of(weights, task).train([{**prototype.largest(), block.name: False}], 3, PHASE)
    now = dict(weights.parameters())
    assert torch.equal(now["inner.weight"], before["now.inner.weight"])
    assert not torch.equal(now["last.weight"], before["now.last.weight"])


def test_training_leaves_the_prototype_and_the_buffers_alone(
    prototype: Prototype, task: ClassificationTask
) -> None:
    weights = ElasticWeights(prototype)
    before = {name: tensor.clone() for name, tensor in prototype.module.state_dict().items()}
    shared = snapshot(weights)
    trainer_of(weights, task).train(some(prototype), 4, PHASE)
    assert all(torch.equal(t, before[name]) for name, t in prototype.module.state_dict().items())
    for name, _ in prototype.module.named_buffers():
        assert torch.equal(weights.state()[f"now.{name}"], shared[f"now.{name}"]), name


def test_training_lowers_the_loss_of_a_small_network(fresh: Callable[[], Prototype], task) -> None:
    prototype = fresh()
    weights = ElasticWeights(prototype)
    architecture = narrow(prototype)

    def loss() -> float:
        with torch.no_grad():
            parts = [
                task.loss(weights.forward(architecture, batch.inputs), batch.targets)
                for batch in task.batches("train", batch_size=200)
            ]
        return float(torch.stack(parts).mean())

    first = loss()
    trainer_of(weights, task).train([architecture], 20, PHASE)
    assert loss() < 0.7 * first


def test_networks_are_cut_from_the_average_which_follows_the_weights(
    prototype: Prototype, task: ClassificationTask
) -> None:
    weights = ElasticWeights(prototype)
    before = snapshot(weights)
    trainer_of(weights, task).train([prototype.largest()], 4, PHASE)
    now = dict(weights.parameters())
    cut = weights.extract(prototype.largest()).state_dict()
    for name in ("stem.weight", "last.weight", "head.bias"):
        assert torch.equal(cut[name], weights.averages()[name])
        assert not torch.equal(cut[name], before[f"now.{name}"])
        assert not torch.equal(cut[name], now[name])
        start = (before[f"now.{name}"] - now[name]).norm()
        assert (cut[name] - now[name]).norm() < start


def test_the_average_of_weights_that_stand_still_is_those_weights(prototype: Prototype) -> None:
    weights = ElasticWeights(prototype)
    with torch.no_grad():
        for _, tensor in weights.parameters():
            tensor.fill_(2.0)
    for _ in range(300):
        weights.follow(10.0)
    for name, tensor in weights.parameters():
        assert torch.allclose(weights.averages()[name], tensor, atol=1e-4), name


def test_training_goes_on_bit_by_bit_from_a_saved_state(
    prototype: Prototype, task: ClassificationTask
) -> None:
    family = some(prototype)
    whole, first, second = (ElasticWeights(prototype) for _ in range(3))
    trainer_of(whole, task).train(family, 13, PHASE)
    begun = trainer_of(first, task)
    begun.train(family, 4, PHASE)  # in the middle of an epoch
    resumed = trainer_of(second, task)
    second.restore(first.state())
    resumed.restore(*begun.state())
    resumed.train(family, 13, PHASE)
    assert resumed.step == 13
    found = second.state()
    assert all(torch.equal(tensor, found[name]) for name, tensor in whole.state().items())


def test_training_stops_at_the_step_it_was_asked_for(prototype: Prototype, task: ClassificationTask) -> None:
    trainer = trainer_of(ElasticWeights(prototype), task, epochs=1.5)
    assert trainer.steps_per_epoch == 10
    assert trainer.total_steps == 15
    trainer.train([prototype.smallest()], 7, PHASE)
    assert (trainer.step, trainer.epochs) == (7, 0.7)
    trainer.train([prototype.smallest()], 15, PHASE)
    assert (trainer.step, trainer.epochs) == (15, 1.5)


def test_every_architecture_gets_its_turn(prototype: Prototype, task: ClassificationTask) -> None:
    weights = ElasticWeights(prototype)
    seen: list[str] = []
    run = weights.forward

    def listening(architecture: Architecture, inputs: Tensor) -> Tensor:
        seen.append(prototype.space.key(architecture))
        return run(architecture, inputs)

    weights.forward = listening  # type: ignore[method-assign]
    family = [prototype.largest(), prototype.smallest()]
    trainer_of(weights, task).train(family, 12, PHASE)
    assert set(seen) == {prototype.space.key(a) for a in family}


def test_a_steep_loss_leads_no_step_farther_than_a_limit(
    prototype: Prototype, task: ClassificationTask
) -> None:
    weights = ElasticWeights(prototype)
    with torch.no_grad():
        for _, tensor in weights.parameters():
            tensor.mul_(3.0)  # every layer answers louder than the one before, and the loss is huge
    before = snapshot(weights)
    trainer = trainer_of(weights, task, weight_decay=0.0)
    assert trainer.train([narrow(prototype)], 1, PHASE) > 10
    squares = [
        ((tensor.detach() - before[f"now.{name}"]) ** 2).sum() for name, tensor in weights.parameters()
    ]
    farthest = (1 + 0.9) * trainer.schedule.rate(0.0) * LONGEST / 0.05  # Nesterov's first step
    assert float(sum(squares)) ** 0.5 == pytest.approx(farthest, rel=1e-3)


def test_nothing_to_train_is_an_error(prototype: Prototype, task: ClassificationTask) -> None:
    with pytest.raises(TrainingError, match="no architecture"):
        trainer_of(ElasticWeights(prototype), task).train([], 1, PHASE)


def test_a_loss_that_is_not_finite_names_the_step_and_the_rate(
    prototype: Prototype, task: ClassificationTask
) -> None:
    weights = ElasticWeights(prototype)
    with torch.no_grad():
        dict(weights.parameters())["head.bias"].fill_(float("nan"))
    with pytest.raises(TrainingError, match=r"nan at step 0 of 20 \(learning rate .*learning_rate"):
        trainer_of(weights, task).train([prototype.largest()], 1, PHASE)


class Tied(nn.Module):
    """Two convolutions that are one."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, 8, 3, padding=1)
        self.first = nn.Conv2d(8, 8, 3, padding=1)
        self.second = nn.Conv2d(8, 8, 3, padding=1)
        self.second.weight = self.first.weight
        self.head = nn.Linear(8, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.stem(x))
        x = torch.relu(self.second(torch.relu(self.first(x))))
        logits: Tensor = self.head(x.mean((2, 3)))
        return logits


def test_tied_weights_stay_tied(task: ClassificationTask) -> None:
    prototype = traced(Tied())
    weights = ElasticWeights(prototype)
    trainer_of(weights, task).train([prototype.largest(), prototype.smallest()], 3, PHASE)
    for architecture in (prototype.largest(), prototype.smallest()):
        state = weights.extract(architecture).state_dict()
        assert torch.equal(state["first.weight"], state["second.weight"])


# --- the teacher ---


class Counting(nn.Module):
    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module, self.calls = module, 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        said: Tensor = self.module(x)
        return said


def epoch_of(task: ClassificationTask, cache: TeacherCache, epoch: int) -> list[tuple[Tensor, Tensor | None]]:
    view = cache.view(epoch)
    batches = task.batches("train", batch_size=200, seed=view, shuffle=True, augment=True)
    return [(b.inputs, cache.outputs((200, view, i), b.inputs)) for i, b in enumerate(batches)]


def test_the_cache_says_what_the_teacher_says_and_asks_once_a_view(
    trained: Callable[[], SmallNet], task: ClassificationTask
) -> None:
    teacher = Counting(trained())
    cache = TeacherCache(teacher, views=2)
    for epoch in range(6):
        for inputs, said in epoch_of(task, cache, epoch):
            if epoch >= 2:
                assert said is None
                continue
            assert said is not None
            with torch.no_grad():
                assert torch.equal(said, teacher.module(inputs))
    assert teacher.calls == 2 * 3
    epoch_of(task, cache, 1)
    assert teacher.calls == 2 * 3


def test_every_epoch_has_pictures_of_its_own_the_same_for_every_student(
    trained: Callable[[], SmallNet],
) -> None:
    first, second = (TeacherCache(trained(), seed=3, views=4) for _ in range(2))
    views = [first.view(epoch) for epoch in range(20)]
    assert len(set(views)) == 20
    assert views == [second.view(epoch) for epoch in range(20)]


def test_the_cache_is_bounded_and_right_beyond_its_bound(
    trained: Callable[[], SmallNet], task: ClassificationTask
) -> None:
    teacher = Counting(trained())
    cache = TeacherCache(teacher, views=1, limit_bytes=200 * 10 * 4)
    first, again = epoch_of(task, cache, 0), epoch_of(task, cache, 0)
    assert first[0][1] is not None
    assert all(torch.equal(a, b) for (_, a), (_, b) in zip(first, again, strict=True))
    assert teacher.calls == 3 + 2  # one batch of three fits


def test_a_batch_of_another_size_is_never_answered_from_the_cache(trained: Callable[[], SmallNet]) -> None:
    cache = TeacherCache(trained())
    inputs = torch.randn(4, 1, 8, 8)
    assert cache.outputs((4, 0, 0), inputs).shape == (4, 10)
    assert cache.outputs((3, 0, 0), inputs[:3]).shape == (3, 10)


def test_answers_per_pixel_are_the_same_the_first_time_and_later() -> None:
    network = nn.Conv2d(1, 5, 3, padding=1)
    cache = TeacherCache(network, limit_bytes=4 * 5 * 64 * 2)
    inputs = torch.randn(4, 1, 8, 8)
    first, later = (cache.outputs((4, 0, 0), inputs) for _ in range(2))
    assert first.dtype == torch.float32
    assert torch.equal(first, later)
    assert torch.allclose(first, network(inputs), atol=2e-3)
    assert torch.equal(cache.outputs((4, 0, 1), inputs), first)  # beyond the limit, computed anew


# --- the schedule ---


def test_the_rate_rises_falls_and_ends_low() -> None:
    schedule = StepSchedule(0.2, warmup=0.1, floor=0.01)
    rates = [schedule.rate(done) for done in np.linspace(0, 1, 101)]
    assert max(rates) == pytest.approx(0.2)
    assert rates.index(max(rates)) == 10
    assert all(a < b for a, b in pairwise(rates[:11]))
    assert all(a > b for a, b in pairwise(rates[10:]))
    assert 0 < rates[0] < 0.01
    assert rates[-1] == pytest.approx(0.002)
    assert schedule.rate(1.7) == pytest.approx(0.002)


def test_a_network_without_normalisation_gets_a_lower_rate() -> None:
    plain = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Conv2d(4, 4, 3), nn.Flatten(), nn.Linear(4, 2))
    assert suitable_rate(plain) < suitable_rate(build("resnet8", in_channels=1, classes=10))
