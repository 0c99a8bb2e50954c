"""From a recording to figures, and every reason not to believe some of them.

A figure that cannot be trusted is left out, never printed with a warning beside it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

import numpy as np

from edgesynth.agent.tegrastats import Record, parse_line
from edgesynth.devices import Recording
from edgesynth.devices.latency_pass import FEWEST_STRETCHES
from edgesynth.devices.profile import Mode, Rails, Sensor
from edgesynth.profiler.energy import Window, mean_power
from edgesynth.profiler.plan import MeasurementPlan
from edgesynth.profiler.rails import distrust, rule_for, step_mw, still_step_mw, total_mw
from edgesynth.profiler.statistics import Figure, drift, mean_interval, quantile, trend
from edgesynth.profiler.surroundings import (
    JETSON_CLOCKS,
    LOCK_CLOCKS,
    clock_doubt,
    rest_doubt,
    shortage_doubt,
    throttle_doubt,
)

__all__ = ["Findings", "PowerJudge", "judge_latency"]

UNSTEADY: Final = 0.05
"""Medians of fifths of a latency pass may differ by this share. Of enough stretches, the interval of their
median and mean may reach as far to either side instead."""
TREND: Final = 0.02
"""By this share the latency may rise or fall all through a pass."""
MISSING_SHARE: Final = 0.1
"""Share of the samples of a window that may be missing or unreadable."""
CONTENDED: Final = 0.1
"""How long threads may wait for a processor that other programs hold, per time passed."""

_FEWEST_CALLS: Final = 10


@dataclass(frozen=True)
class Findings:
    """What one pass gave.

    Attributes:
        figures: Trustworthy figures by metric name.
        doubt: Why others are missing; empty when none is.
        rails: Mean power per rail, mW.
        conditions: What a reader needs to repeat it.
        everywhere: Whether the doubt is about the device as a whole, and figures of other passes share it.
    """

    figures: Mapping[str, Figure] = field(default_factory=dict)
    doubt: str = ""
    rails: Mapping[str, float] = field(default_factory=dict)
    conditions: Mapping[str, Any] = field(default_factory=dict)
    everywhere: bool = False


def judge_latency(
    latencies_ms: Sequence[float],
    plan: MeasurementPlan,
    waited_share: float | None = None,
    unsuited: str = "",
    medians_ms: Sequence[float] = (),
) -> Findings:
    """Percentiles and throughput of single calls.

    A percentile that so few calls cannot enclose is left out. Throughput counts samples, latency batches.

    Args:
        latencies_ms: In the order they were taken.
        plan: How the pass was asked for.
        waited_share: How long the calls waited for a processor that other programs held, per time passed;
            ``None`` when the device does not tell. Load that stays on all the while shows here alone: the
            medians within the pass agree, and the next pass has others.
        unsuited: Why the device was in no state to be timed, in words: its speed, or that it had not settled.
        medians_ms: Of stretches of calls, where the device has them: calls of one are alike, so no figure is
            known better than the stretches agree.
    """
    conditions: dict[str, Any] = {"latency_runs": len(latencies_ms)}
    if len(latencies_ms) < _FEWEST_CALLS:
        few = f"only {len(latencies_ms)} calls were timed in {plan.latency_limit_s:g} s; allow more time"
        return Findings(doubt=_contended(waited_share) or unsuited or few, conditions=conditions)
    wander = drift(latencies_ms)
    conditions["latency_drift"] = round(wander, 4)
    # The cause before the effect: what holds the processor or slows the machine unsteadies the calls.
    if doubt := _contended(waited_share) or unsuited:
        return Findings(doubt=doubt, conditions=conditions)
    enclosed = _enclosing(medians_ms) if medians_ms else None
    if doubt := _unsteady(wander, enclosed if len(medians_ms) >= FEWEST_STRETCHES else None):
        return Findings(doubt=doubt, conditions=conditions)
    change = trend(latencies_ms)
    if abs(change) > TREND:
        doubt = (
            f"the latency went on {'rising' if change > 0 else 'falling'} while it was timed, by "
            f"{abs(change):.1%} in all; let the device warm up or cool down before, or fix its clocks"
        )
        return Findings(doubt=doubt, conditions=conditions)
    figures = {
        name: figure
        for name, share in (("latency_ms", 0.5), ("latency_p90_ms", 0.9), ("latency_p99_ms", 0.99))
        if (figure := quantile(latencies_ms, share)) is not None
    }
    figures["throughput_ips"] = mean_interval(latencies_ms)
    if enclosed is not None:
        low, high = np.array(enclosed) / np.median(latencies_ms)
        figures = {name: _widened(figure, float(low), float(high)) for name, figure in figures.items()}
    figures["throughput_ips"] = figures["throughput_ips"].map(lambda ms: 1e3 * plan.batch / ms)
    return Findings(figures, conditions=conditions)


def _unsteady(wander: float, enclosed: tuple[float, float] | None) -> str:
    """That a latency pass does not tell what its median is, in words; nothing when it does.

    Args:
        wander: By which share fifths of the pass differ.
        enclosed: See :func:`_enclosing`; of enough stretches, that they differ is no harm.
    """
    known = f"medians within the pass differ by {wander:.1%}"
    if enclosed is not None:
        low, high = enclosed
        wander = (high - low) / (high + low)
        known = f"the median is known to {wander:.1%} on either side"
    if wander <= UNSTEADY:
        return ""
    return f"latency was not steady: {known}; look for other load, throttling, or clocks that still ramp"


def _enclosing(medians_ms: Sequence[float]) -> tuple[float, float]:
    """What encloses both the median and the mean of stretches, each with 95 %; of too few, all of them."""
    median = quantile(medians_ms, 0.5)
    if median is None:
        return min(medians_ms), max(medians_ms)
    mean = mean_interval(medians_ms)
    return min(median.low, mean.low), max(median.high, mean.high)


def _widened(figure: Figure, low: float, high: float) -> Figure:
    """A time that is known no better than stretches of calls agree: what moves one moves all of its calls.

    Args:
        figure: As if every call had been timed by itself, ms.
        low: The lower end of what encloses the stretches, as a share of the median of the calls.
        high: The upper end.
    """
    return replace(
        figure, low=min(figure.low, figure.value * low), high=max(figure.high, figure.value * high)
    )


def _contended(waited_share: float | None) -> str:
    """That other programs held the processor, in words; nothing when they did not."""
    if waited_share is None or waited_share <= CONTENDED:
        return ""
    return (
        f"other programs held the processor: per second, the calls waited {waited_share:.2f} s for it, "
        "summed over their threads; end other work, or measure when there is none"
    )


@dataclass(frozen=True)
class PowerJudge:
    """Turns the power pass of a recording into figures.

    Attributes:
        rails: Which rails make the total, or do where the board does not print those.
        sensor: What the sensor can tell.
        mode: The power mode, for its GPU clock.
        plan: How the pass was asked for.
        rate_hz: Samples per second that were asked for.
        gpu_rests: Whether something else of the board computes, so that the GPU's clock says nothing.
    """

    rails: Rails
    sensor: Sensor
    mode: Mode
    plan: MeasurementPlan
    rate_hz: float
    gpu_rests: bool = False

    def judge(self, recording: Recording) -> Findings:
        """Power, energy and inferences per joule of the window, or why not."""
        counted = self._window(recording)
        if counted is None:
            return Findings(doubt="too few calls finished to integrate power over; use a longer window")
        window, calls = counted
        records = [(line.at_s, parse_line(line.text)) for line in recording.sensor]
        inside = [record for at, record in records if window.begin_s <= at <= window.end_s]
        readable = [record for record in inside if record.rails]
        means = _mean_rails(readable)
        rounded = {name: round(mean, 1) for name, mean in means.items()}
        rails = rule_for(means, self.rails)
        step = step_mw(rails, self.sensor)
        conditions: dict[str, Any] = {
            "window_s": round(window.seconds, 3),
            "calls": calls,
            "power_samples": len(readable),
            "power_step_mw": round(step, 1),
            "power_total": rails.total_text,
            "sensor": self.sensor.name,
        }
        told = recording.conditions
        conditions["gpu_clock_mhz"] = _median([record.gpu_clock_mhz for record in readable])
        contended = _contended(told.get("load_waited_share"))
        doubt = self._doubt(inside, readable, window) or contended or distrust(means, rails, self.sensor)
        if doubt:
            return Findings({}, doubt, rounded, conditions)
        stretches = self._rests(recording.phases)
        rests = [
            record
            for at, record in records
            if any(stretch.begin_s <= at <= stretch.end_s for stretch in stretches)
        ]
        doubt = (
            shortage_doubt(told.get("memory_available_mb"), readable)
            or rest_doubt(rests)
            or throttle_doubt(told)
            or clock_doubt(
                readable,
                self.mode,
                told.get("cooling_active", ()),
                gpu_rests=self.gpu_rests,
                fixed_by=LOCK_CLOCKS if "gpu_address" in told else JETSON_CLOCKS,
            )
        )
        if doubt:
            return Findings({}, doubt, rounded, conditions, everywhere=True)
        if not rests:
            conditions["no_rest"] = (
                f"rests of {self.plan.idle_s:.3g} s are too short for a sensor that averages over "
                f"{self.sensor.filter_s:g} s: neither power above rest nor other load at rest is told; use a "
                "longer window"
            )
        if self.gpu_rests:
            conditions["throttling"] = "not judged by the GPU's clock: it rests while the DLA works"
        busy = self._total(records, rails, window)
        if busy is None or busy.low <= 0:
            return Findings({}, "mean power cannot be told from zero; check the sensor", rounded, conditions)
        powers = [power for record in inside if (power := total_mw(record.rails, rails)) is not None]
        if doubt := self._unsettled(powers, step):
            return Findings({}, doubt, rounded, conditions)
        seconds = window.seconds / (calls * self.plan.batch)  # of load per inference
        peak = max(powers)
        figures = {
            "power_mean_mw": busy,
            "power_peak_mw": Figure(peak, peak - step, peak + step, busy.samples),
            "energy_mj": busy.map(lambda mw: mw * seconds),
            "inferences_per_joule": busy.map(lambda mw: 1e3 / (mw * seconds)),
        }
        idle = self._idle(records, rails, recording.phases)
        if idle is not None:
            conditions["power_idle_mw"] = round(idle.value, 1)
            conditions["power_idle_interval_mw"] = [round(idle.low, 1), round(idle.high, 1)]
            conditions["rails_idle_mw"] = {name: round(mean, 1) for name, mean in _mean_rails(rests).items()}
            off = max(idle.high - idle.value, idle.value - idle.low)  # of two rests one may be known better
            half = float(np.hypot(busy.high - busy.value, off))
            above = busy.value - idle.value
            if above > half:
                dynamic = Figure(above, above - half, above + half, busy.samples)
                figures["inferences_per_joule_dynamic"] = dynamic.map(lambda mw: 1e3 / (mw * seconds))
        conditions["rails_energy_mj"] = self._rail_energy(records, window, list(means), seconds)
        return Findings(figures, rails=rounded, conditions=conditions)

    def _window(self, recording: Recording) -> tuple[Window, int] | None:
        """The window and its calls: between two counts, so that both are known exactly."""
        load = recording.phases.get("load")
        rest = recording.phases.get("idle_after")
        if load is None or rest is None:
            return None
        counts = [count for count in recording.counts if load + self.plan.settle_s <= count[0] <= rest]
        if len(counts) < 2 or counts[-1][1] <= counts[0][1] or counts[-1][0] <= counts[0][0]:
            return None
        return Window(counts[0][0], counts[-1][0]), counts[-1][1] - counts[0][1]

    def _doubt(self, inside: Sequence[Record], readable: Sequence[Record], window: Window) -> str:
        if inside and not readable:
            return "the power sensor's text holds no rail; read it with root rights"
        expected = window.seconds * self.rate_hz
        if len(readable) < (1 - MISSING_SHARE) * expected:
            return (
                f"only {len(readable)} of about {expected:.0f} power samples in {window.seconds:.1f} s "
                "could be read; look at the sensor's own output"
            )
        return ""

    def _unsettled(self, powers: Sequence[float], step: float) -> str:
        """That power went on rising or falling over the window, in words; a swing in it is no such thing."""
        first, *_, last = (float(np.mean(part)) for part in np.array_split(powers, 5))
        if abs(last - first) <= max(UNSTEADY * float(np.mean(powers)), 2 * step):
            return ""
        return (
            f"power had not settled: it went from {first:.0f} to {last:.0f} mW over the window; use a "
            "longer one, or let the board warm up or cool down before"
        )

    def _rail_energy(
        self,
        records: Sequence[tuple[float, Record]],
        window: Window,
        names: Sequence[str],
        seconds: float,
    ) -> dict[str, list[float]]:
        """Energy per inference of every rail, and its 95 % interval, mJ.

        Args:
            records: With their time stamps.
            window: What is integrated over.
            names: Rails.
            seconds: Of load per inference.
        """
        found = {}
        for name in names:
            series = [(at, float(record.rails[name])) for at, record in records if name in record.rails]
            power = self._mean(series, window, self.sensor.step_mw.get(name, 0.0))
            if power is not None:
                energy = power.map(lambda mw: mw * seconds)
                found[name] = [round(value, 6) for value in (energy.value, energy.low, energy.high)]
        return found

    def _total(self, records: Sequence[tuple[float, Record]], rails: Rails, window: Window) -> Figure | None:
        """Mean power of the module over a window."""
        series = [
            (at, power) for at, record in records if (power := total_mw(record.rails, rails)) is not None
        ]
        inside = [record.rails for at, record in records if window.begin_s <= at <= window.end_s]
        still = still_step_mw(inside, rails, self.sensor)
        return self._mean(series, window, step_mw(rails, self.sensor), still)

    def _mean(
        self, series: Sequence[tuple[float, float]], window: Window, step: float, still: float | None = None
    ) -> Figure | None:
        times = [at for at, _ in series]
        powers = [power for _, power in series]
        return mean_power(times, powers, window, step_mw=step, filter_s=self.sensor.filter_s, still_mw=still)

    def _idle(
        self, records: Sequence[tuple[float, Record]], rails: Rails, phases: Mapping[str, float]
    ) -> Figure | None:
        """Mean power at rest before and after the load; the sensor's memory of the load is left out."""
        rests = [
            figure
            for rest in self._rests(phases)
            if (figure := self._total(records, rails, rest)) is not None
        ]
        if not rests:
            return None
        # What power at rest was in between is not known better than its two ends agree.
        return Figure(
            sum(rest.value for rest in rests) / len(rests),
            min(rest.low for rest in rests),
            max(rest.high for rest in rests),
            sum(rest.samples for rest in rests),
        )

    def _rests(self, phases: Mapping[str, float]) -> list[Window]:
        """Where the board rested and its sensor had forgotten the load."""
        lag = self.sensor.filter_s
        stretches = [
            (phases.get("idle_before"), phases.get("load")),
            (phases.get("idle_after"), phases.get("end")),
        ]
        return [
            Window(begin + lag, end)
            for begin, end in stretches
            if begin is not None and end is not None and end - begin > 3 * lag
        ]


def _median(values: Sequence[float | None]) -> float | None:
    """Of what is known; ``None`` where nothing is."""
    known = [value for value in values if value is not None]
    return float(np.median(known)) if known else None


def _mean_rails(records: Sequence[Record]) -> dict[str, float]:
    """Mean per rail over the records that show it; rails most records lack are left out."""
    names = sorted({name for record in records for name in record.rails})
    found = {name: [record.rails[name] for record in records if name in record.rails] for name in names}
    return {
        name: float(np.mean(values))
        for name, values in found.items()
        if len(values) >= (1 - MISSING_SHARE) * len(records)
    }
