import itertools

import pytest

from edgesynth import SynthesisSettings
from edgesynth.synthesis.estimation import FEWEST_NETWORKS
from edgesynth.synthesis.scrutiny import CUTTING, EVALUATING, FEWEST, INCUMBENTS, SURER, Scrutiny

SETTINGS = SynthesisSettings(asked_per_cycle=8, seeds_per_cycle=10)
READ = 378


def test_long_training_bears_all_that_is_wanted():
    assert Scrutiny.affordable(SETTINGS, 1e6, READ) == Scrutiny(8, 10, INCUMBENTS, SURER)


@pytest.mark.parametrize("trained", [7_040, 10_000, 15_000])
def test_evaluations_stay_within_their_share_of_training(trained):
    scrutiny = Scrutiny.affordable(SETTINGS, trained, READ)
    spent = scrutiny.evaluations * (READ + CUTTING) / (3 * trained)
    # Each of four counts is rounded by half a network at most.
    assert abs(spent - EVALUATING) <= 2 * (READ + CUTTING) / (3 * trained)
    assert scrutiny.evaluations < Scrutiny(8, 10).evaluations


def test_fewer_of_every_kind_where_there_is_less_training():
    found = [Scrutiny.affordable(SETTINGS, trained, READ) for trained in (0, 2_000, 8_000, 14_000, 1e5)]
    for less, more in itertools.pairwise(found):
        assert less.asked <= more.asked
        assert less.fresh <= more.fresh
        assert less.incumbents <= more.incumbents
        assert less.surer <= more.surer
    assert found[0] == Scrutiny(FEWEST, FEWEST, FEWEST, FEWEST)


def test_nobody_who_wants_one_network_is_given_two():
    one = SynthesisSettings(asked_per_cycle=1, seeds_per_cycle=1)
    scrutiny = Scrutiny.affordable(one, 0, 0)
    assert (scrutiny.asked, scrutiny.fresh) == (1, 1)


def test_a_cycle_that_asks_for_nothing_counts_its_fresh_seeds_twice():
    wanted = SynthesisSettings(asked_per_cycle=1, seeds_per_cycle=16)
    assert Scrutiny.affordable(wanted, 1e6, READ, asks=False) == Scrutiny(0, 32)
    brief = Scrutiny.affordable(wanted, 26 * (READ + CUTTING) / (3 * EVALUATING), READ, asks=False)
    assert abs(brief.evaluations - 26) <= 2


def test_a_first_cycle_has_no_network_to_evaluate_again():
    first = Scrutiny.affordable(SETTINGS, 9_000, READ, asks=False, standing=0)
    assert first.incumbents == 0
    assert first.fresh > Scrutiny.affordable(SETTINGS, 9_000, READ, asks=False).fresh


def test_there_are_always_enough_to_be_told_apart_by_their_losses():
    last = Scrutiny.affordable(SETTINGS, 0, READ, asks=False, standing=2)
    assert last.fresh + last.incumbents >= FEWEST_NETWORKS
