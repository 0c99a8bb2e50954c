"""The table says what may change, what is frozen, and by which operator and line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

ODD = """
import torch
from torch import nn


class Odd(nn.Module):
    def __init__(self):
        super().__init__()
        self.a = nn.Conv2d(1, 8, 3)
        self.b = nn.Conv2d(8, 16, 3)
        self.c = nn.Conv2d(16, 4, 3)

    def forward(self, x):
        y = torch.cumsum(self.a(x), dim=1)
        return self.c(self.b(y)).mean((2, 3))
"""

WILD = """
from torch import nn


class Wild(nn.Module):
    def __init__(self):
        super().__init__()
        self.a = nn.Conv2d(1, 8, 3)

    def forward(self, x):
        if self.a(x).sum().item() > 3:
            return x
        return x + 1
"""


def test_a_zoo_network_is_inspected_by_name(edgesynth: Callable[..., Any]) -> None:
    outcome = edgesynth("inspect", "resnet8", "--input", "1x3x32x32")
    assert outcome.code == 0
    for heading in ("may change", "may be left out", "frozen", "network output"):
        assert heading in outcome.out
    assert outcome.err == ""


def test_programs_get_the_same_as_json(edgesynth: Callable[..., Any]) -> None:
    shown = edgesynth("inspect", "resnet8", "--json").json
    assert shown["macs"] > 1e6
    assert 0.9 < shown["covered_share"] <= 1
    assert shown["smallest"]["macs"] < shown["macs"] / 10
    assert {row["layer"] for row in shown["frozen"]} == {"head"}


def test_freezing_a_layer_takes_its_dimension_away(edgesynth: Callable[..., Any]) -> None:
    free = edgesynth("inspect", "resnet8", "--json").json["free"]
    frozen = edgesynth("inspect", "resnet8", "--json", "--freeze", "conv").json["free"]
    assert {row["dimension"] for row in frozen} == {row["dimension"] for row in free} - {"conv"}


def test_an_operator_without_a_rule_is_listed_with_the_users_line(
    edgesynth: Callable[..., Any], folder: Path
) -> None:
    (folder / "oddnet.py").write_text(ODD)
    shown = edgesynth("inspect", "oddnet:Odd", "--input", "1x1x28x28", "--json").json
    odd = next(row for row in shown["frozen"] if row["layer"] == "a")
    assert "cumsum" in odd["operator"]
    assert "oddnet.py" in odd["line"]
    assert {row["dimension"] for row in shown["free"]} == {"b"}


def test_a_module_that_cannot_be_traced_shows_the_users_line(
    edgesynth: Callable[..., Any], folder: Path
) -> None:
    (folder / "wildnet.py").write_text(WILD)
    outcome = edgesynth("inspect", "wildnet:Wild", "--input", "1x1x28x28")
    assert outcome.code == 2
    assert "wildnet.py:11: if self.a(x).sum().item() > 3:" in outcome.err
    assert len(outcome.err.splitlines()) == 1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["resnet21"], "did you mean 'resnet20'"),
        (["resnet8", "--input", "1x3xq"], "--input '1x3xq' cannot be read"),
        (["nowhere:Net"], "'nowhere:Net' needs --input"),
        (["mynet.py", "--input", "1x3x8x8"], "name what makes the network in it: 'mynet:callable'"),
        (["nowhere:Net", "--input", "1x3x8x8"], "no module 'nowhere'"),
        (["json:dumps", "--input", "1x3x8x8"], "json:dumps"),
        (["collections:OrderedDict", "--input", "1x3x8x8"], "returned a OrderedDict, not a torch.nn.Module"),
        (["resnet8", "--freeze", "nothing.*"], "nothing.*"),
    ],
)
def test_bad_input_is_one_line(
    edgesynth: Callable[..., Any], folder: Path, arguments: list[str], said: str
) -> None:
    outcome = edgesynth("inspect", *arguments)
    assert outcome.code == 2
    assert said in outcome.err
    assert outcome.out == ""
