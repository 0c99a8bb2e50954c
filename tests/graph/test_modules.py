"""A quick copy of a module is what a deep copy is, and shares nothing with it but what it is told to."""

import copy
from collections import OrderedDict

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations

from edgesynth.graph.modules import copied


class Counting(nn.Module):
    """Has state beside tensors, a table that two names share, and a part that is there twice."""

    def __init__(self):
        super().__init__()
        self.table = {"seen": [1, 2]}
        self.again = self.table
        self.first = nn.Conv2d(1, 2, 3, padding="same")
        self.second = nn.Sequential(self.first, nn.BatchNorm2d(2), nn.Flatten())
        self.register_buffer("scratch", torch.ones(2), persistent=False)
        self.second.register_forward_hook(lambda module, inputs, output: 2 * output)

    def forward(self, image):
        return self.second(image) * self.scratch.sum()


class SaysItself(nn.Linear):
    """Whose copy is what it says."""

    def __deepcopy__(self, memo):
        twin = type(self)(self.in_features, self.out_features)
        twin.load_state_dict(self.state_dict())
        twin.copies = getattr(self, "copies", 0) + 1
        return twin


def outputs(module, image):
    return module.eval()(image)


@pytest.mark.parametrize(
    ("module", "image"),
    [
        (Counting(), torch.randn(2, 1, 4, 4)),
        (nn.Sequential(nn.Flatten(), SaysItself(4, 3)), torch.randn(2, 4)),
        (parametrizations.weight_norm(nn.Linear(4, 3)), torch.randn(2, 4)),
        (torch.fx.symbolic_trace(nn.Sequential(nn.Linear(4, 3), nn.Tanh())), torch.randn(2, 4)),
    ],
    ids=["state", "own copy", "parametrised", "graph module"],
)
def test_a_copy_computes_the_same_and_shares_no_tensor(module, image):
    twin, known = copied(module, {}), copy.deepcopy(module)

    assert type(twin).__name__ == type(known).__name__
    assert [name for name, _ in twin.named_modules()] == [name for name, _ in known.named_modules()]
    assert torch.equal(outputs(twin, image), outputs(module, image))
    own = {id(tensor) for tensor in (*module.parameters(), *module.buffers())}
    assert not own & {id(tensor) for tensor in (*twin.parameters(), *twin.buffers())}
    assert list(twin.state_dict()) == list(known.state_dict())
    with torch.no_grad():
        for tensor in twin.parameters():
            tensor.zero_()
    assert not torch.equal(outputs(twin, image), outputs(module, image))


def test_what_is_one_stays_one_and_is_not_the_original():
    module = Counting()
    twin = copied(module, {})

    assert twin.first is twin.second[0]
    assert twin.table is twin.again
    assert twin.table == module.table
    twin.table["seen"].append(3)
    twin.second[1].register_forward_hook(lambda module, inputs, output: None)
    assert module.table == {"seen": [1, 2]}
    assert not module.second[1]._forward_hooks


def test_a_class_says_itself_what_its_copy_is():
    assert copied(nn.Sequential(SaysItself(4, 3)), {})[0].copies == 1


def test_what_the_memo_holds_is_taken():
    module, other = nn.Linear(4, 3), nn.Parameter(torch.zeros(3, 4))

    assert copied(module, {id(module.weight): other}).weight is other


class Wrapping(nn.Module):
    """Makes its own copy, and looks into that of what it wraps."""

    def __init__(self, wrapped):
        super().__init__()
        self.wrapped = wrapped
        self.width = wrapped[0].out_features

    def __deepcopy__(self, memo):
        return Wrapping(copy.deepcopy(self.wrapped, memo))


@pytest.mark.parametrize(
    "inner",
    [
        Wrapping(nn.Sequential(nn.Linear(4, 3))),
        torch.fx.symbolic_trace(nn.Sequential(nn.Sequential(nn.Linear(4, 3)), nn.ReLU())),
    ],
    ids=["own copy", "graph module"],
)
def test_what_makes_its_own_copy_inside_of_another_finds_its_parts_whole(inner):
    twin = copied(nn.Sequential(inner, nn.Flatten()), {})[0]

    assert list(twin.state_dict()) == list(inner.state_dict())
    assert getattr(twin, "width", None) == getattr(inner, "width", None)
    assert not {id(tensor) for tensor in twin.parameters()} & {id(tensor) for tensor in inner.parameters()}


def test_an_empty_table_that_two_modules_share_stays_one():
    module = nn.Sequential(nn.Linear(4, 3), nn.ReLU())
    module[0].cache = module[1].cache = OrderedDict()
    twin = copied(module, {})

    assert twin[0].cache is twin[1].cache
    assert twin[0].cache is not module[0].cache
