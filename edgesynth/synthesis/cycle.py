"""One cycle after another: generate, train, probe, profile, judge, learn, record.

    delta theta_G,k = I(G_k; theta_I,k)         theta_G,k+1 = theta_G,k + delta theta_G,k

A cycle begins with the update and ends with whether it stands (:mod:`~edgesynth.synthesis.succession`). It
becomes visible in the run at once, together with the checkpoint it ends on: a run that is killed anywhere
goes on from the last whole cycle and repeats the interrupted one bit by bit.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
from torch import Tensor

from edgesynth.devices import Device
from edgesynth.graph import Prototype
from edgesynth.metrics import Metric
from edgesynth.progress import Progress
from edgesynth.runs import Run
from edgesynth.space import Architecture
from edgesynth.synthesis.efficiency import information_efficiency
from edgesynth.synthesis.elastic import (
    ElasticTrainer,
    ElasticWeights,
    StepSchedule,
    suitable_rate,
)
from edgesynth.synthesis.evaluation import (
    DERIVED,
    ComputedCosts,
    Evaluation,
    Evaluator,
)
from edgesynth.synthesis.outlook import Outlook
from edgesynth.synthesis.pair import GeneratorInquisitor
from edgesynth.synthesis.performance import performance_by_name
from edgesynth.synthesis.polish import Polish
from edgesynth.synthesis.probing import PROBING, Prober, affordable, rank_channels
from edgesynth.synthesis.requirements import Requirements
from edgesynth.synthesis.settings import SynthesisSettings
from edgesynth.synthesis.states import PairState, under
from edgesynth.synthesis.succession import Member, gains, superiority
from edgesynth.synthesis.summary import summarise
from edgesynth.tasks import Task, TeacherCache

__all__ = ["Synthesizer"]

FRESH_SEEDS = 1 << 62
"""Seeds from here on judge the generator inside cycles, so that users' seeds stay unseen."""

TAUGHT_SEEDS = 1 << 63
"""Seeds from here on name the networks that a cycle trains."""

EVEN = 0.5
"""A generator stands whose networks are better than those of the one before with at least this chance."""

TRUST = 0.3
"""What an observation on the weights of one cycle is worth in the next: two cycles on, next to nothing."""


class Synthesizer:
    """The state of a synthesis between cycles.

    Args:
        prototype: A trained network, traced.
        task: Data, loss and metric.
        requirements: What every network must meet.
        device: Where candidates are measured; ``None`` if no requirement asks for one.
        run: Where everything is recorded.
        settings: Budgets and the seed.
        progress: Who is told.
    """

    def __init__(
        self,
        prototype: Prototype,
        task: Task,
        requirements: Requirements,
        device: Device | None,
        run: Run,
        settings: SynthesisSettings,
        progress: Progress,
    ) -> None:
        self.prototype = prototype
        self.task = task
        epochs, alone = settings.passes(task.size("train"))
        self.polish = Polish(alone, batch_size=settings.batch_size)
        self.requirements = requirements
        self.run = run
        self.settings = settings
        self.progress = progress
        self.weights = ElasticWeights(prototype)
        self.teacher = TeacherCache(prototype.module, seed=settings.seed)
        self.trainer = ElasticTrainer(
            self.weights,
            task,
            self.teacher,
            StepSchedule(settings.learning_rate or suitable_rate(prototype.module)),
            total_epochs=epochs,
            batch_size=settings.batch_size,
            seed=settings.seed,
        )
        calibration = list(
            task.batches(
                "train", batch_size=128, seed=settings.seed, shuffle=True, limit=settings.calibration_samples
            )
        )
        self.evaluator = Evaluator(
            prototype,
            self.weights,
            task,
            device,
            calibration,
        )
        self.pair = GeneratorInquisitor(
            prototype.space,
            requirements,
            performance_by_name(settings.performance, task.metric),
            seed=settings.seed,
            computed=ComputedCosts(prototype),
            diversity=settings.diversity,
            span=math.log(settings.budget_range),
            autonomous=False,
        )
        self.outlook = Outlook(task.metric, epochs + alone, task.size("validation"))
        self.next_cycle = 0
        self._incumbents: list[Member] = []

    def learn(self) -> None:
        """Run every cycle that is still to do."""
        if self.next_cycle == 0:
            with self.progress.phase("rank channels"):
                rank_channels(self.prototype, self.task, self.settings.seed)
            self.pair.initialise()
            self._tell_extremes()
        while self.next_cycle < self.settings.cycles:
            self._cycle(self.next_cycle)
            self.next_cycle += 1

    def _tell_extremes(self) -> None:
        """What the largest and the smallest network are worth: quality is not flat in between.

        The prototype does not change with the shared weights. The smallest network is told as it is
        before training, so that a family shrinks only as far as networks it has trained bear out.
        """
        limit = self.settings.validation_limit
        largest = self.evaluator.evaluate(self.prototype.largest(), self.prototype.module, limit=limit)
        self.outlook.ceiling = self._quality(largest).value
        self.pair.tell(largest.architecture, largest.metrics, pinned=True)
        smallest = self.evaluator.evaluate(self.prototype.smallest(), limit=limit)
        self.pair.tell(smallest.architecture, smallest.metrics, pinned=True)

    def _cycle(self, cycle: int) -> None:
        # Nothing is known before the first cycle, and the last trains the generator that is handed over,
        # so neither moves it.
        moves = cycle > 0 and (cycle + 1 < self.settings.cycles or cycle == 1)
        count, first = self.settings.seeds_per_cycle, 2 * cycle * self.settings.seeds_per_cycle
        steps = self._last_step(cycle) - self.trainer.step
        samples, standing = steps * self.settings.batch_size, len(self._incumbents)
        scrutiny = self.evaluator.scrutiny(self.settings, samples, asks=moves, standing=standing)
        self._incumbents = self._incumbents[: scrutiny.incumbents]
        seconds: dict[str, float] = {}
        with self._timed(seconds, "generate"):
            taught = self._taught(TAUGHT_SEEDS + first, count)
        with self._timed(seconds, "learn"):
            self.pair.keep()
            update = self.pair.update() if moves else {}
        with self._timed(seconds, "generate"):
            taught += self._taught(TAUGHT_SEEDS + first + count, count)
            asked = self.pair.ask(scrutiny.asked) if moves else []
            fresh = self._drawn(FRESH_SEEDS + first, scrutiny.fresh)
        with self._timed(seconds, "profile"):
            self.evaluator.measure_ahead([*asked, *fresh])
        with self._timed(seconds, "train"):
            loss, trained_macs = self._train(cycle, steps, [*asked, *taught])
        with self._timed(seconds, "evaluate"):
            again = [member.architecture for member in self._incumbents]
            one_surely = (scrutiny.surer - 1) * fresh[:1]
            macs = sum(self.prototype.cost(each).macs for each in (*asked, *fresh, *again, *one_surely))
            limit = self.evaluator.affordable(macs, trained_macs, self.settings.validation_limit)
            candidates = self._evaluate(cycle, "what was asked for", asked, limit)
            judged = self._evaluate(cycle, "fresh seeds", fresh, limit)
            stood = [self.evaluator.again(m.architecture, m.metrics, limit) for m in self._incumbents]
            harder = self._harder(judged[0], limit, scrutiny.surer)
        with self._timed(seconds, "probe"):
            responses = self._probe(cycle, judged, trained_macs)
        with self._timed(seconds, "learn"):
            lift, expected = self.outlook.members([*candidates, *judged, *stood], harder, self.trainer.epochs)
            new = len(candidates) + len(judged)
            told, incumbents = expected[:new], expected[new:]
            self._follow_drift(incumbents)
            for evaluation, member in zip((*candidates, *judged), told, strict=True):
                self._tell(evaluation, member, responses)
            better, stands = self._settle(told[len(candidates) :], incumbents, contested=moves)
        probed = [(e.architecture, responses[self._key(e)]) for e in judged if self._key(e) in responses]
        notes = {"loss": loss, "lift": lift, "update": dict(update), "responses": responses}
        with self.run.transaction():
            with self._timed(seconds, "record"):
                self._record(cycle, [*candidates, *judged])
            record = summarise(
                cycle,
                judged,
                self.prototype.space,
                self.requirements,
                self.pair.performance,
                quality=self.task.metric,
                better=better,
                stands=stands,
                efficiency=information_efficiency(self.prototype, probed),
                seconds=seconds,
                epochs=self.trainer.epochs,
                notes=notes,
            )
            self.run.record_cycle(record)
        self.progress.note(
            f"cycle {cycle + 1}/{self.settings.cycles}: {self.task.metric} {record.quality:.3f}, "
            f"{record.macs / 1e6:.2f} M MACs, feasible {record.feasible_fraction:.0%}, "
            f"distinct {record.distinct_fraction:.0%}"
            f"{'' if stands else '; the generator before was better and goes on'}"
        )

    def _record(self, cycle: int, evaluations: Sequence[Evaluation]) -> None:
        """Keep the networks of a cycle, and the checkpoints that it ends on."""
        for evaluation in evaluations:
            found = evaluation.record(self._key(evaluation), "candidate", self.requirements, cycle=cycle)
            self.run.record_network(found)
        self.run.checkpoint(cycle, *self._policy(), keep=True)
        self.run.checkpoint(cycle, *self._state())

    def _harder(self, evaluation: Evaluation, limit: int, surer: int) -> float:
        """By how much quality on so many samples is below that on more of them, going by one network."""
        most = min(surer * limit, self.settings.validation_limit or surer * limit)
        if min(most, self.task.size("validation")) <= limit:
            return 0.0
        again = self.evaluator.again(evaluation.architecture, evaluation.metrics, most)
        return self._quality(again).value - self._quality(evaluation).value

    def _tell(
        self, evaluation: Evaluation, expected: Member, responses: Mapping[str, Mapping[str, float]]
    ) -> None:
        """Teach the pair one evaluation; a network that failed on the device is data too."""
        if evaluation.failure:
            self.pair.tell(evaluation.architecture, evaluation.failure)
            return
        self.pair.tell(evaluation.architecture, expected.metrics, responses.get(self._key(evaluation)))

    def _settle(
        self, challengers: Sequence[Member], incumbents: Sequence[Member], *, contested: bool
    ) -> tuple[float | None, bool]:
        """Decide whether the update stands, and by which chance that its networks are the better ones."""
        better = None
        if contested:
            better = superiority(challengers, incumbents, self.requirements, self.pair.performance)
        stands = better is None or better >= EVEN
        if not stands:
            self.pair.revert()
        self._incumbents = list(challengers if stands else incumbents)
        return better, stands

    def _drawn(self, first: int, count: int) -> list[Architecture]:
        return [self.prototype.canonical(self.pair.generate(first + i, repair=True)) for i in range(count)]

    def _taught(self, first: int, count: int) -> list[Architecture]:
        """Networks to train: over a range of budgets, each for one of them."""
        budgets = self.pair.budgets
        if not budgets:
            return self._drawn(first, count)
        found = []
        for seed in range(first, first + count):
            wanted = self.requirements.moved(budgets.draw(np.random.default_rng([self.settings.seed, seed])))
            found.append(self.prototype.canonical(self.pair.generate(seed, wanted, repair=True)))
        return found

    def _key(self, evaluation: Evaluation) -> str:
        return self.prototype.space.key(evaluation.architecture)

    def _quality(self, evaluation: Evaluation) -> Metric:
        return evaluation.metrics[self.task.metric]

    def _last_step(self, cycle: int) -> int:
        """The training step that a cycle ends with."""
        # The last cycle trains as long as three others: at low rates, and for one generator alone.
        done = cycle + 1 + 2 * (cycle + 1 == self.settings.cycles)
        share = self.settings.warmup + (1 - self.settings.warmup) * done / (self.settings.cycles + 2)
        return round(self.trainer.total_steps * share)

    def _train(self, cycle: int, steps: int, architectures: Sequence[Architecture]) -> tuple[float, float]:
        """Train the shared weights; the mean loss, and about how many MACs that took."""
        with self.progress.phase(f"cycle {cycle + 1}/{self.settings.cycles}: train", steps) as phase:
            loss = self.trainer.train(architectures, self.trainer.step + steps, phase)
        macs = np.mean([self.prototype.cost(architecture).macs for architecture in architectures])
        # A backward pass takes about twice what the forward pass does.
        return loss, 3.0 * float(macs) * steps * self.settings.batch_size

    def _evaluate(
        self, cycle: int, what: str, architectures: Sequence[Architecture], limit: int
    ) -> list[Evaluation]:
        if not architectures:
            return []
        title = f"cycle {cycle + 1}/{self.settings.cycles}: evaluate {what}"
        done: dict[str, Evaluation] = {}
        with self.progress.phase(title, len(architectures)) as phase:
            for architecture in architectures:
                key = self.prototype.space.key(architecture)
                if key not in done:
                    done[key] = self.evaluator.evaluate(architecture, limit=limit)
                phase.advance()
        return [done[self.prototype.space.key(architecture)] for architecture in architectures]

    def _follow_drift(self, incumbents: Sequence[Member]) -> None:
        """Carry what was told earlier over to today's weights and today's outlook.

        Shared weights improve from cycle to cycle, deep networks later than shallow ones, so what was
        told earlier moves by as much as a few networks of the last cycle have, and counts for less.
        """
        if not incumbents:
            return
        for name in (self.task.metric, *DERIVED):
            self.pair.drift(name, gains(self._incumbents, incumbents, name), TRUST)
        for member in incumbents:
            told = {name: member.metrics[name] for name in (self.task.metric, *DERIVED)}
            self.pair.tell(member.architecture, told)

    def _probe(
        self, cycle: int, evaluations: Sequence[Evaluation], trained_macs: float
    ) -> dict[str, dict[str, float]]:
        """Responses by network key and ``vertex.stimulus``, on validation inputs."""
        wanted = self.settings.probes_per_cycle
        networks, samples = affordable(self.prototype, wanted, PROBING * trained_macs)
        batch = next(self.task.batches("validation", batch_size=64, seed=self.settings.seed, shuffle=True))
        prober = Prober(self.prototype, batch.inputs[:samples], seed=self.settings.seed + cycle)
        answers: dict[str, dict[str, float]] = {}
        for evaluation in evaluations[:networks]:
            state = self.evaluator.carried(evaluation.architecture)
            responses = prober.probe(evaluation.architecture, state)
            key = self._key(evaluation)
            answers[key] = {f"{r.vertex}.{r.stimulus}": r.output for r in responses}
            answers[key] |= {f"{r.vertex}.{r.stimulus}.downstream": r.downstream for r in responses}
        return answers

    def resume(self) -> bool:
        """Go on from the newest checkpoint of the run; false if there is none."""
        found = self.run.latest_checkpoint()
        if found is None:
            return False
        self._recall(found.tensors, found.state["pair"])
        self.weights.restore(under("weights.", found.tensors))
        self.trainer.restore(under("momentum.", found.tensors), found.state["trainer"])
        for name, order in under("ranking.", found.tensors).items():
            self.prototype.set_ranking(name, order)
        self._incumbents = [Member.from_json(item) for item in found.state["incumbents"]]
        self.outlook.ceiling = float(found.state["ceiling"])
        self.next_cycle = found.cycle + 1
        return True

    def recall_policy(self, cycle: int) -> None:
        """Take the policy and the inquisitor of an earlier cycle; every G_k stays usable."""
        found = self.run.checkpoint_at(cycle)
        self._recall(found.tensors, found.state["pair"])

    def _recall(self, tensors: Mapping[str, Tensor], values: Mapping[str, Any]) -> None:
        self.pair.restore(PairState(under("pair.", tensors), dict(values)))

    def _policy(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """The small part of the state: the pair alone."""
        state = self.pair.state()
        return {f"pair.{name}": tensor for name, tensor in state.tensors.items()}, {"pair": state.meta}

    def _state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Tensors and JSON values from which :meth:`resume` goes on bit-identically."""
        tensors, values = self._policy()
        momenta, numbers = self.trainer.state()
        tensors |= {f"weights.{name}": tensor for name, tensor in self.weights.state().items()}
        tensors |= {f"momentum.{name}": tensor for name, tensor in momenta.items()}
        tensors |= {f"ranking.{name}": order for name, order in self.prototype.ranking.items()}
        incumbents = [member.to_json() for member in self._incumbents]
        return tensors, {
            **values,
            "trainer": numbers,
            "incumbents": incumbents,
            "ceiling": self.outlook.ceiling,
        }

    @contextmanager
    def _timed(self, seconds: dict[str, float], phase: str) -> Iterator[None]:
        begun = time.perf_counter()
        yield
        seconds[phase] = seconds.get(phase, 0.0) + time.perf_counter() - begun
