"""The agent is one file, the same bytes wherever it is made, and runs on the Pythons of boards."""

import io
import json
import re
import subprocess
import time
import zipfile
from pathlib import Path

import pytest

from edgesynth import agent
from edgesynth.devices.agent_package import agent_name, agent_package


def test_same_content_is_same_bytes_and_same_name(package, monkeypatch):
    monkeypatch.setattr(time, "time", lambda: 2e9)

    assert agent_package() == package
    assert re.fullmatch(r"edgesynth-agent-[0-9a-f]{16}\.pyz", agent_name(package))
    assert agent_name(package + b" ") != agent_name(package)


def test_every_module_of_the_agent_is_in_it_and_nothing_else(package):
    modules = {f"edgesynth/agent/{path.name}" for path in Path(agent.__file__).parent.glob("*.py")}

    assert set(zipfile.ZipFile(io.BytesIO(package)).namelist()) == {
        *modules,
        "__main__.py",
        "edgesynth/__init__.py",
    }


def test_it_answers_on_the_pythons_of_boards(bare_board, package, python):
    bare_board.use_python(python)
    bare_board.agent.write_bytes(package)  # as hosts send it: sources alone

    (event,) = bare_board.ask("info", only=["python", "soc"])

    assert event["facts"]["soc"] == "tegra186"
    told = subprocess.run([bare_board.python, "--version"], capture_output=True, check=True).stdout.decode()
    assert told.split() == ["Python", event["facts"]["python"]]


def test_a_wrong_verb_is_answered_with_the_right_ones(bare_board):
    done = subprocess.run(
        [bare_board.python, bare_board.agent, "bnech"], input=b"", capture_output=True, check=False
    )

    assert done.returncode == 2
    assert b"bench, build, bundles, clean, fetch, info" in done.stderr


def test_a_request_that_is_no_json_is_refused(bare_board):
    done = subprocess.run(
        [bare_board.python, bare_board.agent, "bench"], input=b"{nonsense", capture_output=True, check=False
    )

    event = json.loads(done.stdout)
    assert (event["event"], event["kind"]) == ("error", "request")


def test_impossible_values_are_refused_by_name(bare_board):
    for key, value in {
        "precision": "fp61",
        "batch": 0,
        "rate_hz": 1e6,
        "load_s": -1,
        "latency_runs": "many",
        "clocks": "fast",
        "network": {"model": "/nowhere.onnx"},
        "build_limit_s": float("nan"),
        "slack_s": 10**400,
        "rails": [5],
    }.items():
        (event,) = bare_board.bench(**{key: value})
        assert (event["event"], event["kind"]) == ("error", "request")
        assert key in event["reason"]
    for verb, key, value in (
        ("info", "only", 5),
        ("info", "rails", "VDD_IN"),
        ("clean", "older_than_s", "x"),
    ):
        (event,) = bare_board.ask(verb, **{key: value})
        assert (event["event"], event["kind"]) == ("error", "request")
        assert key in event["reason"]


def test_a_work_folder_that_cannot_be_used_is_said(board):
    *_, event = board.bench(folder="/dev/null/x")

    assert (event["event"], event["kind"]) == ("error", "disk")
    assert event["reason"].startswith("cannot use /dev/null/x")


@pytest.mark.parametrize("locale", ["C", "de_DE.ISO-8859-1"])
def test_names_of_files_are_in_utf8_whatever_the_locale(board, locale):
    board.use_python("3.6")
    board.environment["LC_ALL"] = locale
    folder = board.root / "home/w\N{LATIN SMALL LETTER O WITH DIAERESIS}rk"

    *_, event = board.ask("build", **board.request(folder=str(folder)))

    assert event["event"] == "end", event
    assert list((folder / "engines").glob("*.plan"))


def test_a_request_without_an_end_is_not_read_for_ever(bare_board):
    command = [bare_board.python, bare_board.agent, "info"]

    done = subprocess.run(command, input=b"x" * (2 << 20), capture_output=True, check=False)

    assert json.loads(done.stdout)["reason"] == "the request is longer than 1048576 bytes"
