"""trtexec of a board that is not there: it has the options of one version and refuses all others."""

import json
import os
import sys
import time

ROOT = os.environ["EDGESYNTH_ROOT"]
COMMON = (
    "onnx saveEngine loadEngine fp16 int8 iterations duration warmUp avgRuns exportTimes help useSpinWait "
    "dumpProfile exportProfile"
)
OPTIONS = {  # banner, options besides the common ones, keys of the times file
    "7.1": ("", "explicitBatch workspace buildOnly", "endToEndMs"),
    "8.2": ("v8201", "explicitBatch workspace buildOnly noDataTransfers", "endToEndMs"),
    "8.5": ("v8502", "explicitBatch workspace memPoolSize buildOnly noDataTransfers", ""),
    "10.3": ("v100300", "memPoolSize skipInference noDataTransfers noCudaGraph", ""),
}
LAYERS = [("conv1 + relu1", 0.75), ("fc", 0.25)]


def say(kind, text):
    print("[04/14/2026-01:36:48] [{}] {}".format(kind, text), flush=True)


def end(verdict, banner, status):
    print(
        "&&&& {} TensorRT.trtexec{} # trtexec {}".format(verdict, banner, " ".join(sys.argv[1:])), flush=True
    )
    sys.exit(status)


def run(control, values, extra):
    """Call for as long as was asked and write when each call began and ended."""
    call_s = control.get("call_ms", 2.0) / 1e3
    time.sleep(control.get("load_s", 0.05))
    say("I", "Engine loaded in 0.05 sec.")
    if control.get("version") == "8.2":
        say("I", "Created input binding for input with dimensions 1x3x32x32")
        say("I", "Created output binding for output with dimensions 1x10")
    elif control.get("version") != "7.1":
        say("I", "Input binding for input with dimensions 1x3x32x32 is created.")
        say("I", "Output binding for output with dimensions 1x10 is created.")
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
    with open(values["exportTimes"], "w") as file:
        json.dump(calls, file)
    if "exportProfile" in values:
        with open(values["exportProfile"], "w") as file:
            json.dump([{"count": len(calls)}] + [layer(*part) for part in LAYERS], file)


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
            file.write("plan")
    else:
        run(control, values, extra)
    end("PASSED", banner, 0)


main()
