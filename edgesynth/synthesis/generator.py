"""The product: a learned generator, and the networks it yields from seeds it never saw."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from torch import Tensor, nn

from edgesynth.deploy.onnx import export_onnx
from edgesynth.errors import RequirementsNotMet
from edgesynth.graph import Cost, Prototype, Recipe, save_network
from edgesynth.metrics import METRICS, Metric
from edgesynth.space import Architecture
from edgesynth.synthesis.checks import whole
from edgesynth.synthesis.evaluation import Evaluation, Evaluator, quality_metrics
from edgesynth.synthesis.pair import GeneratorInquisitor
from edgesynth.synthesis.polish import Polish, renew_
from edgesynth.synthesis.requirements import Judgement, Requirements, VerdictStatus
from edgesynth.tasks import Score, Task, TeacherCache, fit
from edgesynth.tasks.scoring import judged

__all__ = ["GeneratedNetwork", "Generator"]


@dataclass(frozen=True)
class GeneratedNetwork:
    """One network of the family.

    Attributes:
        seed: The seed it came from.
        key: The identity of its architecture.
        module: A plain module with its own weights, in evaluation mode.
        recipe: What is needed to cut it from the prototype again.
        evaluation: What was found out about it on validation data and on the device.
        judgement: Verdict per requirement.
        example_input: One batch of the shape it takes.
        test_metrics: Quality on test data; empty until asked for.
        test_score: The score behind it, with everything that the task's judge found.
    """

    seed: int
    key: str
    module: nn.Module = field(repr=False)
    recipe: Recipe = field(repr=False)
    evaluation: Evaluation = field(repr=False)
    judgement: Judgement
    example_input: tuple[Tensor, ...] = field(repr=False)
    test_metrics: Mapping[str, Metric] = field(default_factory=dict)
    test_score: Score | None = field(default=None, repr=False)

    @property
    def architecture(self) -> Architecture:
        """Its choice per dimension."""
        return self.evaluation.architecture

    @property
    def cost(self) -> Cost:
        """Its cost per layer."""
        return self.evaluation.cost

    @property
    def measurements(self) -> Mapping[str, Metric]:
        """Metrics by name, each with its provenance."""
        return self.evaluation.metrics

    def save(self, directory: Path | str, *, opset: int = 13) -> dict[str, str]:
        """Write recipe, weights and ONNX; returns file names by kind.

        Raises:
            RunError: The disk is full or the folder cannot be written.
        """
        save_network(directory, self.module, self.recipe)
        export_onnx(self.module, self.example_input, Path(directory) / "network.onnx", opset=opset)
        return {"recipe": "recipe.json", "weights": "weights.safetensors", "onnx": "network.onnx"}


class Generator:
    """A learned generator with its shared weights: seeds in, networks out, no search.

    Args:
        prototype: The prototype it was learned for.
        pair: Holds the learned policy.
        evaluator: Cuts networks from the shared weights and evaluates them.
        requirements: What every network must meet.
        task: Needed to polish.
        polish: How each network is trained alone before it is handed out, unless a call says otherwise.
        teacher: Teaches it; by default the prototype, which then answers anew.
    """

    def __init__(
        self,
        prototype: Prototype,
        pair: GeneratorInquisitor,
        evaluator: Evaluator,
        requirements: Requirements,
        task: Task,
        polish: Polish | None = None,
        teacher: TeacherCache | None = None,
    ) -> None:
        self.polish = polish or Polish()
        self.prototype = prototype
        self.pair = pair
        self.evaluator = evaluator
        self.requirements = requirements
        self.task = task
        self._teacher = teacher or TeacherCache(prototype.module)
        self._budgets: Requirements | None = None  # those that the pair was taught

    def architecture(self, seed: int) -> Architecture:
        """What the policy answers to a seed, moved inside the bounds on cost by its own preferences.

        Takes milliseconds; no data is involved.
        """
        return self.prototype.canonical(self.pair.generate(seed, self._budgets, repair=True))

    def under(self, requirements: Requirements | Mapping[str, str | Sequence[str]]) -> Generator:
        """The same generator for other budgets; nothing is learned anew.

        Args:
            requirements: Bounds on the same metrics, on the same sides, or their mapping form.

        Raises:
            RequirementError: They bound something else, or lie outside the range that was taught.
        """
        requirements = Requirements.of(requirements)
        self.pair.budgets.vector(requirements)
        other = Generator(
            self.prototype, self.pair, self.evaluator, requirements, self.task, self.polish, self._teacher
        )
        other._budgets = requirements
        return other

    def generate(self, seed: int, *, polish: Polish | None = None, thorough: bool = True) -> GeneratedNetwork:
        """The network of a seed, with weights, evaluated on all validation data and on the device.

        Args:
            seed: Any non-negative integer.
            polish: A short training of this network alone; the generator's own when not given.
            thorough: Measure as for a figure that is reported, not as for search.
        """
        seed = whole("a generator seed", seed)
        architecture = self.architecture(seed)
        module = self.evaluator.extract(architecture)
        self._polish(module, polish or self.polish, seed)
        evaluation = self.evaluator.evaluate(
            architecture,
            module,
            limit=self.task.size("validation"),
            thorough=thorough,
        )
        return GeneratedNetwork(
            seed=seed,
            key=self.prototype.space.key(architecture),
            module=module,
            recipe=Recipe.of(self.prototype, architecture, seed=seed),
            evaluation=evaluation,
            judgement=self.requirements.judge(evaluation.metrics),
            example_input=self.prototype.example_input,
        )

    def draw(
        self,
        count: int,
        first_seed: int = 0,
        *,
        polish: Polish | None = None,
        patience: int = 20,
        reject: bool = True,
    ) -> Iterator[GeneratedNetwork]:
        """Distinct networks from successive seeds, each feasible on validation data.

        Args:
            count: How many networks.
            first_seed: Where to start.
            polish: A short training of each network; the generator's own when not given.
            patience: How many seeds in a row may be passed over.
            reject: Whether infeasible networks are passed over, or yielded like the rest.

        Raises:
            RequirementsNotMet: ``patience`` seeds in a row gave nothing new and feasible.
        """
        seen: set[str] = set()
        seed, passed = whole("first_seed", first_seed), 0
        closest = "all of them were drawn before; loosen a bound, or raise diversity"
        while count > 0:
            if passed >= patience:
                raise RequirementsNotMet(
                    f"{patience} seeds in a row from {seed - patience} gave no new feasible network; "
                    f"{closest}"
                )
            key = self.prototype.space.key(self.architecture(seed))
            network = self.generate(seed, polish=polish) if key not in seen else None
            seed += 1
            if network is None or (reject and not network.judgement.feasible):
                passed += 1
                closest = self._explain(network) if network else closest
                continue
            seen.add(key)
            passed, count = 0, count - 1
            yield network

    def _explain(self, network: GeneratedNetwork) -> str:
        failing = [v for v in network.judgement.verdicts if not v.passed]
        found = ", ".join(
            f"{v.requirement.text} is {v.text}" + (f" at {v.metric.value:.6g}" if v.metric else "")
            for v in failing
        )
        unsure = all(
            v.status is VerdictStatus.INCONCLUSIVE and METRICS[v.requirement.metric].source == "task"
            for v in failing
        )
        more = "validation samples" if unsure else "cycles or epochs"
        return f"for seed {network.seed}: {found}; loosen the bound, or give more {more}"

    def _polish(self, module: nn.Module, polish: Polish, seed: int) -> None:
        if polish.epochs == 0:
            return
        samples = self.task.size("train")
        renew_(module, polish.kept(samples), seed)
        fit(module, self.task, polish.plan(samples, seed), teacher=self._teacher)
        self.evaluator.recalibrate(module)

    def tested(self, network: GeneratedNetwork) -> GeneratedNetwork:
        """The same network with its test metrics: report them, never select by them."""
        score = judged(self.task, network.module, "test")
        return replace(network, test_metrics=quality_metrics(score.metric, network.cost), test_score=score)
