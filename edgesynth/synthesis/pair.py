"""The generator-inquisitor pair as an ask/tell object (arXiv 1809.05989, eqs. 1-3).

::

    theta_I,k       fitted to all observations (N_i, y_i) so far     observations, inquisitor, belief
    delta theta_G,k = I(G_k; theta_I,k)                              teaching, population
    theta_G,k+1     = theta_G,k + delta theta_G,k                    policy

The generator proposes what to observe next (candidates, acquisition). The inquisitor hears of every
observation; once there are a seventh more of them it is fitted anew, and once there are twice as many its
update is added to the generator, which learns the rest before it generates. The pair knows nothing of
training loops or devices::

    pair = GeneratorInquisitor(space, requirements, NetScore(), seed=0)
    for _ in range(100):
        for architecture in pair.ask(1):
            pair.tell(architecture, evaluate(architecture))
    pair.generate(seed=7)
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from edgesynth.errors import InputError, RunError
from edgesynth.metrics import SHARES, Metric, metric_kind
from edgesynth.space import Architecture, Space, Value
from edgesynth.synthesis.acquisition import promising_within
from edgesynth.synthesis.budgets import Budgets
from edgesynth.synthesis.candidates import Computed, Costs, fill, opening, proportional
from edgesynth.synthesis.candidates import repair as move_inside
from edgesynth.synthesis.checks import finite, whole
from edgesynth.synthesis.encoding import Array, Encoding
from edgesynth.synthesis.inquisitor import Inquisitor
from edgesynth.synthesis.observations import Memory
from edgesynth.synthesis.pace import CATCH_UP, LESSON, Pace
from edgesynth.synthesis.performance import Performance, as_performance
from edgesynth.synthesis.policy import Policy
from edgesynth.synthesis.requirements import Requirements
from edgesynth.synthesis.states import PairState, reading, refuse_another, under
from edgesynth.synthesis.teaching import Lesson
from edgesynth.synthesis.threads import one_thread
from edgesynth.synthesis.told import Told

__all__ = ["GeneratorInquisitor", "PairState"]


class GeneratorInquisitor:
    """Learns a generator of architectures that maximise ``U`` under hard requirements.

    Attributes:
        budgets: The range of budgets that the generator is taught.

    Args:
        space: The dimensions that are free.
        requirements: The bounds, or their mapping form.
        performance: The performance function, or any callable on a mapping of metrics.
        seed: Seed of everything random; two pairs that are called alike answer alike.
        computed: Exact, free metrics of an architecture (MACs, parameters), if there are any; it is asked
            about every imagined architecture, so it should take microseconds, or answer for many at once
            (:class:`~edgesynth.synthesis.candidates.BatchedCosts`).
        diversity: Strength of the term that keeps the generator's family wide. Small values give a
            narrow family around the best; distinctness itself is kept by its own multiplier.
        span: Budgets up to ``exp(span)`` times looser or tighter are learned along, so that one generator
            serves a range of them (:mod:`~edgesynth.synthesis.budgets`); 0 learns the given
            requirements only.
        autonomous: Whether the generator learns a little while architectures are asked for, and the rest
            before it generates. A client that decides itself when it learns passes false, and calls
            :meth:`update`.

    Raises:
        InputError: An argument is none of its kind, or ``computed`` gives no metrics of the smallest and the
            largest network.
        RequirementError: The requirements cannot be read, or no network meets them by what is computed.
    """

    def __init__(
        self,
        space: Space,
        requirements: Requirements | Mapping[str, str | Sequence[str]],
        performance: Performance | Callable[[Mapping[str, float]], float],
        seed: int = 0,
        computed: Computed | None = None,
        *,
        diversity: float = 0.1,
        span: float = 0.0,
        autonomous: bool = True,
    ) -> None:
        if not isinstance(space, Space):
            raise InputError(f"a pair is made for a Space, got {space!r}; write Space([...])")
        self.space = space
        self.requirements = Requirements.of(requirements)
        self.performance = as_performance(performance)
        self.seed = whole("seed", seed, least=0)
        self.diversity = finite("diversity", diversity, least=0.0)
        self.autonomous = autonomous
        self.budgets = Budgets(self.requirements, span)
        self.cycles = 0
        self._lock = threading.RLock()
        self._encoding = Encoding(space)
        self._costs = Costs(self._encoding, computed, self.requirements)
        self.policy = Policy(self._encoding, len(self.requirements), self.seed)
        self.inquisitor = Inquisitor(self._encoding, self.requirements, self.performance, self._costs)
        self._memory = self._remembering()
        self._calls = 0
        self._pace = Pace()
        self._stale = True
        self._kept: tuple[Array, Lesson] | None = None

    def initialise(self, count: int = 96) -> None:
        """``G_0``, from the prototype and the computed bounds alone, before anything was observed.

        The policy learns to draw the prototype scaled into the bounds, its proportions kept roughly:
        a better place to begin than networks of random proportions, and to stay while little is told.
        """
        with self._lock, one_thread():
            family = proportional(self._encoding, self._costs, count, self._rng("initialise"))
            self.policy.theta = self.policy.theta + self.inquisitor.initial(self.policy, family)

    # --- ask and tell ---

    def ask(self, n: int = 1) -> list[Architecture]:
        """Propose ``n`` architectures to evaluate, none of them asked or told before.

        Safe to call from any thread, in any batch size, while earlier results are pending. Fewer than
        ``n`` come back only when the space holds no more, or many random draws found no more of it.

        Raises:
            InputError: ``n`` is no integer, or not positive.
        """
        n = whole("n", n)
        if n < 1:
            raise InputError(f"ask for at least one architecture, got n={n}")
        with self._lock, one_thread():
            rng = self._rng("ask")
            chosen = self._memory.pending[:0]
            first = min(n, self._start - len(self._memory))
            if first > 0:
                widest = self.budgets.loosest if self.budgets else self.requirements
                chosen = opening(self._encoding, self._costs, self._memory.seen, first, rng, widest)
            if len(chosen) < n:
                self._learn()
                parts = self.inquisitor, self.policy, self._costs, self._memory
                more = promising_within(self.budgets, *parts, n - len(chosen), rng, besides=chosen)
                chosen = np.concatenate([chosen, more])
            self._memory.ask(chosen)
            return self._encoding.architectures(chosen)

    def tell(
        self,
        architecture: Mapping[str, Value],
        metrics: Mapping[str, Metric | float] | str,
        responses: Mapping[str, float] | None = None,
        *,
        pinned: bool = False,
    ) -> None:
        """Teach the pair one observation; architectures that were never asked are welcome.

        Args:
            architecture: What was evaluated. Told again, its values count as repeated noisy samples.
            metrics: Values by metric name, or the reason why the evaluation failed. A value that is
                not finite is a failure too. Empty, when there are only responses. A metric with an interval
                counts as much as it is sure beside others of its name; one without counts as the usual one.
                So does a performance function that is learned as a whole, having no form for tensors.
            responses: Probe responses by ``dimension.stimulus``: how strongly the output of this network
                answers to a stimulus there. They tell which dimensions quality is likely to depend on; one
                that is not a number is passed over.
            pinned: These values hold for good, so :meth:`drift` leaves them.

        Raises:
            ArchitectureError: The architecture does not fit the space.
            InputError: Nothing was told, or something that cannot be: no number, a share outside of 0..1, a
                cost that is not positive, an interval or a response that is not finite.
            RequirementError: A metric has an unknown name.
        """
        told = Told.read(metrics, responses, pinned=pinned)
        with self._lock, one_thread():
            self._memory.tell(architecture, told)
            self._stale = True

    def drift(self, metric: str, offset: float, trust: float = 1.0) -> None:
        """Carry what was told of a metric and not pinned over to today: the evaluation has moved on.

        Shared weights improve while architectures are compared on them, not all architectures alike; a
        client that measures by how much keeps old observations comparable with new ones, and lets them
        count for less.

        Args:
            metric: Whose values move.
            offset: Added to each of them; the result stays within 0..1 for a fraction.
            trust: What an old observation is worth in new ones, above 0 and at most 1. One worth less
                than a twentieth is dropped, and its architecture may be asked for again.

        Raises:
            InputError: ``trust`` lies outside its range, or ``offset`` is not finite.
            RequirementError: The metric has an unknown name.
        """
        metric_kind(str(metric))
        offset = finite("offset", offset)
        if not 0 < finite("trust", trust) <= 1:
            raise InputError(f"trust lies above 0 and at most at 1, got {trust}")
        with self._lock, one_thread():
            self._memory.drift(metric, offset, trust)
            self._stale = True

    # --- the learned generator ---

    def generate(
        self,
        seed: int,
        requirements: Requirements | Mapping[str, str | Sequence[str]] | None = None,
        *,
        repair: bool = False,
    ) -> Architecture:
        """The architecture that one seed stands for: ``G_k(s)``. No search, no evaluation.

        An autonomous pair first learns what was told since it last did so, or was updated: seconds, and
        nothing until more is told. What it asks for next depends on that lesson.

        Args:
            seed: Any integer in 0 .. 2**64 - 1.
            requirements: Other bounds on the same metrics, on the same sides, or their mapping form; within
                the range of budgets that was taught.
            repair: Move the policy's choice into the *computed* bounds by its own ranking of
                alternatives, where it is not there already; and up to them, where neither the performance
                function nor another requirement sees anything in a smaller network. Where no change of
                one dimension leads closer, the network stays outside of them; judge it.

        Raises:
            InputError: The seed is no integer, negative, or does not fit 64 bits.
            RequirementError: The requirements bound something else, or lie outside the range that was taught.
        """
        wanted = self.requirements if requirements is None else Requirements.of(requirements)
        bounds = self.budgets.vector(wanted)
        with self._lock, one_thread():
            if self.autonomous and self._memory.evaluations > self._pace.caught_up:
                self.update(CATCH_UP)
            warmth = self.inquisitor.teaching.lesson.warmth_at(self.budgets.place(bounds))
            chosen, preferences = self.policy.choose([seed], bounds, warmth=warmth)
            choice = chosen[0]
            if repair:
                choice = move_inside(self._encoding, self._costs, choice, preferences[0], wanted)
                if self._costs.bounded and self._larger_is_no_worse:
                    choice = fill(self._encoding, self._costs, choice, preferences[0], wanted)
            return self.space.decode(choice)

    def update(self, steps: int = 60) -> Mapping[str, Any]:
        """One explicit cycle of learning: fit ``theta_I``, then ``theta_G = theta_G + delta``.

        Returns:
            Predicted utility, feasible share, distance, distinct share, multiplier per requirement.
        """
        with self._lock, one_thread():
            self._learn(teach=False)
            self._pace.catch_up(self._memory.evaluations)
            return self._teach(steps)

    def keep(self) -> None:
        """Remember the generator as it is, to come back to it if its next updates are not borne out."""
        with self._lock, one_thread():
            self._kept = (self.policy.theta, self.inquisitor.teaching.lesson)

    def revert(self) -> None:
        """Come back to the generator that was kept; what the inquisitor has learned stays.

        Raises:
            RunError: None was kept.
        """
        with self._lock, one_thread():
            if self._kept is None:
                raise RunError("there is no generator to come back to; call keep() before the update")
            self.policy.theta, self.inquisitor.teaching.lesson = self._kept

    def predict(
        self, architectures: Sequence[Mapping[str, Value]]
    ) -> dict[str, tuple[NDArray[np.float64], NDArray[np.float64]]]:
        """Mean and standard deviation of every metric, each ``[n]``; exact ones have deviation 0."""
        with self._lock, one_thread():
            self._learn(teach=False)
            indices = self._encoding.indices(architectures)
            out = self.inquisitor.predict(indices)
            out |= {name: (value, np.zeros_like(value)) for name, value in self._costs(indices).items()}
            return out

    @property
    def best(self) -> Architecture | None:
        """The best architecture told so far whose values hold every requirement."""
        with self._lock, one_thread():
            standing = self._memory.standing()
            return None if standing.best is None else self.space.decode(standing.leaders(1)[0])

    # --- state ---

    def state(self) -> PairState:
        """Everything needed to continue exactly where this pair is."""
        with self._lock, one_thread():
            tensors = {"policy.theta": torch.tensor(self.policy.theta)}
            tensors |= {f"inquisitor.{k}": v.clone() for k, v in self.inquisitor.tensors().items()}
            if self._kept is not None:
                theta, lesson = self._kept
                tensors["kept.theta"] = torch.tensor(theta)
                tensors |= {f"kept.{name}": value for name, value in lesson.tensors().items()}
            meta = {
                **self._problem,
                "seed": self.seed,
                "cycles": self.cycles,
                "calls": self._calls,
                **self._pace.to_json(),
                "noise": self.policy.noise,
                "tiled": self.policy.tiled,
                "inquisitor": self.inquisitor.to_json(),
                "kept": self._kept and self._kept[1].to_json(),
                **self._memory.to_json(),
            }
            return PairState(tensors, meta)

    def restore(self, state: PairState) -> None:
        """Continue where :meth:`state` was taken, bit for bit; a state that is refused changes nothing.

        Raises:
            InputError: It is no state.
            RunError: The state is damaged, or belongs to a pair that was made otherwise but for its seed.
        """
        refuse_another(state, self._problem)
        meta, tensors = state.meta, state.tensors
        with self._lock, one_thread():
            with reading():
                seed, cycles, calls = int(meta["seed"]), int(meta["cycles"]), int(meta["calls"])
                pace, noise = Pace.read(meta), float(meta["noise"])
                tiled = bool(meta.get("tiled", False))  # unknown to earlier versions, which had none
                policy = Policy(self._encoding, len(self.requirements), seed, tiled=tiled)
                theta = tensors["policy.theta"].numpy().reshape(policy.theta.shape).copy()
                learned = {name: value.clone() for name, value in under("inquisitor.", tensors).items()}
                Lesson.read(learned, meta["inquisitor"])
                kept = None
                if meta["kept"] is not None:
                    lesson = Lesson.read(under("kept.", tensors), meta["kept"])
                    kept = (tensors["kept.theta"].numpy().reshape(theta.shape).copy(), lesson)
                memory = self._remembering()
                memory.restore(meta)
            self.seed, self.cycles, self._calls, self._pace = seed, cycles, calls, pace
            policy.noise, policy.theta, self.policy = noise, theta, policy
            self.inquisitor.restore(learned, meta["inquisitor"])
            self._kept, self._memory, self._stale = kept, memory, True

    def __reduce__(self) -> tuple[Callable[..., GeneratorInquisitor], tuple[Any, ...], PairState]:
        """A copy is made like this pair and continues where it is; its functions have to allow for that."""
        make = partial(
            type(self), diversity=self.diversity, span=self.budgets.span, autonomous=self.autonomous
        )
        made = (self.space, self.requirements, self.performance, self.seed, self._costs.function)
        return make, made, self.state()

    __setstate__ = restore

    # --- inside ---

    @property
    def _problem(self) -> dict[str, Any]:
        """What another pair has to be made with to continue as this one."""
        return {
            "space": self.space.to_json(),
            "requirements": self.requirements.to_json(),
            "performance": [self.performance.name, *self.performance.needs],
            "computed": list(self._costs.names),
            "diversity": self.diversity,
            "span": self.budgets.span,
            "autonomous": self.autonomous,
        }

    def _remembering(self) -> Memory:
        return Memory(self.space, self._costs, self.performance, self.requirements)

    @property
    def _larger_is_no_worse(self) -> bool:
        """Whether only the task's quality is wanted, under bounds on what is computed."""
        judged = [item.metric for item in self.requirements if item.metric not in self._costs.names]
        return all(name in SHARES for name in (*judged, *self.performance.needs))

    @property
    def _start(self) -> int:
        return min(16, len(self.space) + 4)

    def _rng(self, purpose: str) -> np.random.Generator:
        """A fresh stream per call, so that a restored pair needs only a counter."""
        self._calls += 1
        return np.random.default_rng([self.seed, len(purpose), self._calls])

    def _learn(self, *, teach: bool = True) -> None:
        """Fit ``theta_I`` if anything was told; teach ``theta_G`` whenever enough was told since."""
        count = self._memory.evaluations
        if not count:
            return
        if self._stale:
            self.inquisitor.learn(self._memory.observations(), self._pace.fit(count))
            self._stale = False
        if teach and self.autonomous and self._pace.teach(count):
            self._teach(LESSON, drawn_from=False)  # before generating, the rest is learned

    def _teach(self, steps: int, *, drawn_from: bool = True) -> Mapping[str, Any]:
        """``theta_G,k+1 = theta_G,k + delta theta_G,k``."""
        rng = self._rng("teach")
        update = self.inquisitor.delta(
            self.policy,
            rng,
            steps=steps,
            diversity=self.diversity,
            budgets=self.budgets,
            start=self._memory.standing().leaders(8),
            told=self._memory.evaluations,
            drawn_from=drawn_from,
        )
        self.policy.theta = self.policy.theta + update.delta
        self.cycles += 1
        return update.record
