"""trtexec of a board that is not there: it has the options of one version and refuses all others.

With ``compute`` in its control an engine computes what its ONNX file says, as that of the board's
TensorRT does, and inputs, outputs and what is printed of them are those of the version. Without, nothing is
computed.
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
COMMON = (
    "onnx saveEngine loadEngine fp16 int8 iterations duration warmUp avgRuns exportTimes help useSpinWait "
    "dumpProfile exportProfile loadInputs exportOutput dumpOutput"
)
OPTIONS = {  # banner, options besides the common ones, keys of the times file
    "7.1": ("", "explicitBatch workspace buildOnly", "endToEndMs"),
    "8.2": ("v8201", "explicitBatch workspace buildOnly noDataTransfers", "endToEndMs"),
    "8.5": ("v8502", "explicitBatch workspace memPoolSize buildOnly noDataTransfers", ""),
    "8.6": ("v8601", "memPoolSize skipInference noDataTransfers dumpRawBindingsToFile", ""),
    "10.3": ("v100300", "memPoolSize skipInference noDataTransfers noCudaGraph dumpRawBindingsToFile", ""),
}
TYPES = {  # of NumPy's letters, and trtexec's own word
    "FLOAT": ("f", 4, "fp32"),
    "INT32": ("i", 4, "int32"),
    "BOOL": ("?", 1, "bool"),
}
LAYERS = [("conv1 + relu1", 0.75), ("fc", 0.25)]


def say(kind, text):
    print("[04/14/2026-01:36:48] [{}] {}".format(kind, text), flush=True)


def end(verdict, banner, status):
    print(
        "&&&& {} TensorRT.trtexec{} # trtexec {}".format(verdict, banner, " ".join(sys.argv[1:])), flush=True
    )
    sys.exit(status)


class Engine:
    """What a plan computes, in a process of the host's Python; see ``compute.py``."""

    def __init__(self, asked, onnx):
        self._process = subprocess.Popen(
            asked["command"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=asked["env"]
        )
        self._send(json.dumps({"onnx": onnx, "flags": [], "faults": asked["faults"]}).encode() + b"\n")
        told = self._answer()
        self.inputs = [self._filled(value) for value in told["inputs"]]
        self.outputs = [self._filled(value) for value in told["outputs"]]

    def __call__(self, feed):
        self._send(json.dumps({name: shape for name, shape, _ in self.inputs}).encode() + b"\n")
        for data in feed:
            self._send(data)
        return [self._process.stdout.read(size) for size in self._answer()]

    def _filled(self, value):
        name, shape, kind = value
        return name, [1 if length == -1 else length for length in shape], kind  # a free batch is 1, unasked

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
            print(line.format(role, name, word, dimensions, file_name), flush=True)


def load(control, values):
    """The engine of a plan that computes; ``None`` for one that does not."""
    with open(values["loadEngine"]) as file:
        text = file.read()
    if not control.get("compute"):
        return None
    try:
        known = json.loads(text)
    except ValueError:
        known = {}
    if known.get("trtexec") != control.get("version", "8.2"):
        say(
            "E",
            "Error[1]: [stdArchiveReader.cpp::42] Error Code 1: Serialization (Version tag does not match.)",
        )
        say("E", "Engine could not be created from file")
        end("FAILED", "", 1)
    return Engine(control["compute"], known["onnx"])


def run(control, values, extra):
    """Call for as long as was asked and write when each call began and ended."""
    version = control.get("version", "8.2")
    engine = load(control, values)
    call_s = control.get("call_ms", 2.0) / 1e3
    time.sleep(control.get("load_s", 0.05))
    say("I", "Engine loaded in 0.05 sec.")
    feed = loaded(engine, values, version) if engine else []
    inputs = engine.inputs if engine else [("input", [1, 3, 32, 32], "FLOAT")]
    outputs = engine.outputs if engine else [("output", [1, 10], "FLOAT")]
    for role, tensors in (("input", inputs), ("output", outputs)):
        for name, shape, _ in tensors:
            told = "{} binding for {} with dimensions {}".format(role, name, "x".join(map(str, shape)))
            if version == "8.2":
                say("I", "Created " + told)
            elif version != "7.1":
                say("I", told[0].upper() + told[1:] + " is created.")
    say("I", "Starting inference")
    begin_s = time.monotonic()
    warm_s, duration_s = int(values["warmUp"]) / 1e3, float(values["duration"])
    calls = []
    while len(calls) < int(values["iterations"]) or time.monotonic() - begin_s < duration_s:
        start_s = time.monotonic() - begin_s
        time.sleep(call_s)
        # An exact board takes as long as it should, however busy the machine is that plays it.
        end_s = start_s + call_s if control.get("exact") else time.monotonic() - begin_s
        if start_s >= warm_s:
            call = {
                "startComputeMs": 1e3 * start_s,
                "endComputeMs": 1e3 * end_s,
                "computeMs": 1e3 * (end_s - start_s),
            }
            call["latencyMs"] = call["computeMs"]
            calls.append(dict(call, **({extra: call["latencyMs"]} if extra else {})))
    if engine:
        export(engine, feed, engine(feed), values)
    if "exportTimes" in values:
        with open(values["exportTimes"], "w") as file:
            json.dump(calls, file)
    if "exportProfile" in values:
        with open(values["exportProfile"], "w") as file:
            json.dump([{"count": len(calls)}] + [layer(*part) for part in LAYERS], file)


def plan(control, path):
    with open(path, "rb") as file:
        onnx = base64.b64encode(file.read()).decode()
    return {"trtexec": control.get("version", "8.2"), "onnx": onnx}


def layer(name, ms):
    return {"name": name, "timeMs": 20 * ms, "averageMs": ms, "percentage": 100 * ms}


def main():
    with open(os.path.join(ROOT, "control.json")) as file:
        control = json.load(file).get("trtexec", {})
    version, options, extra = OPTIONS[control.get("version", "8.2")]
    banner = " [TensorRT {}]".format(version) if version else ""
    known = [name for name in (COMMON + " " + options).split() if name not in control.get("lacks", ())]
    values = dict(argument[2:].partition("=")[::2] for argument in sys.argv[1:])
    print("&&&& RUNNING TensorRT.trtexec{} # trtexec {}".format(banner, " ".join(sys.argv[1:])), flush=True)
    if "help" in values:
        print("\n".join("  --{}  explained".format(name) for name in known))
        sys.exit(0)
    with open(os.path.join(ROOT, "state", "trtexec"), "a") as told:
        told.write(" ".join(sys.argv[1:]) + "\n")
    unknown = [name for name in values if name not in known]
    for name in unknown:
        say("E", "Unknown option: --{} {}".format(name, values[name]))
    if unknown:
        end("FAILED", banner, 1)
    if control.get("fault") == "memory":
        say(
            "E",
            "Error[2]: [resizingAllocator.cpp::74] Error Code 2: OutOfMemory",
        )
        say("E", "Engine set up failed")
        end("FAILED", banner, 1)
    if "saveEngine" in values:
        with open(values["saveEngine"], "w") as file:
            file.write("plan" if not control.get("compute") else json.dumps(plan(control, values["onnx"])))
    else:
        run(control, values, extra)
    end("PASSED", banner, 0)


main()
