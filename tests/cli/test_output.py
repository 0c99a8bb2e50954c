"""Tables for people: whole in a file, readable on a narrow terminal."""

import io
import re
import sys

import pytest

from edgesynth.cli.output import print_networks, print_table
from edgesynth.metrics import Metric, Provenance
from edgesynth.runs import NetworkRecord


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def terminal(monkeypatch):
    def open_terminal(columns):
        monkeypatch.setenv("COLUMNS", str(columns))
        monkeypatch.setenv("TERM", "xterm")
        monkeypatch.setenv("NO_COLOR", "1")
        screen = Terminal()
        monkeypatch.setattr(sys, "stdout", screen)
        return screen

    return open_terminal


def record(role, seed, accuracy, macs, verdict):
    return NetworkRecord(
        key=f"{role}{seed}",
        role=role,
        seed=seed,
        architecture={},
        metrics={
            "accuracy": Metric("accuracy", accuracy, Provenance.MEASURED, 1000, (0.9, 0.95)),
            "macs": Metric("macs", macs, Provenance.COMPUTED),
            "parameters": Metric("parameters", macs / 100, Provenance.COMPUTED),
            "latency_ms": Metric("latency_ms", 1.25, Provenance.SIMULATED),
            "inferences_per_joule": Metric("inferences_per_joule", 193.0, Provenance.SIMULATED),
        },
        verdicts={"macs <= 1869184": verdict},
    )


def lines_of(screen):
    """What a person sees: no styles, ordinary blanks."""
    plain = re.sub(r"\x1b\[[\d;]*m", "", screen.getvalue()).replace("\N{NARROW NO-BREAK SPACE}", " ")
    return [line.strip() for line in plain.splitlines()]


PROTOTYPE = record("prototype", None, 0.9312, 9.35e6, "violated")
NETWORKS = [record("generated", seed, 0.92, 1.8e6, "satisfied") for seed in (3, 14)]


def test_figures_and_comparisons_share_a_line_where_they_fit(terminal):
    screen = terminal(200)
    print_networks(NETWORKS, PROTOTYPE)
    (line,) = [line for line in lines_of(screen) if line.startswith("seed 14")]
    assert "(5.2× fewer)" in line


def test_a_narrow_terminal_keeps_every_figure_whole(terminal):
    screen = terminal(90)
    print_networks(NETWORKS, PROTOTYPE)
    lines = lines_of(screen)
    assert max(map(len, lines)) <= 90
    (line,) = [line for line in lines if line.startswith("seed 14")]
    assert "92.00 %" in line
    assert "(5.2×" not in line
    assert any("(5.2×" in line for line in lines)


def test_a_bound_that_is_broken_is_told_as_people_write_it(terminal):
    screen = terminal(200)
    print_networks([record("generated", 3, 0.92, 1.9e6, "violated")], PROTOTYPE)
    assert any("MACs ≤ 1.87 M: violated" in line for line in lines_of(screen))


def test_the_prototype_is_the_reference_and_not_judged(terminal):
    screen = terminal(200)
    print_networks([], PROTOTYPE)
    assert not any("violated" in line for line in lines_of(screen))


def test_a_table_in_a_file_is_never_wrapped(capsys):
    print_table(["what", "why"], [["a", "because " * 20]])
    assert len(capsys.readouterr().out.splitlines()) == 3
