"""Engines: built once, kept within bounds, and told apart when they cannot be built."""

import json
import os
import time
from pathlib import Path

import pytest

from edgesynth.agent.cache import EngineCache, engine_key
from edgesynth.agent.failures import classify


def ask_build(board, **values):
    request = board.request(**values)
    return board.ask("build", **{key: request[key] for key in (*BUILD_KEYS, *values)})


BUILD_KEYS = ("network", "precision", "batch", "folder")


def facts(events):
    return {key: value for event in events if event["event"] == "start" for key, value in event.items()}


def test_every_tensorrt_builds_with_what_it_has(release):
    release.set("tensorrt", inputs=[["input", [-1, 3, 8, 8]]])

    events = ask_build(release, batch=4, workspace_mb=100)

    assert facts(events)["plan"] == str(release.folder / "engines" / (facts(events)["engine"] + ".plan"))
    assert events[-1] == {"event": "end"}
    (told,) = map(json.loads, release.told("builds"))
    typed = release.control["tensorrt"]["version"].startswith("11")
    assert (told["flags"], told["workspace"]) == ([] if typed else ["FP16"], 100 << 20)
    assert told["typed"] is typed
    assert facts(events)["precision_from"] == ("graph" if typed else "flags")


def test_what_one_build_measured_is_known_to_the_next(release):
    ask_build(release)
    ask_build(release, precision="fp32")
    kept = list((release.folder / "engines").glob("*.timings"))
    for place in kept:
        place.write_bytes(b"half of it")
    found = facts(ask_build(release, precision="int8"))

    told = [json.loads(line)["timings"] for line in release.told("builds")]
    old = release.control["tensorrt"]["version"] == "7.1.3"  # it has none
    assert found["timings_kept"] is not old
    assert len(kept) == (0 if old else 1)
    assert told == ([None] * 3 if old else [0, 1, 0])  # what is damaged is measured anew


@pytest.mark.parametrize("version", ["8.2.1", "10.3.0"])
def test_precision_of_the_graph_is_asked_for_where_it_can_be_had(board, version):
    board.set("tensorrt", version=version)

    last = ask_build(board, typed=True, network={"model": str(board.root / "home/fp16.onnx")})[-1]

    if version == "8.2.1":
        assert (last["event"], last["kind"]) == ("failed", "unsupported")
        assert "precision in the graph" in last["reason"]
    else:
        told = json.loads(board.told("builds")[0])
        assert (told["flags"], told["typed"]) == ([], True)


@pytest.mark.slow
def test_an_engine_is_built_once_per_model_precision_and_batch(board):
    keys = [
        facts(ask_build(board, **values))["engine"]
        for values in ({}, {}, {"precision": "fp32"}, {"batch": 1, "workspace_mb": 64}, {})
    ]
    board.write("home/fp32.onnx", "another model")
    keys.append(facts(ask_build(board))["engine"])

    assert keys[0] == keys[1] == keys[4]
    assert len(set(keys)) == 4
    assert len(board.told("builds")) == 4


def test_int8_may_fall_back_to_half_precision(board):
    ask_build(board, precision="int8")

    assert json.loads(board.told("builds")[0])["flags"] == ["INT8", "FP16"]


def test_the_workspace_is_bounded_by_the_memory_that_is_free(board):
    board.write("proc/meminfo", "MemTotal: 4059048 kB\nMemAvailable: 204800 kB\n")

    assert facts(ask_build(board, workspace_mb=2048))["workspace_mb"] == 100


def test_an_engine_that_was_built_with_little_memory_is_built_again_when_there_is_more(board):
    found = []
    for free_kb in (102400, 6291456, 102400, 6291456 // 2):
        board.write("proc/meminfo", f"MemTotal: 8047208 kB\nMemAvailable: {free_kb} kB\n")
        found.append(facts(ask_build(board, workspace_mb=256)))

    assert [each["engine_kept"] for each in found] == [False, False, True, True]
    assert [each.get("workspace_mb") for each in found[:2]] == [50, 256]
    assert found[2]["plan"] == found[3]["plan"] == found[1]["plan"]  # the better one will do
    assert [json.loads(line)["workspace"] >> 20 for line in board.told("builds")] == [50, 256]


def test_an_engine_that_was_built_with_little_memory_is_kept_while_there_is_no_more(board):
    board.write("proc/meminfo", "MemTotal: 8047208 kB\nMemAvailable: 102400 kB\n")

    first, second = (facts(ask_build(board, workspace_mb=256)) for _ in range(2))

    assert (first["engine_kept"], second["engine_kept"]) == (False, True)
    assert first["plan"] == second["plan"]


@pytest.mark.parametrize(
    ("fault", "kind", "message"),
    [
        ("killed", "out_of_memory", "was killed with 6144 MB free at its start"),
        ("memory", "out_of_memory", "OutOfMemory"),
        ("unsupported", "unsupported", "UNSUPPORTED_NODE"),
        ("crash", "crash", "SIGSEGV"),
        ("slow", "timeout", "longer than 0.5 s"),
    ],
)
def test_failures_are_told_apart(board, fault, kind, message):
    board.set("tensorrt", build=fault)

    event = ask_build(board, build_limit_s=0.5 if fault == "slow" else 60)[-1]

    assert (event["event"], event["kind"]) == ("failed", kind)
    assert message in event["reason"]
    assert not list((board.folder / "engines").iterdir())
    board.wait_until_quiet()


@pytest.mark.parametrize(
    ("fault", "event", "kind", "message"),
    [
        ("memory", "failed", "out_of_memory", "Cuda Runtime (out of memory)"),
        ("unsupported", "failed", "unsupported", "invalid weights type of Int8"),
        ("unsaved", "error", "disk", "could not be saved"),
    ],
)
def test_a_build_of_trtexec_that_fails_is_read_from_what_it_prints(bare_board, fault, event, kind, message):
    bare_board.set("trtexec", fault=fault)

    last = ask_build(bare_board)[-1]

    assert (last["event"], last["kind"]) == (event, kind)
    assert message in last["reason"]


def test_what_trtexec_measured_is_kept_and_when_damaged_measured_anew(bare_board):
    found = [facts(ask_build(bare_board))["timings_kept"]]
    (kept,) = (bare_board.folder / "engines").glob("*.timings")
    kept.write_text("half of it")
    found.append(facts(ask_build(bare_board, precision="fp32"))["timings_kept"])

    assert found == [False, True]
    assert kept.read_text() != "half of it"
    assert len(bare_board.told("trtexec")) == 3


@pytest.mark.parametrize("version", ["8.2", "10.3", "11.1"])
def test_trtexec_takes_precision_from_the_graph_where_it_can(bare_board, version):
    bare_board.set("trtexec", version=version)

    last = ask_build(bare_board, typed=True, network={"model": str(bare_board.root / "home/fp16.onnx")})[-1]

    if version == "8.2":
        assert (last["event"], last["kind"]) == ("failed", "unsupported")
        assert "trtexec of TensorRT 8.2.1 does not support precision in the graph" in last["reason"]
    else:
        (built,) = bare_board.told("trtexec")
        assert "--stronglyTyped" in built
        assert "--fp16" not in built


@pytest.mark.parametrize(
    ("said", "status", "kind"),
    [
        ("[E] [TRT] 10: Could not find any implementation for node conv1 + relu1.", 1, "unsupported"),
        ("In node 3: No importer registered for op: Einsumm", 1, "unsupported"),
        ("Cuda failure: 2\nAborted (core dumped)", -6, "out_of_memory"),
        ("[E] Error Code 2: OutOfMemory (no further information)", 1, "out_of_memory"),
        ("MemoryError: std::bad_alloc", 1, "out_of_memory"),
        ("", -9, "out_of_memory"),
        ("Assertion failed", -6, "crash"),
        ("", None, "crash"),
    ],
)
def test_what_tensorrt_says_decides_the_kind(said, status, kind):
    failure = classify("build", said, status)

    assert failure.kind == kind
    advised = "end other programs on the board, or use a smaller batch or network" in failure.reason
    assert advised == (kind == "out_of_memory")


def test_the_key_depends_on_all_that_an_engine_depends_on(tmp_path):
    one, two = tmp_path / "one.onnx", tmp_path / "two.onnx"
    one.write_bytes(b"1")
    two.write_bytes(b"2")
    given = [str(one), "8.2.1", "tegra186", "fp16", ["batch=1"]]
    others = [str(two), "8.2.2", "tegra194", "fp32", ["batch=2"]]

    keys = {engine_key(*given[:i], others[i], *given[i + 1 :]) for i in range(5)}

    assert len(keys | {engine_key(*given)}) == 6


def megabyte(cache):
    scratch = Path(cache.scratch())
    scratch.write_bytes(bytes(1 << 20))
    return str(scratch)


def test_what_is_used_longest_ago_goes_first(tmp_path):
    cache = EngineCache(str(tmp_path / "engines"), limit_mb=3)
    for age, key in enumerate(["a", "b", "c"]):
        os.utime(cache.add(key, megabyte(cache)), (age, age))
    assert cache.find("a") is not None  # which marks it as used now

    cache.add("d", megabyte(cache))

    assert [key for key in "abcd" if cache.find(key)] == ["a", "c", "d"]


def test_a_plan_larger_than_the_bound_is_still_kept_for_its_own_use(tmp_path):
    cache = EngineCache(str(tmp_path / "engines"), limit_mb=0)

    assert Path(cache.add("a", megabyte(cache))).exists()


def test_a_killed_build_leaves_no_half_engine(board):
    board.set("tensorrt", build="slow")
    process = board.start("build", board.request(set_mode=False))
    until = time.monotonic() + 30
    while not board.told("builds") and time.monotonic() < until:
        time.sleep(0.02)
    process.kill()
    process.wait()
    process.stdout.close()
    process.stderr.close()
    board.wait_until_quiet()

    assert not list((board.folder / "engines").glob("*.plan"))
    (event,) = board.ask("clean", folder=str(board.folder))
    assert event["event"] == "end"
    assert not list((board.folder / "engines").iterdir())
