"""A job file is either understood completely, or refused by file, table, key and value."""

from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path

import pytest

from edgesynth.errors import JobError
from edgesynth.job import EXAMPLE, Job, load_job
from edgesynth.job.tables import SynthesisTable
from edgesynth.synthesis.performance import PERFORMANCES
from edgesynth.synthesis.settings import SynthesisSettings

SMALLEST = '[prototype]\nname = "resnet8"\n[task]\ndata = "digits"\n'


def job_file(folder: Path, text: str) -> Path:
    path = folder / "job.toml"
    path.write_text(text)
    return path


def fault(folder: Path, text: str) -> str:
    with pytest.raises(JobError) as caught:
        load_job(job_file(folder, text))
    return str(caught.value)


def test_the_smallest_job_has_sensible_defaults(tmp_path: Path) -> None:
    job = load_job(job_file(tmp_path, SMALLEST))
    assert job.prototype.trained
    assert job.training_plan(10_000).epochs == 20
    assert job.device is None
    assert job.requirements == {}
    assert job.folder == tmp_path


def test_the_example_is_a_valid_job_whose_comments_state_the_defaults() -> None:
    text = EXAMPLE.read_text(encoding="utf-8")
    job = load_job(Path(str(EXAMPLE)))
    assert job.prototype.name == "resnet20"
    stated = dict(
        line.lstrip("# ").split("#")[0].strip().split(" = ")
        for line in text.split("[synthesis]")[1].splitlines()
        if line.startswith("# ")
    )
    defaults = SynthesisTable().model_dump()
    # Two have no default of their own: one follows from the prototype, one from the rest.
    del stated["learning_rate"]
    assert float(stated.pop("polish_epochs")) == job.settings.passes(samples=5_000)[1]
    assert {key: json.loads(value) for key, value in stated.items()} == {key: defaults[key] for key in stated}
    assert set(stated) >= {"cycles", "networks", "seed"}


def test_the_synthesis_table_has_the_fields_and_defaults_of_the_settings() -> None:
    settings = {field.name: field.default for field in fields(SynthesisSettings)}
    assert SynthesisTable().model_dump() == settings


def test_every_performance_function_can_be_asked_for(tmp_path: Path) -> None:
    for name in PERFORMANCES:
        job = load_job(job_file(tmp_path, f'{SMALLEST}[synthesis]\nperformance = "{name}"\n'))
        assert job.synthesis.performance == name


def test_a_job_survives_the_journey_through_json(tmp_path: Path) -> None:
    text = SMALLEST + '[requirements]\nmacs = ["<= prototype / 10", ">= 1k"]\n[device]\nname = "jetson-tx2"\n'
    job = load_job(job_file(tmp_path, text))
    assert Job.from_json(json.loads(json.dumps(job.to_json())), job.folder) == job


def test_a_job_cannot_be_changed_by_accident(tmp_path: Path) -> None:
    job = load_job(job_file(tmp_path, SMALLEST))
    with pytest.raises(ValueError, match="frozen"):
        job.synthesis.seed = 3  # type: ignore[misc]


def test_the_command_line_may_change_budgets_and_is_checked_too(tmp_path: Path) -> None:
    job = load_job(job_file(tmp_path, SMALLEST))
    assert job.with_synthesis(cycles=3, seed=None).synthesis.cycles == 3
    with pytest.raises(JobError, match=r"the command line: \[synthesis\] cycles = 0 should be at least 1"):
        job.with_synthesis(cycles=0)


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        (
            SMALLEST + "[synthesis]\ncycels = 3\n",
            ["[synthesis] unknown key 'cycels'", "did you mean 'cycles'"],
        ),
        (SMALLEST + "[synthesis]\nzzz = 3\n", ["unknown key 'zzz'", "known keys: cycles, epochs"]),
        (SMALLEST + "[synthesys]\nseed = 3\n", ["[synthesys]", "did you mean [synthesis]"]),
        (f"seed = 3\n{SMALLEST}", ["unknown table or key 'seed'", "it belongs below [synthesis]"]),
        (SMALLEST + "[synthesis]\ncycles = 0\n", ["cycles = 0 should be at least 1"]),
        (SMALLEST + "[synthesis]\nepochs = 0\n", ["epochs = 0 should be above 0"]),
        (SMALLEST + "[synthesis]\nepochs = nan\n", ["epochs = NaN should be a finite number"]),
        (SMALLEST + '[synthesis]\nseed = "1"\n', ['seed = "1" should be a whole number']),
        (SMALLEST + "[synthesis]\nseed = 1.5\n", ["seed = 1.5 should be a whole number"]),
        (SMALLEST + "[synthesis]\nseed = true\n", ["seed = true should be a whole number"]),
        (
            SMALLEST.replace("[task]", 'freeze = "head"\n[task]'),
            ['[prototype] freeze = "head" should be a list of patterns, e.g. ["head.*"]'],
        ),
        (
            SMALLEST + '[device]\nname = "jetson-tx2"\nlink = ["a", 3]\n',
            ['[device] link = ["a", 3] should be text in quotes, or a list with one link per board'],
        ),
        (
            SMALLEST + '[synthesis]\nperformance = "netscor"\n',
            ['performance = "netscor" should be one of "netscore"', 'did you mean "netscore"'],
        ),
        ('[prototype]\nname = "resnet8"\n', ["needs the table [task]"]),
        ('[task]\ndata = "digits"\n[prototype]\n', ["[prototype] needs the key 'name': A zoo name"]),
        ('[task]\ndata = "digits"\n[prototype]\nname = ""\n', ['name = "" should be text that is not empty']),
        ('task = "digits"\n[prototype]\nname = "resnet8"\n', ["should be a table: write [task]"]),
        (
            SMALLEST + "[requirements]\nmacs = 4e6\n",
            ["[requirements] macs = 4000000.0 should be bounds in quotes"],
        ),
        (SMALLEST + '[requirements]\nacuracy = ">= 0.9"\n', ["'acuracy'", "did you mean 'accuracy'"]),
        (SMALLEST + '[requirements]\naccuracy = ">= 92"\n', ["accuracy lies in 0 .. 1", '">= 92%"']),
        (SMALLEST + '[requirements]\nmacs = "<= prototype / 0"\n', ["divides by zero"]),
        (SMALLEST + '[requirements]\nmacs = "about 3"\n', ["cannot be read: 'about 3'"]),
        ("[prototype\n", ["is not valid TOML", "line 1"]),
    ],
)
def test_a_fault_names_table_key_value_and_what_is_allowed(
    tmp_path: Path, text: str, parts: list[str]
) -> None:
    message = fault(tmp_path, text)
    assert message.startswith(f"{tmp_path / 'job.toml'}")
    for part in parts:
        assert part in message


def test_every_fault_is_told_at_once_and_none_twice(tmp_path: Path) -> None:
    text = '[prototipe]\nname = "a"\n[task]\ndata = 3\n[synthesis]\ncycles = "x"\n'
    text += "[requirements]\nmacs = [1, 2]\n"
    lines = fault(tmp_path, text).splitlines()
    assert len(lines) == len(set(lines)) == 4


def test_a_misspelt_file_name_gets_the_nearest_one(tmp_path: Path) -> None:
    job_file(tmp_path, SMALLEST)
    with pytest.raises(JobError, match=r"did you mean .*job\.toml"):
        load_job(tmp_path / "jbo.toml")


def test_a_missing_file_gets_the_way_to_write_one(tmp_path: Path) -> None:
    with pytest.raises(JobError, match="edgesynth init"):
        load_job(tmp_path / "job.toml")


def test_a_folder_is_not_a_job_file(tmp_path: Path) -> None:
    job_file(tmp_path, SMALLEST)
    with pytest.raises(JobError, match=r"is a folder.*job\.toml"):
        load_job(tmp_path)


def test_a_binary_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "job.toml"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(JobError, match="cannot be read"):
        load_job(path)
