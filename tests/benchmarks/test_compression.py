"""The pure parts of the comparison with peers: what is counted, what fits a budget, what meets the bar."""

import importlib
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.flop_counter import FlopCounterMode

from edgesynth.errors import EdgesynthError
from edgesynth.graph import Prototype
from edgesynth.zoo import resnet8

FOLDER = Path(__file__).parents[2] / "benchmarks"
MODULES = ("_budget", "_peers", "_ours", "_cells", "compression")


@pytest.fixture(scope="module")
def benchmark():
    """The modules as the script imports them, by name."""
    sys.path.insert(0, str(FOLDER))
    try:
        yield {name: importlib.import_module(name) for name in MODULES}
    finally:
        sys.path.remove(str(FOLDER))
        for name in MODULES:
            sys.modules.pop(name, None)


@pytest.fixture
def network():
    return nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 36, 10))


def test_a_step_is_counted_as_torch_counts_it(benchmark, network):
    images = torch.zeros(5, 3, 6, 6)

    with benchmark["_budget"].Meter() as meter:
        network(images).sum().backward()
    with FlopCounterMode(display=False) as counter:
        network(images).sum().backward()

    assert meter.macs == counter.get_total_flops() // 2 > 0


@pytest.mark.parametrize(
    "layer",
    [
        nn.Conv2d(6, 12, 3, padding=1, groups=3),
        nn.Conv2d(6, 6, 5, stride=2, padding=2, groups=6),
        nn.ConvTranspose2d(6, 12, 4, stride=2, padding=1, groups=3),
    ],
)
def test_each_gradient_of_a_grouped_convolution_costs_as_much_as_its_output(benchmark, layer):
    images = torch.zeros(5, 6, 8, 8, requires_grad=True)
    with benchmark["_budget"].Meter() as forward:
        outputs = layer(images)

    with benchmark["_budget"].Meter() as backward:
        outputs.sum().backward()

    assert backward.macs == 2 * forward.macs > 0


def test_inference_is_counted_like_everything_else(benchmark, network):
    with benchmark["_budget"].Meter() as meter, torch.inference_mode():
        network(torch.zeros(1, 3, 6, 6))

    assert meter.macs == 8 * 27 * 36 + 10 * 8 * 36


def test_nothing_is_counted_while_the_meter_rests(benchmark, network):
    with benchmark["_budget"].Meter() as meter:
        with meter.paused():
            network(torch.zeros(1, 3, 6, 6))
        assert meter.macs == 0
        network(torch.zeros(1, 3, 6, 6))

    assert meter.macs == 8 * 27 * 36 + 10 * 8 * 36


def test_shapes_that_a_tracer_runs_are_not_counted(benchmark, network):
    with benchmark["_budget"].Meter() as meter, FakeTensorMode(allow_non_fake_inputs=True):
        network(torch.zeros(1, 3, 6, 6))

    assert meter.macs == 0


@pytest.mark.parametrize("views", [0, 3])
def test_the_steps_that_fit_are_the_most_that_do(benchmark, views):
    spending = benchmark["_budget"].Spending(step=300.0, forward=100.0, teacher=1000.0, views=views)

    steps = spending.steps(5e8, samples=10_000, batch_size=128)

    assert spending.macs(steps, 10_000, 128) <= 5e8 < spending.macs(steps + 1, 10_000, 128)


def test_a_teacher_that_repeats_itself_leaves_more_steps(benchmark):
    spending = benchmark["_budget"].Spending(step=300.0, forward=100.0, teacher=1000.0)

    every_pass = spending.steps(1e9, 10_000, 128)
    six_passes = replace(spending, views=6).steps(1e9, 10_000, 128)

    assert six_passes > 2 * every_pass


def test_no_step_fits_where_nothing_is_left(benchmark):
    spending = benchmark["_budget"].Spending(step=300.0, forward=100.0)

    assert spending.steps(-1.0, 1000, 128) == 0


@pytest.mark.parametrize("fewer", [2.0, 5.0, 10.0, 20.0])
@pytest.mark.parametrize("polish", [0.5, 0.35])
def test_a_synthesis_is_planned_within_its_budget(benchmark, fewer, polish):
    ours = benchmark["_ours"]
    sizes = ours.Sizes(31e6, 31e6 / fewer, 10_000, 5_000, stimuli=80, views=6)
    budget = 3 * 10 * 10_000 * 31e6

    plan = ours.plan(budget, sizes, polish)
    parts = (
        sizes.looking(plan.look, plan.epochs),
        sizes.reporting(plan.look),
        sizes.polishing(plan.polish),
        sizes.sharing(plan.epochs),
    )

    assert 0.9 * budget < sum(parts) <= budget
    assert parts[2] == pytest.approx(polish * budget)


def test_a_budget_too_small_for_a_synthesis_is_refused(benchmark):
    ours = benchmark["_ours"]

    with pytest.raises(EdgesynthError, match="too small"):
        ours.plan(1e9, ours.Sizes(31e6, 15e6, 10_000, 5_000, stimuli=80, views=6), 0.25)


@pytest.fixture(scope="module")
def prototype():
    return Prototype(resnet8(), torch.zeros(1, 1, 16, 16), align=1)


@pytest.mark.parametrize("share", [0.5, 0.1, 0.05])
def test_proportional_widths_use_the_bound_up(benchmark, prototype, share):
    bound = share * prototype.cost().macs

    macs = prototype.cost(benchmark["_peers"].proportional(prototype, bound)).macs

    assert 0.85 * bound < macs <= bound


def test_each_choice_is_made_with_the_best_of_those_before(benchmark):
    seen = []

    def worth(recipe):
        seen.append(dict(recipe))
        return -abs(recipe["a"] - 2) - abs(recipe["b"] - 7)

    recipe = benchmark["compression"].tuned({"a": (1, 2, 3), "b": (5, 7)}, worth)

    assert recipe == {"a": 2, "b": 7}
    assert all(each["b"] == 5 for each in seen[:3])
    assert all(each["a"] == 2 for each in seen[3:])


@pytest.fixture
def cell(benchmark):
    def make(method="taylor", fewer=10.0, seed=1, test=0.88, **options):
        values = {
            "data": "d", "prototype": "p", "validation": 0.9, "macs": 3e6, "parameters": 3e4, "full": 31e6,
            "spent": 0.9e13, "budget": 1e13, "epochs": 20.0, "recipe": {"learning_rate": 0.1}, "seconds": 1.0,
        }  # fmt: skip
        return benchmark["_cells"].Cell(
            **{
                **values,
                "method": method,
                "fewer": fewer,
                "seed": seed,
                "test": test,
                **options,
            }
        )

    return make


@pytest.mark.parametrize(
    ("fewer", "ours", "met"),
    [
        (2.0, 0.8771, True),
        (2.0, 0.8769, False),
        (10.0, 0.8851, True),
        (10.0, 0.8849, False),
        (20.0, 0.8895, False),
    ],
)
def test_the_bar_is_points_over_the_best_peer(benchmark, cell, fewer, ours, met):
    cells = [
        cell("l1", fewer, test=0.86),
        cell("taylor", fewer, test=0.88),
        cell("edgesynth", fewer, test=ours),
    ]

    (verdict,) = benchmark["_cells"].verdicts(cells)

    assert verdict.best == "taylor"
    assert verdict.met is met


def test_the_bar_compares_the_same_seeds_and_ignores_tuning(benchmark, cell):
    cells = [
        cell("taylor", seed=0, test=None),
        cell("taylor", seed=1, test=0.80),
        cell("taylor", seed=2, test=0.99),
        cell("edgesynth", seed=1, test=0.81),
    ]

    (verdict,) = benchmark["_cells"].verdicts(cells)

    assert verdict.gap == pytest.approx(1.0)


def test_a_synthesis_over_its_budget_misses_the_bar(benchmark, cell):
    cells = [cell("taylor", test=0.80), cell("edgesynth", test=0.90, spent=1.1e13)]

    (verdict,) = benchmark["_cells"].verdicts(cells)

    assert not verdict.met


def test_nothing_is_judged_without_a_peer(benchmark, cell):
    assert benchmark["_cells"].verdicts([cell("edgesynth")]) == []


def test_the_table_has_a_line_per_method_and_says_what_is_missing(benchmark, cell):
    cells = [
        cell(seed=1, test=0.88),
        cell(seed=2, test=0.90),
        cell("edgesynth", test=0.91),
    ]

    titles = {"taylor": "Taylor", "edgesynth": "edgesynth", "fastnas": "FastNAS"}

    text = benchmark["_cells"].table(cells, titles, {"fastnas": "left out, why"})
    lines = text.splitlines()

    assert len(lines) == 4
    assert "89.00  1.41" in lines[1]
    assert "91.00" in lines[2]
    assert lines[3] == "FastNAS: left out, why"


def test_a_kept_cell_is_read_as_it_was(benchmark, cell, tmp_path):
    made = cell()
    made.write(tmp_path / "deep" / "cell.json")

    assert benchmark["_cells"].Cell.read(tmp_path / "deep" / "cell.json") == made
