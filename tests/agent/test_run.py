"""An engine run on the host's arrays, from the disk, on every TensorRT: its outputs are the network's."""

import json
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from two_inputs import build, feed, write_network


@pytest.fixture
def network(tmp_path):
    return write_network(tmp_path / "two.onnx")


def run(board, plan, batch, data, **more):
    inputs = {}
    for index, (name, value) in enumerate(data.items()):
        np.save(board.root / f"home/input-{index}.npy", value)
        inputs[name] = str(board.root / f"home/input-{index}.npy")
    folder = str(board.root / "home/out")
    return board.ask("run", engine=plan, batch=batch, inputs=inputs, outputs=folder, **more)


def outputs(events):
    (told,) = [event["outputs"] for event in events if "outputs" in event]
    return {entry["name"]: np.load(entry["path"], allow_pickle=False) for entry in told}


def test_every_tensorrt_gives_the_outputs_of_the_network(release, network):
    check_outputs(release, network)


def test_pycuda_gives_them_too(board, network):
    board.install("pycuda")
    check_outputs(board, network)


def check_outputs(board, network):
    board.compute()
    data = feed(6)

    found = outputs(run(board, build(board, network, 2), 2, data))

    expected = onnxruntime.InferenceSession(network.read_bytes()).run(None, data)
    assert list(found) == ["sum", "relu"]
    for name, want in zip(("sum", "relu"), expected, strict=True):
        assert found[name].shape == (6, 6)
        np.testing.assert_allclose(found[name], want, rtol=1e-6)
    board.wait_until_quiet()


def test_inputs_that_do_not_fit_are_refused_by_name(board, network):
    board.compute()
    plan = build(board, network, 2)
    good = feed(4)
    for data, said in [
        ({"image": good["image"]}, "takes the inputs ['image', 'index'], there are files for ['image']"),
        ({**good, "image": good["image"].astype(np.float64)}, "holds <f8 4x6, which does not fit"),
        ({**good, "image": good["image"][:, :5].copy()}, "holds <f4 4x5, which does not fit"),
        ({**good, "index": good["index"] + (1 << 40)}, "do not fit into 32 bits"),
        (feed(3), "a multiple of 2"),
        ({**good, "index": good["index"][:2]}, "4 and 2 samples; every input needs the same number"),
        (feed(0), "a multiple of 2"),
    ]:
        last = run(board, plan, 2, data)[-1]
        assert (last["event"], last["kind"]) == ("error", "data")
        assert said in last["reason"].replace("2 and 4", "4 and 2")
    board.wait_until_quiet()


def test_an_engine_of_another_tensorrt_or_half_of_one_is_refused(board, network):
    board.compute()
    plan = build(board, network, 2)
    text = Path(plan).read_text()
    for spoiled in (text.replace("8.2.1", "8.0.1"), text[: len(text) // 2], ""):
        board.write("home/other.plan", spoiled)
        last = run(board, str(board.root / "home/other.plan"), 2, feed(2))[-1]
        assert (last["event"], last["kind"]) == ("error", "engine")
        assert "built by another version or for another GPU" in last["reason"]


def test_a_kept_engine_that_is_damaged_is_built_anew_the_next_time(board, network):
    board.compute()
    plan = Path(build(board, network, 2))
    plan.write_text("half a pl")

    last = run(board, str(plan), 2, feed(2), folder=str(board.folder))[-1]

    assert (last["event"], last["kind"]) == ("error", "stale")
    assert not plan.exists()


@pytest.mark.parametrize(
    ("control", "kind"), [({"crash_at": 1}, "crash"), ({"hang_at": 1}, "timeout")], ids=["crash", "hang"]
)
def test_an_engine_that_crashes_or_hangs_is_told_apart(board, network, control, kind):
    plan = build(board, network, 1)
    board.set("tensorrt", **control)
    data = {"input": np.zeros((1, 3, 32, 32), np.float32)}
    np.save(board.root / "home/x.npy", data["input"])

    last = board.ask(
        "run",
        engine=plan,
        inputs={"input": str(board.root / "home/x.npy")},
        outputs=str(board.root / "home/out"),
        limit_s=1.0 if kind == "timeout" else 100.0,
        batch=1,
    )[-1]

    assert (last["event"], last["kind"]) == ("failed", kind)
    board.wait_until_quiet()


def test_a_board_with_trtexec_only_says_what_to_install(bare_board):
    plan = bare_board.write("home/x.plan", "plan")

    last = run(bare_board, str(plan), 1, {"input": np.zeros((1, 3), np.float32)})[-1]

    assert last["kind"] == "tensorrt"
    assert "python3-libnvinfer" in last["reason"]


def test_what_is_asked_is_checked(board):
    for asked, said in [
        ({}, "engine"),
        ({"engine": "/nowhere", "inputs": {}, "outputs": "x"}, "a file on the board"),
        ({"engine": str(board.agent), "inputs": {}, "outputs": "x", "batch": 0}, "batch"),
    ]:
        (event,) = board.ask("run", **asked)
        assert (event["event"], event["kind"]) == ("error", "request")
        assert said in json.dumps(event)
