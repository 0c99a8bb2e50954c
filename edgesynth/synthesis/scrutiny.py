"""How many networks a cycle evaluates, and how closely: what its training can bear.

Whoever has few data trains briefly, and looking at as many networks as ever would then take most of a
cycle. So evaluations may take a share of the multiply-accumulates of training: first on fewer samples, then
of fewer networks. Both follow from counts alone, never from a clock, so that a run repeats itself bit by bit.
"""

from __future__ import annotations

from dataclasses import astuple, dataclass
from typing import Final, Self

from edgesynth.synthesis.settings import SynthesisSettings

__all__ = ["CUTTING", "EVALUATING", "FEWEST", "FEWEST_SAMPLES", "INCUMBENTS", "SURER", "Scrutiny"]

EVALUATING: Final = 0.2
"""MACs that a cycle's evaluations may take, over those of its training: about an eighth of the time."""

FEWEST_SAMPLES: Final = 250
"""Validation samples that an evaluation reads, however little training there was before it."""

CUTTING: Final = 100
"""Samples that a small network reads in the time of cutting it out, which no count of MACs shows."""

FEWEST: Final = 2
"""Networks of each kind that are evaluated, however little training there was."""

INCUMBENTS: Final = 6
"""Networks of the standing generator that every cycle evaluates again, on that cycle's weights."""

SURER: Final = 4
"""How many times as many samples judge one network of a cycle, to tell how hard those of the others are."""


@dataclass(frozen=True)
class Scrutiny:
    """The networks that a cycle evaluates, by kind.

    Attributes:
        asked: That the pair asks for; none where it learns nothing new.
        fresh: From fresh seeds; twice as many then.
        incumbents: Of the standing generator, again.
        surer: How many times as many samples one of them is judged on.
    """

    asked: int
    fresh: int
    incumbents: int = INCUMBENTS
    surer: int = SURER

    @property
    def evaluations(self) -> int:
        """Evaluations of ordinary length that all of it amounts to."""
        return self.asked + self.fresh + self.incumbents + self.surer - 1

    @classmethod
    def affordable(
        cls,
        settings: SynthesisSettings,
        trained_samples: float,
        read_samples: int,
        *,
        asks: bool = True,
        standing: int = INCUMBENTS,
    ) -> Self:
        """What a cycle can bear, of what the settings want.

        Args:
            settings: Wanted networks.
            trained_samples: That the cycle's training reads. What is trained is about as large as what is
                evaluated, and a sample takes three times as much there.
            read_samples: The fewest that an evaluation reads, with those for its batch-norm statistics.
            asks: Whether the pair asks for networks in this cycle.
            standing: Networks that the standing generator has to be evaluated again.
        """
        asked, fresh = settings.asked_per_cycle, settings.seeds_per_cycle
        wanted = cls(*((asked, fresh) if asks else (0, 2 * fresh)), min(INCUMBENTS, standing))
        # Never fewer in all than can be told apart by their losses, if the standing ones are two.
        fewest = cls(FEWEST, FEWEST if asks else 2 * FEWEST, FEWEST, FEWEST)
        bearable = EVALUATING * 3 * trained_samples / (read_samples + CUTTING)
        share = min(1.0, bearable / wanted.evaluations)

        counts = zip(astuple(wanted), astuple(fewest), strict=True)
        return cls(*(min(count, max(least, round(share * count))) for count, least in counts))
