"""tegrastats of a board that is not there: prints a power curve in the form of a release."""

import itertools
import json
import math
import os
import signal
import sys
import time

ROOT = os.environ["EDGESYNTH_ROOT"]


def control():
    with open(os.path.join(ROOT, "control.json")) as file:
        return json.load(file).get("tegrastats", {})


def power_mw(curve, at_s):
    return curve["mean_mw"] + curve.get("swing_mw", 0) * math.sin(
        2 * math.pi * at_s / curve.get("period_s", 1)
    )


def rails_text(fields, form):
    shape = {"r32": "{} {}/{}", "r36": "{} {}mW/{}mW", "r39": "{} {}mW/{}mW/{}mW"}[form]
    return " ".join(shape.format(name, power, power, power) for name, power in fields)


def burn(until_s):
    """Work all the time instead of resting, and write down how much."""
    while time.monotonic() < until_s:
        sum(range(1000))
    with open(os.path.join(ROOT, "state", "burned"), "a") as told:
        told.write("{} {}\n".format(time.monotonic(), time.process_time()))


def main():
    options = sys.argv[1:]
    with open(os.path.join(ROOT, "state", "tegrastats"), "a") as told:
        told.write("{} {}\n".format(os.getpid(), " ".join(options)))
    interval_s = int(options[options.index("--interval") + 1]) / 1e3
    now = control()
    form = now.get("form", "r32")
    due_s = time.monotonic()
    if now.get("deaf"):
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
    for count in itertools.count():
        now = control()
        if count == now.get("hang_at"):
            time.sleep(3600)
        if count == now.get("end_at"):
            sys.exit("Segmentation fault")
        rails = []
        if not now.get("root_only") or os.environ.get("FAKE_ROOT"):
            total = int(round(power_mw(now["curve"], time.monotonic())))
            gpu, cpu = now.get("parts", ["VDD_SYS_GPU", "VDD_SYS_CPU"])
            rails = [(gpu, 153), ("VDD_IN", total), (cpu, now.get("cpu_mw", 229))]
            rails = [(name, power) for name, power in rails if name not in now.get("lost", [])]
        clock = now.get("gpu_mhz", 1300)
        if count >= now.get("throttle_at", math.inf):
            clock = 726
        parts = [
            "RAM {}/7859MB (lfb 1154x4MB)".format(now.get("ram_mb", 2344)),
            "CPU [{0}%@345,off,off,{0}%@345,{0}%@345,{0}%@345]".format(now.get("cpu_percent", 1)),
            "GR3D_FREQ {}%@{}".format(
                now.get("gpu_percent", 0), clock if form == "r32" else "[{0},{0}]".format(clock)
            ),
            "GPU@35C" if form != "r39" else "gpu@35.5C/35.5C",
            rails_text(rails, form),
        ]
        line = " ".join(part for part in parts if part)
        if "garbage_every" in now and count % now["garbage_every"] == 1:
            line = "\x00\x1bnonsense " + line[:7]
        line += " X@1C" * now.get("longer_by", 0)
        sys.stderr.write("NvRm: cannot open\n" * now.get("complaints", 0))
        print(line, flush=True)
        if now.get("floods"):
            continue
        due_s += interval_s
        if now.get("burns"):
            burn(due_s)
        time.sleep(max(0.0, due_s - time.monotonic()))


main()
