"""An engine run on the host's arrays, from the disk, on every TensorRT: its outputs are the network's."""

import json
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from two_inputs import build, feed, write_kinds, write_network


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


@pytest.mark.slow
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


def on_trtexec(board, version, network, *faults):
    """A board with trtexec alone, of this version; returns the plan that it builds in batch 2."""
    board.use_python("3.6")
    board.set("trtexec", version=version)
    board.compute(*faults)
    return build(board, write_network(network, batch=2), 2)


@pytest.mark.parametrize(
    ("version", "digits"),
    [
        ("8.2", 6),
        pytest.param("8.5", 6, marks=pytest.mark.slow),
        pytest.param("8.6", 0, marks=pytest.mark.slow),
        pytest.param("10.3", 0, marks=pytest.mark.slow),
        ("11.1", 0),
    ],
)
def test_trtexec_gives_the_outputs_of_the_network(bare_board, network, version, digits):
    plan, data = on_trtexec(bare_board, version, network), feed(4)

    events = run(bare_board, plan, 2, data)

    expected = onnxruntime.InferenceSession(write_network(network).read_bytes()).run(None, data)
    found = outputs(events)
    assert list(found) == ["sum", "relu"]
    for name, want in zip(("sum", "relu"), expected, strict=True):
        assert (found[name].shape, found[name].dtype) == ((4, 6), np.float32)
        np.testing.assert_allclose(found[name], want, rtol=6e-6 if digits else 1e-6)
    if digits:  # the decimals did round, so the tolerance above is needed
        assert np.max(np.abs(found["sum"] / expected[0] - 1)) > 5e-7
    assert [event["digits"] for event in events if "digits" in event] == [digits]
    assert len(bare_board.told("trtexec")) == 1 + 1 + 2  # built, asked for what it takes, and run twice
    assert list((bare_board.root / "home/out").iterdir()) != []
    assert not list((bare_board.root / "home/out").glob("trtexec-*"))
    bare_board.wait_until_quiet()


def test_a_value_that_is_no_number_is_not_lost_in_the_decimals(bare_board, network):
    plan = on_trtexec(bare_board, "8.2", network, "infinite")

    found = outputs(run(bare_board, plan, 2, feed(2)))["sum"].reshape(-1)

    assert np.isnan(found[0])
    assert np.isneginf(found[1])
    assert np.isfinite(found[2:]).all()


def test_an_output_whose_size_depends_on_the_data_is_refused_by_name(bare_board, network):
    plan = on_trtexec(bare_board, "8.6", network)
    bare_board.set("trtexec", sizeless=["relu"])

    last = run(bare_board, plan, 2, feed(4))[-1]

    assert (last["event"], last["kind"]) == ("failed", "unsupported")
    assert "output 'relu' has a size that depends on the data" in last["reason"]


@pytest.mark.slow
@pytest.mark.parametrize("version", ["8.2", "10.3"])
def test_inputs_that_do_not_fit_an_engine_of_trtexec_are_refused(bare_board, network, version):
    plan, good = on_trtexec(bare_board, version, network), feed(4)

    for data, batch, said in [
        ({"image": good["image"]}, 2, "takes the inputs ['image', 'index'], there are files for ['image']"),
        ({**good, "image": good["image"].astype(np.float64)}, 2, "holds <f8 4x6, which does not fit"),
        ({**good, "image": good["image"][:, :5].copy()}, 2, "holds <f4 4x5, which does not fit"),
        ({**good, "index": good["index"] + (1 << 40)}, 2, "do not fit into 32 bits"),
        (feed(3), 2, "a multiple of 2"),
        (good, 4, "trtexec runs the input 'image' as 2x6, not in batch 4"),
    ]:
        last = run(bare_board, plan, batch, data)[-1]
        assert (last["event"], last["kind"]) == ("error", "data")
        assert said in last["reason"]


ASSUMED = ["best", "positive"]


def of_kinds(board, folder, version):
    """A plan whose outputs are whole numbers and truth values, the network it is of, and an input."""
    model = write_kinds(folder / "kinds.onnx")
    board.set("trtexec", version=version)
    board.compute()
    x = np.random.default_rng(0).normal(size=(4, 5)).astype(np.float32)
    return build(board, model, 2), model, x


def check_kinds(events, x, *, known=True):
    found = outputs(events)
    kinds = (np.int32, np.bool_) if known else (np.float32, np.float32)
    assert (found["best"].dtype, found["positive"].dtype) == kinds
    np.testing.assert_array_equal(found["best"], x.argmax(1))
    np.testing.assert_array_equal(found["positive"], x > 0)
    assert [event["assumed"] for event in events if "assumed" in event] == [[] if known else ASSUMED]


@pytest.mark.parametrize("version", ["8.2", pytest.param("10.3", marks=pytest.mark.slow)])
def test_whole_numbers_and_truth_values_come_back_as_what_they_are(bare_board, tmp_path, version):
    """As the host says where trtexec tells no types."""
    plan, _, x = of_kinds(bare_board, tmp_path, version)

    check_kinds(run(bare_board, plan, 2, {"": x}, kinds={"best": "INT32", "positive": "BOOL"}), x)


@pytest.mark.parametrize("version", ["8.2", pytest.param("8.5", marks=pytest.mark.slow)])
def test_the_network_beside_an_engine_tells_its_types(bare_board, tmp_path, version):
    plan, model, x = of_kinds(bare_board, tmp_path, version)
    bundle = bare_board.root / "home/bundle"
    bundle.mkdir()
    (bundle / "engine.plan").write_text(Path(plan).read_text())

    check_kinds(run(bare_board, str(bundle / "engine.plan"), 2, {"": x}), x, known=False)
    (bundle / "network.onnx").write_bytes(model.read_bytes())
    check_kinds(run(bare_board, str(bundle / "engine.plan"), 2, {"": x}), x)


def test_halves_are_read_as_such(bare_board, tmp_path):
    plan, _, x = of_kinds(bare_board, tmp_path, "8.2")

    found = outputs(run(bare_board, plan, 2, {"": x}, kinds={"best": "HALF", "positive": "BOOL"}))

    assert found["best"].dtype == np.float16
    np.testing.assert_array_equal(found["best"], x.argmax(1))


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"best": "BOOL", "positive": "BOOL"}, "output 'best' is not of the type BOOL: trtexec printed '"),
        ({"sum": "INT32", "relu": "FLOAT"}, "output 'sum' is not of the type INT32: trtexec printed '"),
    ],
)
def test_a_type_that_does_not_fit_what_is_printed_is_refused(bare_board, network, tmp_path, wrong, said):
    if "sum" in wrong:
        plan, data = on_trtexec(bare_board, "8.2", network), feed(2)
    else:
        plan, _, x = of_kinds(bare_board, tmp_path, "8.2")
        data = {"": x}

    last = run(bare_board, plan, 2, data, kinds=wrong)[-1]

    assert (last["event"], last["kind"]) == ("error", "type")
    assert last["reason"].startswith(said)


def test_a_type_is_never_taken_for_that_of_an_input(bare_board, tmp_path):
    plan, _, x = of_kinds(bare_board, tmp_path, "8.2")

    kinds = {"x": "INT32", "best": "INT32", "positive": "BOOL"}
    check_kinds(run(bare_board, plan, 2, {"": x}, kinds=kinds), x)


def test_types_that_trtexec_tells_are_not_assumed(bare_board, tmp_path):
    plan, _, x = of_kinds(bare_board, tmp_path, "10.3")

    check_kinds(run(bare_board, plan, 2, {"": x}), x)


def test_an_engine_that_trtexec_cannot_load_is_refused_and_a_kept_one_built_anew(bare_board, network):
    plan = on_trtexec(bare_board, "8.2", network)
    bare_board.set("trtexec", version="8.5")

    moved = bare_board.write("home/other.plan", Path(plan).read_text())
    first = run(bare_board, str(moved), 2, feed(2))[-1]
    second = run(bare_board, plan, 2, feed(2), folder=str(bare_board.folder))[-1]

    assert (first["kind"], second["kind"]) == ("engine", "stale")
    assert "built by another version or for another GPU" in first["reason"]
    assert not Path(plan).exists()


@pytest.mark.parametrize(
    ("control", "said"),
    [
        ({"version": "8.2", "lacks": ["exportOutput"]}, "no --loadInputs and --exportOutput"),
        ({"version": "8.2", "lacks": ["loadInputs"]}, "no --loadInputs and --exportOutput"),
        ({"version": "7.1"}, "does not say what the engine takes"),
    ],
)
def test_a_board_whose_trtexec_gives_no_outputs_says_what_to_install(bare_board, network, control, said):
    bare_board.set("trtexec", **control)
    bare_board.compute()
    plan = build(bare_board, write_network(network, batch=2), 2)

    last = run(bare_board, plan, 2, feed(2))[-1]

    assert (last["event"], last["kind"]) == ("error", "tensorrt")
    assert said in last["reason"]
    assert "sudo apt install python3-libnvinfer" in last["reason"]


def test_what_is_asked_is_checked(board):
    for asked, said in [
        ({}, "engine"),
        ({"engine": "/nowhere", "inputs": {}, "outputs": "x"}, "a file on the board"),
        ({"engine": str(board.agent), "inputs": {}, "outputs": "x", "batch": 0}, "batch"),
    ]:
        (event,) = board.ask("run", **asked)
        assert (event["event"], event["kind"]) == ("error", "request")
        assert said in json.dumps(event)
