"""Finished seeds of ``tasks.py``: kept as files, shown as a table, held against the bars."""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

FEWER = 10.0
MORE_PER_JOULE = 4.0
MINUTES = 45.0
LOSS_POINTS = {"accuracy": 1.0, "miou": 1.5, "map50": 1.5}


@dataclass(frozen=True)
class Part:
    """What one method made of a set with one seed: kept as soon as it is there.

    Attributes:
        quality: Test quality of every network, 0 to 1.
        macs: Their multiply-accumulates.
        parameters: Their parameters.
        per_joule: Their inferences per joule; simulated.
        spent: Share of the budget that was used.
        minutes: Wall time.
        core_minutes: Process time, all threads together.
    """

    quality: tuple[float, ...]
    macs: tuple[float, ...]
    parameters: tuple[float, ...]
    per_joule: tuple[float, ...]
    spent: float
    minutes: float
    core_minutes: float

    @classmethod
    def kept(cls, path: Path, make: Callable[[], Part]) -> Part:
        """What the file holds, else what ``make`` makes, which the file holds from then on."""
        if not path.exists():
            _keep(make(), path)
        values = json.loads(path.read_text())
        return cls(**{key: tuple(each) if isinstance(each, list) else each for key, each in values.items()})


@dataclass(frozen=True)
class Row:
    """One set, one seed.

    Attributes:
        data: Name of the set.
        origin: ``real``, ``composed`` or ``generated``.
        metric: Name of the quality's metric.
        seed: Decides weights, order and augmentation.
        prototype: Test quality of the prototype, 0 to 1.
        networks: Test quality of every reported network.
        width: Test quality of the narrower network.
        full_macs: Multiply-accumulates of the prototype.
        macs: Those of every reported network.
        width_macs: Those of the narrower network.
        parameters: Parameters of the prototype and, on average, of the networks.
        per_joule: Inferences per joule of the prototype, of every network, of the narrower one; simulated.
        spent: Share of the budget that the synthesis and the narrower network used.
        minutes: Wall time of training the prototype, of the synthesis, and of the narrower network.
        core_minutes: Process time of the same, all threads together.
    """

    data: str
    origin: str
    metric: str
    seed: int
    prototype: float
    networks: tuple[float, ...]
    width: float
    full_macs: float
    macs: tuple[float, ...]
    width_macs: float
    parameters: tuple[float, float]
    per_joule: tuple[float, tuple[float, ...], float]
    spent: tuple[float, float]
    minutes: tuple[float, float, float]
    core_minutes: tuple[float, float, float]

    @property
    def loss(self) -> float:
        """Points of quality that the networks are behind the prototype, on average."""
        return 100 * (self.prototype - statistics.mean(self.networks))

    @property
    def width_loss(self) -> float:
        """Points of quality that the narrower network is behind the prototype."""
        return 100 * (self.prototype - self.width)

    @property
    def fewer(self) -> float:
        """How many times fewer MACs the largest of the networks has."""
        return self.full_macs / max(self.macs)

    @property
    def more_per_joule(self) -> float:
        """How many times the prototype's inferences per joule, on average; simulated."""
        return statistics.mean(self.per_joule[1]) / self.per_joule[0]

    @property
    def width_more_per_joule(self) -> float:
        """The same of the narrower network."""
        return self.per_joule[2] / self.per_joule[0]

    def write(self, path: Path) -> None:
        """Keep it."""
        _keep(self, path)

    @classmethod
    def read(cls, path: Path) -> Row:
        """What :meth:`write` kept."""
        values = json.loads(path.read_text())
        lists = {key: tuple(value) for key, value in values.items() if isinstance(value, list)}
        whole, networks, width = values["per_joule"]
        return cls(**{**values, **lists, "per_joule": (whole, tuple(networks), width)})


def _keep(value: Part | Row, path: Path) -> None:
    """Write a file that is either whole or not there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = path.with_suffix(".part")
    scratch.write_text(json.dumps(asdict(value), indent=1))
    scratch.replace(path)


@dataclass(frozen=True)
class Bar:
    """One figure of a set against what it should be.

    Attributes:
        what: In words.
        value: The mean over seeds.
        limit: What it is held against.
        most: Whether the limit is the most it may be, not the least.
        form: How both are written.
    """

    what: str
    value: float
    limit: float
    most: bool
    form: str

    @property
    def met(self) -> bool:
        """Whether the figure is on the right side."""
        return self.value <= self.limit if self.most else self.value >= self.limit

    def __str__(self) -> str:
        """One line."""
        side = "at most" if self.most else "at least"
        state = "met" if self.met else "MISSED"
        return f"{self.what}: {self.value:{self.form}}; bar: {side} {self.limit:{self.form}}; {state}"


def bars(rows: Sequence[Row]) -> list[Bar]:
    """What the rows of one set are held against."""

    def mean(value: Callable[[Row], float]) -> float:
        return statistics.mean(value(row) for row in rows)

    total = mean(lambda row: row.minutes[0] + row.minutes[1])
    return [
        Bar("times fewer MACs", min(row.fewer for row in rows), FEWER, most=False, form=".1f"),
        Bar("points lost", mean(lambda row: row.loss), LOSS_POINTS[rows[0].metric], most=True, form="+.2f"),
        Bar(
            "times the inferences per joule (simulated)",
            mean(lambda row: row.more_per_joule),
            MORE_PER_JOULE,
            most=False,
            form=".2f",
        ),
        Bar("minutes for prototype and synthesis, here", total, MINUTES, most=True, form=".1f"),
    ]


HEADING = (
    f"{'seed':>4}  {'prototype':>9}  {'networks (test)':<24}{'loss':>6}  {'narrower':>8} {'loss':>6}  "
    f"{'M MACs':>8} {'fewer':>6}  {'per joule':>9} {'narrower':>9}  {'spent':>6}  minutes (core minutes)"
)


def table(rows: Sequence[Row]) -> str:
    """One line per seed, then mean and spread."""
    lines = [HEADING]
    for row in rows:
        low, high = 100 * min(row.networks), 100 * max(row.networks)
        networks = f"{100 * statistics.mean(row.networks):.2f} % ({low:.2f}..{high:.2f})"
        minutes = "+".join(f"{part:.1f}" for part in row.minutes[:2])
        cores = "+".join(f"{part:.1f}" for part in row.core_minutes[:2])
        lines.append(
            f"{row.seed:>4}  {100 * row.prototype:>7.2f} %  {networks:<24}{row.loss:>+6.2f}  "
            f"{100 * row.width:>6.2f} % {row.width_loss:>+6.2f}  {statistics.mean(row.macs) / 1e6:>8.2f} "
            f"{row.fewer:>5.1f}x  {row.more_per_joule:>8.2f}x {row.width_more_per_joule:>8.2f}x  "
            f"{row.spent[0]:>6.0%}  {minutes} ({cores})"
        )
    for name, losses in (
        ("networks", [row.loss for row in rows]),
        ("narrower network", [row.width_loss for row in rows]),
    ):
        spread = f"{statistics.stdev(losses):.2f}" if len(losses) > 1 else "unknown"
        lines.append(
            f"{name}: {statistics.mean(losses):+.2f} points lost on average, standard deviation over "
            f"{len(losses)} seeds {spread}"
        )
    return "\n".join(lines)
