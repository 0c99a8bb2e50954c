"""nvpmodel of a board that is not there."""

import json
import os
import re
import sys
import time

ROOT = os.environ["EDGESYNTH_ROOT"]
STATUS = os.path.join(ROOT, "var/lib/nvpmodel/status")


def main():
    with open(os.path.join(ROOT, "control.json")) as file:
        control = json.load(file).get("nvpmodel", {})
    with open(os.path.join(ROOT, "etc/nvpmodel.conf")) as file:
        names = {int(number): name for number, name in re.findall(r"ID=(\d+) NAME=(\S+)", file.read())}
    if sys.argv[1] == control.get("hangs_on"):
        time.sleep(3600)
    if control.get("garbage"):
        print("\x00\x1b NV Pow")
        return
    with open(STATUS) as file:
        present = int(re.search(r"pmode:(\d+)", file.read()).group(1))
    rights = bool(os.environ.get("FAKE_ROOT"))
    if sys.argv[1] == "-q":
        if control.get("query_needs_root") and not rights:
            sys.exit("NVPM ERROR: Failed to open /var/lib/nvpmodel: Permission denied")
        print("NVPM WARN: fan mode is not set!\nNV Power Mode: {}\n{}".format(names[present], present))
        return
    wanted = int(sys.argv[2])
    if not rights:
        sys.exit("NVPM ERROR: no permission; run as root")
    with open(os.path.join(ROOT, "state", "nvpmodel"), "a+") as told:
        told.seek(0)
        if len(told.readlines()) >= control.get("breaks_after", 99):
            sys.exit("NVPM ERROR: Error writing to sysfs")
        told.write("{}\n".format(names[wanted]))
    if control.get("reboot") and wanted != present:
        print("NVPM WARN: Golden image context is already created")
        print("NVPM WARN: Reboot required for changing to this power mode: {}".format(wanted))
        print("NVPM WARN: DO YOU WANT TO REBOOT NOW? enter YES/yes to confirm:")
        if sys.stdin.readline().strip() in ("YES", "yes"):
            print("NVPM WARN: rebooting")
        print("NVPM ERROR: optMask is 1, no request for power mode")
        return
    if control.get("keeps"):
        return
    clocks = os.path.join(ROOT, "state", "clocks")
    with open(clocks) as file:
        free = {unit: (40800000, most, 40800000) for unit, (_, most, _) in json.load(file).items()}
    with open(clocks, "w") as file:  # a new mode brings clocks of its own
        json.dump(free, file)
    with open(STATUS, "w") as file:
        file.write("pmode:{:04d} fmode:fan_mode_quiet".format(wanted))


main()
