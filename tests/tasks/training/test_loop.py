import dataclasses

import pytest
import torch
from quick_training import QUICK, fresh_net, same, weights
from torch import nn

from edgesynth.errors import InputError, TrainingError
from edgesynth.tasks import Distillation, TeacherCache, TrainingPlan, fit
from edgesynth.tasks.training.loop import _groups


def test_training_learns_real_images(clothing):
    module = fresh_net()
    before = clothing.score(module, "test").metric.value
    record = fit(module, clothing, dataclasses.replace(QUICK, epochs=4))
    assert before < 0.3
    assert clothing.score(module, "test").metric.value > 0.6
    assert record.epochs[-1].loss < record.epochs[0].loss
    assert record.steps == 32
    assert record.samples == 4 * 256
    assert not module.training


@pytest.mark.parametrize("options", [{}, {"ema": 0.9}, {"clip_norm": None, "channels_last": False}])
def test_the_same_seed_gives_the_same_weights_bit_for_bit(clothing, options):
    plan = dataclasses.replace(QUICK, seed=7, **options)
    results = []
    for noise in (1, 2):
        module = fresh_net()
        torch.manual_seed(noise)  # the caller's random state must not matter
        fit(module, clothing, plan)
        results.append(weights(module))
    assert same(*results)
    other = fresh_net()
    fit(other, clothing, dataclasses.replace(plan, seed=8))
    assert not same(results[0], weights(other))


def test_the_callers_random_state_is_left_as_it_was(clothing):
    module = fresh_net()
    torch.manual_seed(3)
    expected = torch.rand(3)
    torch.manual_seed(3)
    fit(module, clothing, dataclasses.replace(QUICK, epochs=0.2))
    assert torch.equal(torch.rand(3), expected)


def test_only_training_samples_are_read(clothing):
    read = []

    class Watched:
        def __getattr__(self, name):
            return getattr(clothing, name)

        def batches(self, split, **options):
            read.append(split)
            return clothing.batches(split, **options)

    fit(fresh_net(), Watched(), QUICK)
    assert set(read) == {"train"}


def test_a_fraction_of_an_epoch_takes_that_fraction_of_its_steps(clothing):
    record = fit(fresh_net(), clothing, dataclasses.replace(QUICK, epochs=1.5))
    assert [epoch.steps for epoch in record.epochs] == [8, 4]


def test_every_epoch_is_reported_with_the_network_as_it_trains(clothing):
    seen = []
    module = fresh_net()
    record = fit(
        module,
        clothing,
        dataclasses.replace(QUICK, epochs=2),
        on_epoch=lambda epoch, net: seen.append((epoch, net is module)),
    )
    assert seen == [(epoch, True) for epoch in record.epochs]


def test_a_teacher_is_listened_to_and_left_unchanged(make_task):
    task = make_task(distillation=Distillation(weight=1.0, temperature=1.0), shape=(6,))
    torch.manual_seed(0)
    teacher = nn.Sequential(nn.Linear(6, 3), nn.BatchNorm1d(3)).train()
    with torch.no_grad():
        teacher[0].weight.mul_(4)
    before = weights(teacher)
    student = nn.Linear(6, 3)
    plan = TrainingPlan(epochs=200, batch_size=24, learning_rate=0.3, weight_decay=0.0)
    record = fit(student, task, plan, teacher=teacher)
    assert teacher.training
    assert same(before, weights(teacher))
    assert all(parameter.grad is None for parameter in teacher.parameters())
    # A linear student can copy an affine teacher: nothing but the divergence remains, and it goes to zero.
    assert record.loss < 0.01 * record.epochs[0].loss


def test_a_loss_that_is_not_finite_stops_with_epoch_step_and_rate(clothing):
    class Explodes(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner, self.calls = fresh_net(), 0

        def forward(self, x):
            self.calls += self.training
            return self.inner(x) * (float("nan") if self.calls > 11 else 1.0)

    with pytest.raises(TrainingError, match=r"nan in epoch 2, step 12 of 16, at learning rate 0\.0"):
        fit(Explodes(), clothing, dataclasses.replace(QUICK, epochs=2))


def test_a_network_with_the_wrong_outputs_is_refused_before_training(clothing):
    module = nn.Sequential(nn.Flatten(), nn.Linear(784, 7))
    before = weights(module)
    with pytest.raises(InputError, match=r"\[batch, 10\].*\(2, 7\)"):
        fit(module, clothing, QUICK)
    assert same(before, weights(module))


def test_a_network_that_does_not_take_the_samples_is_refused_with_their_shape(clothing):
    with pytest.raises(InputError, match=r"does not accept a batch of shape \[2, 1, 28, 28\]"):
        fit(nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.LazyLinear(10)), clothing, QUICK)
    with pytest.raises(InputError, match="the teacher Conv2d does not accept"):
        fit(fresh_net(), clothing, QUICK, teacher=nn.Conv2d(3, 4, 3))


@pytest.mark.parametrize(
    ("loss", "message"),
    [(0.5, "gave float as loss"), (torch.ones(2), r"gave a tensor of shape \[2\] as loss; return a tensor")],
)
def test_a_loss_that_cannot_be_trained_by_is_refused_before_training(clothing, monkeypatch, loss, message):
    monkeypatch.setattr(clothing, "loss", lambda _outputs, _targets: loss)
    with pytest.raises(InputError, match=message):
        fit(fresh_net(), clothing, QUICK)


def test_a_network_with_nothing_to_train_is_refused(clothing):
    with pytest.raises(InputError, match="nothing to train"):
        fit(fresh_net().requires_grad_(False), clothing, QUICK)


def test_frozen_parameters_stay_as_they_are(clothing):
    module = fresh_net()
    module[0].weight.requires_grad_(False)
    before = weights(module)
    fit(module, clothing, QUICK)
    assert torch.equal(module[0].weight, before["0.weight"])
    assert not torch.equal(module[5].weight, before["5.weight"])


def test_normalisation_and_biases_are_spared_from_weight_decay():
    module = fresh_net()
    decayed, free = _groups(module, 0.01)
    assert {id(p) for p in decayed["params"]} == {id(module[0].weight), id(module[5].weight)}
    assert {id(p) for p in free["params"]} == {id(p) for p in (*module[1].parameters(), module[5].bias)}
    assert (decayed["weight_decay"], free["weight_decay"]) == (0.01, 0.0)


def test_weights_come_back_contiguous(clothing):
    module = fresh_net()
    fit(module, clothing, QUICK)
    assert all(tensor.is_contiguous() for tensor in module.state_dict().values())


def test_the_average_replaces_the_weights_at_the_end(clothing):
    plain, averaged = fresh_net(), fresh_net()
    last = []
    fit(plain, clothing, QUICK)
    fit(
        averaged,
        clothing,
        dataclasses.replace(QUICK, ema=0.9),
        on_epoch=lambda _, net: last.append(net[5].weight.clone()),
    )
    assert torch.equal(last[-1], plain[5].weight)
    assert not torch.equal(averaged[5].weight, plain[5].weight)
    assert averaged[1].num_batches_tracked == plain[1].num_batches_tracked


def test_after_a_few_steps_statistics_already_describe_the_final_weights(clothing):
    module = fresh_net()
    fit(module, clothing, dataclasses.replace(QUICK, epochs=0.5))
    (batch,) = clothing.batches("train", batch_size=256)
    with torch.no_grad():
        seen = module[0](batch.inputs)
    norm = module[1]
    assert torch.allclose(norm.running_mean, seen.mean((0, 2, 3)), atol=0.01)
    assert torch.allclose(norm.running_var, seen.var((0, 2, 3)), rtol=0.1)


def test_the_rate_rises_then_falls_to_its_end():
    plan = TrainingPlan(learning_rate=1.0, warmup=0.2, final_rate=0.1)
    rates = [plan.rate(step, 100) for step in range(100)]
    assert rates[:19] == pytest.approx([(step + 1) / 20 for step in range(19)])
    assert max(rates) == pytest.approx(1.0)
    assert rates[20:] == sorted(rates[20:], reverse=True)
    assert rates[-1] == pytest.approx(0.1, abs=2e-3)


@pytest.mark.parametrize(
    "change",
    [
        {"epochs": 0},
        {"batch_size": 0},
        {"learning_rate": -1.0},
        {"momentum": 1.0},
        {"weight_decay": -1e-4},
        {"warmup": 1.0},
        {"final_rate": 2.0},
        {"ema": 1.0},
        {"clip_norm": 0.0},
    ],
)
def test_plans_that_make_no_sense_are_refused_by_name(change):
    (field,) = change
    with pytest.raises(InputError, match=field):
        TrainingPlan(**change)


@pytest.mark.gpu
def test_training_on_a_gpu_learns_and_repeats_itself(clothing):
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    results = []
    for _ in range(2):
        module = fresh_net().cuda()
        fit(module, clothing, dataclasses.replace(QUICK, epochs=4))
        results.append(weights(module))
    assert same(*results)
    assert clothing.score(module, "test").metric.value > 0.6


class CountingTeacher(nn.Module):
    def __init__(self, module):
        super().__init__()
        self.module, self.calls = module, 0

    def forward(self, inputs):
        self.calls += 1
        return self.module(inputs)


def test_a_teacher_that_remembers_answers_each_view_once_for_all_students(clothing):
    teacher = CountingTeacher(fresh_net())
    cache = TeacherCache(teacher, views=2)
    plan = dataclasses.replace(QUICK, epochs=3)
    first, second = fresh_net(), fresh_net()
    fit(first, clothing, plan, teacher=cache)
    rehearsal, views = 1, 2 * 8
    assert teacher.calls == rehearsal + views
    fit(second, clothing, plan, teacher=cache)
    assert teacher.calls == 2 * rehearsal + views
    assert same(weights(first), weights(second))


def test_after_what_was_answered_a_student_has_new_pictures_and_labels_alone(clothing):
    seen = []

    class Watched:
        def __getattr__(self, name):
            return getattr(clothing, name)

        def batches(self, split, **options):
            if options.get("augment"):
                seen.append(options["seed"])
            return clothing.batches(split, **options)

        def loss(self, outputs, targets):
            seen.append("labels")
            return clothing.loss(outputs, targets)

        def distillation_loss(self, outputs, said, targets):
            seen.append("teacher")
            return clothing.distillation_loss(outputs, said, targets)

    cache = TeacherCache(fresh_net(), seed=1, views=1)
    fit(fresh_net(), Watched(), dataclasses.replace(QUICK, epochs=3), teacher=cache)
    taught, new, newer = (cache.view(epoch) for epoch in range(3))
    by_teacher, by_labels = (taught, *8 * ["teacher"]), 8 * ["labels"]
    epochs = [*by_teacher, new, *by_labels, newer, *by_labels]
    rehearsals = ["labels", "labels"]
    assert seen == rehearsals + epochs
    assert len({taught, new, newer}) == 3
