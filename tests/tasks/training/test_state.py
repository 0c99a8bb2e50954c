"""A training that was interrupted goes on to the weights of one that was not, bit for bit."""

import dataclasses

import pytest
import torch
from quick_training import QUICK, fresh_net, same, weights

from edgesynth.errors import InputError
from edgesynth.progress import NullProgress
from edgesynth.tasks import TrainingState, fit


class Stopped(Exception):
    pass


class StopsAt(NullProgress):
    """Ctrl-C in the middle of an epoch."""

    def __init__(self, step):
        self.left = step

    def phase(self, name, total=None):
        return self

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def advance(self, steps=1, **figures):
        self.left -= steps
        if self.left <= 0:
            raise Stopped


def interrupted(module, task, plan, *, step=10**9, epoch=10**9):
    """The last state that was kept by a training that stops after so many steps, or passes."""
    kept = []

    def keep(state):
        # As a file would hold it.
        tensors = {name: tensor.clone() for name, tensor in state.tensors.items()}
        kept.append(TrainingState.from_json(state.to_json(), tensors))
        if len(kept) == epoch:
            raise Stopped

    with pytest.raises(Stopped):
        fit(module, task, plan, keep=keep, progress=StopsAt(step))
    return kept[-1]


@pytest.mark.parametrize(
    "options",
    [{}, {"ema": 0.9}, {"clip_norm": None, "channels_last": False}, {"momentum": 0.0}, {"epochs": 2.5}],
)
@pytest.mark.parametrize("where", [{"epoch": 1}, {"epoch": 2}, {"step": 19}])
def test_the_weights_are_those_of_a_training_without_a_stop(clothing, options, where):
    plan = dataclasses.replace(QUICK, **{"epochs": 3, "seed": 7, **options})
    whole = fresh_net()
    record = fit(whole, clothing, plan)
    state = interrupted(fresh_net(), clothing, plan, **where)
    assert len(state.epochs) == where.get("epoch", 2)
    again = fresh_net()
    with torch.no_grad():
        # Whatever stands there is replaced.
        for parameter in again.parameters():
            parameter.add_(1.0)
    torch.manual_seed(99)
    resumed = fit(again, clothing, plan, state=state)
    assert same(weights(whole), weights(again))
    assert [epoch.loss for epoch in resumed.epochs] == [epoch.loss for epoch in record.epochs]
    assert (resumed.samples, resumed.steps) == (record.samples, record.steps)


def test_to_keep_the_state_changes_nothing(clothing):
    plan = dataclasses.replace(QUICK, epochs=2, ema=0.9)
    plain, kept, states = fresh_net(), fresh_net(), []
    fit(plain, clothing, plan)
    fit(kept, clothing, plan, keep=states.append)
    assert same(weights(plain), weights(kept))
    assert [len(state.epochs) for state in states] == [1, 2]


def test_a_training_that_was_stopped_at_its_very_end_is_finished(clothing):
    plan = dataclasses.replace(QUICK, epochs=2, ema=0.9)
    whole, again = fresh_net(), fresh_net()
    fit(whole, clothing, plan)
    fit(again, clothing, plan, state=interrupted(fresh_net(), clothing, plan, epoch=2))
    assert same(weights(whole), weights(again))


def test_another_plan_network_or_data_do_not_take_the_state(clothing):
    plan = dataclasses.replace(QUICK, epochs=2)
    state = interrupted(fresh_net(), clothing, plan, epoch=1)
    with pytest.raises(InputError, match=r"began otherwise \(different: epochs, learning_rate\)"):
        fit(fresh_net(), clothing, dataclasses.replace(plan, epochs=3, learning_rate=0.2), state=state)
    wider = fresh_net()
    wider[0], wider[1] = torch.nn.Conv2d(1, 9, 3, 2, bias=False), torch.nn.BatchNorm2d(9)
    wider[5] = torch.nn.Linear(9 * 13 * 13, 10)
    with pytest.raises(InputError, match=r"is of another network \('0\.weight' differs\)"):
        fit(wider, clothing, plan, state=state)
    larger = dataclasses.replace(state, size=7)
    with pytest.raises(InputError, match=r"different: 7 training samples, not 256"):
        fit(fresh_net(), clothing, plan, state=larger)


@pytest.mark.parametrize("text", ["null", "{}", "[1]", '{"plan": {"epoch": 3}}', "not json"])
def test_what_is_no_state_is_refused(text):
    with pytest.raises(ValueError, match=r"no state of a training|Expecting value"):
        TrainingState.from_json(text, {})


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_on_a_gpu_too(clothing):
    plan = dataclasses.replace(QUICK, epochs=3, ema=0.9)
    whole, again = fresh_net().cuda(), fresh_net().cuda()
    fit(whole, clothing, plan)
    fit(again, clothing, plan, state=interrupted(fresh_net().cuda(), clothing, plan, step=19))
    assert same(weights(whole), weights(again))
