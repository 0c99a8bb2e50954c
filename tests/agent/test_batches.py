"""Engines that take any number of samples of a range, on the agent's side: sizes, profiles and calls."""

import json
import subprocess
from itertools import pairwise
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from two_inputs import feed, write_network

from edgesynth.agent.batches import batches_of
from edgesynth.deploy.standalone import standalone_runner

PROGRAM = """
import array, json, sys
from runner import Engine, Refusal
engine = Engine(sys.argv[1], [2, 4, 6])
told, memory = [], engine.memory_bytes
for samples in (6, 2, 5, 3):
    image = array.array("f", [float(i) for i in range(6 * samples)])
    found = engine.infer({"image": image, "index": array.array("i", [i % 5 for i in range(samples)])})
    told.append([list(map(list, value.tolist())) for value in (found["sum"], found["relu"])])
said = []
for samples, others in ((1, 1), (7, 7), (3, 2)):
    feed = {"image": bytes(24 * samples), "index": bytes(4 * others)}
    try:
        engine.infer(feed)
    except Refusal as refusal:
        said.append(refusal.reason)
graph = Engine(sys.argv[1], [2, 4, 6], cuda_graph=True)
try:
    Engine(sys.argv[1], [1, 4, 6])
except Refusal as refusal:
    said.append(refusal.reason)
print(json.dumps([told, said, memory == engine.memory_bytes, graph.cuda_graph, graph.no_graph.reason]))
"""


@pytest.fixture
def network(tmp_path):
    return write_network(tmp_path / "two.onnx")


def build_range(board, network, *batches):
    """The plan that a board builds for a range."""
    events = board.ask(
        "build",
        network={"model": str(network)},
        precision="fp32",
        batch=batches[1],
        batches=batches,
        folder=str(board.folder),
    )
    assert events[-1]["event"] == "end", events
    return next(event["plan"] for event in events if "plan" in event)


def run_range(board, plan, data, *batches, **more):
    inputs = {}
    for name, value in data.items():
        np.save(board.root / f"home/{name}.npy", value)
        inputs[name] = str(board.root / f"home/{name}.npy")
    outputs = str(board.root / "home/out")
    return board.ask("run", engine=plan, batches=batches, inputs=inputs, outputs=outputs, **more)


@pytest.mark.parametrize(
    ("batches", "samples", "calls"),
    [
        ((1, 8, 16), 40, [16, 16, 8]),
        ((1, 8, 16), 16, [16]),
        ((1, 8, 16), 3, [3]),
        ((4, 8, 16), 17, [13, 4]),  # one alone would be too few
        ((4, 8, 16), 33, [16, 13, 4]),
        ((5, 6, 6), 11, [6, 5]),
        ((5, 6, 6), 13, []),
        ((4, 4, 4), 8, [4, 4]),
        ((4, 4, 4), 9, []),
        ((1, 8, 16), 0, []),
    ],
)
def test_calls_are_as_few_as_can_be_and_each_is_in_the_range(batches, samples, calls):
    found = batches_of(batches).calls(samples)

    assert found == calls
    assert all(before >= after for before, after in pairwise(found))


@pytest.mark.parametrize("wrong", [0, (1, 2), (2, 1, 3), (1, 2, 2.5), (0, 1, 2), (1, 2, True)])
def test_what_is_no_range_is_none(wrong):
    with pytest.raises(ValueError, match="is no number of samples"):
        batches_of(wrong)


@pytest.mark.parametrize(
    ("batches", "text"), [(8, "8"), ((1, 8, 16), "1..8..16"), ((1, 16, 16), "1..16"), ((4, 4, 4), "4")]
)
def test_a_range_is_said_as_it_is_asked_for(batches, text):
    assert batches_of(batches).text == text


@pytest.mark.parametrize(
    "release",
    [
        *(("3.6", "8.2.1"), ("3.10", "10.3.0")),  # of one API each: by bindings, and by names
        *(
            pytest.param(pair, marks=pytest.mark.slow)
            for pair in (
                *(("3.6", "7.1.3"), ("3.6", "8.0.1"), ("3.8", "8.4.1"), ("3.8", "8.5.2")),
                *(("3.10", "8.6.0"), ("3.12", "10.16.1.11"), ("3.12", "11.1.0.106")),
            )
        ),
    ],
    indirect=True,
    ids="-".join,
)
def test_every_tensorrt_takes_any_number_of_the_range_and_no_other(release, network):
    """In one process, in the runner of a bundle: smaller, larger, and what the profile lacks."""
    release.compute()
    plan = build_range(release, network, 2, 4, 6)
    (release.root / "home/runner.py").write_text(standalone_runner())

    done = subprocess.run(
        [release.python, "-c", PROGRAM, plan],
        capture_output=True,
        text=True,
        env=release.environment,
        cwd=release.root / "home",
        check=False,
    )

    assert done.returncode == 0, done.stderr
    told, said, same_memory, graph, why = json.loads(done.stdout)
    session = onnxruntime.InferenceSession(network.read_bytes())
    for samples, found in zip((6, 2, 5, 3), told, strict=True):
        image = np.arange(6 * samples, dtype=np.float32).reshape(samples, 6)
        expected = session.run(["sum", "relu"], {"image": image, "index": np.arange(samples) % 5})
        np.testing.assert_allclose(found, expected, rtol=1e-6)
    assert said == [
        "input 'image' is of batch 1; one call takes 2 to 6 samples",
        "input 'image' is of batch 7; one call takes 2 to 6 samples",
        "input 'index' is 8 of type 'B'; the engine takes 3 of INT32",
        "the engine was not built for the input 'image' as 1x6; build it for as many samples",
    ]
    assert same_memory
    assert not graph
    assert why.startswith("a graph holds calls of one size")
    assert why.endswith("this engine takes 2..4..6 samples a call")


@pytest.mark.parametrize("version", ["8.2.1", pytest.param("10.3.0", marks=pytest.mark.slow)])
@pytest.mark.slow
def test_files_of_any_number_go_in_as_few_calls_as_can_be(board, network, version):
    board.use_python("3.6" if version == "8.2.1" else "3.10")
    board.have_gpu("6.2" if version == "8.2.1" else "8.7")  # which pins memory
    board.set("tensorrt", version=version)
    board.compute()
    plan, session = build_range(board, network, 2, 4, 4), onnxruntime.InferenceSession(network.read_bytes())

    for samples in (2, 5, 8, 11):
        data = feed(samples)
        events = run_range(board, plan, data, 2, 4, 4)
        (outputs,) = [event["outputs"] for event in events if "outputs" in event]
        for told, expected in zip(outputs, session.run(None, data), strict=True):
            assert (told["shape"], told["call_shape"]) == ([samples, 6], [4, 6])
            np.testing.assert_allclose(np.load(told["path"]), expected, rtol=1e-6)
    last = run_range(board, plan, feed(1), 2, 4, 4)[-1]
    assert (last["kind"], last["reason"]) == (
        "data",
        "the inputs have 1 samples; every input needs the same number, which calls of 2 to 4 can have",
    )
    last = run_range(board, plan, feed(8), 2, 4, 4, calls=[4, 3])[-1]
    assert last["reason"].startswith("the inputs have 8 samples; ")
    last = run_range(board, plan, feed(8), 1, 4, 8)[-1]
    assert (last["event"], last["kind"]) == ("failed", "unsupported")
    assert "the engine was not built for the input 'image' as 1x6" in last["reason"]


def test_a_network_of_one_size_is_built_for_no_range(board, tmp_path):
    board.compute()
    last = board.ask(
        "build",
        network={"model": str(write_network(tmp_path / "four.onnx", batch=4))},
        precision="fp32",
        batch=4,
        batches=[1, 4, 8],
        folder=str(board.folder),
    )[-1]

    assert (last["event"], last["kind"]) == ("failed", "unsupported")
    assert "input 'image' has a fixed batch of 4, not 1" in last["reason"]


@pytest.mark.slow
def test_each_range_is_an_engine_of_its_own(board, network):
    board.compute()
    ranges = [(1, 2, 4), (1, 4, 4), (4, 4, 4), (1, 2, 4)]
    plans = {batches: build_range(board, network, *batches) for batches in ranges}

    assert len(set(plans.values())) == 3
    assert len(board.told("builds")) == 3
    profile = json.loads(Path(plans[1, 2, 4]).read_text())["profile"]
    assert profile == {"image": [[1, 6], [2, 6], [4, 6]], "index": [[1], [2], [4]]}


@pytest.mark.parametrize(
    "version", ["8.2", *(pytest.param(v, marks=pytest.mark.slow) for v in ("8.6", "10.3"))]
)
@pytest.mark.slow
def test_trtexec_is_told_the_size_of_every_call(bare_board, network, version):
    bare_board.set("trtexec", version=version)
    bare_board.compute()
    plan = build_range(bare_board, network, 2, 3, 4)
    data = feed(7)
    expected = onnxruntime.InferenceSession(network.read_bytes()).run(None, data)

    (outputs,) = [
        event["outputs"] for event in run_range(bare_board, plan, data, 2, 3, 4) if "outputs" in event
    ]

    for told, want in zip(sorted(outputs, key=lambda one: one["name"]), expected[::-1], strict=True):
        assert (told["shape"], told["call_shape"]) == ([7, 6], [4, 6])
        np.testing.assert_allclose(np.load(told["path"]), want, rtol=6e-6)
    built, *runs = bare_board.told("trtexec")
    for word, size in (("min", 2), ("opt", 3), ("max", 4)):
        assert f"--{word}Shapes=image:{size}x6,index:{size}" in built
    sizes = [run.partition("--shapes=image:")[2].partition("x")[0] for run in runs]
    assert sizes == ["4", "4", "3"]  # one to learn what it gives, then the calls
    last = run_range(bare_board, plan, feed(5), 2, 5, 5)[-1]
    assert (last["event"], last["kind"]) == ("failed", "crash")


def test_trtexec_must_know_which_input_a_size_is_of(bare_board, tmp_path):
    from two_layers import write_network as write_layers

    bare_board.compute()
    plan = build_range(bare_board, write_layers(tmp_path / "net.onnx"), 1, 2, 4)
    np.save(bare_board.root / "home/x.npy", np.zeros((3, 6), np.float32))

    last = bare_board.ask(
        "run",
        engine=plan,
        batches=[1, 2, 4],
        inputs={"": str(bare_board.root / "home/x.npy")},
        outputs=str(bare_board.root / "home/out"),
    )[-1]

    assert (last["kind"], last["reason"]) == (
        "data",
        "trtexec must be told sizes by name; say of which input the file is",
    )


@pytest.mark.parametrize(
    ("batches", "batch", "core", "said"),
    [
        ([1, 2], 1, None, "key 'batches' is [1, 2]; expected three numbers that rise from 1 on"),
        ([2, 4, 8], 1, None, "key 'batch' is 1; expected one that is built for, 2..4..8"),
        ([1, 4, 8], 4, 0, "no engine can be built for a DLA: a DLA takes layers of fixed sizes only"),
    ],
)
def test_a_request_that_cannot_be_is_refused(board, batches, batch, core, said):
    asked = {"batches": batches, "batch": batch, "dla_core": core, "precision": "fp16"}
    last = board.ask("build", network={"model": str(board.layer("fp16"))}, folder=str(board.folder), **asked)[
        -1
    ]

    assert last["kind"] == "request"
    assert said in last["reason"]
