"""TensorRT of a board that is not there.

It offers exactly the members that one version has, from ``surface.json``; others raise ``AttributeError``,
be they read or set. ``control.json`` in the root of the board says which version, and how it misbehaves.
With ``compute`` in it, an engine computes what its ONNX file says: ONNX Runtime does, in a process of the
host's Python; see ``compute.py``. Without, its outputs are zeros.
Runs under the board's Python, 3.6 and later.
"""

import base64
import ctypes
import enum
import json
import os
import signal
import subprocess
import sys
import time

ROOT = os.environ["EDGESYNTH_ROOT"]
with open(os.path.join(ROOT, "control.json")) as file:
    CONTROL = json.load(file).get("tensorrt", {})
with open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "surface.json")) as file:
    SURFACES = json.load(file)
# No surface of 7.1 was published; it is that of 8.0 without what 8.0 brought.
SURFACES["7.1.3"] = json.loads(json.dumps(SURFACES["8.0.1"]))
SURFACES["7.1.3"]["classes"]["Builder"].remove("build_serialized_network")
SURFACES["7.1.3"]["classes"]["OnnxParser"].remove("parse_from_file")
for _name in ("create_timing_cache", "get_timing_cache", "set_timing_cache"):
    SURFACES["7.1.3"]["classes"]["IBuilderConfig"].remove(_name)

__version__ = CONTROL["version"]
SURFACE = SURFACES[__version__]
if CONTROL.get("import") == "crash":
    os.kill(os.getpid(), signal.SIGSEGV)

_CUDA = ctypes.CDLL(os.path.join(ROOT, "usr/local/cuda/lib64/libcudart.so"))


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
    def __init__(self, logger):
        pass

    def deserialize_cuda_engine(self, plan):
        try:
            known = json.loads(plan.decode())
        except ValueError:
            return None
        return ICudaEngine(known) if known["tensorrt"] == __version__ else None


class _Compute:
    """The process that computes one network."""

    def __init__(self, onnx, flags):
        asked = CONTROL["compute"]
        self._process = subprocess.Popen(
            asked["command"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=asked["env"]
        )
        order = {"onnx": onnx, "flags": flags, "faults": asked["faults"]}
        self._process.stdin.write((json.dumps(order) + "\n").encode())
        self.described = self._answer()

    def __call__(self, feed):
        """Bytes of each output for bytes and shape of each input."""
        head = {name: list(shape) for name, shape, _ in feed}
        self._process.stdin.write((json.dumps(head) + "\n").encode())
        for _, _, data in feed:
            self._process.stdin.write(data)
        return [self._process.stdout.read(size) for size in self._answer()]

    def _answer(self):
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline().decode())

    def close(self):
        self._process.stdin.close()
        self._process.wait()


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
        self._batch = None
        self._addresses = {}
        self._calls = 0
        plan = engine._plan
        self._compute = _Compute(plan["onnx"], plan["flags"]) if "onnx" in plan else None

    def set_input_shape(self, name, shape):
        self._batch = shape[0]
        return True

    set_binding_shape = set_input_shape

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
        self._calls += 1
        if self._calls == CONTROL.get("crash_at"):
            os.kill(os.getpid(), signal.SIGSEGV)
        if self._calls == CONTROL.get("hang_at"):
            time.sleep(3600)
        _CUDA.fake_enqueue(ctypes.c_void_p(stream), ctypes.c_double(CONTROL.get("call_ms", 2.0) / 1e3))
        if self._compute is not None:
            tensors, inputs = self._engine._tensors, self._engine._inputs
            feed = []
            for index in range(inputs):
                data = ctypes.string_at(addresses[index], self._bytes(index))
                feed.append((tensors[index][0], self._shape(index), data))
            for index, data in enumerate(self._compute(feed)):
                ctypes.memmove(addresses[inputs + index], data, len(data))
        return True

    def _bytes(self, index):
        size = {"FLOAT": 4, "HALF": 2, "INT32": 4, "INT64": 8, "BOOL": 1, "INT8": 1}[
            self._engine._dtype(index).name
        ]
        for length in self._shape(index):
            size *= length
        return size

    def __del__(self):
        if self._compute is not None:
            self._compute.close()

    def _shape(self, index):
        shape = self._engine._tensors[index][1]
        return tuple(self._batch if length == -1 and self._batch else length for length in shape)


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
                }
            )
            + "\n"
        )
    assert not (network._typed and config._flags), "a strongly typed network takes no flags of precision"
    fault = CONTROL.get("build")
    if fault == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    if fault == "slow":
        time.sleep(3600)
    if fault == "crash":
        os.kill(os.getpid(), signal.SIGSEGV)
    if fault == "memory":
        sys.stderr.write("[TRT] [E] 2: [virtualMemoryBuffer.cpp::resizePhysical] Error Code 2: OutOfMemory\n")
        return None
    free = any(-1 in tensor[1] for tensor in network._inputs)
    if free and not config._profiles:
        sys.stderr.write(
            "[TRT] [E] 4: Network has dynamic inputs, but no optimization profile was defined.\n"
        )
        return None
    _tell_stages(config)
    config._timings += 1
    plan = {"tensorrt": __version__, "inputs": network._inputs, "outputs": network._outputs}
    if CONTROL.get("compute"):
        plan.update(onnx=network._onnx, flags=config._flags)
    return plan


class ITimingCache:
    """What a builder has measured: here, how many builds have added to it."""

    def __init__(self, builds):
        self.builds = builds

    def serialize(self):
        return "{} builds by {}".format(self.builds, __version__).encode()


class _Config:
    def __init__(self):
        self._flags = []
        self._profiles = []
        self._timings = 0
        self._read = None

    def create_timing_cache(self, data):
        if not data:
            return ITimingCache(0)
        words = data.decode("utf-8", "replace").split()
        return ITimingCache(int(words[0])) if words[1:3] == ["builds", "by"] else None

    def set_timing_cache(self, cache, ignore_mismatch):
        self._timings = self._read = cache.builds
        return True

    def get_timing_cache(self):
        return ITimingCache(self._timings)

    def _known(self):
        return self._read

    def set_flag(self, flag):
        self._flags.append(flag.name)

    def set_memory_pool_limit(self, pool, size):
        self._pool = size

    def add_optimization_profile(self, profile):
        self._profiles.append(profile)

    def _workspace(self):
        return getattr(self, "_pool", None) or self.max_workspace_size


class _Profile:
    def set_shape(self, name, least, usual, most):
        pass


class _Network:
    def __init__(self, typed=False):
        self._typed = typed
        self._inputs = []
        self._outputs = []

    num_inputs = property(lambda self: len(self._inputs))

    def get_input(self, index):
        return ITensor(*self._inputs[index][:2])


class _Tensor:
    def __init__(self, name, shape):
        self.name = name
        self.shape = tuple(shape)


class _Parser:
    def __init__(self, network, logger):
        self._network = network

    num_errors = property(lambda self: 1)

    def parse(self, data):
        if CONTROL.get("build") == "unsupported":
            return False
        if CONTROL.get("compute"):
            self._network._onnx = base64.b64encode(data).decode()
            compute = _Compute(self._network._onnx, [])
            self._network._inputs += compute.described["inputs"]
            self._network._outputs += compute.described["outputs"]
            compute.close()
            return True
        self._network._inputs += CONTROL.get("inputs", [["input", [1, 3, 32, 32]]])
        self._network._outputs += CONTROL.get("outputs", [["output", [1, 10]]])
        return True

    def parse_from_file(self, path):
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
IBuilderConfig = _offer("IBuilderConfig", _Config)
IOptimizationProfile = _offer("IOptimizationProfile", _Profile)
INetworkDefinition = _offer("INetworkDefinition", _Network)
ITensor = _offer("ITensor", _Tensor)
OnnxParser = _offer("OnnxParser", _Parser)
Runtime = _offer("Runtime", _Runtime)
