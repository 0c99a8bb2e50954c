"""Times of layers reach the measurement, its JSON form, and the table of ``edgesynth bench``."""

import dataclasses
import json

import pytest

from edgesynth.cli.bench import _layers
from edgesynth.devices import Line
from edgesynth.devices.bench import read_recording
from edgesynth.profiler import LayerTime, Measurement, MeasurementPlan
from edgesynth.profiler.profile import _layer_times

EVENTS = [
    {"event": "layers", "layers": [["conv1 + relu1", 0.75], ["reshape", 0.0]]},
    {"event": "layers", "layers": [["fc", 0.25]]},
    {"event": "end"},
]


def recording(events):
    return read_recording([Line(0.0, json.dumps(event)) for event in events])


def test_shares_of_layers_sum_to_one_and_survive_json():
    layers = _layer_times(recording(EVENTS))

    assert layers == (
        LayerTime("conv1 + relu1", 0.75, 0.75),
        LayerTime("reshape", 0.0, 0.0),
        LayerTime("fc", 0.25, 0.25),
    )
    measurement = Measurement("net", "ok", layers=layers)
    assert Measurement.from_json(json.loads(json.dumps(measurement.to_json()))) == measurement


def test_a_measurement_that_was_kept_before_there_were_layers_is_read():
    kept = Measurement("net", "ok").to_json()
    del kept["layers"]

    assert Measurement.from_json(kept).layers == ()


@pytest.mark.parametrize("damaged", [[["fc", -1.0]], [["fc"]], [["fc", "long"]]])
def test_a_damaged_line_gives_no_layer(damaged):
    found = recording([{"event": "layers", "layers": damaged}, *EVENTS])

    assert [name for name, _ in found.layers] == ["conv1 + relu1", "reshape", "fc"]
    assert found.skipped_lines == 1


def test_the_slowest_layers_come_first():
    lines = _layers([LayerTime("fc", 0.25, 0.25), LayerTime("conv1", 0.75, 0.75)], "as told").splitlines()

    assert lines[0] == "slowest of 2 layers, as told:"
    assert [line.split()[-1] for line in lines[1:]] == ["conv1", "fc"]


def test_reports_time_layers_and_search_does_not():
    assert MeasurementPlan().layer_runs == 0
    assert MeasurementPlan.report().layer_runs > 0
    assert dataclasses.replace(MeasurementPlan(), layer_runs=5).layer_runs == 5
