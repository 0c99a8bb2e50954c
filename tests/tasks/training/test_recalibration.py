import pytest
import torch
from torch import nn

from edgesynth.errors import InputError
from edgesynth.tasks import Batch, recalibrate_


def test_statistics_are_the_average_over_the_batches():
    torch.manual_seed(0)
    norm = nn.BatchNorm2d(3, momentum=0.01)
    norm.running_mean.fill_(99.0)
    batches = [torch.randn(8, 3, 5, 5) * 2 + 1 for _ in range(4)]
    assert recalibrate_(norm, batches) == 1
    mean = torch.stack([batch.mean((0, 2, 3)) for batch in batches]).mean(0)
    var = torch.stack([batch.var((0, 2, 3)) for batch in batches]).mean(0)
    assert torch.allclose(norm.running_mean, mean, atol=1e-6)
    assert torch.allclose(norm.running_var, var, atol=1e-5)
    assert norm.momentum == 0.01


def test_a_deeper_layer_sees_its_input_as_normalised_by_the_batch():
    torch.manual_seed(0)
    first, second = nn.BatchNorm1d(4), nn.BatchNorm1d(4)
    linear = nn.Linear(4, 4)
    batch = torch.randn(64, 4)
    recalibrate_(nn.Sequential(first, linear, second), [batch])
    with torch.no_grad():
        between = linear((batch - batch.mean(0)) / (batch.var(0, unbiased=False) + first.eps).sqrt())
    assert torch.allclose(second.running_mean, between.mean(0), atol=1e-5)


def test_modes_and_weights_are_kept_and_dropout_is_off(clothing, small_net):
    small_net.train()
    small_net[1].eval()
    modes = [module.training for module in small_net.modules()]
    before = {name: p.detach().clone() for name, p in small_net.named_parameters()}
    batches = list(clothing.batches("train", batch_size=64))
    recalibrate_(small_net, batches)
    first = small_net[1].running_mean.clone()
    recalibrate_(small_net, (batch.inputs for batch in batches))
    assert [module.training for module in small_net.modules()] == modes
    assert all(torch.equal(p, before[name]) for name, p in small_net.named_parameters())
    assert torch.equal(small_net[1].running_mean, first)


def test_a_network_without_batch_norm_needs_no_data():
    assert recalibrate_(nn.Linear(2, 2), []) == 0
    assert recalibrate_(nn.BatchNorm1d(2, track_running_stats=False), []) == 0


def test_no_batch_is_refused():
    with pytest.raises(InputError, match="no batch"):
        recalibrate_(nn.BatchNorm1d(2), [])


def test_modes_are_restored_when_the_network_fails():
    norm = nn.BatchNorm1d(2).eval()
    with pytest.raises(ValueError, match="expected 2D or 3D"):
        recalibrate_(norm, [Batch(torch.zeros(2, 2, 2, 2), None)])
    assert not norm.training
    assert norm.momentum == 0.1
