"""Installed bundles: whatever ends the work, a program finds a whole one, the old or the new."""

import hashlib
import json
import os
import shutil
from pathlib import Path

import pytest

from edgesynth.agent.board_module import name_module
from edgesynth.agent.manifest import check_files, read_manifest

KILLER = """
import os, signal
if "install" in open("/proc/self/cmdline").read().split("\\0"):
    left = [int(open({place!r}).read())]
    def watched(work):
        def call(*arguments, **options):
            left[0] -= 1
            if left[0] == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return work(*arguments, **options)
        return call
    for name in ("rename", "replace", "symlink", "link", "remove", "unlink", "rmdir", "mkdir"):
        setattr(os, name, watched(getattr(os, name)))
"""


def stage(board, name="net", content="one", **key):
    """A bundle in the work folder, as the host brings it there."""
    folder = board.folder / "incoming" / content
    folder.mkdir(parents=True)
    (folder / "engine.plan").write_text(f"plan of {content}")
    (folder / "network.onnx").write_text(content)
    manifest = {
        "format": 1,
        "name": name,
        "batch": 1,
        "key": {"tensorrt": "8.2.1", "gpu": "tegra186", "onnx": content, **key},
        "files": {
            path.name: {
                "bytes": path.stat().st_size,
                "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
            }
            for path in folder.iterdir()
        },
    }
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return str(folder)


def install(board, content, name="net"):
    return board.ask("install", name=name, staged=stage(board, name, content))


def listed(board):
    events = board.ask("bundles")
    return {entry["name"]: entry for entry in events[0]["bundles"]}


def current(board, name="net"):
    """What a program reads through the path that it was told."""
    return (Path(home(board)) / name / "current" / "network.onnx").read_text()


def home(board):
    return board.root / "home/.local/share/edgesynth/bundles"


@pytest.mark.parametrize(
    "python",
    ["3.6", *(pytest.param(minor, marks=pytest.mark.slow) for minor in ("3.8", "3.10", "3.12", "3.13"))],
    indirect=True,
)
def test_what_is_installed_is_listed_rolled_back_and_removed(board, python):
    board.use_python(python)
    first, second = (install(board, content)[0]["bundles"][0] for content in ("one", "two"))

    assert first["path"] == second["path"] == str(home(board) / "net/current")
    assert (first["before"], second["before"]) == ("", "0001")
    entry = listed(board)["net"]
    assert (entry["version"], entry["before"], entry["problem"]) == ("0002", "0001", "")
    assert entry["manifest"]["key"]["onnx"] == current(board) == "two"
    assert entry["bytes"] == len("plan of two") + len("two")

    assert board.ask("rollback", name="net")[-1]["event"] == "end"
    assert current(board) == "one"
    (refused,) = board.ask("rollback", name="net")
    assert "no earlier version of 'net'" in refused["reason"]

    board.ask("remove", name="net")
    assert listed(board) == {}
    assert list(home(board).iterdir()) == []


def test_after_going_back_the_next_one_does_not_lead_to_the_bad_one(board):
    for content in ("one", "bad"):
        install(board, content)
    board.ask("rollback", name="net")
    install(board, "three")
    assert current(board) == "three"

    board.ask("rollback", name="net")

    assert current(board) == "one"


def test_only_the_version_before_is_kept(board):
    for content in ("one", "two", "three", "four"):
        install(board, content)

    assert {path.name for path in (home(board) / "net").iterdir() if not path.is_symlink()} == {
        "0003",
        "0004",
    }
    board.ask("rollback", name="net")
    assert current(board) == "three"


def test_names_do_not_meet(board):
    install(board, "one", "left")
    install(board, "two", "right")

    assert (current(board, "left"), current(board, "right")) == ("one", "two")
    assert set(listed(board)) == {"left", "right"}
    (refused,) = board.ask("remove", name="middle")
    assert "no bundle 'middle' is installed here; there are left, right" in refused["reason"]


def test_an_engine_of_the_board_joins_the_bundle(board):
    staged = Path(stage(board))
    kept = board.root / "home/kept.plan"
    shutil.move(staged / "engine.plan", kept)

    last = board.ask("install", name="net", staged=str(staged), engine=str(kept))[-1]

    assert last["event"] == "end"
    assert (home(board) / "net/current/engine.plan").read_text() == kept.read_text() == "plan of one"


def spoil(staged, how):
    manifest = json.loads((staged / "manifest.json").read_text())
    if how == "bit":
        (staged / "engine.plan").write_text("plan of onf")
    elif how == "cut off":
        (staged / "engine.plan").write_text("plan")
    elif how == "missing":
        (staged / "network.onnx").unlink()
    elif how == "extra":
        (staged / "extra.bin").write_text("?")
    elif how == "link":
        (staged / "network.onnx").unlink()
        (staged / "network.onnx").symlink_to("/etc/hostname")
    elif how == "no manifest":
        (staged / "manifest.json").unlink()
    elif how == "nonsense":
        (staged / "manifest.json").write_text("[1, 2")
    elif how == "outside":
        manifest["files"]["../../x"] = manifest["files"].pop("network.onnx")
        (staged / "manifest.json").write_text(json.dumps(manifest))
    else:
        manifest.update({"later": {"format": 2}, "other name": {"name": "other"}}[how])
        (staged / "manifest.json").write_text(json.dumps(manifest))


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("bit", "engine.plan has another content than its checksum says"),
        ("cut off", "engine.plan has 4 bytes of 11"),
        ("missing", "network.onnx is missing"),
        ("extra", "extra.bin is not listed"),
        ("link", "network.onnx is no file"),
        ("no manifest", "manifest.json cannot be read"),
        ("nonsense", "manifest.json cannot be read"),
        ("outside", "does not list its files"),
        ("later", "has format 2, this version reads 1"),
        ("other name", "is of 'other', not 'net'"),
    ],
)
def test_a_damaged_bundle_is_refused_and_the_old_one_stays(board, how, said):
    install(board, "old")
    staged = stage(board, content="one")
    spoil(Path(staged), how)

    (refused,) = board.ask("install", name="net", staged=staged)

    assert (refused["event"], refused["kind"]) == ("error", "bundle")
    assert said in refused["reason"]
    assert current(board) == "old"
    assert listed(board)["net"]["problem"] == ""


@pytest.mark.parametrize(
    ("key", "said"),
    [
        ({"tensorrt": "8.5.2"}, "built for TensorRT 8.5.2, here is 8.2.1"),
        ({"gpu": "tegra194"}, "built for GPU tegra194, here is tegra186"),
    ],
)
def test_a_bundle_of_another_board_is_refused_with_the_reason(board, key, said):
    (refused,) = board.ask("install", name="net", staged=stage(board, **key))

    assert refused["kind"] == "bundle"
    assert said in refused["reason"]
    assert listed(board) == {}


def test_what_became_of_a_bundle_later_is_told(board):
    install(board, "one")
    install(board, "two")
    board.set("tensorrt", version="8.4.1")
    assert "built for TensorRT 8.2.1, here is 8.4.1" in listed(board)["net"]["problem"]
    assert "built for TensorRT 8.2.1" in board.ask("rollback", name="net")[0]["reason"]

    board.set("tensorrt", version="8.2.1")
    (home(board) / "net/0001/engine.plan").write_text("damaged")
    assert "engine.plan has 7 bytes of 11" in board.ask("rollback", name="net")[0]["reason"]
    assert current(board) == "two"
    assert listed(board)["net"]["problem"] == ""


@pytest.mark.slow
def test_a_kill_at_any_step_leaves_the_old_one_or_the_new_one(board):
    board.use_python("3.6")
    counter = board.root / "state/kill_at"
    counter.write_text("0")
    board.write("usr/lib/python3/dist-packages/sitecustomize.py", KILLER.format(place=str(counter)))
    install(board, "new-0")
    seen = set()
    for step in range(1, 200):
        before = current(board)
        content = f"new-{step}"
        staged = stage(board, content=content)
        counter.write_text(str(step))
        process = board.start("install", {"name": "net", "staged": staged})
        with process:
            out = process.stdout.read()
        after, place = current(board), str(home(board) / "net/current")
        assert after in (before, content)
        check_files(place, read_manifest(place))
        seen.add((process.returncode, after == content))
        if process.returncode == 0:
            assert b'"end"' in out
            break
    # Killed before the switch, killed after it, and at last not at all.
    assert seen == {(-9, False), (-9, True), (0, True)}
    assert step > 8


def test_a_full_disk_leaves_the_old_one(board):
    install(board, "old")
    staged = Path(stage(board, content="one"))
    (staged / "engine.plan").rename(board.root / "home/kept.plan")
    code = """
import errno, os
def link(source, target):
    raise OSError(errno.EXDEV, "cross-device")
os.link = link
import shutil
def copyfile(source, target):
    raise OSError(errno.ENOSPC, "No space left on device")
shutil.copyfile = copyfile
"""
    board.write("usr/lib/python3/dist-packages/sitecustomize.py", code)

    (refused,) = board.ask(
        "install", name="net", staged=str(staged), engine=str(board.root / "home/kept.plan")
    )

    assert (refused["event"], refused["kind"]) == ("error", "disk")
    assert current(board) == "old"


@pytest.mark.parametrize("name", ["", "../x", ".hidden", "a/b", 7])
def test_a_name_is_one_folder(board, name):
    for verb in ("install", "rollback", "remove"):
        (refused,) = board.ask(verb, name=name, staged="/tmp")
        assert refused["kind"] == "request"


def test_the_work_folder_may_be_on_another_disk(board):
    other = Path("/dev/shm")
    if not other.is_dir() or other.stat().st_dev == board.root.stat().st_dev:
        pytest.skip("there is no second file system here")
    board.folder = other / f"edgesynth-{os.getpid()}"
    try:
        install(board, "one")
        assert current(board) == "one"
        assert not list((board.folder / "incoming").iterdir())
    finally:
        shutil.rmtree(board.folder)


@pytest.mark.parametrize(
    ("built_on", "compatible"),
    [
        (
            "AGX Orin, 16 multiprocessors",
            ["nvidia,p3768-0000+p3767-0005", "nvidia,p3767-0005", "nvidia,tegra234"],
        ),
        ("AGX Xavier, 8 multiprocessors", ["nvidia,p3509-0000+p3668-0001", "nvidia,tegra194"]),
        ("TX2, 2 multiprocessors", ["nvidia,p3509-0000+p3636-0001", "nvidia,tegra186"]),
    ],
)
def test_a_bundle_of_another_module_with_this_chip_is_refused(board, built_on, compatible):
    board.write("proc/device-tree/compatible", "\0".join([*compatible, ""]))
    gpu, here = compatible[-1].partition(",")[2], name_module(compatible, "")

    (refused,) = board.ask("install", name="net", staged=stage(board, gpu=gpu, module=built_on))

    assert refused["event"] == "error"
    assert f"was built for the module {built_on}, here is {here}; deploy the network" in refused["reason"]
    assert listed(board) == {}
    (installed, _) = board.ask(
        "install", name="net", staged=stage(board, content="two", gpu=gpu, module=here)
    )
    assert installed["bundles"][0]["problem"] == ""


def test_a_bundle_from_before_modules_were_told_is_installed(board):
    assert install(board, "one")[0]["bundles"][0]["problem"] == ""
