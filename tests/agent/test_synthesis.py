"""``edgesynth synth`` with a board behind a real ssh server in its cycles."""

import json

import pytest

from edgesynth.metrics import Provenance
from edgesynth.runs import Run

pytestmark = [pytest.mark.ssh, pytest.mark.slow]

POWER_MW = 6000
JOB = """
[prototype]
name = "resnet8"
epochs = 1
[task]
data = "digits"
[requirements]
macs = "<= prototype / 2"
accuracy = ">= 0.1"
latency_ms = "<= 50"
inferences_per_joule = ">= 1"
[device]
name = "jetson-tx2"
link = "ssh://board"
mode = "MAXN"
[synthesis]
cycles = 1
epochs = 1
networks = 1
seeds_per_cycle = 1
asked_per_cycle = 1
probes_per_cycle = 1
validation_limit = 100
calibration_samples = 128
polish_epochs = 0
"""


def test_the_figures_of_a_board_decide_in_the_cycles(remote, board, tmp_path):
    board.set("tegrastats", curve={"mean_mw": POWER_MW, "swing_mw": 0, "period_s": 0.5})
    board.set("tensorrt", call_ms=4.0)
    (tmp_path / "job.toml").write_text(JOB)

    done = remote.run("synth", "job.toml", "--run-dir", "run", "--json", link="", timeout_s=900)

    assert done.returncode == 0, done.stderr
    json.loads(done.stdout)
    with Run.open(tmp_path / "run") as run:
        candidates, (network,) = run.networks("candidate"), run.networks("generated")
        (cycle,) = run.cycles()
    for record in (*candidates, network):
        assert record.status == "ok", record.reason
        latency, efficiency = (record.metrics[name] for name in ("latency_ms", "inferences_per_joule"))
        assert {latency.provenance, efficiency.provenance} == {Provenance.MEASURED}
        assert "ssh://board" in efficiency.source
        # Calls follow one another, so the energy of one is the power times no less than its latency.
        assert efficiency.value <= 1e6 / (POWER_MW * latency.value) * 1.02
        assert record.verdicts["inferences_per_joule >= 1"] == "satisfied"
    assert (
        network.metrics["inferences_per_joule"].samples
        > candidates[0].metrics["inferences_per_joule"].samples
    )
    # What is reported is measured with times per layer, what is searched is not.
    assert [(layer.name, layer.mean_ms) for layer in network.layer_times] == [
        ("conv1 + relu1", 0.75),
        ("fc", 0.25),
    ]
    assert {candidate.layer_times for candidate in candidates} == {()}
    for record in (*candidates, network):
        assert record.conditions["mode"] == "MAXN"
        assert record.conditions["tensorrt"]
        assert record.rails["VDD_IN"] == pytest.approx(POWER_MW, rel=0.01)
    page = (tmp_path / "run/report.html").read_text()
    assert "conv1 + relu1" in page
    assert "VDD_IN, mean power" in page
    assert cycle.inferences_per_joule is not None
    board.wait_until_quiet()
    assert board.present_clocks() == board.clocks
