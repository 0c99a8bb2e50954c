"""Arrays that are more than a board should hold at once go there in parts, and come back as one."""

import numpy as np
import pytest

from edgesynth.deploy import engine
from edgesynth.deploy.engine import build_engine, run_engine
from edgesynth.deploy.target import export_for_device
from edgesynth.errors import DeviceError
from tests.deploy.networks import small


@pytest.fixture
def built(tx2, tmp_path):
    """An engine for two samples a call, and data for eleven calls."""
    _, path, data = small(tmp_path)
    export = export_for_device(path, tx2.profile, tmp_path / "out.onnx", batch=2)
    many = {name: np.concatenate([value, value[:6]]) for name, value in data.items()}
    return build_engine(tx2, export), many


def test_parts_give_what_one_gives(here, tx2, built, monkeypatch):
    plan, data = built
    whole = run_engine(tx2, plan.plan, plan.batch, data)
    each = sum(value[:2].nbytes for value in data.values())
    monkeypatch.setattr(engine, "_PART_BYTES", 4 * each)
    sent = []
    monkeypatch.setattr(
        engine, "_run_part", lambda *given, run=engine._run_part: sent.append(given[2]) or run(*given)
    )

    parts = run_engine(tx2, plan.plan, plan.batch, data)

    samples = len(next(iter(data.values())))
    assert [len(next(iter(part.values()))) for part in sent] == [8] * (samples // 8) + [samples % 8]
    assert list(parts.arrays) == list(whole.arrays)
    for name, value in whole.arrays.items():
        assert np.array_equal(parts.arrays[name], value)
    assert (parts.takes, parts.gives) == (whole.takes, whole.gives)
    assert not list(here.root.glob("home/.cache/edgesynth/**/scratch/*"))


def test_samples_that_no_batch_divides_are_still_refused(tx2, built, monkeypatch):
    plan, data = built
    monkeypatch.setattr(engine, "_PART_BYTES", 1)
    short = {name: value[:-1] for name, value in data.items()}
    with pytest.raises(DeviceError, match=r"the inputs have 21 samples; .* a multiple of 2"):
        run_engine(tx2, plan.plan, plan.batch, short)
