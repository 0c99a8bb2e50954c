"""trtexec is read as real ones print and write, version by version."""

import json
import sys
from pathlib import Path

import pytest

from edgesynth.agent import trtexec, trtexec_help
from edgesynth.agent.errors import NetworkFailure, Refusal
from edgesynth.agent.failures import classify
from edgesynth.agent.trtexec_trace import exported_trace, follow, printed_trace, read_layers

RECORDS = json.loads((Path(__file__).parent / "data/trtexec_records.json").read_text())


def records(name):
    return [pytest.param(record, id=record["source"]) for record in RECORDS[name]]


def said_by(tmp_path, lines):
    """What is learned of a program that prints these lines."""
    place = tmp_path / "said"
    place.write_text("\n".join(lines) + "\n")
    return follow(["cat", str(place)])


@pytest.mark.parametrize("record", records("banners"))
def test_its_version_is_read_from_its_banner(record):
    assert trtexec_help.read_version(record["line"]) == record["version"]


@pytest.mark.parametrize("record", records("help"))
def test_options_are_those_that_its_help_lists_and_not_those_it_mentions(record):
    assert trtexec_help.read_options("\n".join(record["lines"])) == record["options"]


@pytest.mark.parametrize("record", records("runs"))
def test_what_runs_print_is_understood(tmp_path, record):
    found = said_by(tmp_path, record["lines"])

    assert found.start_s is not None
    assert (found.shapes, found.calls_ms, found.wall_s) == (
        record["shapes"],
        record["calls_ms"],
        record["wall_s"],
    )
    assert found.said.splitlines() == record["lines"]


@pytest.mark.parametrize("record", records("profiles"))
def test_layers_are_read_from_every_profile(tmp_path, record):
    place = tmp_path / "profile.json"
    place.write_text(record["text"])

    assert read_layers(str(place)) == [tuple(layer) for layer in record["layers"]]


@pytest.mark.parametrize(
    "text", ["", '[\n  { "count" : 0 }\n]\n', '[{"name" : "a", "timeMs" : 1, "averageMs" : x }]']
)
def test_a_profile_without_layers_is_refused(tmp_path, text):
    place = tmp_path / "profile.json"
    place.write_text(text)

    with pytest.raises(Refusal, match="times of layers"):
        read_layers(str(place))


def test_calls_of_the_warm_up_are_left_out_where_a_version_writes_them(tmp_path):
    calls = [
        {"startComputeMs": start, "endComputeMs": start + 4, "computeMs": 4, "latencyMs": 5, "endToEndMs": 6}
        for start in (0, 199.9, 200, 204)
    ]
    place = tmp_path / "times.json"
    place.write_text(json.dumps(calls))

    found = exported_trace(1.0, str(place), 200)

    assert (found.compute_ms, found.latency_ms, found.end_ms) == ([4, 4], [5, 5], [204, 208])


def test_calls_that_are_only_printed_fill_the_time_they_took(tmp_path):
    line = "[I] Average on 1 runs - GPU latency: {} ms - Host latency: 9 ms (end to end 9 ms, enqueue 1 ms)"
    lines = ["[I] Starting inference threads", line.format(4), line.format(6), "[I] walltime: 0.02 s"]

    found = printed_trace(1.0, said_by(tmp_path, lines), 100)

    assert found.compute_ms == found.latency_ms == [4, 6]
    assert found.end_ms == [110, 120]


@pytest.mark.parametrize("record", records("failures"))
def test_failures_are_what_they_say(record):
    failure = classify("build", "\n".join(record["lines"]), 1)

    assert failure.kind == record["kind"]
    assert record["tells"] in failure.reason
    assert "Engine set up failed" not in failure.reason


@pytest.mark.parametrize(
    ("status", "kind"), [(-6, "out_of_memory"), (1, "crash")], ids=["ended by it", "lived on"]
)
def test_what_the_driver_of_a_jetson_says_matters_where_the_process_ends(status, kind):
    said = "NvMapMemAllocInternalTagged: 1075072515 error 12\n[E] Error[2]: Internal Error"

    assert classify("build", said, status).kind == kind


@pytest.fixture
def failing(tmp_path, monkeypatch):
    """An engine whose trtexec prints these lines and fails."""

    def engine(lines):
        program = tmp_path / "trtexec"
        program.write_text(f"#!{sys.executable}\nprint({chr(10).join(lines)!r})\nraise SystemExit(1)\n")
        program.chmod(0o755)
        for module in (trtexec, trtexec_help):
            monkeypatch.setattr(module, "find_program", lambda name: str(program))
        trtexec_help._help.cache_clear()
        return trtexec.Trtexec(str(tmp_path / "plan"), 1)

    yield engine
    trtexec_help._help.cache_clear()


@pytest.mark.parametrize("record", records("strangers"))
def test_engines_of_elsewhere_are_told_from_failures(failing, record):
    with pytest.raises(Refusal) as caught:
        failing(record["lines"]).latencies(0.0, 1.0, 1, 1.0)

    assert caught.value.kind == "engine"


@pytest.mark.parametrize("record", records("crashes"))
def test_an_engine_that_was_loaded_is_not_blamed_for_what_came_after(failing, record):
    with pytest.raises(NetworkFailure) as caught:
        failing(record["lines"]).latencies(0.0, 1.0, 1, 1.0)

    assert caught.value.kind == record["kind"]
    assert record["tells"] in caught.value.reason
