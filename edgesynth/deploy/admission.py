"""What can be known of a deployment before a board is asked: the network and its data, by the profile."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from edgesynth.deploy.batch_range import Batches, exported_batch
from edgesynth.deploy.delivery import chosen_samples, prepared
from edgesynth.deploy.inside import check_steps, enclose
from edgesynth.deploy.source import Network, network_file, own_batch
from edgesynth.errors import InputError
from edgesynth.scratch import Scratch

if TYPE_CHECKING:
    from onnx import ModelProto

    from edgesynth.deploy.target import Batch
    from edgesynth.devices import Profile
    from edgesynth.tasks import Task

__all__ = ["admit"]

_NEWEST: Final = ("10.15", 24)
"""The newest TensorRT that is documented, and its opset; a board may have a newer one than its profile."""


def admit(
    network: str | Path | Network,
    profile: Profile,
    *,
    precision: str | None = None,
    batches: Batches | None = None,
    data: str | Task | None = None,
    shapes: Mapping[str, Sequence[int]] | None = None,
    samples: int | None = None,
    inside: Sequence[str] = (),
) -> None:
    """Refuse what no board of this kind can take, whichever TensorRT it has.

    Args:
        network: As for :func:`~edgesynth.deploy.deployment.deploy`, and no bundle.
        profile: The device.
        precision: As asked for; the device's own choice by default.
        batches: Samples per call.
        data: Real inputs.
        shapes: Sizes for free axes, by input.
        samples: The most to take of the data.
        inside: What else the graph is to do itself.

    Raises:
        InputError: No TensorRT reads the network, or the data cannot be used.
    """
    check_steps(inside)
    wanted = precision or profile.default_precision
    with Scratch() as scratch:
        source = network_file(network, scratch.path)
        own = own_batch(source)
        size = exported_batch(batches, own)
        try:
            model = _taken(source, profile, wanted, size, shapes)
        except InputError:
            # The board decides with the TensorRT that it has; only what no newer one takes is hopeless.
            model = _taken(source, _newest(profile), wanted, size, shapes)
        most = 1 if batches is None else batches.most
        chosen = chosen_samples(model, data, wanted, samples, most=most, step=own)
        if inside:
            enclose(model, source, chosen, inside, profile)


def _newest(profile: Profile) -> Profile:
    version, opset = _NEWEST
    return replace(
        profile,
        software=replace(profile.software, tensorrt=version),
        compiler=replace(profile.compiler, opset=max(opset, profile.compiler.opset)),
    )


def _taken(
    source: Path, profile: Profile, precision: str, batch: Batch, shapes: Mapping[str, Sequence[int]] | None
) -> ModelProto:
    """The network as it would be built.

    Raises:
        InputError: This TensorRT does not read it.
    """
    found, model = prepared(source, profile, precision=precision, batch=batch, shapes=shapes)
    if model is not None and found:
        return model
    first, more = found.refusals[0], len(found.refusals) - 1
    where = f"{first.node or 'the file'}{f' ({first.operator})' if first.operator else ''}"
    raise InputError(
        f"{source.name} cannot run on {profile.name}, whatever its TensorRT: {where}: {first.reason}; "
        f"{first.advice}" + (f"; and {more} more, which edgesynth export lists" if more else "")
    )
