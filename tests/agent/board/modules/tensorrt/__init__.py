"""TensorRT of a board that is not there.

It offers exactly the members that one version has, from ``surface.json``; others raise ``AttributeError``,
be they read or set. ``control.json`` in the root of the board says which version, and how it misbehaves.
With ``compute`` in it, an engine computes what its ONNX file says: ONNX Runtime does, in a process of the
host's Python; see ``compute.py``. Without, its outputs are zeros. ``record`` says how a call behaves that is
recorded in a CUDA graph: it may be ``refused``, ``raise``, ``wait`` for the GPU, ``allocate`` memory, be
``wrong``, or use the ``stale`` inputs of that time; with ``noise`` the outputs of all calls differ.
An engine that computes takes longer in single precision, and less in INT8: ``paces`` says how many times.
Runs under the board's Python, 3.6 and later.
"""

import base64
import ctypes
import enum
import json
import math
import os
import signal
import sys
import time

from .computing import Compute
from .configuring import Config, Profile
from .control import CONTROL, ROOT, SURFACES

import fake_dla  # isort: skip  # in the board's state; control made it importable

__version__ = CONTROL["version"]
OBEYED = ("OBEY_PRECISION_CONSTRAINTS", "STRICT_TYPES")
SURFACE = SURFACES[__version__]
if CONTROL.get("import") == "crash":
    os.kill(os.getpid(), signal.SIGSEGV)

_CUDA = ctypes.CDLL(os.environ.get("FAKE_CUDA") or os.path.join(ROOT, "usr/local/cuda/lib64/libcudart.so"))
_RUN = ctypes.CFUNCTYPE(None)


def _offer(name, implementation):
    """A class with the members of this version: what it lacks is removed, what is not played is a stub."""
    members = set(SURFACE["classes"][name])

    def __setattr__(self, key, value):
        if not key.startswith("_") and key not in members:
            raise AttributeError("{} has no {} in {}".format(name, key, __version__))
        object.__setattr__(self, key, value)

    def stub(self, *arguments):
        raise NotImplementedError("the board that is not there does not play {}".format(name))

    body = dict.fromkeys(members, stub)
    body.update(
        (key, value) for key, value in vars(implementation).items() if key.startswith("_") or key in members
    )
    body["__setattr__"] = __setattr__
    body.pop("__dict__", None)
    return type(name, (), body)


def _enumeration(name):
    return enum.IntEnum(name, SURFACE["enums"][name], start=0)


for _name in SURFACE["enums"]:
    globals()[_name] = _enumeration(_name)


class Logger:
    WARNING = 2

    def __init__(self, severity=WARNING):
        pass


def init_libnvinfer_plugins(logger, namespace):
    return True


class _Runtime:
    DLA_core = -1
    num_DLA_cores = property(lambda self: fake_dla.cores(CONTROL))

    def __init__(self, logger):
        pass

    def deserialize_cuda_engine(self, plan):
        try:
            known = json.loads(plan.decode())
        except ValueError:
            return None
        if known["tensorrt"] != __version__:
            return None
        if known.get("dla") is not None:
            core = max(self.DLA_core, 0)  # it runs on the first unless another is said
            if core >= self.num_DLA_cores:
                sys.stderr.write("[TRT] [E] Error Code 3: DLA core {} is not there\n".format(core))
                return None
            fake_dla.note_load(ROOT, core)
        return ICudaEngine(known)


class _Engine:
    def __init__(self, plan):
        self._plan = plan
        self._tensors = plan["inputs"] + plan["outputs"]
        self._inputs = len(plan["inputs"])

    num_io_tensors = num_bindings = property(lambda self: len(self._tensors))
    device_memory_size = device_memory_size_v2 = property(lambda self: 1000)

    def get_tensor_name(self, index):
        return self._tensors[index][0]

    get_binding_name = get_tensor_name

    def binding_is_input(self, index):
        return index < self._inputs

    def get_tensor_mode(self, name):
        return TensorIOMode.INPUT if self._index(name) < self._inputs else TensorIOMode.OUTPUT  # noqa: F821

    def get_binding_shape(self, index):
        return tuple(self._tensors[index][1])

    def get_tensor_shape(self, name):
        return tuple(self._tensors[self._index(name)][1])

    def _dtype(self, index):
        return DataType[(self._tensors[index] + ["FLOAT"])[2]]  # noqa: F821

    def get_binding_dtype(self, index):
        return self._dtype(index)

    def get_tensor_dtype(self, name):
        return self._dtype(self._index(name))

    def create_execution_context(self):
        return IExecutionContext(self)

    def serialize(self):
        return json.dumps(self._plan).encode()

    def _index(self, name):
        return [tensor[0] for tensor in self._tensors].index(name)


class _Context:
    def __init__(self, engine):
        self._engine = engine
        self._given = {}  # shapes of inputs of free size
        self._addresses = {}
        self._calls = 0
        self._recorded = []
        self._done = 0
        plan = engine._plan
        self._compute = None
        if "onnx" in plan:
            self._compute = Compute(CONTROL["compute"], plan["onnx"], plan["flags"], plan["full"])

    def set_input_shape(self, name, shape):
        return self._give(self._engine._index(name), shape)

    def set_binding_shape(self, index, shape):
        return self._give(index, shape)

    def _give(self, index, shape):
        """Whether it is within the profile; what is not leaves the context as it was."""
        name, known = self._engine._tensors[index][:2]
        least, _, most = self._engine._plan["profile"].get(name, [known] * 3)
        if len(shape) != len(known) or not all(
            low <= shape[axis] <= most[axis] for axis, low in enumerate(least)
        ):
            sys.stderr.write(
                "[TRT] [E] 3: setInputShape: {} is {}, and the profile has {} to {}\n".format(
                    name, list(shape), least, most
                )
            )
            return False
        self._given[name] = list(shape)
        return True

    def get_tensor_shape(self, name):
        return self._shape(self._engine._index(name))

    def get_binding_shape(self, index):
        return self._shape(index)

    def set_tensor_address(self, name, address):
        self._addresses[name] = address
        return True

    def execute_async_v3(self, stream):
        assert len(self._addresses) == len(self._engine._tensors), "an address is missing"
        return self._enqueue(stream, [self._addresses[tensor[0]] for tensor in self._engine._tensors])

    def execute_async_v2(self, bindings, stream):
        assert len(bindings) == len(self._engine._tensors), "a binding is missing"
        return self._enqueue(stream, bindings)

    def execute_v2(self, bindings):
        assert len(bindings) == len(self._engine._tensors), "a binding is missing"
        if isinstance(self.profiler, IProfiler):
            for name, ms in CONTROL.get("layers", [["conv1 + relu1", 0.75], ["fc", 0.25]]):
                self.profiler.report_layer_time(name, ms)
        return True

    def _enqueue(self, stream, addresses):
        if any(-1 in self._shape(index) for index in range(len(addresses))):
            sys.stderr.write("[TRT] [E] 3: the size of an input was not set, or they do not agree\n")
            return False
        self._calls += 1
        if self._calls == CONTROL.get("crash_at"):
            os.kill(os.getpid(), signal.SIGSEGV)
        if self._calls == CONTROL.get("hang_at"):
            time.sleep(3600)
        stream = ctypes.c_void_p(stream)
        how = CONTROL.get("record") if _CUDA.fake_recording(stream) else None
        if how == "refused":
            return False
        if how == "raise":
            raise RuntimeError("not while a stream records")
        if how == "wait":
            _CUDA.cudaStreamSynchronize(stream)
        paces = dict({"fp32": 2.0, "int8": 0.5}, **CONTROL.get("paces", {}))
        ms = CONTROL.get("call_ms", 2.0) * paces.get(self._engine._plan.get("precision"), 1.0)
        seconds = ctypes.c_double(ms / 1e3 * self._slowness())
        status = _CUDA.fake_enqueue(stream, seconds, self._run(how, stream, addresses))
        if how == "allocate":  # and does not look what became of it
            _CUDA.cudaMalloc(ctypes.byref(ctypes.c_void_p()), ctypes.c_size_t(1))
        return status == 0

    def _slowness(self):
        """How much longer calls take while clocks still ramp; see the ``ramp`` of the board's trtexec."""
        if self._calls == 1:
            self._first_s = time.monotonic()
        share, falls_off_s = CONTROL.get("ramp", (0.0, 1.0))
        return 1.0 + share * math.exp(-(time.monotonic() - self._first_s) / falls_off_s)

    def _run(self, how, stream, addresses):
        """What the GPU does when the stream gets there."""
        tensors, inputs = self._engine._tensors, self._engine._inputs

        def read():
            return [ctypes.string_at(addresses[index], self._bytes(index)) for index in range(inputs)]

        stale = read() if how == "stale" else None
        sizes = [self._bytes(index) for index in range(inputs, len(tensors))]

        def run():
            self._done += 1
            if self._compute is not None:
                data = stale or read()
                feed = [(tensors[index][0], self._shape(index), data[index]) for index in range(inputs)]
                found = self._compute(feed)
            for index, address in enumerate(addresses[inputs:]):
                if self._compute is None:
                    ctypes.memset(address, 0, sizes[index])
                else:
                    ctypes.memmove(address, found[index], len(found[index]))
                if how == "wrong" or CONTROL.get("noise"):
                    ctypes.memset(address, self._done % 100, 1)

        called = _RUN(run)
        if _CUDA.fake_recording(stream):
            self._recorded.append(called)
        self._last = called  # whoever puts another one into the stream has waited for it
        return called

    def _bytes(self, index):
        size = {"FLOAT": 4, "HALF": 2, "INT32": 4, "INT64": 8, "BOOL": 1, "INT8": 1, "UINT8": 1}[
            self._engine._dtype(index).name
        ]
        for length in self._shape(index):
            size *= length
        return size

    def __del__(self):
        if self._compute is not None:
            self._compute.close()

    def _shape(self, index):
        name, shape = self._engine._tensors[index][:2]
        every = [self._given[name]] if name in self._given else self._given.values()
        given = {one[0] for one in every if one}
        batch = given.pop() if len(given) == 1 else -1
        return tuple(batch if length == -1 else length for length in shape)


class IProfiler:
    """Every version has it, with this one method."""

    def __init__(self):
        pass

    def report_layer_time(self, layer_name, ms):
        raise NotImplementedError


if "progress_monitor" in SURFACE["classes"]["IBuilderConfig"]:

    class IProgressMonitor:
        """Told of stages while an engine is built."""

        def __init__(self):
            self._known = True


def _tell_stages(config):
    """Two stages, one of them with one inside, as TensorRT tells them to whoever listens."""
    monitor = getattr(config, "progress_monitor", None)
    if not getattr(monitor, "_known", False):
        return
    for name, steps in (("Building engine from subgraph", 2), ("Serialising", 1)):
        monitor.phase_start(name, None, steps)
        monitor.phase_start("Computing costs", name, 40)
        for step in range(steps):
            assert monitor.step_complete(name, step)
            monitor.step_complete("Computing costs", step)
            time.sleep(CONTROL.get("step_s", 0))
        monitor.phase_finish("Computing costs")
        monitor.phase_finish(name)


class _Builder:
    num_DLA_cores = property(lambda self: fake_dla.cores(CONTROL))

    def __init__(self, logger):
        pass

    def create_network(self, flags=0):
        known = NetworkDefinitionCreationFlag  # noqa: F821
        if hasattr(known, "STRONGLY_TYPED"):
            typed = flags & 1 << int(known.STRONGLY_TYPED)
            batch = 1 << int(known.EXPLICIT_BATCH) if hasattr(known, "EXPLICIT_BATCH") else 0
            assert flags - typed == batch
            return INetworkDefinition(bool(typed) or not batch)  # from 11 on there is no other way
        if hasattr(known, "EXPLICIT_BATCH"):
            assert flags == 1 << int(NetworkDefinitionCreationFlag.EXPLICIT_BATCH), "no explicit batch"  # noqa: F821
        return INetworkDefinition()

    def create_builder_config(self):
        return IBuilderConfig()

    def create_optimization_profile(self):
        return IOptimizationProfile()

    def build_serialized_network(self, network, config):
        plan = _build(network, config)
        return None if plan is None else json.dumps(plan).encode()

    def build_engine(self, network, config):
        plan = _build(network, config)
        return None if plan is None else ICudaEngine(plan)


def _build(network, config):
    with open(os.path.join(ROOT, "state", "builds"), "a") as told:
        told.write(
            json.dumps(
                {
                    "flags": config._flags,
                    "workspace": config._workspace(),
                    "typed": network._typed,
                    "timings": config._known(),
                    "dla": config._core(),
                    "full": sorted(network._full),
                }
            )
            + "\n"
        )
    precisions = set(config._flags) - {"GPU_FALLBACK", *OBEYED}
    full = sorted(network._full) if set(config._flags) & set(OBEYED) else []
    assert not network._full or full, "constraints that nobody is told to obey"
    assert not (network._typed and precisions), "a strongly typed network takes no flags of precision"
    fault = CONTROL.get("build")
    if fault == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    if fault == "slow":
        time.sleep(3600)
    if fault == "crash":
        os.kill(os.getpid(), signal.SIGSEGV)
    if fault == "memory" and CONTROL.get("starves", "") in ("", _precision(network, precisions)):
        sys.stderr.write("[TRT] [E] 2: [virtualMemoryBuffer.cpp::resizePhysical] Error Code 2: OutOfMemory\n")
        return None
    free = [tensor[0] for tensor in network._inputs if -1 in tensor[1]]
    profile = config._profiles[0]._shapes if config._profiles else {}
    if set(free) - set(profile):
        sys.stderr.write(
            "[TRT] [E] 4: Network has dynamic inputs, but no optimization profile was defined.\n"
        )
        return None
    _tell_stages(config)
    if config._core() is not None:
        left = fake_dla.left_on_gpu(CONTROL, network._half(config), bool(free))
        problem = fake_dla.fault(
            CONTROL, config._core(), network._typed, "GPU_FALLBACK" in config._flags, left
        )
        for line in fake_dla.warnings(CONTROL, left) + (["[TRT] [E] " + problem] if problem else []):
            sys.stderr.write(line + "\n")
        if problem:
            return None
    config._timings += 1
    plan = {
        "tensorrt": __version__,
        "inputs": network._inputs,
        "outputs": network._outputs,
        "dla": config._core(),
        "profile": profile,
    }
    if CONTROL.get("compute"):
        plan.update(onnx=network._onnx, flags=config._flags, precision=_precision(network, precisions))
        plan.update(full=full)
    return plan


def _precision(network, flags):
    """The lowest that is allowed, or that the graph is in."""
    if "INT8" in flags or network._precision == "int8":
        return "int8"
    return "fp16" if "FP16" in flags else network._precision


class _Network:
    def __init__(self, typed=False):
        self._typed = typed
        self._precision = "fp32"
        self._inputs = []
        self._outputs = []
        self._layers = fake_dla.layers(CONTROL)
        self._full = set()  # layers that are to compute in single precision, and to give that

    num_inputs = property(lambda self: len(self._inputs))

    num_layers = property(lambda self: len(self._layers))

    def get_input(self, index):
        return ITensor(self._inputs[index])

    def get_layer(self, index):
        return ILayer(self, *self._layers[index])

    def _half(self, config):
        return self._typed or "FP16" in config._flags


class _Layer:
    num_outputs = 1

    def __init__(self, network, name, kind):
        self._network = network
        self.name = name
        self.type = enum.Enum("LayerType", [kind])[kind]

    def _set_precision(self, kind):
        assert kind == DataType.FLOAT  # noqa: F821
        self._network._full.add(self.name)

    precision = property(None, _set_precision)

    def get_output(self, index):
        return ITensor([self.name, []])

    def set_output_type(self, index, kind):
        assert (index, kind) == (0, DataType.FLOAT)  # noqa: F821


class _Tensor:
    """An input; its size is that of the network."""

    def __init__(self, known):
        self._known = known
        self.name = known[0]
        self.dtype = DataType.FLOAT  # noqa: F821

    def _resize(self, shape):
        self._known[1] = list(shape)

    shape = property(lambda self: tuple(self._known[1]), _resize)


class _Parser:
    def __init__(self, network, logger):
        self._network = network

    num_errors = property(lambda self: 1)

    def parse(self, data):
        if CONTROL.get("build") == "unsupported":
            return False
        if CONTROL.get("compute"):
            self._network._onnx = base64.b64encode(data).decode()
            compute = Compute(CONTROL["compute"], self._network._onnx, [], [], layers=True)
            if "network" not in CONTROL and not fake_dla.cores(CONTROL):
                self._network._layers = compute.described["layers"]
            self._network._inputs += compute.described["inputs"]
            self._network._outputs += compute.described["outputs"]
            compute.close()
            return True
        self._network._inputs += CONTROL.get("inputs", [["input", [1, 3, 32, 32]]])
        self._network._outputs += CONTROL.get("outputs", [["output", [1, 10]]])
        return True

    def parse_from_file(self, path):
        from edgesynth.agent.onnx_types import read_precision  # a builder's process has the agent's code

        self._network._precision = read_precision(path)
        with open(path, "rb") as model:
            return self.parse(model.read())

    def get_error(self, index):
        return _ParserError()


class _ParserError:
    def desc(self):
        return "In node 7 (importFallbackPluginImporter): UNSUPPORTED_NODE: Plugin not found: NonZeroish"


Builder = _offer("Builder", _Builder)
ICudaEngine = _offer("ICudaEngine", _Engine)
IExecutionContext = _offer("IExecutionContext", _Context)
IBuilderConfig = _offer("IBuilderConfig", Config)
IOptimizationProfile = _offer("IOptimizationProfile", Profile)
INetworkDefinition = _offer("INetworkDefinition", _Network)
ILayer = _offer("ILayer", _Layer)
ITensor = _offer("ITensor", _Tensor)
OnnxParser = _offer("OnnxParser", _Parser)
Runtime = _offer("Runtime", _Runtime)
