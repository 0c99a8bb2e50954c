import pytest
import torch

from edgesynth.errors import DataError
from edgesynth.tasks import TensorSamples


def test_inputs_and_labels_must_belong_together():
    with pytest.raises(DataError, match="3 samples come with 2 labels"):
        TensorSamples(torch.zeros(3, 1), torch.tensor([0, 1]))
    with pytest.raises(DataError, match="one class index per sample"):
        TensorSamples(torch.zeros(2, 1), torch.tensor([0.0, 1.0]))
