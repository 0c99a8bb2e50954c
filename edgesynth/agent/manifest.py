"""What a bundle says of itself, and whether it is true: its files, and what its engine belongs to."""

import hashlib
import json
import operator
import os
from typing import Any, Dict

from edgesynth.agent.batches import Batches, batches_of
from edgesynth.agent.board_module import same_module
from edgesynth.agent.errors import Refusal

__all__ = ["ENGINE", "MANIFEST", "NETWORK", "batches_in", "check_files", "check_fit", "read_manifest"]

MANIFEST = "manifest.json"
ENGINE = "engine.plan"
NETWORK = "network.onnx"
_FORMAT = 1


def read_manifest(folder: str) -> Dict[str, Any]:
    """The manifest of a bundle.

    Raises:
        Refusal: It is missing, damaged, or of a later format; kind ``bundle``.
    """
    try:
        with open(os.path.join(folder, MANIFEST), "rb") as file:
            found = json.loads(file.read().decode())
        known = {name: found[name] for name in ("format", "name", "key", "files", "batch")}
        whole = isinstance(known["key"], dict) and all(
            isinstance(entry, dict) and {"sha256", "bytes"} <= set(entry) and os.path.basename(name) == name
            for name, entry in known["files"].items()
        )
        whole = whole and type(known["batch"]) is int and known["batch"] > 0
        whole = whole and type(known["key"].get("dla_core", 0)) in (int, type(None))
        whole = whole and batches_in(found).most == known["batch"]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise _damaged(folder, "its {} cannot be read ({})".format(MANIFEST, error)) from error
    if not whole or ENGINE not in found["files"]:
        raise _damaged(folder, "its {} does not list its files, or no batch".format(MANIFEST))
    if type(found.get("cuda_graph", False)) is not bool:
        raise _damaged(folder, "its {} says no truth value of cuda_graph".format(MANIFEST))
    if found["format"] != _FORMAT:
        raise Refusal(
            "bundle",
            "the bundle has format {}, this version reads {}; use the edgesynth that wrote it".format(
                found["format"], _FORMAT
            ),
        )
    return dict(found)


def batches_in(manifest: Dict[str, Any]) -> Batches:
    """How many samples a call of the engine takes; a bundle of before takes one number alone.

    Raises:
        ValueError: ``batches`` are no least, usual and most.
    """
    told = manifest.get("batches")
    return batches_of(manifest["batch"] if told is None else list(told))


def check_files(folder: str, manifest: Dict[str, Any]) -> None:
    """Compare every file with its checksum.

    Raises:
        Refusal: One is missing, too much, or has another content; kind ``bundle``.
    """
    there, listed = set(os.listdir(folder)) - {MANIFEST}, set(manifest["files"])
    for names, what in ((listed - there, "is missing"), (there - listed, "is not listed")):
        if names:
            raise _damaged(folder, "{} {}".format(sorted(names)[0], what))
    for name, entry in sorted(manifest["files"].items()):
        path = os.path.join(folder, name)
        if os.path.islink(path) or not os.path.isfile(path):
            raise _damaged(folder, "{} is no file".format(name))
        size = os.path.getsize(path)
        if size != entry["bytes"]:
            raise _damaged(folder, "{} has {} bytes of {}".format(name, size, entry["bytes"]))
        if _digest(path) != entry["sha256"]:
            raise _damaged(folder, "{} has another content than its checksum says".format(name))


def check_fit(manifest: Dict[str, Any], tensorrt: str, gpu: str, module: str = "") -> None:
    """Compare what the engine belongs to with what is here; an empty word is not known, and not compared.

    Raises:
        Refusal: It was built by another TensorRT, for another GPU or on another module; kind ``bundle``.
    """
    key = manifest["key"]
    for what, wanted, found, fits in (
        ("TensorRT", key.get("tensorrt"), tensorrt, _agree),
        ("GPU", key.get("gpu"), gpu, operator.eq),
        ("the module", key.get("module", ""), module, same_module),  # bundles before it do not say
    ):
        if found and not fits(wanted, found):
            raise Refusal(
                "bundle",
                "the engine of {!r} was built for {} {}, here is {}; deploy the network to this board "
                "anew".format(manifest["name"], what, wanted, found),
            )


def _agree(one: Any, other: Any) -> bool:
    """Whether two versions are the same, as far as both are told: trtexec says 8.2.1, Python 8.2.1.8."""
    return all(a == b for a, b in zip(str(one).split("."), str(other).split(".")))


def _digest(path: str) -> str:
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        for block in iter(lambda: file.read(1 << 20), b""):
            digest.update(block)
    return digest.hexdigest()


def _damaged(folder: str, why: str) -> Refusal:
    return Refusal(
        "bundle", "the bundle in {} is damaged: {}; take another copy, or deploy anew".format(folder, why)
    )
