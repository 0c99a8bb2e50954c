"""A core of the DLA on the board: engines are built for it, named as such, and loaded on it again."""

import hashlib
import json
import subprocess
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from two_inputs import feed, write_network

from edgesynth.agent import dla
from edgesynth.agent.cache import EngineCache, known_of
from edgesynth.agent.errors import NetworkFailure, Refusal
from edgesynth.cli import main
from edgesynth.deploy import rtx
from edgesynth.deploy.bundle import read_bundle
from edgesynth.deploy.standalone import standalone_runner
from edgesynth.devices import load_profile

FALLBACK = ["flatten (SHUFFLE)"]


def ask_build(board, **values):
    request = board.request(**values)
    keys = ("network", "precision", "batch", "folder", *values)
    return board.ask("build", **{key: request[key] for key in keys})


def facts(events):
    return {key: value for event in events if event["event"] == "start" for key, value in event.items()}


def bundled(folder, plan, **key):
    """A bundle for a core of an AGX Orin in a folder."""
    folder.mkdir(parents=True)
    (folder / "engine.plan").write_bytes(plan)
    (folder / "runner.py").write_text(standalone_runner())
    files = {
        path.name: {"bytes": path.stat().st_size, "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
        for path in folder.iterdir()
    }
    key = {"tensorrt": "10.3.0", "gpu": "tegra234", **key}
    manifest = {"format": 1, "name": "net", "batch": 1, "key": key, "files": files}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return folder


def builds(board):
    return [json.loads(line) for line in board.told("builds")]


USING = [  # what JetPack 4.4 to 6.2 pair, and 7.2.2 can take: Python, TensorRT
    ("3.6", "7.1.3"),
    ("3.6", "8.2.1"),
    ("3.8", "8.5.2"),
    ("3.10", "10.3.0"),
    ("3.12", "11.4.1"),
]


@pytest.mark.parametrize(("python", "version"), USING, ids=map("-".join, USING))
def test_every_tensorrt_that_uses_a_dla_builds_for_it_and_tells_what_stays_on_the_gpu(board, python, version):
    board.use_python(python)
    board.set("tensorrt", version=version, dla_cores=2, inputs=[["input", [-1, 3, 8, 8]]])

    found = facts(ask_build(board, dla_core=1, batch=4))

    (told,) = builds(board)
    typed = version.startswith("11")
    assert told["dla"] == 1
    assert told["flags"] == ([] if typed else ["FP16"]) + ["GPU_FALLBACK"]
    assert (found["dla_core"], found["dla_layers"], found["dla_full"]) == (1, 4, False)
    assert (found["dla_fallback_count"], found["dla_fallback"]) == (1, FALLBACK)
    (plan,) = (board.folder / "engines").glob("*.plan")
    assert json.loads(plan.read_text())["inputs"] == [["input", [4, 3, 8, 8]]]  # no size is free


def test_an_engine_for_a_core_is_another_one_and_what_is_known_of_it_is_kept(orin):
    ask = [
        facts(ask_build(orin, **values)) for values in ({}, {"dla_core": 0}, {"dla_core": 1}, {"dla_core": 0})
    ]

    assert len({found["engine"] for found in ask}) == 3
    assert ask[1]["engine"] == ask[3]["engine"]
    assert (ask[3]["engine_kept"], ask[3]["dla_fallback"]) == (True, FALLBACK)
    assert "dla_core" not in ask[0]
    assert [told["dla"] for told in builds(orin)] == [None, 0, 1]


def test_what_is_known_of_an_engine_goes_with_it(tmp_path):
    cache = EngineCache(str(tmp_path / "engines"), limit_mb=1)
    plans = []
    for key in ("a", "b"):
        scratch = Path(cache.scratch())
        scratch.write_bytes(bytes(1 << 20))
        plans.append(cache.add(key, str(scratch), {"dla_core": 1}))

    assert known_of(plans[1]) == {"dla_core": 1}
    assert sorted(path.name for path in (tmp_path / "engines").iterdir()) == ["b.facts", "b.plan"]
    assert known_of(plans[0]) == {}


@pytest.mark.parametrize("core", [0, 2])
def test_a_core_that_is_not_there_is_refused_and_nothing_is_said_of_the_network(orin, core):
    orin.set("tensorrt", dla_cores=core)
    last = ask_build(orin, dla_core=core)[-1]

    has = (
        "2 DLA cores here, and no core 2; use another one"
        if core
        else "no DLA core here, and no core 0; use the GPU"
    )
    assert (last["event"], last["kind"]) == ("error", "dla")
    assert f"TensorRT 10.3.0 finds {has}" in last["reason"]
    assert not builds(orin)


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_a_precision_that_is_none_of_a_dla_is_refused(orin, precision):
    last = ask_build(orin, dla_core=0, precision=precision)[-1]

    assert (last["event"], last["kind"]) == ("error", "request")
    assert "ask for fp16" in last["reason"]


def test_a_strongly_typed_network_is_refused_where_a_dla_takes_none(orin):
    half = {"model": str(orin.root / "home/fp16.onnx")}
    last = ask_build(orin, dla_core=0, typed=True, network=half)[-1]

    assert (last["event"], last["kind"]) == ("error", "request")
    assert "a DLA takes no strongly typed network" in last["reason"]


def test_a_network_of_which_it_takes_nothing_is_a_result(orin):
    orin.set("tensorrt", gpu_only=["CONVOLUTION", "ACTIVATION", "SHUFFLE"])
    last = ask_build(orin, dla_core=0)[-1]

    assert (last["event"], last["kind"]) == ("failed", "unsupported")
    assert "a DLA does not support each of its 4 layers" in last["reason"]
    assert not [path for path in (orin.folder / "engines").iterdir() if path.suffix != ".timings"]


@pytest.mark.parametrize(
    "version",
    [*(pytest.param(version, marks=pytest.mark.slow) for version in ("7.1", "8.2", "8.5")), "10.3"],
)
def test_trtexec_builds_and_runs_on_a_core_with_the_options_it_has(bare_board, version):
    bare_board.set("trtexec", version=version, dla_cores=2)
    events = bare_board.bench(dla_core=1, layer_runs=5)

    assert events[-1]["event"] == "end", events[-1]
    commands = bare_board.told("trtexec")
    assert len(commands) > 3
    assert all("--useDLACore=1 --allowGPUFallback" in command for command in commands)
    assert set(bare_board.told("loads")) == {"1"}
    found = facts(events)
    assert (found["dla_core"], found["dla_layers"], found["dla_fallback_count"]) == (1, None, 1)
    assert found["dla_fallback"] == (["flatten"] if version in ("7.1", "8.2") else FALLBACK)


@pytest.mark.parametrize(
    ("control", "event", "kind", "said"),
    [
        ({"dla_cores": 1}, "error", "dla", "trtexec finds no DLA core 1 here"),
        ({"lacks": ["useDLACore"]}, "error", "dla", "this trtexec has no --useDLACore"),
        ({"gpu_only": ["CONVOLUTION", "ACTIVATION", "SHUFFLE"]}, "failed", "unsupported", "every layer"),
    ],
)
def test_trtexec_that_cannot_says_why(bare_board, control, event, kind, said):
    bare_board.set("trtexec", **{"version": "8.5", "dla_cores": 2, **control})
    last = ask_build(bare_board, dla_core=1)[-1]

    assert (last["event"], last["kind"]) == (event, kind)
    assert said in last["reason"]


def test_an_engine_is_loaded_on_the_core_it_was_built_for(orin):
    events = orin.bench(dla_core=1)

    assert events[-1]["event"] == "end", events[-1]
    assert orin.told("loads") == ["1"]
    assert facts(events)["dla_fallback"] == FALLBACK


def test_a_bundle_for_a_core_goes_to_no_board_without_it(orin):
    staged = [str(bundled(orin.folder / name, b"plan", dla_core=1)) for name in ("one", "two")]
    installed = orin.ask("install", name="net", staged=staged[0])
    assert installed[-1]["event"] == "end", installed

    orin.set("tensorrt", dla_cores=0)  # an Orin Nano has the same chip
    (entry,) = orin.ask("bundles")[0]["bundles"]
    refused = orin.ask("install", name="net", staged=staged[1])[-1]

    for reason in (entry["problem"], refused["reason"]):
        assert "finds no DLA core here, and no core 1; deploy 'net' anew for the GPU" in reason


WARNINGS = [  # of several versions, from logs that people published
    "Default DLA is enabled but layer is not supported on DLA, falling back to GPU.",
    "Default DLA is enabled but layer Gather in embedding is not supported on DLA, falling back to GPU.",
    "/avgpool/GlobalAveragePool: DLA cores do not support AVG Reduce operation.",
    "Layer '/avgpool/GlobalAveragePool' (REDUCE): Unsupported on DLA. Switching this layer's device type to "
    "GPU.",
    "DLA only supports FP16 and Int8 precision type. Switching (Unnamed Layer* 275) [Gather] device type to "
    "GPU.",
    "DLA supports only 16 subgraphs per DLA core. Switching to GPU for the rest.",
]


def test_what_trtexec_and_tensorrt_warn_of_is_read_once_each():
    said = "\n".join(f"[W] [TRT] {line}" for line in WARNINGS)
    asked = {"layers": 30, "gpu": {"/avgpool/GlobalAveragePool": "REDUCE", "/Flatten": "SHUFFLE"}}
    found = dla.placement(0, asked, said)

    assert found["dla_fallback"] == [
        "/avgpool/GlobalAveragePool (REDUCE)",
        "/Flatten (SHUFFLE)",
        "Gather in embedding",
        "(Unnamed Layer* 275) [Gather]",
    ]
    assert (found["dla_fallback_count"], found["dla_full"]) == (4, True)


def test_many_names_are_told_in_bounds():
    left = {f"layer {index} of {'a' * 200}": "CONSTANT" for index in range(500)}
    found = dla.placement(0, {"layers": 501, "gpu": left}, "")

    assert (found["dla_fallback_count"], len(found["dla_fallback"])) == (500, 20)
    assert len(json.dumps(found)) < 2200


def test_nothing_at_all_on_the_dla_is_no_engine_for_it():
    said = "[W] [TRT] setDefaultDeviceType was called but no layer in the network can run on DLA."
    with pytest.raises(NetworkFailure, match="build it without the DLA"):
        dla.placement(0, {}, said)
    with pytest.raises(Refusal, match="has no --useDLACore"):
        dla.core_options(0, ["--useDLACore"])
    assert dla.core_options(None, []) == []


def call_python(board, minor):
    """Have who logs in to a board find this Python there, and not that of JetPack 4."""
    board.use_python(minor)
    place = board.root / "home/bin/python3"
    place.unlink()
    place.symlink_to(board.python)


@pytest.fixture
def command(remote, orin, tmp_path, monkeypatch, capfd):
    """The command line in this process; an AGX Orin that computes is behind its link."""
    monkeypatch.setattr(rtx, "_MODULE", "no_such_module_anywhere")
    monkeypatch.setenv("PATH", remote.path)
    monkeypatch.chdir(tmp_path)
    call_python(orin, "3.10")
    orin.compute()
    write_network(tmp_path / "model.onnx")
    data = feed(4)
    np.savez(tmp_path / "images.npz", **data)
    for name, value in data.items():
        np.save(tmp_path / f"{name}.npy", value)

    def run(*arguments, device="jetson-agx-orin"):
        capfd.readouterr()
        code = main([*map(str, arguments), "--device", device, "--link", remote.url])
        return code, capfd.readouterr()

    return run


@pytest.mark.slow
@pytest.mark.ssh
def test_from_a_file_to_an_engine_on_the_core_and_to_the_bundle_that_runs_it_there(command, orin, tmp_path):
    code, told = command("deploy", "model.onnx", "--dla", 1, "--data", "images.npz", "-o", "bundle")
    assert code == 0, told.err
    shown = " ".join(told.out.split())
    assert "DLA core 1, with 1 of 4 layers on the GPU: flatten (SHUFFLE)" in shown
    assert "tegra234, DLA core 1, with 1 of 4 layers on the GPU" in shown  # of what was verified
    bundle = read_bundle(tmp_path / "bundle")
    assert (bundle.manifest["key"]["dla_core"], bundle.manifest["key"]["precision"]) == (1, "fp16")
    verified = json.loads((tmp_path / "bundle/verification.json").read_text())
    assert verified["placement"]["fallback"] == FALLBACK
    assert "DLA core 1" in verified["engine"]["runtime"]

    feeding = ("image=image.npy", "index=index.npy")
    for engine, options in (("model", ()), ("bundle", ()), ("bundle/engine.plan", ("--dla", 1))):
        loads = len(orin.told("loads"))
        code, told = command("run", engine, *feeding, *options, "-o", "out")
        assert code == 0, told.err
        assert orin.told("loads")[loads:] == ["1"]
    expected = onnxruntime.InferenceSession("model.onnx").run(None, feed(4))
    np.testing.assert_allclose(np.load("out/output-0.npy"), expected[0], rtol=1e-2)

    code, told = command("deploy", "bundle")
    assert code == 0, told.err
    code, told = command("deploy", "--list")
    assert "fp16, DLA core 1" in " ".join(told.out.split())
    code, told = command("deploy", "bundle", "--dla", 0)
    assert (code, "says itself where its engine runs" in told.err) == (2, True)
    code, told = command("run", "model", *feeding, "--dla", 0)
    assert (code, "was built for DLA core 1; leave --dla out" in told.err) == (2, True)


@pytest.mark.ssh
@pytest.mark.parametrize(
    ("options", "control", "code", "said"),
    [
        (["--dla", 2], {}, 2, "jetson-agx-orin has no DLA core 2; its cores are 0, 1"),
        (
            ["--dla", 0, "--precision", "int8"],
            {},
            2,
            "cannot run int8: int8 is in the graph here, as Q/DQ pairs",
        ),
        pytest.param(
            ["--dla", 0, "--precision", "fp32"],
            {},
            2,
            "cannot run fp32: a DLA computes in fp16 and int8 only",
            marks=pytest.mark.slow,
        ),
        (["--dla", 1], {"dla_cores": 1}, 3, "finds 1 DLA core here, and no core 1; use another one"),
        (["--dla", 0], {"version": "10.16.1.11"}, 3, "uses no DLA: 10.7 was the last before 11.4.1"),
    ],
)
def test_what_a_dla_does_not_do_is_refused_with_what_to_do(command, orin, options, control, code, said):
    orin.set("tensorrt", **control)
    found, told = command("deploy", "model.onnx", *options)

    assert (found, said in told.err) == (code, True), told.err
    assert not builds(orin)


@pytest.mark.ssh
def test_a_tx2_is_refused_before_it_is_asked(command, orin):
    code, told = command("deploy", "model.onnx", "--dla", 0, device="jetson-tx2")

    assert code == 2
    assert (
        "jetson-tx2 has no DLA core 0: DLA came with Xavier; the TX2 has none; leave the DLA out" in told.err
    )
    assert not (orin.root / "home/.cache/edgesynth").exists()


@pytest.mark.slow
@pytest.mark.ssh
def test_a_bench_on_the_core_says_so_and_takes_a_resting_gpu_for_no_throttled_one(remote, board):
    call_python(board, "3.10")
    board.be(load_profile("jetson-orin-nx"), "tegra234", dla_cores=2)
    board.set("tensorrt", version="10.3.0", call_ms=10)
    rails = ["VDD_CPU_GPU_CV", "VDD_SOC"]
    board.set("tegrastats", curve={"mean_mw": 6000}, gpu_mhz=114, parts=rails)
    options = ("--device", "jetson-orin-nx", "--window", 2, "--json", "--quiet")
    model = board.root / "home/fp32.onnx"

    done = remote.run("bench", model, "--dla", 0, *options)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert (told["conditions"]["dla_core"], told["conditions"]["dla_fallback"]) == (0, FALLBACK)
    assert told["conditions"]["throttling"].startswith("not judged")
    assert all("DLA core 0" in metric["source"] for metric in told["metrics"].values())
    assert "inferences_per_joule" in told["metrics"]

    on_gpu = remote.run("bench", model, *options)
    assert "throttles or its clocks are not fixed" in on_gpu.stderr
    held = remote.run("bench", model, "--dla", 0, "--clocks", "fixed", *options)
    assert "throttles or its clocks are not fixed" in held.stderr  # a GPU that rests keeps its clock then


PROGRAM = """
import sys
sys.path.insert(0, sys.argv[1])
from runner import Refusal, open_engine
try:
    open_engine().close()
except Refusal as refusal:
    print(refusal.reason)
"""


def test_a_runner_loads_its_engine_on_the_core_or_says_that_there_is_none(orin):
    plan = Path(facts(ask_build(orin, dla_core=1))["plan"]).read_bytes()
    folder = bundled(orin.root / "home/bundle", plan, dla_core=1)

    def program():
        command = [orin.python, "-c", PROGRAM, str(folder)]
        return subprocess.run(command, capture_output=True, text=True, env=orin.environment, check=True)

    assert program().stdout == ""
    assert orin.told("loads") == ["1"]
    orin.set("tensorrt", dla_cores=1)
    assert "finds 1 DLA core here, and no core 1" in program().stdout
    assert orin.told("loads") == ["1"]
