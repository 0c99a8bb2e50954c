"""From the highest precision down, as far as each step is proven and measured to be worth it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from edgesynth.deploy.acceptance import HIGHEST, Acceptance
from edgesynth.deploy.gain import Made, measure_gain
from edgesynth.deploy.unfit import Unfit
from edgesynth.errors import DeviceError, InputError, LinkError

if TYPE_CHECKING:
    from edgesynth.deploy.order import Order
    from edgesynth.deploy.outcome import Deployment
    from edgesynth.devices import Precision

__all__ = ["descend"]

_TOO_MUCH: Final = frozenset({"out_of_memory", "timeout"})
"""Failures of a build that a lower precision may be spared."""


def descend(order: Order) -> Deployment:
    """What the lowest precision comes to that is proven, and worth it against the next higher one.

    FP32 comes first. FP16 follows where the device has it, and INT8 where real inputs can calibrate it and
    their labels judge it. A precision is taken when its engine is verified, keeps the task's score and is
    measured faster or more efficient than the one that was taken before; those passed over say why.

    Raises:
        InputError: The network, the data or the labels cannot be used.
        DeviceError: The board cannot be reached, or its TensorRT is missing.
        LinkError: The connection was lost, whatever was proven before.
    """
    best = order.make(HIGHEST)
    if not _proven(best) and best.failure_kind not in _TOO_MUCH:
        return best
    for precision in _below(order, best):
        done = _made_or_unfit(order, precision)
        if isinstance(done, Acceptance | Unfit):
            order.tell.note(f"{precision} is not chosen: {done.says}")
            best = replace(best, passed_over=(*best.passed_over, done))
        elif not _proven(best):  # there is nothing to compare with
            best = replace(done, passed_over=(*best.passed_over, _unfit(HIGHEST, best)))
        else:
            lower, higher = _made(order, done), _made(order, best)
            with order.tell.phase(f"measure {precision} and {higher.precision} on {order.device.link.name}"):
                gain = measure_gain(order.device, order.source, lower, higher)
            order.tell.note(gain.says)
            if gain.worthwhile:
                best = replace(done, passed_over=best.passed_over, gain=gain)
            else:
                best = replace(best, passed_over=(*best.passed_over, gain))
    return best


def _made_or_unfit(order: Order, precision: str) -> Deployment | Acceptance | Unfit:
    """A precision that is proven, or why it is not: what was proven before must not be lost by it."""
    try:
        done = order.make(precision)
    except LinkError:
        raise
    except (InputError, DeviceError) as error:
        return Unfit(precision, (str(error),))
    return done if _proven(done) else done.refused or _unfit(precision, done)


def _below(order: Order, highest: Deployment) -> list[Precision]:
    """The precisions below FP32 that are worth trying, from the higher to the lower."""
    samples = None if highest.delivery is None else highest.delivery.samples
    judged = samples is not None and samples.real and samples.score is not None
    wanted: tuple[Precision, ...] = ("fp16", "int8") if judged else ("fp16",)
    known = order.device.profile.precisions
    return [name for name in wanted if name in known and known[name].supported]


def _proven(done: Deployment) -> bool:
    return done.engine is not None and not done.failures


def _made(order: Order, done: Deployment) -> Made:
    assert done.engine is not None
    return Made(order.precision_of(done), done.engine, done.cuda_graph)


def _unfit(precision: str, done: Deployment) -> Unfit:
    reports = [] if done.delivery is None else [done.delivery.report, done.delivery.module_report]
    told = (report.divergence for report in (*reports, done.report) if report is not None)
    first = next((found for found in told if found is not None), None)
    where = "" if first is None else f"{first.node} ({first.operator})"
    return Unfit(precision, done.failures, where)
