"""A build says how far it is: its stages where TensorRT tells them, and how long it has taken."""

import json
import time

import pytest

import edgesynth
from edgesynth.agent import build_stages
from edgesynth.agent.build_stages import BuildStages
from edgesynth.agent.events import Outbox
from edgesynth.devices.link import Line
from edgesynth.devices.stage import Stage, read_stage
from edgesynth.progress import NullProgress


@pytest.mark.parametrize(("version", "stages"), [("8.2.1", 0), ("10.3.0", 2)])
def test_what_the_builder_says_of_its_stages_is_handed_on(board, version, stages):
    board.set("tensorrt", version=version)

    events = board.ask(
        "build",
        network={"model": str(board.root / "home/fp32.onnx")},
        precision="fp32",
        batch=1,
        folder=str(board.folder),
    )

    told = [event for event in events if event["event"] == "stage"]
    assert [event["name"] for event in told] == ["Building engine from subgraph", "Serialising"][:stages]
    assert [event["steps"] for event in told] == [2, 1][:stages]
    assert events[-1]["event"] == "end"


class Told(NullProgress):
    def __init__(self):
        self.notes = []

    def note(self, text):
        self.notes.append(text)


@pytest.mark.slow
def test_a_deployment_shows_them(here, tmp_path):
    here.set("tensorrt", version="10.3.0")
    here.set("tensorrt", inputs=[["input", [1, 3, 32, 32]]])
    here.compute()
    told = Told()

    with edgesynth.open_device("jetson-tx2", link="local") as device:
        done = edgesynth.deploy(here.root / "home/fp32.onnx", device, precision="fp32", progress=told)

    assert done, done.failures
    shown = [note for note in told.notes if note.startswith("build: ")]
    assert [note.partition(",")[0] for note in shown] == [
        "build: Building engine from subgraph: 0 of 2",
        "build: Serialising: 0 of 1",
    ]


@pytest.mark.slow
@pytest.mark.ssh
def test_each_stage_is_told_once_over_a_link_that_drops(remote, monkeypatch):
    monkeypatch.setenv("PATH", remote.path)
    remote.board.set("tensorrt", version="10.3.0", inputs=[["input", [1, 3, 32, 32]]], step_s=2.0)
    remote.board.compute()
    others = remote.server.sessions()

    class Dropping(Told):
        def note(self, text):
            super().note(text)
            if text.startswith("build: Building engine from subgraph: 0 of 2"):
                dropped.extend(set(remote.server.sessions()) - set(others))
                remote.server.sever(others)

    dropped, told = [], Dropping()
    with edgesynth.open_device("jetson-tx2", link=remote.url) as device:
        done = edgesynth.deploy(remote.board.root / "home/fp32.onnx", device, precision="fp32", progress=told)

    assert done, done.failures
    shown = [note.partition(",")[0] for note in told.notes if note.startswith("build: ")]
    assert dropped
    assert len(set(shown)) == len(shown)
    assert shown[0] == "build: Building engine from subgraph: 0 of 2"
    assert shown[-1].startswith("build: Serialising: ")


def test_how_long_it_takes_is_told_less_and_less_often(tmp_path, monkeypatch):
    monkeypatch.setattr(build_stages, "_EVERY_S", 0.01)
    monkeypatch.setattr(build_stages, "_SHARE", 0.5)
    kept = []
    with (tmp_path / "events").open("wb") as file:
        stages = BuildStages(Outbox(file.fileno()), kept.append)
        until_s = time.monotonic() + 0.5
        while time.monotonic() < until_s:
            assert not stages.tick(over=False)
            time.sleep(0.002)
        stages.hear(0.0, "[W] what TensorRT prints")
        assert stages.tick(over=True)

    events = [json.loads(line) for line in (tmp_path / "events").read_text().splitlines()]
    assert {event["event"] for event in events} == {"stage"}
    assert {event["name"] for event in events} == {""}
    assert 2 <= len(events) <= 20  # 250 ticks
    assert kept == ["[W] what TensorRT prints"]


def test_a_stage_is_read_from_its_event_and_from_nothing_else():
    event = {"event": "stage", "name": "Tactics", "done": 3, "steps": 9, "seconds": 12.4}

    found = read_stage(Line(0.0, json.dumps(event)))

    assert (found, str(found)) == (Stage("Tactics", 3, 9, 12.4), "Tactics: 3 of 9, 12 s so far")
    assert str(Stage("", 0, 0, 31.0)) == "31 s so far"
    for text in ('{"event":"start","stage":1}', '{"event":"stage"}', 'half of "stage"', "[]"):
        assert read_stage(Line(0.0, text)) is None
