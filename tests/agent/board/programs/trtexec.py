"""trtexec of a board that is not there: it has the options of one version and refuses all others.

What it takes, prints and writes is that of the version, from NVIDIA/TensorRT (``samples/common`` and
``samples/trtexec`` at that version) and from logs of Jetsons that people published. With ``compute`` in its
control an engine computes what its ONNX file says, as that of the board's TensorRT does. Without, nothing is
computed.

The time of a call is ``call_ms`` for who calls once and waits. As on real boards it is shorter where two
calls are in flight, or a graph is launched, and longer where kernels are loaded or a profiler listens. With
``ramp``, a share and a time in s, calls are longer by that share at first, which falls off in that time.
"""

import base64
import json
import math
import os
import re
import struct
import subprocess
import sys
import time

ROOT = os.environ["EDGESYNTH_ROOT"]
sys.path.insert(0, os.path.join(ROOT, "state"))
import fake_dla  # noqa: E402 - beside the board's other state
from trtexec_told import TOLD  # noqa: E402

COMMON = (
    "onnx minShapes optShapes maxShapes inputIOFormats outputIOFormats avgTiming noTF32 saveEngine "
    "loadEngine safe noBuilderCache device useDLACore allowGPUFallback shapes loadInputs iterations "
    "warmUp duration sleepTime exposeDMA useSpinWait threads useCudaGraph verbose avgRuns percentile "
    "dumpOutput dumpProfile exportTimes exportOutput exportProfile help"
)
OLD = "uff model deploy output maxBatch minTiming batch "  # gone in 10
FROM_8 = (
    "refit sparsity tacticSources timingCacheFile noDataTransfers timeDeserialize timeRefit "
    "separateProfileRun dumpRefit "
)
FROM_8_4 = "memPoolSize profilingVerbosity idleTime useManagedMemory dumpLayerInfo exportLayerInfo "
FROM_8_6 = "skipInference dumpRawBindingsToFile builderOptimizationLevel maxAuxStreams infStreams "
WEAK = "fp16 int8 best calib "  # gone in 11
CONSTRAINTS = "precisionConstraints layerPrecisions layerOutputTypes "  # gone in 11
OPTIONS = {  # banner, options besides the common ones
    "7.1": ("", OLD + WEAK + "explicitBatch workspace nvtxMode streams buildOnly"),
    "8.2": ("v8201", OLD + WEAK + FROM_8 + "explicitBatch workspace nvtxMode streams buildOnly"),
    "8.5": ("v8502", OLD + WEAK + FROM_8 + FROM_8_4 + CONSTRAINTS + "workspace streams buildOnly heuristic"),
    "8.6": ("v8601", OLD + WEAK + FROM_8 + FROM_8_4 + FROM_8_6 + CONSTRAINTS + "heuristic"),
    "10.3": ("v100300", WEAK + FROM_8 + FROM_8_4 + FROM_8_6 + CONSTRAINTS + "stronglyTyped bf16 fp8"),
    "11.1": (
        "v110100",
        FROM_8 + FROM_8_4 + FROM_8_6 + "stronglyTyped noCudaGraph noSpinWait includeDataTransfers",
    ),
}
TYPES = {  # of NumPy's letters, and trtexec's own word
    "FLOAT": ("f", 4, "fp32"),
    "INT32": ("i", 4, "int32"),
    "BOOL": ("?", 1, "bool"),
    "UINT8": ("B", 1, "uint8"),
}
LAYERS = [("conv1 + relu1", 0.75), ("fc", 0.25)]


def say(kind, text):
    print("[04/14/2026-01:36:48] [{}] {}".format(kind, text), flush=True)


def tell(lines):
    for line in lines:
        print("[04/14/2026-01:36:48] " + line, flush=True)


def end(verdict, banner, status):
    print(
        "&&&& {} TensorRT.trtexec{} # trtexec {}".format(verdict, banner, " ".join(sys.argv[1:])), flush=True
    )
    sys.exit(status)


class Engine:
    """What a plan computes, in a process of the host's Python; see ``compute.py``."""

    def __init__(self, asked, plan):
        self._process = subprocess.Popen(
            asked["command"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=asked["env"]
        )
        order = {name: plan[name] for name in ("onnx", "flags", "full")}
        self._send(json.dumps(dict(order, faults=asked["faults"])).encode() + b"\n")
        told = self._answer()
        self._shapes = asked.get("shapes", {})
        self.inputs = [self._filled(value) for value in told["inputs"]]
        self.outputs = [self._filled(value) for value in told["outputs"]]

    def __call__(self, feed):
        self._send(json.dumps({name: shape for name, shape, _ in self.inputs}).encode() + b"\n")
        for data in feed:
            self._send(data)
        return [self._process.stdout.read(size) for size in self._answer()]

    def _filled(self, value):
        name, shape, kind = value
        batch = next((size[0] for size in self._shapes.values()), 1)  # a free one is 1, unasked
        filled = [batch if length == -1 else length for length in shape]
        return name, self._shapes.get(name, filled), kind

    def _send(self, data):
        self._process.stdin.write(data)

    def _answer(self):
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline().decode())


def size(shape, kind):
    return math.prod(shape) * TYPES[kind][1]


def loaded(engine, values, version):
    """The inputs: from files, else noise of its own."""
    files = dict(entry.rsplit(":", 1) for entry in values.get("loadInputs", "").split(",") if entry)
    feed = []
    for name, shape, kind in engine.inputs:
        data = bytes(size(shape, kind))
        if name in files:
            with open(files[name], "rb") as file:
                found = file.read()
            if len(found) != len(data) and version not in ("7.1", "8.2"):
                say("E", "Unexpected file size for input file: {}.".format(files[name]))
                end("FAILED", "", 1)
            data = (found + data)[: len(data)]  # the old ones read what fits, and leave the rest as it was
        feed.append(data)
    return feed


def letters(data, kind):
    """Values as C++ prints them unless told otherwise: floats with six digits."""
    for value in struct.unpack("<{}{}".format(len(data) // TYPES[kind][1], TYPES[kind][0]), data):
        yield "{:g}".format(value) if kind == "FLOAT" else str(int(value))


def export(engine, feed, found, values):
    """Write what was asked for, where it was asked for."""
    if "exportOutput" in values:
        with open(values["exportOutput"], "w") as file:
            file.write("[\n")
            told = list(zip(engine.outputs, found, strict=True))
            for index, ((name, shape, kind), data) in enumerate(
                reversed(told)
            ):  # in the order of a hash table
                file.write('{}{{ "name" : "{}"\n'.format(", " if index else "  ", name))
                file.write('  , "dimensions" : "{}"\n'.format("x".join(map(str, shape))))
                file.write('  , "values" : [ {} ]\n  }}\n'.format(", ".join(letters(data, kind))))
            file.write("]\n")
    if "dumpRawBindingsToFile" in values:
        say("I", "Dumping I/O Bindings to RAW Files:")
        every = [("input", *one) for one in zip(engine.inputs, feed, strict=True)]
        every += [("output", *one) for one in zip(engine.outputs, found, strict=True)]
        for role, (name, shape, kind), data in every:
            word, dimensions = TYPES[kind][2], ".".join(map(str, shape))
            file_name = re.sub("[^A-Za-z0-9._,-]", "_", ".".join((name, role, dimensions, word, "raw")))
            with open(file_name, "wb") as file:
                file.write(data)
            line = "Writing file for {} binding {} (with datatype {} and dimensions {}) to {}"
            say("I", line.format(role, name, word, dimensions, file_name))


def refuse_plan(version):
    """What it says of the plan of another version."""
    if version in ("7.1", "8.2"):
        tell(
            [
                "[E] [TRT] 1: [stdArchiveReader.cpp::StdArchiveReader::40] Error Code 1: Serialization "
                "(Serialization assertion stdVersionRead == serializationVersion failed.Version tag does not "
                "match. Note: Current Version: 205, Serialized Engine Version: 213)",
                "[E] [TRT] 4: [runtime.cpp::deserializeCudaEngine::50] Error Code 4: Internal Error (Engine "
                "deserialization failed.)",
                "[E] Failed to create engine from model.",
                "[E] Engine set up failed",
            ]
        )
    else:
        tell(
            [
                "[E] Error[6]: The engine plan file is generated on an incompatible device, expecting "
                "compute 8.6 got compute 8.0, please rebuild.",
                "[E] Engine deserialization failed",
                "[E] Got invalid engine!",
                "[E] Inference set up failed",
            ]
        )


def load(control, values):
    """The engine of a plan that computes; ``None`` for one that does not."""
    if control.get("load_fault"):
        tell(TOLD[control["load_fault"]])
        end("FAILED", "", 1)
    with open(values["loadEngine"]) as file:
        text = file.read()
    if text != "plan":
        try:
            known = json.loads(text)
        except ValueError:
            known = {}
        if known.get("trtexec") != control.get("version", "8.2"):
            refuse_plan(control.get("version", "8.2"))
            end("FAILED", "", 1)
    if not control.get("compute"):
        return None
    engine = Engine(dict(control["compute"], shapes=shapes(values, "shapes")), known)
    if not all(within(known["profile"].get(name), given) for name, given, _ in engine.inputs):
        tell(TOLD["profile"])
        end("FAILED", "", 1)
    return engine


def within(profile, given):
    """Whether an input may have this size, which a fixed one always may."""
    return profile is None or all(
        low <= size <= high for low, size, high in zip(profile[0], given, profile[1], strict=True)
    )


def shapes(values, option):
    """What an option of shapes says, by input."""
    told = [entry.rpartition(":") for entry in values.get(option, "").split(",") if entry]
    return {name: [int(size) for size in spec.split("x")] for name, _, spec in told}


def bindings(role, tensors, version, sizeless):
    """What it says of the engine's tensors: the words are those of 8.5 and before, or those since 8.6."""
    for name, shape, kind in tensors:
        told = "{} binding for {} with dimensions {}".format(role, name, "x".join(map(str, shape)))
        if version in ("8.2", "8.5"):
            say("I", "Created " + told)
        elif version != "7.1" and name in sizeless:
            line = (
                "Output binding for {} is dynamic and will be created during execution using OutputAllocator."
            )
            say("I", line.format(name))
        elif version == "11.1":
            say("I", "{} and type {} is created.".format(told.capitalize(), TYPES[kind][2]))
        elif version != "7.1":
            say("I", told[0].upper() + told[1:] + " is created.")


def recorded(control, values, version):
    """Whether calls are launched as a graph; of what it cannot record it tells in its own way."""
    graph = "useCudaGraph" in values or (version == "11.1" and "noCudaGraph" not in values)
    if not graph or not control.get("unrecordable"):
        return graph
    if version == "7.1":
        print("Cuda failure: operation failed due to a previous error during capture", flush=True)
        os.abort()
    say("W", "The CUDA graph capture on the stream has failed.")
    say(
        "W",
        "The built TensorRT engine contains operations that are not permitted under CUDA graph capture mode.",
    )
    return False


def call_s(control, values, version, profiled):
    """How long a call takes as this trtexec calls."""
    seconds = control.get("call_ms", 2.0) / 1e3
    with open(values["loadEngine"]) as file:
        if '"single": true' in file.read():
            seconds *= 2.0
    if "exposeDMA" not in values:
        seconds *= 0.8
    if values["graph"]:
        seconds *= 0.6
    return seconds * 3 if profiled else seconds


def slowness(control, elapsed_s):
    """How much longer calls take while clocks still ramp: by a share that falls off in so many seconds."""
    share, falls_off_s = control.get("ramp", (0.0, 1.0))
    return 1.0 + share * math.exp(-elapsed_s / falls_off_s)


def calls_of(control, values, version, profiled, cold):
    """Call for as long as was asked; when each call began and ended."""
    lasts_s = call_s(control, values, version, profiled)
    begin_s = time.monotonic()
    warm_s, duration_s = int(values.get("warmUp", "200")) / 1e3, float(values.get("duration", "3"))
    told, counted = [], -1 if version == "11.1" else 0  # it begins with one that is not asked for
    while counted < int(values.get("iterations", "10")) or time.monotonic() - begin_s < duration_s + warm_s:
        start_s = time.monotonic() - begin_s
        takes_s = 10 * lasts_s if cold and not told else lasts_s * slowness(control, start_s)
        time.sleep(takes_s)
        # An exact board takes as long as it should, however busy the machine is that plays it.
        end_s = start_s + takes_s if control.get("exact") else time.monotonic() - begin_s
        counted += start_s >= warm_s
        call = {
            "startComputeMs": 1e3 * start_s,
            "endComputeMs": 1e3 * end_s,
            "computeMs": 1e3 * (end_s - start_s),
        }
        call["latencyMs"] = call["computeMs"]
        told.append(dict(call, **({"endToEndMs": call["latencyMs"]} if version in ("7.1", "8.2") else {})))
    return told


def report(calls, values, version):
    """What it prints of its calls, and what it writes of them."""
    warm_ms = int(values.get("warmUp", "200"))
    timed = [call for call in calls if call["startComputeMs"] >= warm_ms]
    each = int(values.get("avgRuns", "10"))
    for begin in range(0, len(timed) - each + 1, each):
        ms = sum(call["computeMs"] for call in timed[begin : begin + each]) / each
        line = "Average on {} runs - GPU latency: {:g} ms - Host latency: {:g} ms ".format(each, ms, ms + 0.5)
        both = "end to end {:g} ms, ".format(ms + 0.6) if version in ("7.1", "8.2") else ""
        say("I", "{}({}enqueue 1 ms)".format(line, both))
    if version == "7.1":
        say("I", "throughput: 0 qps")
        say("I", "walltime: {:g} s".format((timed[-1]["endComputeMs"] - timed[0]["startComputeMs"]) / 1e3))
    if "exportTimes" in values:
        with open(values["exportTimes"], "w") as file:
            json.dump(calls if version in ("7.1", "8.2") else timed, file)


def run(control, values):
    """Call for as long as was asked and write when each call began and ended."""
    version = control.get("version", "8.2")
    engine = load(control, values)
    time.sleep(control.get("load_s", 0.05))
    say("I", "Engine loaded in 0.05 sec.")
    if "useDLACore" in values:
        fake_dla.note_load(ROOT, int(values["useDLACore"]))
    feed = loaded(engine, values, version) if engine else []
    bindings("input", engine.inputs if engine else [("input", [1, 3, 32, 32], "FLOAT")], version, ())
    outputs = engine.outputs if engine else [("output", [1, 10], "FLOAT")]
    bindings("output", outputs, version, control.get("sizeless", ()))
    profile = "dumpProfile" in values or "exportProfile" in values
    apart = version == "11.1" or "separateProfileRun" in values
    if version == "7.1":  # its profiler comes with the wrong option
        attached = "dumpProfile" in values or "exportTimes" in values
    else:
        attached = profile and not apart
    values["graph"] = recorded(control, values, version)
    say("I", "Starting inference" + (" threads" if version == "7.1" else ""))
    calls = calls_of(control, values, version, attached, cold=True)
    if attached and version not in ("7.1", "8.2"):
        say(
            "I",
            "The e2e network timing is not reported since it is inaccurate due to the extra synchronizations "
            "when the profiler is enabled.",
        )
    else:
        report(calls, values, version)
    if engine:
        export(engine, feed, engine(feed), values)
    if profile and apart:
        calls = calls_of(control, values, version, True, cold=False)
    if "exportProfile" in values:
        if version == "7.1" and not attached:
            os.abort()
        write_profile(values["exportProfile"], len(calls), version, cold=attached)


def write_profile(path, count, version, cold):
    """In the order and the spelling of trtexec; the means hold the first call, if that was profiled."""
    layers = [(name, (count + 9 * cold) / count * ms) for name, ms in LAYERS]
    total = sum(ms for _, ms in layers)
    with open(path, "w") as file:
        file.write('[\n  {{ "count" : {} }}\n'.format(count))
        for (name, ms), (_, median) in zip(layers, LAYERS, strict=True):
            medians = "" if version in ("7.1", "8.2") else ', "medianMs" : {:g}'.format(median)
            line = ', {{ "name" : "{}", "timeMs" : {:g}, "averageMs" : {:g}{}, "percentage" : {:g} }}\n'
            file.write(line.format(name, count * ms, ms, medians, 100 * ms / total))
        file.write("]\n")


def plan(control, values, built):
    with open(values["onnx"], "rb") as file:
        onnx = base64.b64encode(file.read()).decode()
    single = not {"fp16", "stronglyTyped"} & set(values)
    full = [entry.rpartition(":")[0] for entry in values.get("layerPrecisions", "").split(",") if entry]
    assert not full or (values["precisionConstraints"], values["layerOutputTypes"]) == (
        "obey",
        values["layerPrecisions"],
    )
    flags = [name.upper() for name in ("fp16", "int8") if name in values]
    known = {"trtexec": control.get("version", "8.2"), "onnx": onnx, "profile": built, "single": single}
    return dict(known, flags=flags, full=full)


def build(control, values, banner):
    """Write a plan, or fail as it is told to."""
    fault, timings = control.get("fault"), values.get("timingCacheFile", "")
    least, usual, most = (shapes(values, option + "Shapes") for option in ("min", "opt", "max"))
    assert list(least) == list(usual) == list(most)
    built = {name: [least[name], most[name]] for name in usual}
    assert all(within([least[name], most[name]], usual[name]) for name in usual)
    if timings and os.path.exists(timings):
        with open(timings) as file:
            fault = fault if file.read() == "timings" else "timings"
    if fault:
        tell(TOLD[fault])
        end("FAILED", banner, 1)
    build_for_dla(control, values, banner)
    if timings:
        with open(timings, "w") as file:
            file.write("timings")
    with open(values["saveEngine"], "w") as file:
        file.write("plan" if not control.get("compute") else json.dumps(plan(control, values, built)))


def build_for_dla(control, values, banner):
    """What it says of a build for a core of the DLA, and where it ends."""
    if "useDLACore" not in values:
        return
    core = int(values["useDLACore"])
    if core >= fake_dla.cores(control):
        tell(["[E] Cannot create DLA engine, {} not available".format(core), "[E] Engine set up failed"])
        end("FAILED", banner, 1)
    left = fake_dla.left_on_gpu(control)
    tell(fake_dla.warnings(control, left))
    problem = fake_dla.fault(control, core, "stronglyTyped" in values, "allowGPUFallback" in values, left)
    if problem:
        tell(["[E] Error[{}".format(problem), "[E] Engine set up failed"])
        end("FAILED", banner, 1)


def print_help(known, prose):
    print("=== Options ===")
    for name in known:
        print("  --{:<27} explained".format(name))
        print("                              Note: {}".format(prose))
        print("                              {}".format(prose))


def main():
    with open(os.path.join(ROOT, "control.json")) as file:
        control = json.load(file).get("trtexec", {})
    version = control.get("version", "8.2")
    number, options = OPTIONS[version]
    banner = " [TensorRT {}]".format(number) if number else ""
    known = [name for name in (COMMON + " " + options).split() if name not in control.get("lacks", ())]
    values = dict(argument[2:].partition("=")[::2] for argument in sys.argv[1:])
    print("&&&& RUNNING TensorRT.trtexec{} # trtexec {}".format(banner, " ".join(sys.argv[1:])), flush=True)
    prose = control.get("prose", "see --help")
    if "help" in values:
        print_help(known + control.get("promises", []), prose)
        sys.exit(0)
    with open(os.path.join(ROOT, "state", "trtexec"), "a") as told:
        told.write(" ".join(sys.argv[1:]) + "\n")
    unknown = [name for name in values if name not in known]
    if unknown and version in ("8.6", "10.3", "11.1"):
        print_help(known, prose)
    for name in unknown:
        say("E", "Unknown option: --{} {}".format(name, values[name]))
    if unknown and version not in ("8.6", "10.3", "11.1"):
        print_help(known, prose)
    if unknown:
        end("FAILED", banner, 1)
    if "saveEngine" in values:
        build(control, values, banner)
    else:
        run(control, values)
    end("PASSED", banner, 0)


main()
