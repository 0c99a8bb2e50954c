"""The DLA of a board that is not there: its cores, the layers they take, and what is said of the others.

``dla_cores`` in a program's control says how many there are, ``gpu_only`` which kinds of layers none of them
takes, and ``network`` of which layers, by name and kind, a network is. Sources of what TensorRT says: its
open samples (``samples/common/sampleEngines.cpp``) and logs of Jetsons that people published.
"""

import json
import os

NETWORK = [["conv1", "CONVOLUTION"], ["relu1", "ACTIVATION"], ["flatten", "SHUFFLE"], ["fc", "CONVOLUTION"]]
GPU_ONLY = ["SHUFFLE", "CONSTANT", "GATHER", "TOPK", "QUANTIZE", "DEQUANTIZE"]
USED = [(7, 1), (10, 7)]  # by TensorRT of these releases and between, of no strongly typed network
AGAIN = (11, 4, 1)  # and of those alone since


def version(control):
    return control.get("version", "8.2")


def cores(control):
    """How many TensorRT of this board finds."""
    numbers = tuple(int(part) for part in version(control).split(".")[:3])
    found = control.get("dla_cores", 0)
    return found if USED[0] <= numbers[:2] <= USED[1] or numbers >= AGAIN else 0


def layers(control):
    return control.get("network", NETWORK)


def left_on_gpu(control, half=True, free=False):
    """Layers that no core takes; all of them in single precision, or where a size is free."""
    kinds = control.get("gpu_only", GPU_ONLY)
    return [[name, kind] for name, kind in layers(control) if kind in kinds or not half or free]


def warnings(control, left):
    """What is said of layers that the GPU gets, in the words of a version."""
    old = tuple(int(part) for part in version(control).split(".")[:2]) < (8, 4)
    lines = []
    for name, kind in left:
        if old:
            said = "Default DLA is enabled but layer {} is not supported on DLA, falling back to GPU."
        else:
            said = "Layer '{}' ({}): Unsupported on DLA. Switching this layer's device type to GPU."
        lines.append("[W] [TRT] " + said.format(name, kind))
    if control.get("dla_full"):
        lines.append(
            "[W] [TRT] DLA supports only 16 subgraphs per DLA core. Switching to GPU for the others."
        )
    if len(left) == len(layers(control)):
        lines.append("[W] [TRT] setDefaultDeviceType was called but no layer in the network can run on DLA.")
    return lines


def fault(control, core, typed, fallback, left):
    """Why an engine for a core cannot be built; empty where it can."""
    if not 0 <= core < cores(control):
        return "3: [builderConfig.cpp::setDLACore::1] Error Code 3: Parameter check failed at: setDLACore"
    if typed and version(control) < "11":
        return "9: Strongly typed networks are not supported with DLA."
    if left and not fallback:
        return "4: DLA is enabled but {} cannot run on it, and GPU fallback is not allowed".format(left[0][0])
    return ""


def note_load(root, core):
    """Write down on which core an engine was loaded."""
    with open(os.path.join(root, "state", "loads"), "a") as told:
        told.write(json.dumps(core) + "\n")
