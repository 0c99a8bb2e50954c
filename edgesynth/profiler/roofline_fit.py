"""Fit the terms of the roofline to measured networks.

The time of a call is that of :mod:`edgesynth.devices.roofline`: a constant, and for every kernel the longest
of launch, arithmetic and memory traffic. Terms are fitted as logarithms to logarithms of times, so that a
network of 0.1 ms counts as much as one of 100 ms. The power of a load is a constant and an energy per
multiply-accumulate and per byte, none of them below zero.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from edgesynth.devices import Precision, Profile, Workload
from edgesynth.devices.fusion import kind_of
from edgesynth.errors import MeasurementError

__all__ = ["KINDS", "Observation", "TimeFit", "fit_power", "fit_times", "least_squares"]

KINDS: Final = ("convolution", "depthwise", "linear")
_ROUNDS: Final = 60
_NUDGE: Final = 0.01
_FOLDS: Final = 6
_FELT: Final = 0.02  # a term that moves no time by this share of its own change bounds no network


@dataclass(frozen=True)
class Observation:
    """One network as it was measured.

    Attributes:
        name: Of the probe.
        workload: What it asks of the device.
        precision: It ran in.
        batch: Samples per call.
        call_ms: Median time of one call.
        load_ms: Mean time of one call while power was read; 0 without power.
        power_mw: Mean of the total over the load; 0 without power.
        idle_mw: Of the total, at rest.
        rails_mw: Mean per rail over the load.
        rails_idle_mw: Mean per rail at rest.
        held_out: Not to be fitted to.
    """

    name: str
    workload: Workload
    precision: Precision
    batch: int
    call_ms: float
    load_ms: float
    power_mw: float
    idle_mw: float
    rails_mw: Mapping[str, float]
    rails_idle_mw: Mapping[str, float]
    held_out: bool

    def work(self, scalar_bytes: int) -> tuple[float, float]:
        """Multiply-accumulates and bytes of one call, at so many bytes a scalar."""
        moved = sum(k.weight_bytes + self.batch * k.activation_bytes for k in self.workload.kernels)
        return float(self.workload.macs * self.batch), moved * scalar_bytes / 4


class _Table:
    """The kernels of many observations as arrays."""

    def __init__(self, observations: Sequence[Observation], profile: Profile) -> None:
        precisions = list(dict.fromkeys(seen.precision for seen in observations))
        self.faster = [name for name in precisions if name != precisions[0]]
        self.names = ["call_us", "launch_us", *(f"{kind}_gmacs_s" for kind in KINDS), "bandwidth_gb_s"]
        self.names += [f"{name}_speedup" for name in self.faster]
        macs, moved, kind, owner = [], [], [], []
        for index, seen in enumerate(observations):
            absorbed: dict[str, int] = {}
            for layer in seen.workload.layers:
                if layer.fused_into is not None:
                    absorbed[layer.fused_into] = absorbed.get(layer.fused_into, 0) + layer.macs
            scale = profile.precision(seen.precision).bytes / 4
            for layer in seen.workload.kernels:
                found = kind_of(layer)
                macs.append(seen.batch * (layer.macs + absorbed.get(layer.name, 0)))
                moved.append((layer.weight_bytes + seen.batch * layer.activation_bytes) * scale)
                kind.append(KINDS.index(found) if found in KINDS else KINDS.index("linear"))
                owner.append(index)
        self._macs, self._moved = np.array(macs, dtype=np.float64), np.array(moved, dtype=np.float64)
        self._kind, self._owner = np.array(kind), np.array(owner)
        column = {name: 1 + number for number, name in enumerate(self.faster)}
        self._speed = np.array([column.get(observations[index].precision, 0) for index in owner])
        self._count = len(observations)
        self.seconds = np.array([seen.call_ms for seen in observations]) / 1e3

    def times_s(self, logs: NDArray[np.float64]) -> NDArray[np.float64]:
        """Time of every observation under these logarithms of the terms, in the order of ``names``."""
        terms = np.exp(logs)
        speed = np.concatenate([[1.0], terms[6:]])[self._speed]
        arithmetic = self._macs / (1e9 * terms[2:5][self._kind] * speed)
        work = np.maximum(arithmetic, self._moved / (1e9 * terms[5]))
        kernels = np.maximum(work, 1e-6 * terms[1])
        return np.asarray(1e-6 * terms[0] + np.bincount(self._owner, kernels, minlength=self._count))

    def guess(self, profile: Profile) -> NDArray[np.float64]:
        """Where to start: the highest rates that any network reached, and the least times."""
        spent = self.seconds[self._owner]
        launches = np.bincount(self._owner, minlength=self._count)
        rates = []
        for number in range(len(KINDS)):
            mine = (self._kind == number) & (self._speed == 0)
            done = np.bincount(self._owner[mine], self._macs[mine], minlength=self._count) / self.seconds
            rates.append(max(float(done.max()) / 1e9, 1e-3))
        moved = np.bincount(self._owner, self._moved, minlength=self._count) / self.seconds
        launch_us = 1e6 * float((self.seconds / launches).min())
        call_us = max(1e6 * float(spent.min()) / 2, 0.1)
        speeds = [profile.precision(name).speedup or 1.0 for name in self.faster]
        return np.log([call_us, launch_us, *rates, max(float(moved.max()) / 1e9, 1e-3), *speeds])


@dataclass(frozen=True)
class TimeFit:
    """Terms that tell how long a call takes.

    Attributes:
        terms: By name, units in the names.
        spread: Relative standard error of those that bound some network; see ``Calibration.spread``.
        call_ms: The time that the terms tell, per observation that was given.
    """

    terms: Mapping[str, float]
    spread: Mapping[str, float]
    call_ms: tuple[float, ...]


def fit_times(observations: Sequence[Observation], profile: Profile) -> TimeFit:
    """Fit the terms of time to the observations that are not held out.

    Args:
        observations: Fitted ones in at least the base precision, which is that of the first.
        profile: Says how many bytes a scalar has, and where speedups are likely.

    Raises:
        MeasurementError: There are fewer observations than terms.
    """
    fitted = [seen for seen in observations if not seen.held_out]
    table = _Table(fitted, profile)
    if len(fitted) < len(table.names):
        raise MeasurementError(
            f"{len(fitted)} networks gave a latency, and {len(table.names)} terms are to be fitted; "
            "measure more networks, or look at why others gave none, and repeat"
        )
    logs = _descend(table, table.guess(profile))
    felt = np.abs(_slopes(table, logs)).max(axis=0) > _FELT
    shares = np.full(len(logs), np.nan)
    if len(fitted) >= 2 * len(logs):
        refits = []
        for fold in range(_FOLDS):
            part = _Table([seen for i, seen in enumerate(fitted) if i % _FOLDS != fold], profile)
            if part.names == table.names:
                refits.append(_descend(part, logs))
        shares = _jackknife(refits)
    everything = _Table(observations, profile)
    return TimeFit(
        {name: float(value) for name, value in zip(table.names, np.exp(logs), strict=True)},
        {
            name: float(share)
            for name, share, moved in zip(table.names, shares, felt, strict=True)
            if moved and np.isfinite(share)
        },
        tuple(1e3 * float(seconds) for seconds in everything.times_s(logs)),
    )


def _slopes(table: _Table, logs: NDArray[np.float64]) -> NDArray[np.float64]:
    """How the logarithm of every time follows that of every term, ``[n, terms]``."""
    # Both sides, since at the corner of a maximum a term may bind from one side only.
    ahead = [np.log(table.times_s(logs + _NUDGE * unit)) for unit in np.eye(len(logs))]
    behind = [np.log(table.times_s(logs - _NUDGE * unit)) for unit in np.eye(len(logs))]
    return np.stack([(up - down) / (2 * _NUDGE) for up, down in zip(ahead, behind, strict=True)], axis=1)


def _descend(table: _Table, logs: NDArray[np.float64]) -> NDArray[np.float64]:
    """Levenberg-Marquardt on the logarithms of the times."""

    def errors(at: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray(np.log(table.times_s(at) / table.seconds))

    damping, now = 1e-2, errors(logs)
    for _ in range(_ROUNDS):
        slopes = _slopes(table, logs)
        normal = slopes.T @ slopes + damping * np.eye(len(logs))
        trial = logs - np.clip(np.linalg.solve(normal, slopes.T @ now), -0.7, 0.7)
        then = errors(trial)
        if then @ then < now @ now:
            done = now @ now - then @ then < 1e-9
            logs, now, damping = trial, then, max(damping / 3, 1e-9)
            if done:
                break
        else:
            damping *= 4
            if damping > 1e6:
                break
    return logs


def fit_power(
    observations: Sequence[Observation], profile: Profile
) -> tuple[dict[str, float], dict[str, float]]:
    """Fit the terms of the total's power to the observations that are not held out and have one.

    Returns:
        ``idle_mw``, ``active_mw``, ``mac_PRECISION_pj`` and ``byte_pj``; and the relative standard errors
        of those that are above zero. Both are empty without power.
    """
    seen = [entry for entry in observations if not entry.held_out and entry.power_mw > 0]
    if not seen:
        return {}, {}
    precisions = list(dict.fromkeys(entry.precision for entry in seen))
    rows = []
    for entry in seen:
        macs, moved = entry.work(profile.precision(entry.precision).bytes)
        one_pj = 1e-9 / (entry.load_ms / 1e3)  # of one picojoule per call, in milliwatts
        of_macs = [macs * one_pj * (entry.precision == name) for name in precisions]
        rows.append([1.0, *of_macs, moved * one_pj])
    power = np.array([entry.power_mw for entry in seen])
    weighted, ones = np.array(rows) / power[:, None], np.ones(len(seen))
    found = least_squares(weighted, ones)
    names = ["active_mw", *(f"mac_{name}_pj" for name in precisions), "byte_pj"]
    idle = np.array([entry.idle_mw for entry in seen if entry.idle_mw > 0] or [0.0])
    terms = {"idle_mw": float(idle.mean())}
    terms |= {name: float(value) for name, value in zip(names, found, strict=True)}
    errors = {"idle_mw": float(idle.std(ddof=1)) / len(idle) ** 0.5} if len(idle) > 1 else {}
    if len(seen) >= 2 * len(names):
        fold = np.arange(len(seen)) % _FOLDS
        refits = [least_squares(weighted[fold != k], ones[fold != k]) for k in range(_FOLDS)]
        errors |= dict(zip(names, _jackknife(refits).tolist(), strict=True))
    return terms, {name: error / terms[name] for name, error in errors.items() if terms[name] > 0}


def _jackknife(refits: Sequence[NDArray[np.float64]]) -> NDArray[np.float64]:
    """Standard error of estimates, each made without one part of the observations (Shao and Tu, 1995)."""
    deviations = np.array(refits) - np.mean(refits, axis=0)
    return np.asarray(np.sqrt((len(refits) - 1) / len(refits) * (deviations**2).sum(axis=0)))


def least_squares(rows: NDArray[np.float64], values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Coefficients of the least squared error of which none is negative.

    Args:
        rows: ``[n, k]``.
        values: ``[n]``.
    """
    kept = list(range(rows.shape[1]))
    found = np.zeros(rows.shape[1])
    while kept:
        part = np.linalg.lstsq(rows[:, kept], values, rcond=None)[0]
        if part.min() >= 0:
            found[kept] = part
            break
        del kept[int(part.argmin())]
    return found
