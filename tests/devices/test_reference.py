"""The load that tells a machine's speed is the same work everywhere, and takes time that can be measured."""

import numpy as np
import pytest

from edgesynth.devices.reference import ReferenceLoad
from edgesynth.devices.runtimes import TorchRuntime

onnxruntime = pytest.importorskip("onnxruntime", reason="the load runs in ONNX Runtime")


class OwnThreads:
    """ONNX Runtime without threads that sessions share, which bind every later session of the tests too."""

    def open(self, model):
        return onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])


@pytest.fixture(params=["onnxruntime", "torch"])
def load(request):
    return ReferenceLoad(OwnThreads() if request.param == "onnxruntime" else TorchRuntime("cpu"))


def test_its_values_neither_vanish_nor_overflow(load):
    (found,) = load._session.run(None, load._feeds)

    assert found.shape == (1, 64, 8, 8)
    assert np.isfinite(found).all()
    assert 1e-3 < np.abs(found).mean() < 1e3  # denormal numbers would make it slow for a reason of its own


def test_the_time_of_one_run_does_not_depend_on_how_long_it_is_taken(load):
    load.time(0.05)
    times_ms = [load.time(seconds) for seconds in (0.02, 0.1, 0.02, 0.1)]

    assert min(times_ms) > 1e-3
    assert max(times_ms) < 20 * min(times_ms)  # per run, not in all; other work may hold the processor
