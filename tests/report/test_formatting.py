"""Figures read the way people write them."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgesynth.metrics import METRICS, Metric, Provenance
from edgesynth.report import formatting

SPACE = "\N{NARROW NO-BREAK SPACE}"


def metric(name: str, value: float, interval=None) -> Metric:
    return Metric(name, value, Provenance.MEASURED, 100, interval)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (2_940_000, "2.94 M"),
        (40_813_000, "40.8 M"),
        (278_324, "278 k"),
        (999_999, "1.00 M"),
        (1e9, "1.00 G"),
        (0, "0"),
        (0.61, "0.610"),
        (0.0999999, "0.100"),
        (7, "7.00"),
        (-1234, "−1.23 k"),
        (3e-7, "3e−07"),
        (math.inf, "∞"),
        (math.nan, "not a number"),
    ],
)
def test_numbers_have_three_digits_and_a_decimal_suffix(value, text):
    assert formatting.human(value).replace(SPACE, " ") == text


@given(st.floats(min_value=1e-3, max_value=1e14))
def test_a_number_for_people_is_within_half_a_percent(value):
    number, _, suffix = formatting.human(value).partition(SPACE)
    back = float(number) * {"": 1, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12}[suffix]
    assert back == pytest.approx(value, rel=5.1e-3)
    assert len(number.replace(".", "").lstrip("0")) <= 3


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("accuracy", 0.91234, "91.23 %"),
        ("latency_ms", 1.4321, "1.43 ms"),
        ("inferences_per_joule", 412.3, "412"),
        ("bytes", 2_940_000, "2.94 MB"),
        ("power_mean_mw", 7_512, "7.51 W"),
        ("power_mean_mw", 512, "512 mW"),
        ("netscore", -3.14, "−3.1"),
    ],
)
def test_every_metric_is_shown_in_its_own_unit(name, value, text):
    assert formatting.figure(name, value) == text.replace(" ", SPACE)


@pytest.mark.parametrize("name", METRICS)
@pytest.mark.parametrize("value", [0.0, 0.5, 123456.0, math.nan, math.inf])
def test_any_value_of_any_metric_can_be_shown_and_compared(name, value):
    assert formatting.figure(name, value)
    assert isinstance(formatting.compare(metric(name, value), metric(name, 2.0)), str)
    assert isinstance(formatting.compare(metric(name, 2.0), metric(name, value)), str)


@pytest.mark.parametrize(
    ("name", "value", "reference", "text"),
    [
        ("macs", 4.0e6, 41.2e6, "10.3× fewer"),
        ("macs", 41.2e6, 4.0e6, "10.3× more"),
        ("parameters", 1e5, 1.2e5, "1.20× fewer"),
        ("macs", 1e6, 1.001e6, "1.00×"),
        ("macs", 1e3, 1e6, "1000× fewer"),
        ("latency_ms", 1.0, 2.9, "2.9× faster"),
        ("latency_ms", 2.9, 1.0, "2.9× slower"),
        ("inferences_per_joule", 40.0, 10.0, "4.0× more"),
        ("power_mean_mw", 500.0, 1000.0, "2.0× less"),
        ("accuracy", 0.9158, 0.92, "−0.42 points"),
        ("accuracy", 0.93, 0.92, "+1.00 points"),
        ("netscore", 80.0, 61.8, "+18.2"),
        ("macs", 0.0, 10.0, ""),
    ],
)
def test_a_change_is_said_in_words(name, value, reference, text):
    assert formatting.compare(metric(name, value), metric(name, reference)) == text


def test_improvement_is_above_one_when_better_whichever_way_better_is():
    assert formatting.improvement(metric("macs", 1.0), metric("macs", 4.0)) == 4.0
    assert formatting.improvement(metric("throughput_ips", 4.0), metric("throughput_ips", 1.0)) == 4.0
    assert formatting.improvement(metric("accuracy", 0.9), metric("accuracy", 0.8)) is None


def test_an_interval_is_shown_in_the_form_of_its_value():
    assert formatting.interval(metric("accuracy", 0.9, (0.885, 0.9131))) == "88.50–91.31"
    assert formatting.interval(metric("accuracy", 0.9)) == ""


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("macs <= 4e+06", "MACs ≤ 4 M"),
        ("accuracy >= 0.925", "accuracy ≥ 92.5 %"),
        ("latency_ms <= 100", "latency (median) ≤ 100 ms"),
        ("something else", "something else"),
        ("macs <= many", "macs <= many"),
        ("", ""),
    ],
)
def test_requirements_read_as_sentences_and_unknown_texts_stay_as_they_are(text, shown):
    assert formatting.requirement(text).replace(SPACE, " ") == shown


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.83, "0.8 s"), (42.4, "42 s"), (185, "3 min 05 s"), (7800, "2 h 10 min")]
)
def test_durations_use_the_largest_two_units(seconds, text):
    assert formatting.duration(seconds) == text.replace(" ", SPACE)


@pytest.mark.parametrize(
    ("label", "said"), [("mAP@.5", "mAP@.5"), ("accuracy", "Accuracy"), ("mIoU", "mIoU")]
)
def test_titles_leave_abbreviations_alone(label, said):
    assert formatting.titled(label) == said
