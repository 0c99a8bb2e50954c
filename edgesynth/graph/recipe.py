"""Keep a sliced network on disk, and bring it back into the user's own model class.

A network is a folder of two files: ``recipe.json`` says how to cut it, ``weights.safetensors`` holds
what it weighs. Nothing is pickled.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from importlib import metadata
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from edgesynth.errors import InputError, RunError
from edgesynth.graph.prototype import Prototype
from edgesynth.space import Architecture, Space, Value

__all__ = ["RECIPE_FILE", "WEIGHTS_FILE", "Recipe", "load", "save_network", "versions"]

RECIPE_FILE = "recipe.json"
WEIGHTS_FILE = "weights.safetensors"
_FORMAT = 1


@dataclass(frozen=True)
class Recipe:
    """How to cut one network out of its prototype.

    Attributes:
        architecture: Choice per dimension.
        keep: Kept unit indices per dimension.
        space: The space the architecture is from, as JSON.
        prototype: Name of the prototype.
        prototype_hash: Identity of the prototype's structure.
        inputs: Shape (with a batch of 1) and type of every network input.
        freeze: Freeze patterns the prototype was traced with.
        align: Largest width step the prototype was traced with.
        weights_hash: SHA-256 of the weights file; empty until saved.
        versions: What wrote it, from :func:`versions`.
        metadata: Anything else worth keeping, such as the generator's seed.
        format: Version of this layout.
    """

    architecture: Architecture
    keep: Mapping[str, Sequence[int]]
    space: Sequence[Mapping[str, Any]]
    prototype: str
    prototype_hash: str
    inputs: Sequence[Mapping[str, Any]]
    freeze: Sequence[str] = ()
    align: int = 8
    weights_hash: str = ""
    versions: Mapping[str, str] = field(default_factory=dict)
    metadata: Mapping[str, Any] = field(default_factory=dict)
    format: int = _FORMAT

    @classmethod
    def of(
        cls,
        prototype: Prototype,
        architecture: Mapping[str, Value],
        keep: Mapping[str, Sequence[int]] | None = None,
        **extra: Any,  # noqa: ANN401 - any JSON value
    ) -> Recipe:
        """The recipe of one architecture of a prototype.

        Args:
            prototype: Where it is cut from.
            architecture: Choice per dimension.
            keep: Explicit unit indices for some dimensions; the prototype's ranking decides the rest.
            **extra: JSON values kept as metadata.

        Raises:
            ArchitectureError: The architecture does not fit the prototype.
        """
        inputs = [
            {"shape": [1, *tensor.shape[1:]], "dtype": str(tensor.dtype).removeprefix("torch.")}
            for tensor in prototype.example_input
        ]
        return cls(
            architecture=dict(architecture),
            keep=prototype.keep_sets(architecture, keep),
            space=prototype.space.to_json(),
            prototype=prototype.name,
            prototype_hash=prototype.structure_hash,
            inputs=inputs,
            freeze=list(prototype.freeze),
            align=prototype.align,
            versions=versions(),
            metadata=dict(extra),
        )

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Recipe:
        """Read what :meth:`to_json` wrote.

        Raises:
            RunError: A field is missing or unknown, or the format is newer than this version reads.
        """
        if data.get("format", 0) > _FORMAT:
            raise RunError(
                f"the recipe has format {data['format']}, this version reads up to {_FORMAT}; "
                "upgrade edgesynth"
            )
        try:
            recipe = cls(**data)
            Space.from_json(recipe.space).encode(recipe.architecture)
        except (TypeError, KeyError, AttributeError) as error:
            known = [f.name for f in fields(cls)]
            raise RunError(f"the recipe is damaged: {error}; it needs the fields {known}") from error
        return recipe


def save_network(directory: Path | str, module: nn.Module, recipe: Recipe) -> Recipe:
    """Write a network's weights and recipe; either all of it is there afterwards, or what was before.

    Args:
        directory: Folder to write to; made if missing.
        module: A slice of the recipe's prototype.
        recipe: How it was cut.

    Returns:
        The recipe as written, with the hash of the weights.

    Raises:
        RunError: The folder cannot be written, or the disk is full.
    """
    from safetensors.torch import save

    folder = Path(directory)
    # One key only: safetensors writes several in random order, and equal networks must be equal files.
    payload = save(_named_once(module), metadata={"format": "pt"})
    written = Recipe(**{**recipe.to_json(), "weights_hash": hashlib.sha256(payload).hexdigest()})
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _write(folder / WEIGHTS_FILE, payload)
        # The recipe names the weights by hash, so it goes last: it makes the network exist.
        _write(folder / RECIPE_FILE, json.dumps(written.to_json(), indent=1).encode())
    except OSError as error:
        raise RunError(
            f"cannot save the network to {folder}: {error}; free space or choose another folder"
        ) from error
    return written


def load(model: nn.Module, path: Path | str) -> nn.Module:
    """Bring a saved network back, cut from a fresh instance of the user's model class.

    Args:
        model: The prototype's model, e.g. ``model_fn()``; its own weights do not matter, and it is
            not changed.
        path: The network's folder, or its recipe file.

    Returns:
        A module of the model's own class, or a graph module where its ``forward`` cannot take the
        smaller layers, in evaluation mode.

    Raises:
        RunError: A file is missing or damaged.
        InputError: The model is not the one the network was cut from.
    """
    folder = Path(path).parent if Path(path).suffix == ".json" else Path(path)
    recipe = read_recipe(folder)
    tensors = _read_weights(folder, recipe)
    example = tuple(
        torch.zeros([int(size) for size in item["shape"]], dtype=getattr(torch, item["dtype"]))
        for item in recipe.inputs
    )
    prototype = Prototype(model, example, freeze=recipe.freeze, align=recipe.align, name=recipe.prototype)
    if prototype.structure_hash != recipe.prototype_hash:
        raise InputError(
            f"{type(model).__name__} is not the model that {folder} was cut from ({recipe.prototype}): "
            "its layers or their sizes differ; build it with the same arguments"
        )
    module = prototype.slice(recipe.architecture, recipe.keep)
    try:
        missing, unexpected = module.load_state_dict(tensors, strict=False)
    except RuntimeError as error:
        raise RunError(f"the weights of {folder} do not fit its recipe: {error}") from error
    missing = sorted(set(missing) & set(_named_once(module)))
    if missing or unexpected:
        raise RunError(
            f"the weights of {folder} do not fit its recipe: missing {missing}, "
            f"unexpected {sorted(unexpected)}"
        )
    return module.eval()


def read_recipe(folder: Path) -> Recipe:
    """Read the recipe of a saved network.

    Raises:
        RunError: It is missing or damaged.
    """
    path = folder / RECIPE_FILE
    try:
        data = json.loads(path.read_text())
    except OSError as error:
        raise RunError(f"cannot read {path}: {error.strerror}; give the folder of a saved network") from error
    except ValueError as error:
        raise RunError(f"{path} is damaged: {error}; save the network again") from error
    if not isinstance(data, dict):
        raise RunError(f"{path} is damaged: it holds no JSON object; save the network again")
    return Recipe.from_json(data)


def _read_weights(folder: Path, recipe: Recipe) -> dict[str, Tensor]:
    from safetensors.torch import load as parse

    path = folder / WEIGHTS_FILE
    try:
        payload = path.read_bytes()
    except OSError as error:
        raise RunError(f"cannot read {path}: {error.strerror}; the network is incomplete") from error
    found = hashlib.sha256(payload).hexdigest()
    if found != recipe.weights_hash:
        raise RunError(
            f"{path} is damaged: its SHA-256 is {found[:12]}…, the recipe says {recipe.weights_hash[:12]}…; "
            "save the network again"
        )
    tensors: dict[str, Tensor] = parse(payload)
    return tensors


def _named_once(module: nn.Module) -> dict[str, Tensor]:
    """The state dict with every shared tensor under its first name only."""
    seen: set[int] = set()
    once: dict[str, Tensor] = {}
    for name, tensor in module.state_dict(keep_vars=True).items():
        if id(tensor) not in seen:
            seen.add(id(tensor))
            once[name] = tensor.detach().cpu().contiguous()
    return once


def _write(path: Path, payload: bytes) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as stream:
            stream.write(payload)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def versions() -> dict[str, str]:
    """What wrote a file: the versions of edgesynth, torch and Python."""
    try:
        ours = metadata.version("edgesynth")
    except metadata.PackageNotFoundError:
        ours = "source"
    return {"edgesynth": ours, "torch": torch.__version__, "python": platform.python_version()}
