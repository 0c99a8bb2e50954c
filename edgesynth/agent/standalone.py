"""``runner.py`` of a bundle: runs its engine, from a program of your own or by hand.

One file, made of modules of the agent (see ``edgesynth/deploy/standalone.py``; this is the last of them). It
needs Python 3.6 and the board's own TensorRT and CUDA, and uses NumPy where that is installed.

    from runner import open_engine

    engine = open_engine()                    # of the bundle beside this file
    outputs = engine.infer({"input": image})  # by name; one input needs no name
"""

import argparse
import json
import os
import sys
from typing import Any, List, Optional

from edgesynth.agent.engine import Engine
from edgesynth.agent.errors import Refusal
from edgesynth.agent.inference import infer_files
from edgesynth.agent.manifest import ENGINE, MANIFEST, check_files, check_fit, read_manifest
from edgesynth.agent.places import model, soc

__all__ = ["main", "open_engine", "read_labels"]


def open_engine(folder: Optional[str] = None) -> Engine:
    """The engine of a bundle, loaded, if every file is whole and it was built for this board.

    Args:
        folder: The bundle; the one this file is in by default.

    Raises:
        Refusal: The bundle is damaged, or its engine belongs to another TensorRT or GPU.
        NetworkFailure: It does not fit into memory.
    """
    import tensorrt

    place = folder or os.path.dirname(os.path.abspath(__file__))
    manifest = read_manifest(place)
    check_fit(manifest, tensorrt.__version__, soc() or model() or "")
    check_files(place, manifest)
    return Engine(os.path.join(place, ENGINE), int(manifest["batch"]))


def read_labels(folder: Optional[str] = None) -> List[Any]:
    """Names of the classes in the order of the outputs; none where the bundle has none."""
    place = folder or os.path.dirname(os.path.abspath(__file__))
    if "labels.json" not in read_manifest(place)["files"]:
        return []
    with open(os.path.join(place, "labels.json"), "rb") as file:
        return list(json.loads(file.read().decode()))


def main(arguments: List[str]) -> int:
    """Run the engine of the bundle on files; the exit status is 1 when it cannot."""
    parser = argparse.ArgumentParser(description="Run the engine of this bundle on .npy files.")
    parser.add_argument("inputs", nargs="+", metavar="[NAME=]FILE.npy", help="one per input of the network")
    parser.add_argument("--out", default=".", metavar="FOLDER", help="where the outputs go")
    parser.add_argument(
        "--bundle", metavar="FOLDER", help="another bundle than that of this file, with " + MANIFEST
    )
    asked = parser.parse_args(arguments)
    try:
        engine = open_engine(asked.bundle)
        files = dict(text.rpartition("=")[::2] for text in asked.inputs)
        for output in infer_files(engine, files, asked.out):
            print("{} {} {}".format(output.name, "x".join(map(str, output.shape)), output.path))
        engine.close()
    except Refusal as refusal:
        print("runner.py: " + refusal.reason, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
