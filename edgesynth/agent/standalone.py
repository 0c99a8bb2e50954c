"""``runner.py`` of a bundle: runs its engine, from a program of your own or by hand.

One file, made of modules of the agent (see ``edgesynth/deploy/standalone.py``; this is the last of them). It
needs Python 3.6 and the board's own TensorRT and CUDA, and uses NumPy where that is installed.

    from runner import open_engine

    engine = open_engine()                    # of the bundle beside this file
    outputs = engine.infer({"input": image})  # by name; one input needs no name
    answers = engine.answer({"input": image})  # one per sample: a class, a mask or boxes, by the kind of task

An engine that was deployed for a range of batches takes any number of samples within ``engine.batches`` in a
call, as many as its inputs hold.

What comes out is yours: no later call changes it. An engine serves one thread.

What goes in and comes out can be had without loading the engine: ``read_processing()["outputs"]`` has
``dtype``, ``shape``, ``batch_axis`` and ``meaning`` of every output, ``["inputs"]`` those of every input.
"""

import argparse
import json
import os
import sys
from typing import Any, Dict, List, Optional

from edgesynth.agent.answers import MaskAnswer, answers_of, floats_of, told
from edgesynth.agent.batches import batches_of
from edgesynth.agent.board_module import module_name
from edgesynth.agent.engine import Engine
from edgesynth.agent.errors import Refusal
from edgesynth.agent.inference import infer_files, type_of
from edgesynth.agent.manifest import ENGINE, MANIFEST, batches_in, check_files, check_fit, read_manifest
from edgesynth.agent.npy import Array, read_npy, write_npy
from edgesynth.agent.places import model, soc

__all__ = ["BundledEngine", "main", "open_engine", "read_labels", "read_processing"]


class BundledEngine(Engine):
    """The engine of a bundle, with what the bundle says of its outputs.

    Attributes:
        labels: Names of the classes; none where the bundle has none.
        postprocessing: What is to be done with the outputs; ``None`` where the bundle does not say.
        order: Names of the outputs, in the order in which the network returns them.
    """

    def __init__(
        self, folder: str, batch: Any, *, cuda_graph: bool = False, dla_core: Optional[int] = None
    ) -> None:
        path = os.path.join(folder, ENGINE)
        super().__init__(path, batch, cuda_graph=cuda_graph, dla_core=dla_core)
        self.labels = read_labels(folder)
        processing = read_processing(folder)
        self.postprocessing = processing.get("postprocessing")
        self.order = list(processing.get("outputs", ()))

    def answer(self, feed: Any) -> List[Any]:
        """What the network says of every sample: a ``ClassAnswer``, a ``MaskAnswer`` or boxes.

        Args:
            feed: As for :meth:`Engine.infer`.

        Raises:
            Refusal: An input does not fit, or the bundle does not say what its outputs mean; kind ``data``.
        """
        found = self.infer(feed)
        outputs = {}
        for tensor in self.called:
            if not tensor.is_input:
                data = memoryview(found[tensor.name]).tobytes()
                outputs[tensor.name] = (tensor.shape, floats_of(type_of(tensor), data))
        return answers_of(outputs, self.postprocessing, self.labels, self.order)


def open_engine(folder: Optional[str] = None, cuda_graph: Optional[bool] = None) -> BundledEngine:
    """The engine of a bundle, loaded, if every file is whole and it was built for this board.

    Args:
        folder: The bundle; the one this file is in by default.
        cuda_graph: Whether calls are launched as a CUDA graph; as the network was deployed by default. Where
            that cannot be they run without, and ``no_graph`` of the engine says why.

    Raises:
        Refusal: The bundle is damaged, its engine belongs to another TensorRT or GPU, or there is none here,
            or no such core of a DLA as it was built for.
        NetworkFailure: It does not fit into memory.
    """
    try:
        import tensorrt
    except ImportError as error:
        raise Refusal(
            "tensorrt",
            "this Python cannot import tensorrt ({}); use the system's, with: sudo apt install "
            "python3-libnvinfer".format(error),
        ) from error

    place = folder or os.path.dirname(os.path.abspath(__file__))
    manifest = read_manifest(place)
    check_fit(manifest, tensorrt.__version__, soc() or model() or "", module_name())
    check_files(place, manifest)
    if cuda_graph is None:
        cuda_graph = bool(manifest.get("cuda_graph", False))
    core = manifest["key"].get("dla_core")
    return BundledEngine(place, batches_in(manifest), cuda_graph=cuda_graph, dla_core=core)


def read_labels(folder: Optional[str] = None) -> List[Any]:
    """Names of the classes in the order of the outputs; none where the bundle has none."""
    return list(_read_json(folder, "labels.json", []))


def read_processing(folder: Optional[str] = None) -> Dict[str, Any]:
    """What goes into the network and what its outputs mean; empty where the bundle does not say.

    ``inputs`` and ``outputs`` are by name; of an output in an earlier bundle nothing else is known.
    """
    found = dict(_read_json(folder, "processing.json", {}))
    if isinstance(found.get("outputs"), list):
        found["outputs"] = {name: {} for name in found["outputs"]}
    return found


def _read_json(folder: Optional[str], name: str, missing: Any) -> Any:
    place = folder or os.path.dirname(os.path.abspath(__file__))
    if name not in read_manifest(place)["files"]:
        return missing
    try:
        with open(os.path.join(place, name), "rb") as file:
            found = json.loads(file.read().decode())
    except (OSError, ValueError) as error:
        raise Refusal("bundle", "{} cannot be read: {}; deploy anew".format(name, error)) from error
    if not isinstance(found, type(missing)):
        raise Refusal("bundle", "{} is no JSON {}; deploy anew".format(name, type(missing).__name__))
    return found


def _describe(folder: Optional[str]) -> None:
    """One line per input and output, the batch in brackets."""
    processing = read_processing(folder)
    batches = processing.get("batches")
    if not processing:
        raise Refusal("data", "this bundle has no processing.json that says what goes in and comes out")
    for role in ("inputs", "outputs"):
        for name, known in processing.get(role, {}).items():
            sizes = [str(size) for size in known.get("shape", ())]
            axis = known.get("batch_axis")
            if axis is not None:
                sizes[axis] = "[{}]".format(sizes[axis] if batches is None else batches_of(batches).text)
            kind = known.get("dtype") or known.get("type") or "of unknown type"
            words = [role[:-1], name, kind, "x".join(sizes), known.get("meaning") or ""]
            print(" ".join(word for word in words if word))


def _tell_answers(engine: BundledEngine, outputs: List[Any], folder: str) -> None:
    """One line of JSON per sample; masks become grey pictures, and one array of all of them."""
    found = {}
    for output in outputs:
        array = read_npy(output.path)
        found[output.name] = (array.shape, floats_of(array.descr, array.data))
    answers = answers_of(found, engine.postprocessing, engine.labels, engine.order)
    masks = [answer for answer in answers if isinstance(answer, MaskAnswer)]
    for index, mask in enumerate(masks):
        with open(os.path.join(folder, "mask-{}.pgm".format(index)), "wb") as file:
            file.write("P5 {} {} 255\n".format(mask.width, mask.height).encode() + mask.classes)
    if masks:
        shape = (len(masks), masks[0].height, masks[0].width)
        data = b"".join(mask.classes for mask in masks)
        write_npy(os.path.join(folder, "masks.npy"), Array("|u1", shape, data))
    for index, answer in enumerate(answers):
        print(json.dumps({"sample": index, **told(answer, engine.labels)}))


def _files(texts: List[str]) -> Dict[str, str]:
    """The file of every input, by name; one input needs none."""
    files = dict(text.rpartition("=")[::2] for text in texts)
    if len(files) < len(texts):
        raise Refusal("data", "give one file per input, as NAME=FILE.npy where there are several")
    return files


def main(arguments: List[str]) -> int:
    """Run the engine of the bundle on files; the exit status is 1 when it cannot."""
    parser = argparse.ArgumentParser(description="Run the engine of this bundle on .npy files.")
    parser.add_argument("inputs", nargs="*", metavar="[NAME=]FILE.npy", help="one per input of the network")
    parser.add_argument("--out", default=".", metavar="FOLDER", help="where the outputs go")
    parser.add_argument(
        "--answer",
        action="store_true",
        help="say what the outputs mean, a line of JSON per sample; masks go to mask-0.pgm and so on",
    )
    parser.add_argument(
        "--describe", action="store_true", help="say what goes in and comes out, and do not load the engine"
    )
    parser.add_argument(
        "--cuda-graph",
        action="store_true",
        default=None,
        help="launch calls as a CUDA graph; without this, as the network was deployed",
    )
    parser.add_argument(
        "--bundle", metavar="FOLDER", help="another bundle than that of this file, with " + MANIFEST
    )
    asked = parser.parse_args(arguments)
    if not asked.inputs and not asked.describe:
        parser.error("give a .npy file per input, or --describe")
    try:
        if asked.describe:
            _describe(asked.bundle)
            return 0
        engine = open_engine(asked.bundle, asked.cuda_graph)
        if engine.no_graph is not None:
            print("runner.py: without a CUDA graph: " + engine.no_graph.reason, file=sys.stderr)
        outputs = infer_files(engine, _files(asked.inputs), asked.out)
        if asked.answer:
            _tell_answers(engine, outputs, asked.out)
        else:
            for output in outputs:
                print("{} {} {}".format(output.name, "x".join(map(str, output.shape)), output.path))
        engine.close()
    except Refusal as refusal:
        print("runner.py: " + refusal.reason, file=sys.stderr)
        return 1
    except OSError as error:
        print("runner.py: {}: {}".format(error.filename or asked.out, error.strerror), file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
