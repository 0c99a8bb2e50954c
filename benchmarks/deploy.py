"""How long a deployment takes here, how fast a bundle is installed, and which seeded faults are caught.

    python benchmarks/deploy.py [time] [install] [faults]

Bounds: a network of the size of ResNet-50 is exported, checked and built by TensorRT for RTX in under 60 s on
two cores; a bundle of 50 MB is installed over ssh on loopback in under 5 s; every seeded fault is caught, and
the same network without a fault is installed. Exits with 1 when a bound is missed.

The RTX builder, the ssh server and client, ONNX Runtime and the agent are real. **The board is not**: its
TensorRT and CUDA are the tests' own, and its engines compute with ONNX Runtime, spoiled on request. So the
figures for time say nothing of a Jetson, and the faults say what verification catches, not how often TensorRT
errs.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests/support"), str(ROOT / "benchmarks")]

import edgesynth  # noqa: E402
from edgesynth.deploy import rtx  # noqa: E402
from edgesynth.deploy.bundle import EngineKey, read_bundle, write_bundle  # noqa: E402
from edgesynth.deploy.delivery import deliver  # noqa: E402
from edgesynth.deploy.engine import build_engine, run_engine  # noqa: E402
from edgesynth.deploy.installation import install_bundle, list_bundles  # noqa: E402
from edgesynth.deploy.onnx import export_onnx  # noqa: E402
from edgesynth.deploy.target import export_for_device  # noqa: E402
from edgesynth.deploy.verify import verify  # noqa: E402
from edgesynth.devices import Board, Device, load_profile, open_device  # noqa: E402
from edgesynth.devices.agent_package import agent_package  # noqa: E402
from edgesynth.errors import EdgesynthError  # noqa: E402

MOST_EXPORT_S = 60.0
MOST_INSTALL_S = 5.0
BUNDLE_MB = 50


def time_export(folder: Path) -> bool:
    """Export, check, verify and build a network of the size of ResNet-50."""
    from graph import ResNet50  # of this folder

    torch.manual_seed(0)
    begin_s, begin_cpu_s = time.perf_counter(), _cpu_s()
    path = export_onnx(ResNet50().eval(), torch.zeros(1, 3, 224, 224), folder / "resnet50.onnx").path
    exported_s = time.perf_counter() - begin_s
    delivery = deliver(path, load_profile("jetson-thor"), None, precision="fp16", batch=1)
    seconds, cpu_s = time.perf_counter() - begin_s, _cpu_s() - begin_cpu_s
    built = delivery.build
    how = "not installed" if built is None else f"{built.seconds:.1f} s, {built.bytes / 1e6:.0f} MB"
    passed = bool(delivery) and built is not None and seconds < MOST_EXPORT_S
    print(
        f"export of ResNet-50   {seconds:7.1f} s (bound {MOST_EXPORT_S:g} s; FP32 ONNX {exported_s:.1f} s; "
        f"RTX build {how}; {cpu_s:.1f} s of CPU; {_load()}): {_verdict(passed)}"
    )
    return passed


def time_install(folder: Path) -> bool:
    """Bring a bundle of 50 MB to a board behind an ssh server on loopback."""
    from fake_board import FakeBoard
    from remote_board import RemoteBoard
    from ssh_server import SSHD, SshServer, free_port

    if not Path(SSHD).exists():
        print(f"install: there is no {SSHD}; install openssh-server")
        return False
    board = _computing_board(FakeBoard, folder)
    (folder / "plan").write_bytes(os.urandom(BUNDLE_MB << 20))
    (folder / "onnx").write_bytes(b"onnx")
    key = EngineKey(onnx="0", tensorrt="8.2.1", gpu="tegra186", precision="fp16", batch=1)
    files = {"engine.plan": folder / "plan", "network.onnx": folder / "onnx"}
    bundle = write_bundle(folder / "bundle", "net", key, device="jetson-tx2", files=files, texts={})
    server = SshServer(folder, free_port())
    try:
        assert server.wait(), "the ssh server did not start"
        remote = RemoteBoard(board, server, folder)
        os.environ["PATH"] = remote.path
        with open_device("jetson-tx2", link=remote.url) as device:
            begin_s = time.perf_counter()
            installed = install_bundle(_board(device), bundle)
            seconds = time.perf_counter() - begin_s
    finally:
        server.stop()
        board.kill_all()
    passed = seconds < MOST_INSTALL_S and not installed.problem
    print(
        f"install of {BUNDLE_MB} MB      {seconds:7.1f} s (bound {MOST_INSTALL_S:g} s; ssh on loopback, "
        f"a board that is not there; {_load()}): {_verdict(passed)}"
    )
    return passed


def count_faults(folder: Path) -> bool:
    """Seed each fault, deploy, and see whether anything was installed."""
    from fake_board import FakeBoard

    board = _computing_board(FakeBoard, folder)
    rtx._MODULE = "left_out_of_the_faults"  # it has seen the same file above
    faults = Faults(board, folder)
    caught, missed = 0, []
    with _as_board(board), open_device("jetson-tx2", link="local") as device:
        sound = faults.deploy(device)
        print(f"{'no fault':<24} {'installed' if not sound else 'REFUSED: ' + sound}")
        for name, seed in faults.table().items():
            board.compute()
            said = seed(device)
            caught += bool(said)
            missed += [] if said else [name]
            print(f"{name:<24} {'caught' if said else 'MISSED'}: {said[:150]}", flush=True)
    passed = not missed and not sound
    print(f"faults caught {caught} of {caught + len(missed)} (bound: all): {_verdict(passed)}")
    board.kill_all()
    return passed


class Faults:
    """Every fault seeded into one small network; each gives what was said about it, empty when nothing was.

    Args:
        board: On which the network is to run.
        folder: For files.
    """

    def __init__(self, board: Any, folder: Path) -> None:  # noqa: ANN401 - of the tests
        self._board = board
        self._folder = folder
        self._network = _network(folder / "net.onnx")
        generator = np.random.default_rng(1)
        self._images = generator.normal(size=(16, 6)).astype(np.float32)
        labels = _outputs(self._network, self._images).argmax(1)
        np.savez(folder / "data.npz", image=self._images, labels=labels)

    def table(self) -> dict[str, Callable[[Device], str]]:
        """What is seeded, by its name."""
        spoiled = {
            "wrong weights": "weights",
            "swapped channels": "channels",
            "wrong normalisation": "normalisation",
            "NaN in one batch": "nan",
        }
        return {
            **{name: functools.partial(self._computes, fault) for name, fault in spoiled.items()},
            "FP16 overflow": self._overflow,
            "opset lie": self._opset,
            "batch mismatch": self._batch,
            "stale calibration": self._calibration,
            "label order": self._labels,
            "truncated engine": self._truncated,
            "other board's engine": self._other_board,
            "other TensorRT's engine": self._other_tensorrt,
            "corrupted bundle": self._corrupted,
            "stale bundle": self._stale,
        }

    def deploy(self, device: Device, network: Path | None = None, **options: Any) -> str:  # noqa: ANN401
        """Deploy the network, or a bundle; why it was not installed."""
        own = {} if network is not None and network.is_dir() else {"precision": "fp16"}
        try:
            done = edgesynth.deploy(
                network or self._network,
                device,
                **{"data": str(self._folder / "data.npz"), **own, **options},
            )
        except EdgesynthError as error:
            return str(error)
        return "" if done else "; ".join(done.failures)

    def _computes(self, fault: str, device: Device) -> str:
        self._board.compute(fault)
        return self.deploy(device)

    def _overflow(self, device: Device) -> str:
        # NumPy's own half precision, and a TensorRT that calls most layers to be kept in single otherwise.
        self._board.compute("half")
        self._board.set("tensorrt", network=[["dense_2", "MATRIX_MULTIPLY"]])
        try:
            return self.deploy(device, _network(self._folder / "large.onnx", scale=1e5))
        finally:
            self._board.control["tensorrt"].pop("network")
            self._board.set("tensorrt")

    def _opset(self, device: Device) -> str:
        model = onnx.load(str(self._network))
        model.opset_import[0].version = 11
        onnx.save(model, str(self._folder / "lie.onnx"))
        return _failures(verify(self._folder / "lie.onnx", self._network, {"image": self._images}, opset=13))

    def _batch(self, device: Device) -> str:
        fixed = export_for_device(self._network, device.profile, self._folder / "fixed.onnx", batch=2)
        return _failures(verify(fixed.path, self._network, {"image": self._images}, batch=4))

    def _calibration(self, device: Device) -> str:
        orin, old = load_profile("jetson-orin-nano"), {"image": self._images * np.float32(0.02)}
        stale = export_for_device(self._network, orin, self._folder / "int8.onnx", precision="int8", data=old)
        return _failures(verify(stale.path, self._network, {"image": self._images}, precision="int8"))

    def _labels(self, device: Device) -> str:
        from edgesynth.tasks import load_task

        task = load_task("fashion-mnist-subset")
        swapped = [task.classes[1], task.classes[0], *task.classes[2:]]
        return self.deploy(device, _pixels(self._folder / "pixels.onnx"), data=task, labels=swapped)

    def _truncated(self, device: Device) -> str:
        export = export_for_device(self._network, device.profile, self._folder / "cut.onnx", batch=1)
        engine = build_engine(device, export)
        plan = Path(engine.plan)
        plan.write_bytes(plan.read_bytes()[:-100])
        try:
            run_engine(device, engine.plan, 1, {"image": self._images})
        except EdgesynthError as error:
            return str(error)
        finally:
            plan.unlink(missing_ok=True)
        return ""

    def _kept(self, device: Device) -> Path:
        folder = self._folder / "kept"
        if not folder.exists():
            edgesynth.deploy(self._network, device, precision="fp16", out=folder)
        return folder

    def _other_board(self, device: Device) -> str:
        folder = self._kept(device)
        place = "proc/device-tree/compatible"
        self._board.write(place, "nvidia,p3509\0nvidia,tegra194\0")
        said = self.deploy(device, folder)
        self._board.write(place, "nvidia,quill\0nvidia,tegra186\0")
        return said

    def _other_tensorrt(self, device: Device) -> str:
        folder = self._kept(device)
        self._board.set("tensorrt", version="8.0.1")
        said = self.deploy(device, folder)
        self._board.set("tensorrt", version="8.2.1")
        return said

    def _corrupted(self, device: Device) -> str:
        folder = shutil.copytree(self._kept(device), self._folder / "corrupted", dirs_exist_ok=True)
        data = bytearray((folder / "engine.plan").read_bytes())
        data[len(data) // 2] ^= 1
        (folder / "engine.plan").write_bytes(data)
        return self.deploy(device, folder)

    def _stale(self, device: Device) -> str:
        install_bundle(_board(device), read_bundle(self._kept(device)))
        self._board.set("tensorrt", version="8.4.1")
        problems = [found.problem for found in list_bundles(_board(device)) if found.problem]
        self._board.set("tensorrt", version="8.2.1")
        return "; ".join(problems)


def _network(path: Path, scale: float = 1.0) -> Path:
    generator = np.random.default_rng(0)
    return _write(
        path,
        (generator.normal(size=(6, 16)) * scale).astype(np.float32),
        (generator.normal(size=(16, 4)) / scale).astype(np.float32),
        ["batch", 6],
    )


def _pixels(path: Path) -> Path:
    generator = np.random.default_rng(0)
    first, second = generator.normal(size=(28, 16)), generator.normal(size=(16 * 28, 10))
    return _write(path, first.astype(np.float32), second.astype(np.float32), ["batch", 1, 28, 28])


def _write(path: Path, first: Any, second: Any, shape: list[Any]) -> Path:  # noqa: ANN401 - NumPy arrays
    nodes = [
        helper.make_node("MatMul", ["image", "first"], ["one"], name="dense_1"),
        helper.make_node("Relu", ["one"], ["two"], name="relu_1"),
        helper.make_node("Flatten", ["two"], ["flat"], name="flat"),
        helper.make_node("MatMul", ["flat", "second"], ["scores"], name="dense_2"),
    ]
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["batch", second.shape[1]])],
        [numpy_helper.from_array(first, "first"), numpy_helper.from_array(second, "second")],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), str(path))
    return path


def _outputs(path: Path, image: Any) -> Any:  # noqa: ANN401 - NumPy arrays
    import onnxruntime

    return onnxruntime.InferenceSession(path.read_bytes()).run(None, {"image": image})[0]


def _failures(report: Any) -> str:  # noqa: ANN401 - a VerifyReport
    return "" if report else "; ".join(report.failures)


def _board(device: Device) -> Board:
    assert device.board is not None
    return device.board


def _computing_board(kind: Any, folder: Path) -> Any:  # noqa: ANN401 - of the tests
    from fake_board import compile_cudart, find_python

    library = compile_cudart(folder)
    if library is None:
        raise SystemExit("the CUDA library of the board that is not there needs gcc")
    board = kind(folder / "root", agent_package())
    board.python = find_python("3.6") or sys.executable
    board.give_cuda(library)
    board.install("tensorrt", version="8.2.1")
    board.compute()
    return board


@contextlib.contextmanager
def _as_board(board: Any) -> Iterator[None]:  # noqa: ANN401 - of the tests
    """Child processes of this one find the files and programs of the board."""
    (board.root / "home/bin").mkdir(exist_ok=True)
    with contextlib.suppress(FileExistsError):
        (board.root / "home/bin/python3").symlink_to(board.python)
    before = dict(os.environ)
    os.environ.update(board.environment)
    os.environ["PATH"] = f"{board.root / 'home/bin'}:{before['PATH']}"
    os.environ.pop("XDG_CACHE_HOME", None)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def _cpu_s() -> float:
    """What this process and its children have used of all cores."""
    return sum(os.times()[:4])


def _load() -> str:
    """How busy the machine was; figures of a busy one are too high."""
    return f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores"


def _verdict(passed: bool) -> str:
    return "met" if passed else "MISSED"


def main(asked: list[str]) -> int:
    """Run what is asked, everything by default; 1 when a bound is missed."""
    parts = {"time": time_export, "install": time_install, "faults": count_faults}
    unknown = [name for name in asked if name not in parts]
    if unknown:
        sys.stderr.write(f"there is no part {unknown[0]}; parts are {', '.join(parts)}\n")
        return 2
    met = []
    for name, part in parts.items():
        if not asked or name in asked:
            with tempfile.TemporaryDirectory(prefix="edgesynth-") as scratch:
                met.append(part(Path(scratch)))
    print(json.dumps({"met": sum(met), "of": len(met)}))
    return 0 if all(met) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
