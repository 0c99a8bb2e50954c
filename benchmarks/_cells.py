"""Finished cells of ``compression.py``: kept as files, shown as a table, held against the bar."""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

OURS = "edgesynth"
AHEAD = {10.0: 0.5, 20.0: 1.0}
"""Points of test accuracy that edgesynth should be ahead of the best peer, by how many times fewer MACs."""
BEHIND = 0.3
"""Points by which it may be behind the best peer anywhere else."""


@dataclass(frozen=True)
class Cell:
    """One method on one data set, for one target and one seed.

    Attributes:
        data: Name of the data set.
        prototype: Name of the prototype.
        method: Name of the method.
        fewer: How many times fewer MACs were asked for.
        seed: Decides weights, order and augmentation; 0 only ever tunes.
        validation: Accuracy on validation data, 0 to 1.
        test: Accuracy on test data, 0 to 1; none where it tuned.
        macs: Multiply-accumulates of the network.
        parameters: Its parameters.
        spent: Multiply-accumulates of making it.
        full: Multiply-accumulates of the prototype.
        budget: What it was allowed to spend.
        epochs: Passes over the training data.
        recipe: What was chosen on validation data.
        seconds: Process time in all threads, on whatever machine.
    """

    data: str
    prototype: str
    method: str
    fewer: float
    seed: int
    validation: float
    test: float | None
    macs: float
    parameters: float
    spent: float
    full: float
    budget: float
    epochs: float
    recipe: dict[str, float]
    seconds: float

    def write(self, path: Path) -> None:
        """Keep it; a file is either whole or not there."""
        path.parent.mkdir(parents=True, exist_ok=True)
        scratch = path.with_suffix(".part")
        scratch.write_text(json.dumps(asdict(self), indent=1))
        scratch.replace(path)

    @classmethod
    def read(cls, path: Path) -> Cell:
        """What :meth:`write` kept."""
        return cls(**json.loads(path.read_text()))


@dataclass(frozen=True)
class Verdict:
    """Whether edgesynth is where it should be, for one data set and one target.

    Attributes:
        data: Name of the data set.
        fewer: How many times fewer MACs.
        best: Name of the peer with the highest mean.
        gap: Mean test accuracy of edgesynth less that of this peer, in points.
        needed: The least gap that meets the bar, in points.
        honest: Whether no edgesynth cell spent more than it was allowed to.
    """

    data: str
    fewer: float
    best: str
    gap: float
    needed: float
    honest: bool

    @property
    def met(self) -> bool:
        """Whether the bar is met."""
        return self.honest and self.gap >= self.needed


def verdicts(cells: Iterable[Cell]) -> list[Verdict]:
    """Compare edgesynth with the best peer, over the seeds that both have.

    A data set and target without a peer, or without edgesynth, gives no verdict. A peer that lacks some of
    edgesynth's seeds is compared over those it has.
    """
    found: list[Verdict] = []
    tested = [cell for cell in cells if cell.test is not None]
    for data, fewer in sorted({(cell.data, cell.fewer) for cell in tested}):
        here = [cell for cell in tested if (cell.data, cell.fewer) == (data, fewer)]
        ours = {cell.seed: cell for cell in here if cell.method == OURS}
        gaps: dict[str, float] = {}
        for method in sorted({cell.method for cell in here} - {OURS}):
            theirs = {cell.seed: cell for cell in here if cell.method == method}
            shared = sorted(ours.keys() & theirs.keys())
            if shared:
                gaps[method] = 100 * statistics.mean(
                    (ours[seed].test or 0.0) - (theirs[seed].test or 0.0) for seed in shared
                )
        if gaps:
            best = min(gaps, key=lambda method: gaps[method])
            needed = AHEAD.get(fewer, -BEHIND)
            honest = all(cell.spent <= cell.budget for cell in ours.values())
            found.append(Verdict(data, fewer, best, gaps[best], needed, honest))
    return found


HEADING = (
    f"{'fewer':>6}  {'method':<32}{'test %':>8}{'sd':>6}  seeds {'MACs M':>8}{'fewer':>7}{'param k':>9}"
    f"{'T MACs spent':>14}{'of budget':>11}{'epochs':>8}  recipe"
)


def table(cells: Sequence[Cell], titles: dict[str, str], missing: dict[str, str]) -> str:
    """One line per target and method.

    Args:
        cells: Of one data set.
        titles: What each method is called, in the order of the lines.
        missing: Why a method has no line, by name.
    """
    lines = [HEADING]
    tested = [cell for cell in cells if cell.test is not None]
    for fewer in sorted({cell.fewer for cell in tested}):
        for method, title in titles.items():
            group = [cell for cell in tested if (cell.fewer, cell.method) == (fewer, method)]
            if not group:
                continue
            lines.append(_line(fewer, title, [cell.test or 0.0 for cell in group], group))
    lines += [f"{titles.get(method, method)}: {reason}" for method, reason in missing.items()]
    return "\n".join(lines)


def _line(fewer: float, title: str, accuracies: list[float], group: list[Cell]) -> str:
    spread = f"{100 * statistics.stdev(accuracies):.2f}" if len(accuracies) > 1 else "-"
    macs = statistics.mean(cell.macs for cell in group)
    spent = statistics.mean(cell.spent for cell in group)
    share = max(cell.spent / cell.budget for cell in group)
    full = group[0].full
    recipe = " ".join(f"{name}={value:g}" for name, value in group[0].recipe.items())
    return (
        f"{fewer:>5g}x  {title:<32}{100 * statistics.mean(accuracies):>8.2f}{spread:>6}  {len(group):>5} "
        f"{macs / 1e6:>8.3f}{full / macs:>6.1f}x{statistics.mean(c.parameters for c in group) / 1e3:>9.1f}"
        f"{spent / 1e12:>14.2f}{share:>11.1%}{statistics.mean(c.epochs for c in group):>8.1f}  {recipe}"
    )
