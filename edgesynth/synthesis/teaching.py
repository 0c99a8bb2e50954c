"""How the inquisitor teaches: the change of the generator that it asks for (arXiv 1809.05989, eq. 3).

::

    delta theta_G,k = I(G_k; theta_I,k)

The generator that maximises ``E[U] + T H`` (mean performance, and entropy against a measure ``p_0`` at
temperature ``T``) under ``1_r`` is known in closed form::

    p*(N)  ~  1_r(N) p_0(N) exp(U(N) / T)

(``p_0`` is the same for all networks, or of the prototype's proportions; above a ``T`` of 1 it is levelled
too, ``p_0^(1/T)``; over a range of budgets each has a ``T`` of its own), so the inquisitor keeps a population
of imagined architectures that walks towards ``p*`` as ``theta_I`` believes it, and ``delta theta_G`` is
gradient ascent on the likelihood that the generator draws them::

    delta theta_G = argmax_d  E_{N ~ p*} log p(N; theta_G + d)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor

from edgesynth.synthesis.belief import Belief
from edgesynth.synthesis.budgets import Budgets
from edgesynth.synthesis.encoding import Array, Encoding, Indices, distinct, mutate
from edgesynth.synthesis.moderation import Moderation
from edgesynth.synthesis.normal import cdf
from edgesynth.synthesis.policy import Policy
from edgesynth.synthesis.population import Ascent, Population, Weights
from edgesynth.synthesis.proportions import Proportions

__all__ = ["Lesson", "Teaching", "Update"]

_POPULATION: Final = 256
_RATE: Final = 1e-2
_GLOBAL: Final = 3
_FRESH: Final = 128
_CAUTION: Final = 1.5
_LEAST_CAUTION: Final = 0.75
_MOST_CAUTION: Final = 2.5
_INSIDE: Final = 0.985
_CARE: Final = 3.0
_BLUR: Final = 0.2
"""The least that counts as a standard deviation of a sum over layers, in the spread of what was seen of it: a
generator draws no finer, however sure the inquisitor is where a wall stands."""
_ROOM: Final = 0.75
_REVIEW: Final = 3
_DOUBT: Final = 1.0
_FAMILIES: Final = (3, 100)
"""How many families of how many seeds tell whether seeds repeat."""
_VARIED: Final = 0.92
_MARKS: Final = 5
"""Budgets of a range at which that is asked."""
_HELD: Final = 0.98
_WARMER: Final = 1.05
_WARMEST: Final = 1.5


@dataclass(frozen=True)
class Update:
    """``delta theta_G``, and how it was found.

    Attributes:
        delta: To be added to ``theta_G``.
        record: Figures for the cycle's record.
    """

    delta: Array
    record: Mapping[str, Any]


@dataclass(frozen=True)
class Lesson:
    """What lasts from one lesson to the next.

    Attributes:
        members: The population of imagined architectures, ``[n, D]``; empty before the first lesson.
        temperature: ``T``.
        proportioned: Whether ``p_0`` is :class:`~edgesynth.synthesis.proportions.Proportions`, as it is for a
            generator that began with the prototype's; one that an earlier version began goes on without.
        reserve: Over a range of budgets, how much tighter than its own budget each member lives, in
            logarithms, ``[256]``; see :class:`~edgesynth.synthesis.moderation.Moderation`.
        heat: Over a range of budgets, how many times hotter than ``T`` each member lives, ``[256]``.
        caution: Standard deviations in hand.
        warmth: How many times warmer than :attr:`Policy.noise` seeds choose: at budgets from the tightest to
            the loosest of a range, evenly spread, or at the only one.
    """

    members: Indices
    temperature: float = 1.0
    caution: float = _CAUTION
    warmth: tuple[float, ...] = (1.0,)
    proportioned: bool = False
    reserve: Array = field(default_factory=lambda: np.zeros(_POPULATION))
    heat: Array = field(default_factory=lambda: np.ones(_POPULATION))

    def tensors(self) -> dict[str, Tensor]:
        """Everything that is one figure per member."""
        figures = {"population": self.members, "reserve": self.reserve, "heat": self.heat}
        return {name: torch.from_numpy(values) for name, values in figures.items()}

    def warmth_at(self, place: float) -> float:
        """The warmth at a place in the range of budgets, from -1 at its tightest to 1 at its loosest."""
        return float(np.interp(place, np.linspace(-1.0, 1.0, len(self.warmth)), self.warmth))

    def to_json(self) -> dict[str, Any]:
        """The rest."""
        return {
            "temperature": self.temperature,
            "caution": self.caution,
            "warmth": list(self.warmth),
            "proportioned": self.proportioned,
        }

    @classmethod
    def read(cls, tensors: Mapping[str, Tensor], data: Mapping[str, Any]) -> Lesson:
        """Read what :meth:`tensors` and :meth:`to_json` gave.

        Raises:
            ValueError: It cannot be a lesson.
        """
        members, reserve = tensors["population"].numpy(), tensors["reserve"].numpy()
        heat = tensors["heat"].numpy() if "heat" in tensors else np.ones(_POPULATION)  # the first had none
        for name, values, least in (("reserve", reserve, 0.0), ("heat", heat, 1.0)):
            if values.shape != (_POPULATION,) or not (values >= least).all() or not np.isfinite(values).all():
                raise ValueError(f"no {name}")
        warmth = data.get("warmth", 1.0)  # unknown to the first versions, and one for all budgets to the next
        warmth = tuple(float(each) for each in (warmth if isinstance(warmth, list) else [warmth]))
        if not warmth:
            raise ValueError("no warmth")
        temperature, caution = float(data["temperature"]), float(data["caution"])
        proportioned = bool(data.get("proportioned", False))  # unknown to earlier versions
        return cls(members, temperature, caution, warmth, proportioned, reserve, heat)


class Teaching:
    """Teaches one lesson after another.

    A requirement is a wall, not a price: a member of the population inside never leaves, and one
    outside only moves closer. ``T`` falls to its least value and rises only as far as members repeat.
    Margins are held with 1.5 standard deviations in hand: more while draws are believed to be inside too
    seldom, fewer where that leaves the population no room. What is believed of draws is asked of the policy
    at temperature 1, which is a little wilder than seeds. Over a range of budgets each member's reserve
    sees to that, and each has its own heat. Performance counts as one standard deviation less than believed:
    what is merely hoped for is explored by what the pair asks, and a generator that runs after it leaves
    trained networks behind.

    Attributes:
        lesson: Where the last one ended.

    Args:
        encoding: The space's encoding.
        believe: The belief about value indices ``[n, D]`` under requirement vectors ``[n, R]``.
        proportions: ``p_0`` of a generator that begins with the prototype's.
    """

    def __init__(
        self,
        encoding: Encoding,
        believe: Callable[[Indices, Array], Belief],
        proportions: Proportions | None = None,
    ) -> None:
        self.lesson = Lesson(np.empty((0, len(encoding.space)), dtype=np.int64))
        self._encoding = encoding
        self._believe = believe
        self._proportions = proportions or Proportions(encoding.space)

    def initial(self, policy: Policy, family: Indices, steps: int = 300) -> Array:
        """The change of ``theta_G`` that makes the policy draw a given family, and walk on from it.

        Args:
            policy: Read, never changed.
            family: Value indices ``[n, D]``, of about the prototype's proportions; later lessons leave these
                for what they know to be better.
            steps: Gradient steps on the family's likelihood.
        """
        bounds = np.zeros((len(family), policy.bounds))
        ascent = Ascent(policy.theta, _RATE)
        even = np.full(len(family), -1.0 / max(1, len(family)))
        for _ in range(steps):
            shown = policy.likelihood(family, bounds, ascent.theta)
            ascent.step(policy.gradient(shown, even, ascent.theta))
        members = family[np.arange(_POPULATION) % len(family)]
        self.lesson = replace(self.lesson, members=members, proportioned=True)
        return ascent.theta - policy.theta

    def delta(
        self,
        policy: Policy,
        rng: np.random.Generator,
        *,
        steps: int = 40,
        diversity: float = 0.1,
        budgets: Budgets | None = None,
        start: Indices | None = None,
        told: int = 0,
        drawn_from: bool = True,
    ) -> Update:
        """``delta theta_G``: teach the generator on imagined seeds.

        The population walks by Metropolis-Hastings, proposed by small changes and by the generator
        itself; what the generator draws outside the requirements is made less likely on the way.

        Args:
            policy: Read, never changed.
            rng: Draws the imagined seeds.
            steps: Population sweeps, and as many gradient steps.
            diversity: The least temperature, in units of the spread of the better observations.
            budgets: The range to teach; each member lives under a budget of its own, the same in every
                lesson. By default the taught requirements alone.
            start: Architectures ``[n, D]`` to seed the population with.
            told: How many evaluations the belief rests on.
            drawn_from: Whether seeds may be drawn after this lesson; without, it is not asked how warm.
        """
        members, caution = self.lesson.members, self.lesson.caution
        bounds = np.zeros((_POPULATION, policy.bounds))
        if budgets:
            bounds, caution = budgets.rows(_POPULATION), _LEAST_CAUTION
        kept = Moderation(self.lesson.reserve, self.lesson.heat, bounds, budgets)
        if not len(members):
            members, _ = policy.draw(policy.imagine(_POPULATION, rng), bounds)
        if start is not None:
            members = np.concatenate([start, members[len(start) :]])

        belief: Belief

        def weigh(indices: Indices) -> Weights:
            nonlocal belief
            belief = self._believe(indices, kept.bounds)
            return _weights(belief, caution)

        measure = partial(self._proportions, told=told) if self.lesson.proportioned else None
        walk = Population(self._encoding, members, weigh, self.lesson.temperature, diversity, measure)
        walk.heat = kept.heat
        ascent = Ascent(policy.theta, _RATE)
        loss, chances = None, list[float]()
        even = np.full(_POPULATION, -1.0 / _POPULATION)
        for step in range(steps):
            slope, loss = np.zeros_like(ascent.theta), 0.0
            if step % _GLOBAL == 0:
                drawn, shown = policy.sample(bounds, rng, ascent.theta)
                own = policy.likelihood(walk.members, bounds, ascent.theta)
                outside = walk.propose(drawn, rng, own.log_p - shown.log_p)
                if budgets:
                    outside = self._outside(drawn, bounds)
                    kept.review(drawn, outside, walk.short <= 0)
                    walk.heat = kept.heat
                    walk.weighed()
                else:
                    chances.append(_chance(belief))
                warning = _GLOBAL * (outside - outside.mean()) / _POPULATION
                slope += policy.gradient(shown, warning, ascent.theta)
                loss += float(warning @ shown.log_p)
            else:
                walk.propose(mutate(self._encoding, walk.members, rng), rng)
            shown = policy.likelihood(walk.lesson(rng), bounds, ascent.theta)
            ascent.step(slope + policy.gradient(shown, even, ascent.theta))
            loss += float(even @ shown.log_p)
            if len(chances) == _REVIEW:
                held, caution = caution, _reviewed(caution, walk, _INSIDE - float(np.mean(chances)))
                chances.clear()
                if caution != held:
                    walk.weighed()
        marks = budgets.marks(_MARKS) if budgets else bounds[:1]
        warmth = tuple(self._warmth(policy, ascent.theta, mark) if drawn_from else 1.0 for mark in marks)
        self.lesson = replace(
            self.lesson,
            members=walk.members,
            temperature=walk.temperature,
            caution=caution,
            warmth=warmth,
            reserve=kept.reserve,
            heat=kept.heat,
        )
        record = {
            "loss": loss,
            "population_feasible": float((walk.short <= 0).mean()),
            "temperature": walk.temperature,
            "caution": caution,
            "warmth": warmth,
            **self._examine(policy, ascent.theta, rng),
        }
        return Update(ascent.theta - policy.theta, record)

    def _outside(self, drawn: Indices, bounds: Array) -> Array:
        """1 where a draw ``[n, D]`` lies outside its budget ``[n, R]``, else 0: ``[n]``."""
        short, _ = _weights(self._believe(drawn, bounds), _LEAST_CAUTION)
        return (short > 0).astype(np.float64)

    def _warmth(self, policy: Policy, theta: Array, budget: Array) -> float:
        """The least at which hardly a seed of a family repeats another, and no less is believed to hold.

        Args:
            policy: Whose seeds they are.
            theta: Its parameters.
            budget: The requirement vector ``[R]`` that the family is drawn under.
        """
        families, count = _FAMILIES
        seeds, bounds = range(families * count), np.tile(budget, (families * count, 1))
        found, warmth, enough = 1.0, 1.0, 0.0
        while warmth <= _WARMEST:
            drawn, _ = policy.choose(seeds, budget, theta, warmth)
            held = float(np.exp(self._believe(drawn, bounds).log_feasible).mean())
            enough = enough or min(_HELD, held)
            if held < enough:
                break
            found = warmth
            if sum(map(distinct, np.split(drawn, families))) >= _VARIED * len(seeds):
                break
            warmth *= _WARMER
        return found

    def _examine(self, policy: Policy, theta: Array, rng: np.random.Generator) -> dict[str, float | None]:
        """What is believed of fresh draws of a taught generator."""
        bounds = np.zeros((_FRESH, policy.bounds))
        fresh, _ = policy.draw(policy.imagine(_FRESH, rng), bounds, theta)
        belief = self._believe(fresh, bounds)
        short, utility = _weights(belief, 0.0)
        inside = short <= 0
        return {
            "utility": float(utility[inside].mean() * belief.unit) if inside.any() else None,
            "feasible": float(inside.mean()),
            "distinct": distinct(fresh) / _FRESH,
        }


def _weights(belief: Belief, caution: float) -> Weights:
    """Total predicted violation with caution, and sure performance in units of its spread: each ``[n]``."""
    spread = np.maximum(belief.margin_std, _BLUR * belief.summed[:, None])
    short = np.maximum(caution * spread - belief.margin, 0.0).sum(0)
    sure = belief.utility - _DOUBT * belief.utility_std
    utility = sure / belief.unit + np.log(np.maximum(belief.success, 1e-3))
    return short, utility


def _chance(belief: Belief) -> float:
    """Mean chance of ``n`` architectures to hold the bounds on what is paid for."""
    sure = cdf(belief.margin / np.maximum(belief.margin_std, 1e-9))
    return float(np.where(belief.margin_std > 0, sure, 1.0).prod(0).mean())


def _reviewed(caution: float, walk: Population, short: float) -> float:
    """More caution while draws are too seldom inside, by ``short``; less where it leaves no room."""
    if (walk.short <= 0).mean() <= _ROOM:
        return max(_LEAST_CAUTION, 0.9 * caution)
    return min(_MOST_CAUTION, max(min(_CAUTION, 1.1 * caution), caution + _CARE * short))
