"""A bundle is whole, or it says which file is not."""

from __future__ import annotations

import ast
import json
from dataclasses import replace
from pathlib import Path

import pytest

from edgesynth.agent.batches import batches_of
from edgesynth.deploy.bundle import Bundle, EngineKey, bundle_name, read_bundle, read_text, write_bundle
from edgesynth.deploy.standalone import standalone_runner
from edgesynth.errors import InputError

KEY = EngineKey(onnx="ab", tensorrt="8.2.1", gpu="tegra186", precision="fp16", batch=4, flags=("FP16",))


def write(folder: Path, content: str = "plan", key: EngineKey = KEY) -> Bundle:
    (folder / "a.plan").write_text(content)
    (folder / "a.onnx").write_text("onnx")
    return write_bundle(
        folder / "bundle",
        "net",
        key,
        device="jetson-tx2",
        files={"engine.plan": folder / "a.plan", "network.onnx": folder / "a.onnx"},
        texts={"labels.json": ["a", "b"]},
    )


def test_what_is_written_is_read_with_its_key_and_a_runner(tmp_path: Path) -> None:
    bundle = write(tmp_path)

    assert read_bundle(tmp_path / "bundle") == bundle
    assert bundle.files == ("engine.plan", "labels.json", "network.onnx", "runner.py", "manifest.json")
    assert bundle.manifest["key"]["flags"] == ["FP16"]
    assert bundle.manifest["batch"] == 4
    assert read_text(bundle, "labels.json") == ["a", "b"]
    assert read_text(bundle, "measurements.json") is None
    assert (tmp_path / "bundle/runner.py").read_text() == standalone_runner()


@pytest.mark.parametrize("name", ["engine.plan", "labels.json", "network.onnx", "runner.py"])
def test_one_bit_is_enough_to_refuse_it(tmp_path: Path, name: str) -> None:
    bundle = write(tmp_path)
    data = bytearray((bundle.folder / name).read_bytes())
    data[0] ^= 1
    (bundle.folder / name).write_bytes(data)

    with pytest.raises(InputError, match=f"{name} has another content than its checksum says"):
        read_bundle(bundle.folder)


def test_it_remembers_that_calls_are_launched_as_a_graph(tmp_path: Path) -> None:
    bundle = write(tmp_path)
    place = bundle.folder / "manifest.json"
    assert bundle.manifest["cuda_graph"] is False

    place.write_text(place.read_text().replace('"cuda_graph": false', '"cuda_graph": "no"'))
    with pytest.raises(InputError, match="says no truth value of cuda_graph"):
        read_bundle(bundle.folder)


def test_it_remembers_the_range_that_its_engine_takes(tmp_path: Path) -> None:
    assert write(tmp_path).batches == (4, 4, 4)
    bundle = write(tmp_path, key=replace(KEY, batches=batches_of([1, 2, 4])))
    place, text = bundle.folder / "manifest.json", (bundle.folder / "manifest.json").read_text()
    assert (bundle.batches, bundle.manifest["batches"]) == ((1, 2, 4), [1, 2, 4])
    assert bundle.manifest["key"]["batches"] == [1, 2, 4]

    before = {name: value for name, value in json.loads(text).items() if name != "batches"}
    place.write_text(json.dumps(before))  # a bundle of before says nothing of it
    assert read_bundle(bundle.folder).batches == (4, 4, 4)
    for wrong in ([1, 2, 3], [2, 1, 4], [1, 4], 4, "124"):
        place.write_text(json.dumps({**before, "batches": wrong}))
        with pytest.raises(InputError, match=r"is damaged: its manifest\.json"):
            read_bundle(bundle.folder)


def test_a_bundle_takes_the_place_of_a_bundle_and_of_nothing_else(tmp_path: Path) -> None:
    first = write(tmp_path).digest
    assert write(tmp_path, "another plan").digest != first
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.onnx", "a.plan", "bundle"]

    (tmp_path / "bundle/manifest.json").unlink()
    with pytest.raises(InputError, match="holds something else than a bundle"):
        write(tmp_path)


def test_an_interruption_leaves_the_bundle_that_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = write(tmp_path).digest
    rename = Path.rename

    def interrupted(self: Path, target: Path) -> Path:
        if self.name == "bundle" and target == tmp_path / "bundle":
            raise KeyboardInterrupt
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write(tmp_path, "another plan")

    assert read_bundle(tmp_path / "bundle").digest == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.onnx", "a.plan", "bundle"]


def test_any_text_gives_a_name() -> None:
    assert bundle_name("1000-0d913a65f36a") == "1000-0d913a65f36a"
    assert bundle_name("../my net (2)") == "my-net-2"
    assert bundle_name("..") == "network"


def test_the_runner_is_made_of_the_agent_and_of_nothing_twice() -> None:
    tree = ast.parse(standalone_runner())
    defined = [node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.ClassDef)]

    assert len(defined) == len(set(defined))
    assert {"Engine", "Cudart", "open_engine", "read_npy", "check_files"} <= set(defined)
    assert "edgesynth.agent" not in standalone_runner()
