"""The run folder keeps what it is given, and refuses what it cannot keep."""

from __future__ import annotations

import json
import os
import sqlite3
import stat
import subprocess
import sys
import tempfile
import threading
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from edgesynth.errors import RunError
from edgesynth.metrics import METRICS, Metric, Provenance
from edgesynth.runs import (
    CycleRecord,
    LayerRecord,
    LayerTimeRecord,
    NetworkRecord,
    Run,
    write_atomic,
    write_json_atomic,
)
from edgesynth.runs.details import DETAILS, Confusion, Details, read_details, write_details

MANIFEST = {"job": {"prototype": "resnet20"}, "seeds": [0], "versions": {"edgesynth": "0.1.0"}}


def network(key: str = "a1", **changes) -> NetworkRecord:
    fields = {
        "key": key,
        "role": "candidate",
        "architecture": {"stage1": 8, "block3": True, "slot": "conv3x3"},
        "metrics": {
            "accuracy": Metric("accuracy", 0.9, Provenance.MEASURED, 500, (0.87, 0.92), "validation")
        },
        "layers": (LayerRecord("conv1", "conv2d", 10, 20, 80, 160, (8, 4, 4)),),
        **changes,
    }
    return NetworkRecord(**fields)


def cycle(number: int, **changes) -> CycleRecord:
    fields = {
        "quality": 0.9,
        "macs": 4e6,
        "parameters": 3e4,
        "netscore": 90.0,
        "performance": 90.0,
        "feasible_fraction": 0.9,
        "distinct_fraction": 1.0,
        "mean_distance": 0.3,
        **changes,
    }
    return CycleRecord(number, **fields)


@pytest.fixture
def run(tmp_path):
    with Run.create(tmp_path / "run", MANIFEST) as run:
        yield run


def test_a_reopened_run_holds_what_was_recorded(run):
    records = [
        network("a1"),
        network("b2", role="generated", seed=2**80, status="failed", reason="no memory"),
    ]
    for record in records:
        run.record_network(record)
    run.record_cycle(cycle(0, seconds={"train": 2.0}, notes={"binding": ["macs"]}))
    run.record_cycle(cycle(1, seconds={"train": 3.0, "probe": 1.0}))
    run.event("started")
    run.set_status("finished")
    created = run.created
    run.close()

    with Run.open(run.path) as again:
        assert again.manifest == MANIFEST
        assert again.created == created
        assert again.networks() == tuple(records)
        assert again.networks("generated") == (records[1],)
        assert again.cycles()[0].notes == {"binding": ["macs"]}
        assert again.phases() == {"train": 5.0, "probe": 1.0}
        assert [text for _, text in again.events()] == ["started"]
        assert again.status == "finished"


_figures = st.floats(allow_nan=False)
_metrics = st.dictionaries(
    st.sampled_from(sorted(METRICS)),
    st.tuples(
        _figures,
        st.sampled_from(Provenance),
        st.integers(0, 10**9),
        st.none() | st.tuples(_figures, _figures),
    ),
).map(lambda found: {name: Metric(name, *rest, source="é") for name, rest in found.items()})


@given(
    architecture=st.dictionaries(st.text(), st.integers() | st.booleans() | st.text()),
    metrics=_metrics,
    seed=st.none() | st.integers(),
    shape=st.lists(st.integers(1), max_size=4).map(tuple),
)
def test_a_network_record_survives_json(architecture, metrics, seed, shape):
    layer = LayerRecord("conv", "conv2d", 1, 2, 3, 4, shape)
    times = (LayerTimeRecord("conv1 + relu1", 0.75, 0.6), LayerTimeRecord("é", 0.5, 0.4))
    record = network(
        architecture=architecture,
        metrics=metrics,
        seed=seed,
        layers=(layer,),
        layer_times=times,
        rails={"VDD_IN": 6000.0},
        conditions={"mode": "MAXN", "clocks_mhz": {"gpu": 1300.5}, "sensor_modes": ["é"]},
    )
    assert NetworkRecord.from_json(json.loads(json.dumps(record.to_json()))) == record


def test_a_run_from_before_times_and_conditions_were_kept_still_opens(run):
    times = (LayerTimeRecord("conv1 + relu1", 0.75, 1.0),)
    run.record_network(network("new", layer_times=times, conditions={"mode": "MAXN"}))
    run.record_network(network("old"))
    run.close()
    with closing(sqlite3.connect(run.path / "run.sqlite")) as database, database:
        (text,) = database.execute("SELECT record FROM networks WHERE key = 'old'").fetchone()
        old = json.loads(text)
        assert (old.pop("layer_times"), old.pop("rails"), old.pop("conditions")) == ([], {}, {})
        database.execute("UPDATE networks SET record = ? WHERE key = 'old'", (json.dumps(old),))

    with Run.open(run.path) as again:
        assert [record.layer_times for record in again.networks()] == [times, ()]
        assert [record.conditions for record in again.networks()] == [{"mode": "MAXN"}, {}]


def test_a_network_is_replaced_by_key_role_and_seed(run):
    run.record_network(network("a1", seed=1))
    run.record_network(network("b2", seed=1))
    run.record_network(network("a1", seed=1, status="inconclusive"))
    run.record_network(network("a1", seed=None))
    run.record_network(network("a1", seed=None, cycle=4))

    found = [(record.key, record.seed, record.status, record.cycle) for record in run.networks()]
    assert found == [("a1", 1, "inconclusive", None), ("b2", 1, "ok", None), ("a1", None, "ok", 4)]


def test_numpy_figures_are_kept_as_plain_numbers(run):
    run.record_cycle(cycle(0, macs=np.float32(2.5), notes={"widths": np.arange(3), "best": np.int64(7)}))
    assert run.cycles()[0].notes == {"widths": [0, 1, 2], "best": 7}


def test_names_of_files_that_are_no_utf_8_are_kept_as_they_are(tmp_path):
    folder = os.fsdecode(b"caf\xe9")
    with Run.create(tmp_path / "new", {"data": folder}) as run:
        run.record_network(network(architecture={"made": folder}))
    with Run.open(tmp_path / "new") as again:
        assert again.manifest == {"data": folder}
        assert again.networks()[0].architecture == {"made": folder}


def test_details_keep_the_names_of_classes_that_are_no_utf_8(tmp_path):
    names = ("car", os.fsdecode(b"caf\xe9"))
    details = Details(
        Metric("accuracy", 0.9, Provenance.MEASURED, 10),
        per_class={names[1]: 0.5},
        confusion=Confusion(names, ((1, 2), (3, 4)), ((*names, 2),), (3, 7)),
    )
    write_details(tmp_path, details)
    assert read_details(tmp_path / DETAILS) == details


def test_a_checkpoint_returns_tensors_and_state_exactly(run):
    tied = torch.randn(3, 4)
    tensors = {
        "weight": tied,
        "tied": tied,
        "strided": torch.arange(6.0).reshape(2, 3).T,
        "half": torch.randn(2).to(torch.bfloat16),
        "steps": np.arange(5),
        "parameter": torch.nn.Parameter(torch.ones(2)),
    }
    state = {"rate": 0.1 + 0.2, "names": ["é"], "best": None}
    run.checkpoint(3, tensors, state)

    found = run.latest_checkpoint()
    assert found is not None
    assert (found.cycle, found.state, found.keep) == (3, state, False)
    assert set(found.tensors) == set(tensors)
    for name, value in tensors.items():
        assert torch.equal(found.tensors[name], torch.as_tensor(value).detach())


def test_two_recent_checkpoints_and_every_kept_one_remain(run):
    for number in range(6):
        with run.transaction():
            run.checkpoint(number, {"all": torch.full((2,), float(number))}, {"small": False})
            run.checkpoint(number, {"policy": torch.full((1,), float(number))}, {"small": True}, keep=True)

    assert run.checkpoint_cycles() == tuple(range(6))
    assert run.checkpoint_at(1).state == {"small": True}
    assert run.checkpoint_at(4).state == {"small": False}
    latest = run.latest_checkpoint()
    assert latest is not None
    assert (latest.cycle, latest.keep) == (5, False)
    assert len(list((run.path / "checkpoints").iterdir())) == 8
    with pytest.raises(RunError, match=r"no checkpoint of cycle 9; it has those of cycles \[0, 1"):
        run.checkpoint_at(9)


def test_a_failed_transaction_leaves_neither_records_nor_checkpoint(run):
    run.checkpoint(0, {}, {})
    with pytest.raises(KeyboardInterrupt), run.transaction():
        run.record_network(network())
        run.record_cycle(cycle(1))
        run.checkpoint(1, {}, {})
        raise KeyboardInterrupt
    assert run.networks() == run.cycles() == ()
    assert run.checkpoint_cycles() == (0,)

    run.checkpoint(1, {}, {})
    assert run.checkpoint_cycles() == (0, 1)
    assert len(list((run.path / "checkpoints").iterdir())) == 2


def test_a_reader_sees_a_transaction_only_when_it_is_complete(run):
    with Run.open(run.path) as reader:
        with run.transaction():
            run.record_network(network())
            run.record_cycle(cycle(0))
            assert reader.networks() == reader.cycles() == ()
        assert len(reader.networks()) == len(reader.cycles()) == 1


def test_threads_may_record_at_once(run):
    def record(name: str) -> None:
        for seed in range(20):
            with run.transaction():
                run.record_network(network(name, seed=seed))
                run.event(f"{name} {seed}")

    threads = [threading.Thread(target=record, args=(name,)) for name in ("a", "b", "c")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(run.networks()) == len(run.events()) == 60


def test_a_second_writer_is_told_who_the_first_one_is(run):
    with pytest.raises(RunError, match=f"written by process {os.getpid()} on "):
        Run.open(run.path, write=True)

    script = "import sys; from edgesynth.runs import Run; Run.open(sys.argv[1], write=True)"
    result = subprocess.run(
        [sys.executable, "-c", script, run.path], check=False, capture_output=True, text=True
    )
    assert f"written by process {os.getpid()}" in result.stderr

    run.close()
    Run.open(run.path, write=True).close()


def test_a_reader_may_look_but_not_write(run):
    with Run.open(run.path) as reader:
        for attempt in (
            lambda: reader.record_cycle(cycle(0)),
            lambda: reader.checkpoint(0, {}, {}),
            lambda: reader.set_status("finished"),
            lambda: reader.event("hello"),
        ):
            with pytest.raises(RunError, match="for reading only"):
                attempt()


def test_a_run_nobody_finished_and_nobody_writes_reads_as_interrupted(run):
    with Run.open(run.path) as reader:
        assert reader.status == run.status == "running"
        run.close()
        assert reader.status == "interrupted"


def test_a_folder_with_other_files_is_never_touched(tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(RunError, match=r"not empty and is not a run .*thesis\.tex"):
        Run.create(tmp_path, MANIFEST)
    assert [entry.name for entry in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_manifest_that_is_not_json_makes_no_folder(tmp_path):
    with pytest.raises(RunError, match="manifest of a run must be JSON"):
        Run.create(tmp_path / "run", {"job": object()})
    assert not (tmp_path / "run").exists()


def test_a_prototype_trained_before_its_run_began_stays_where_it_is(tmp_path):
    (tmp_path / "prototype.safetensors").write_bytes(b"weights")
    assert not Run.exists(tmp_path)
    with Run.create(tmp_path, MANIFEST):
        assert Run.exists(tmp_path)
    assert (tmp_path / "prototype.safetensors").read_bytes() == b"weights"


def test_an_existing_run_is_never_started_over(run):
    run.record_cycle(cycle(0))
    with pytest.raises(RunError, match="already holds a run; resume it"):
        Run.create(run.path, MANIFEST)
    assert len(run.cycles()) == 1


def test_creation_that_was_killed_halfway_can_be_done_again(tmp_path):
    for leftover in ("run.lock", "manifest.json", ".run.sqlite.tmp", ".manifest.json.77.tmp"):
        (tmp_path / leftover).write_text("half")
    with Run.create(tmp_path, MANIFEST) as run:
        assert run.manifest == MANIFEST


@pytest.mark.parametrize(
    ("name", "reason"), [("missing", "does not exist"), ("empty", "is not a run folder")]
)
def test_what_is_not_a_run_folder_is_refused(tmp_path, name, reason):
    (tmp_path / "empty").mkdir()
    with pytest.raises(RunError, match=reason):
        Run.open(tmp_path / name)


def test_a_file_in_place_of_the_folder_is_refused(tmp_path):
    (tmp_path / "run").write_text("")
    with pytest.raises(RunError, match="is a file"):
        Run.create(tmp_path / "run", MANIFEST)


def test_a_store_of_a_newer_version_is_refused_with_both_versions(run):
    run.close()
    with sqlite3.connect(run.path / "run.sqlite") as connection:
        connection.execute("PRAGMA user_version = 99")
    with pytest.raises(RunError, match=r"schema version 99, .* up to 1; install a newer"):
        Run.open(run.path)


def test_a_database_of_something_else_is_refused(tmp_path):
    with sqlite3.connect(tmp_path / "run.sqlite") as connection:
        connection.execute("CREATE TABLE recipes (name)")
    with pytest.raises(RunError, match="not one of a run"):
        Run.open(tmp_path)


@pytest.mark.parametrize("keep", [0, 50, 5000])
def test_a_damaged_database_is_reported_as_such(run, keep):
    for seed in range(50):
        run.record_network(network(seed=seed))
    run.close()
    path = run.path / "run.sqlite"
    data = path.read_bytes()
    path.write_bytes(data[:keep] + b"\xa5" * (len(data) - keep))
    with pytest.raises(RunError, match=r"damaged|not one of a run"), Run.open(run.path, write=True) as again:
        again.networks()


def test_a_record_that_cannot_be_read_is_reported_as_damage(run):
    run.record_network(network())
    run.close()
    with sqlite3.connect(run.path / "run.sqlite") as connection:
        connection.execute("""UPDATE networks SET record = '{"key": "a1"}'""")
    with Run.open(run.path) as again, pytest.raises(RunError, match="cannot be read"):
        again.networks()


@pytest.mark.parametrize("name", ["tensors.safetensors", "state.json"])
def test_a_damaged_checkpoint_is_never_loaded(run, name):
    run.checkpoint(0, {"weight": torch.zeros(4)}, {"k": 1})
    (path,) = (run.path / "checkpoints").glob(f"*/{name}")
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(bytes(data))
    with pytest.raises(RunError, match="damaged"):
        run.latest_checkpoint()
    path.unlink()
    with pytest.raises(RunError, match="No such file"):
        run.latest_checkpoint()


def test_state_that_is_not_json_leaves_the_previous_checkpoint(run):
    run.checkpoint(0, {}, {"k": 0})
    with pytest.raises(RunError, match="checkpoint 1 is not JSON"):
        run.checkpoint(1, {}, {"k": object()})
    latest = run.latest_checkpoint()
    assert latest is not None
    assert latest.cycle == 0


def test_artefact_paths_stay_inside_the_run(run):
    assert run.path_for("onnx", "3fa9") == run.path / "networks/3fa9/network.onnx"
    assert run.path_for("weights", "3fa9").parent.is_dir()
    for key in ("../../etc", "a/b", "", ".hidden"):
        with pytest.raises(RunError, match="a network key must be"):
            run.path_for("recipe", key)
    with pytest.raises(RunError, match="choose from recipe, weights, onnx"):
        run.path_for("pickle", "3fa9")


def test_atomic_files_have_usual_permissions_and_leave_nothing_behind(tmp_path):
    target = tmp_path / "a.json"
    write_atomic(target, b"old")
    write_json_atomic(target, {"é": (1, 2)})
    (tmp_path / "plain").touch()
    assert target.read_text() == '{\n  "é": [\n    1,\n    2\n  ]\n}\n'
    assert stat.S_IMODE(target.stat().st_mode) == stat.S_IMODE((tmp_path / "plain").stat().st_mode)
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["a.json", "plain"]
    with pytest.raises(RunError, match="No such file"):
        write_atomic(tmp_path / "nowhere" / "a", b"")


_AS_STRANGER = """
import os, sys
from edgesynth.errors import RunError
from edgesynth.runs import Run
import edgesynth.runs.run
if os.getuid() == 0:
    os.setgid(65534); os.setuid(65534)
with Run.open(sys.argv[1]) as run:
    print(len(run.cycles()), run.status)
for attempt in (lambda: Run.open(sys.argv[1], write=True), lambda: Run.create(sys.argv[1] + "/inner", {})):
    try:
        attempt()
    except RunError as error:
        print(error)
"""


def test_a_read_only_folder_can_be_read_and_says_why_it_cannot_be_written():
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with Run.create(folder / "run", MANIFEST) as run:
            run.record_cycle(cycle(0))
            run.set_status("finished")
        folder.chmod(0o755)
        run.path.chmod(0o555)
        result = subprocess.run(
            [sys.executable, "-c", _AS_STRANGER, run.path], capture_output=True, text=True, check=True
        )
        run.path.chmod(0o755)
    lines = result.stdout.splitlines()
    assert lines[0] == "1 finished"
    assert all("Permission denied; make the folder writable" in line for line in lines[1:])
    assert len(lines) == 3
