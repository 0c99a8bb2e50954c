"""Where MACs are spent against where the answer depends on them."""

from __future__ import annotations

import pytest

from edgesynth.graph import Prototype
from edgesynth.synthesis.efficiency import information_efficiency


def macs_of(prototype: Prototype) -> dict[str, int]:
    return {layer.name: layer.macs for layer in prototype.cost().layers}


def test_it_is_one_share_over_another(prototype: Prototype) -> None:
    macs = macs_of(prototype)
    # The last convolution is written by one layer, the stream of the residual block by two.
    spent = {"last": macs["last"], "inner": macs["inner"], "stem": macs["stem"] + macs["outer"]}
    names = {name: next(d.name for d in prototype.dimensions if d.layers[0] == name) for name in spent}
    responses = {f"{names['last']}.drop": 0.6, f"{names['inner']}.drop": 0.1, f"{names['stem']}.drop": 0.3}
    found = information_efficiency(prototype, [(prototype.largest(), responses)])
    whole = sum(spent.values())
    assert found == {
        names["stem"]: pytest.approx(0.3 / (spent["stem"] / whole)),
        names["inner"]: pytest.approx(0.1 / (spent["inner"] / whole)),
        names["last"]: pytest.approx(0.6 / (spent["last"] / whole)),
    }


def test_a_vertex_that_costs_what_it_says_has_efficiency_one(prototype: Prototype) -> None:
    macs = macs_of(prototype)
    spent = [macs["stem"] + macs["outer"], macs["inner"], macs["last"]]
    responses = {f"{d.name}.drop": share / 1e6 for d, share in zip(prototype.dimensions, spent, strict=True)}
    found = information_efficiency(prototype, [(prototype.largest(), responses)])
    assert found == {d.name: pytest.approx(1.0) for d in prototype.dimensions}


def test_networks_are_averaged_and_what_none_has_is_left_out(prototype: Prototype) -> None:
    block = prototype.blocks[0].name
    without = {**prototype.largest(), block: False}
    inner = next(d.name for d in prototype.dimensions if d.layers[0] == "inner")
    heard = {f"{d.name}.drop": 0.2 for d in prototype.dimensions}
    both = information_efficiency(prototype, [(prototype.largest(), heard), (without, heard)])
    alone = information_efficiency(prototype, [(without, heard)])
    assert inner in both
    assert inner not in alone
    assert information_efficiency(prototype, []) == {}
