"""A board that is not there: a folder like the root of a Jetson, whose programs misbehave on request.

Its programs and modules are in ``tests/agent/board``. What they do is in ``control.json`` of its root, which
a test may change while the agent runs.
"""

import contextlib
import json
import os
import shutil
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, helper
from quick_agent import quick_agent

import edgesynth
from edgesynth.devices.agent_package import agent_name
from edgesynth.devices.bench import read_recording
from edgesynth.devices.link import Line

PARTS = Path(__file__).parents[1] / "agent" / "board"
PROGRAMS = {
    "tegrastats": "usr/bin",
    "nvpmodel": "usr/sbin",
    "jetson_clocks": "usr/bin",
    "sudo": "usr/bin",
    "trtexec": "usr/src/tensorrt/bin",
}
MODES = ["MAXN", "MAXQ", "MAXP_CORE_ALL", "MAXP_CORE_ARM", "MAXP_CORE_DENVER"]


def find_python(minor):
    """The newest interpreter of this version: of pyenv, or from PATH."""
    root = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    found = sorted(root.glob(f"{minor}.*/bin/python")) if root.is_dir() else []
    return str(found[-1]) if found else shutil.which(f"python{minor}")


class FakeBoard:
    """The root of a board.

    Attributes:
        root: The folder; ``EDGESYNTH_ROOT`` of its agent.
        python: The interpreter that runs the agent there.
        agent: Its agent, which starts as quickly as it can; see ``quick_agent.py``.
    """

    def __init__(self, root, package):
        self.root = root
        self.python = sys.executable
        self._package = package
        self.agent = root / "home" / agent_name(package)
        self.folder = root / "home" / "work"
        for name, folder in PROGRAMS.items():
            self.write_program(f"{folder}/{name}", PARTS / "programs" / name)
        self.trust("ALL")
        for precision in ("fp32", "fp16", "int8"):
            write_layer(root / f"home/{precision}.onnx", precision)
        self.write("proc/device-tree/model", "NVIDIA Jetson TX2 Developer Kit\0")
        self.write("proc/device-tree/compatible", "nvidia,quill\0nvidia,tegra186\0")
        self.write("proc/meminfo", "MemTotal: 8047208 kB\nMemFree: 91000 kB\nMemAvailable: 6291456 kB\n")
        self.write("etc/nv_tegra_release", "# R32 (release), REVISION: 7.6, GCID: 38171779, BOARD: t186ref\n")
        self.write("usr/local/cuda/version.txt", "CUDA Version 10.2.300\n")
        modes = "".join(f"< POWER_MODEL ID={number} NAME={name} >\n" for number, name in enumerate(MODES))
        self.write("etc/nvpmodel.conf", modes)
        self.write("var/lib/nvpmodel/status", "pmode:0003 fmode:fan_mode_quiet")
        self.clocks = {"GPU": [114750000, 1300500000, 114750000], "EMC": [40800000, 1866000000, 665600000]}
        self.write("state/clocks", json.dumps(self.clocks))
        self.modules = root / "usr/lib/python3/dist-packages"
        self.agent.write_bytes(quick_agent(package, self.python))
        self.environment = {  # what its agent and programs run in
            "EDGESYNTH_ROOT": str(root),
            "PYTHONPATH": str(self.modules),
            "PYTHONDONTWRITEBYTECODE": "1",
            "HOME": str(root / "home"),
            "PATH": os.environ["PATH"],
        }
        for shared in ("fake_dla.py", "trtexec_told.py"):
            self.write(f"state/{shared}", (PARTS / shared).read_text())
        self.control = {}
        self.set("tegrastats", curve={"mean_mw": 5000})

    def be(self, profile, soc, *, dla_cores):
        """Another module than the TX2, in the first mode of its profile, with cores of a DLA."""
        self.write("proc/device-tree/model", profile.title + "\0")
        self.write("proc/device-tree/compatible", f"nvidia,board\0nvidia,{soc}\0")
        self.write("etc/nvpmodel.conf", f"< POWER_MODEL ID=0 NAME={profile.mode().name} >\n")
        self.write("var/lib/nvpmodel/status", "pmode:0000 fmode:quiet")
        for program in ("tensorrt", "trtexec"):
            self.set(program, dla_cores=dla_cores)

    def use_python(self, minor):
        """Run the agent there with this Python, or skip the test on a machine without it."""
        place = find_python(minor)
        if place is None:
            pytest.skip(f"no python{minor} on this machine")
        self.python = place
        self.agent.write_bytes(quick_agent(self._package, place))

    def write(self, path, text):
        """A file of the board."""
        place = self.root / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text)
        return place

    def write_program(self, path, source):
        """A program of the board, from a script of Python or of the shell."""
        script = source.with_suffix(".sh" if source.with_suffix(".sh").exists() else ".py")
        interpreter = "/bin/sh" if script.suffix == ".sh" else f"{sys.executable} -SE"
        place = self.write(path, f"#!{interpreter}\n{script.read_text()}")
        place.chmod(place.stat().st_mode | stat.S_IXUSR)

    def remove(self, *names):
        """A board without these programs."""
        for name in names:
            (self.root / PROGRAMS[name] / name).unlink()

    def give_cuda(self, library):
        """Give it the CUDA runtime, or another one."""
        (self.root / "usr/local/cuda/lib64").mkdir(parents=True, exist_ok=True)
        shutil.copy(library, self.root / "usr/local/cuda/lib64/libcudart.so")

    def hide_cuda(self):
        """Leave the CUDA runtime to what brings one along; nobody else finds it."""
        hidden = self.root / "opt/libcudart.so"
        hidden.parent.mkdir()
        (self.root / "usr/local/cuda/lib64/libcudart.so").rename(hidden)
        self.environment["FAKE_CUDA"] = str(hidden)

    def have_gpu(self, capability, *, card=False):
        """Give it a GPU of this compute capability, e.g. ``8.7`` instead of a TX2's 6.2; or a card."""
        self.environment["FAKE_CUDA_CAPABILITY"] = capability
        if card:
            self.environment["FAKE_CUDA_CARD"] = "1"

    def install(self, module, **control):
        """Give its Python a module; for ``tensorrt``, with the version that it is."""
        shutil.copytree(PARTS / "modules" / module, self.modules / module)
        if control:
            self.set(module, **control)

    def compute(self, *faults):
        """Have its engines compute what their ONNX files say, with these faults; see ``board/compute.py``."""
        environment = {"PYTHONPATH": str(Path(edgesynth.__file__).parents[1]), "OMP_NUM_THREADS": "1"}
        command = [sys.executable, str(PARTS / "compute.py")]
        for program in ("tensorrt", "trtexec"):
            self.set(program, compute={"command": command, "env": environment, "faults": faults})

    def set(self, program, **values):
        """Change how a program behaves from now on."""
        self.control.setdefault(program, {}).update(values)
        self._write_control()

    def trust(self, *programs):
        """What sudo lets pass without a password: these programs, or ``ALL``."""
        self.write("state/sudoers", " ".join(programs) + "\n")

    def _write_control(self):
        scratch = self.root / "control.new"
        scratch.write_text(json.dumps(self.control))
        scratch.replace(self.root / "control.json")

    def layer(self, precision):
        """A file of one layer for this precision, as this board's TensorRT takes it."""
        versions = [self.control.get(name, {}).get("version", "") for name in ("tensorrt", "trtexec")]
        flags = precision == "fp16" and not any(version.startswith("11") for version in versions)
        return self.root / f"home/{'fp32' if flags else precision}.onnx"

    def request(self, **values):
        """A short benchmark."""
        precision = values.get("precision", "fp16")
        asked = {
            "network": {"model": str(self.layer(precision))},
            "precision": precision,
            "batch": 1,
            "warm_up_s": 0.01,
            "latency_runs": 20,
            "latency_limit_s": 2.0,
            "idle_s": 0.05,
            "load_s": 0.25,
            "rate_hz": 50.0,
            "mode": "MAXN",
            "folder": str(self.folder),
        }
        return {**asked, **values}

    def start(self, verb, request, *, keep_input=False):
        """The agent, running; its input ends after the request unless it is to be kept open."""
        process = subprocess.Popen(
            [self.python, str(self.agent), verb],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=self.environment,
            start_new_session=True,
        )
        process.stdin.write(json.dumps(request).encode() + b"\n")
        process.stdin.flush()
        if not keep_input:
            process.stdin.close()
        return process

    def ask(self, verb, **request):
        """Run the agent to its end; returns its events."""
        process = self.start(verb, request)
        with process:
            out, err = process.stdout.read(), process.stderr.read()
        assert process.returncode == 0, (out, err.decode())
        return [json.loads(line) for line in out.splitlines()]

    def bench(self, **values):
        """A whole benchmark; returns its events."""
        return self.ask("bench", **self.request(**values))

    def recording(self, **values):
        """A whole benchmark, as the host reads it."""
        return read_recording([Line(0.0, json.dumps(event)) for event in self.bench(**values)])

    def start_bench(self, *, until, **values):
        """A benchmark that has come so far: until a line holds this text."""
        process = self.start("bench", self.request(load_s=30.0, **values))
        for line in process.stdout:
            if until in line.decode():
                return process
        raise AssertionError(process.stderr.read().decode())

    def told(self, name):
        """What a program wrote down about its calls."""
        place = self.root / "state" / name
        return place.read_text().splitlines() if place.exists() else []

    def present_clocks(self):
        return json.loads((self.root / "state/clocks").read_text())

    def present_mode(self):
        return MODES[int((self.root / "var/lib/nvpmodel/status").read_text()[6:10])]

    def processes(self):
        """What runs on this board: process ids and command lines."""
        found = {}
        for place in Path("/proc").glob("[0-9]*"):
            try:
                command = (
                    (place / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
                )
            except OSError:
                continue
            if str(self.root) in command:
                found[int(place.name)] = command
        return found

    def kill_all(self):
        """End what a test that failed may have left."""
        for pid in self.processes():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def wait_until_quiet(self, patience_s=20.0):
        """Every process of this board has ended."""
        until = time.monotonic() + patience_s
        while self.processes() and time.monotonic() < until:
            time.sleep(0.05)
        assert not self.processes()


def write_layer(path, precision):
    """One convolution that computes in this precision."""
    kind = TensorProto.FLOAT16 if precision == "fp16" else TensorProto.FLOAT
    weights = [
        helper.make_tensor("weight", kind, [4, 3, 1, 1], [0.5] * 12),
        helper.make_tensor("scale", TensorProto.FLOAT, [], [0.1]),
        helper.make_tensor("zero", TensorProto.INT8, [], [0]),
    ]
    before = {
        "fp32": [],
        "fp16": [helper.make_node("Cast", ["input"], ["taken"], to=TensorProto.FLOAT16)],
        "int8": [
            helper.make_node("QuantizeLinear", ["input", "scale", "zero"], ["small"]),
            helper.make_node("DequantizeLinear", ["small", "scale", "zero"], ["taken"]),
        ],
    }[precision]
    made = "half" if precision == "fp16" else "output"
    after = [helper.make_node("Cast", ["half"], ["output"], to=TensorProto.FLOAT)] if made == "half" else []
    graph = helper.make_graph(
        [*before, helper.make_node("Conv", ["taken" if before else "input", "weight"], [made]), *after],
        "one-layer",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, [1, 3, 32, 32])],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, [1, 4, 32, 32])],
        weights if precision == "int8" else weights[:1],
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), path)


def compile_cudart(folder, version=10020):
    """The CUDA library of such a board, of the release ``version``; ``None`` without a compiler."""
    gcc = shutil.which("gcc")
    if gcc is None:
        return None
    library = folder / f"libcudart-{version}.so"
    command = [gcc, "-shared", "-fPIC", "-O1", f"-DCUDA_VERSION={version}", "-o", str(library)]
    command.append(str(PARTS / "cudart.c"))
    subprocess.run(command, check=True)
    return library
