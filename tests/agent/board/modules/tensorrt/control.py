"""What the board that is not there is told about its TensorRT, and which members that has."""

import json
import os
import sys

ROOT = os.environ["EDGESYNTH_ROOT"]
sys.path.insert(0, os.path.join(ROOT, "state"))
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
# Nor was one of 11.4.1, which uses a DLA again; its members are those of 11.1.
SURFACES["11.4.1"] = SURFACES["11.1.0.106"]
