"""jetson_clocks of a board that is not there: its clocks are a file."""

import json
import os
import sys

ROOT = os.environ["EDGESYNTH_ROOT"]
CLOCKS = os.path.join(ROOT, "state", "clocks")


def main():
    if not os.environ.get("FAKE_ROOT"):
        sys.exit("Please run 'sudo jetson_clocks'")
    with open(os.path.join(ROOT, "control.json")) as file:
        control = json.load(file).get("jetson_clocks", {})
    with open(CLOCKS) as file:
        clocks = json.load(file)
    if sys.argv[1:2] == ["--show"]:
        print("SOC family:tegra186  Machine:quill\nOnline CPUs: 0,3-5")
        for unit, (least, most, present) in sorted(clocks.items()):
            print("{} MinFreq={} MaxFreq={} CurrentFreq={}".format(unit, least, most, present))
        print("NV Power Mode: MAXP_CORE_ARM")
    elif sys.argv[1:2] == ["--store"]:
        if os.path.exists(sys.argv[2]):
            sys.exit("File {} already exists".format(sys.argv[2]))
        with open(sys.argv[2], "w") as file:
            json.dump(clocks, file)
    elif sys.argv[1:2] == ["--restore"]:
        if control.get("keeps"):
            return
        with open(sys.argv[2]) as stored, open(CLOCKS, "w") as file:
            file.write(stored.read())
    else:
        fixed = {  # the memory is held by an override, which leaves its range as it was
            unit: (least if unit == "EMC" else most, most, most) for unit, (least, most, _) in clocks.items()
        }
        with open(CLOCKS, "w") as file:
            json.dump(fixed, file)


main()
