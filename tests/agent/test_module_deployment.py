"""Deploying with the PyTorch module at hand: what is built on the board has to be that module too."""

import json

import pytest
import torch
from torch import nn

import edgesynth
from edgesynth.cli import main
from edgesynth.deploy.installation import list_bundles
from edgesynth.deploy.onnx import export_onnx
from edgesynth.graph import Prototype
from edgesynth.graph.recipe import Recipe, save_network

pytestmark = pytest.mark.usefixtures("no_builder")


MYNET = (
    "from torch import nn\ndef build(): return nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 4))\n"
)


def network(seed):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 4)).eval()


def write_generated(folder, *, onnx_of):
    """A network cut from the user's own, with the ONNX file of the one with this seed beside its weights."""
    for seed in (0, onnx_of):
        prototype = Prototype(network(seed), torch.zeros(1, 6))
        smallest = prototype.smallest()
        cut = prototype.slice(smallest)
        if seed == 0:
            save_network(folder, cut, Recipe.of(prototype, smallest))
        export_onnx(cut, torch.zeros(2, 6), folder / "network.onnx", opset=13)


@pytest.mark.slow
def test_a_module_that_is_the_file_is_installed_with_the_proof(tx2, tmp_path):
    export_onnx(network(0), torch.zeros(2, 6), tmp_path / "net.onnx", opset=13)
    done = edgesynth.deploy(tmp_path / "net.onnx", tx2, module=network(0), out=tmp_path / "bundle")
    assert done, done.failures
    assert done.delivery.module_report
    proof = json.loads((tmp_path / "bundle/verification.json").read_text())["export"]
    assert proof["verify_module"]["passed"] is True
    assert proof["verify_module"]["reference"].startswith("Sequential (torch")
    assert [bundle.problem for bundle in list_bundles(tx2.board)] == [""]


def test_a_module_that_is_another_leaves_the_board_as_it_was(here, tx2, tmp_path):
    export_onnx(network(0), torch.zeros(2, 6), tmp_path / "net.onnx", opset=13)
    done = edgesynth.deploy(tmp_path / "net.onnx", tx2, module=network(1))
    assert not done
    assert done.delivery.report
    assert not done.delivery.module_report
    assert "off by" in done.failures[0]
    assert not list_bundles(tx2.board)
    assert not here.told("builds")


@pytest.mark.parametrize(("onnx_of", "code"), [pytest.param(0, 0, marks=pytest.mark.slow), (1, 1)])
def test_a_generated_network_is_held_against_what_it_was_cut_from(
    here, tmp_path, monkeypatch, capfd, onnx_of, code
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / f"cut_from_{code}.py").write_text(MYNET)  # modules stay imported from one case to the next
    here.compute()
    write_generated(tmp_path / "7-cut", onnx_of=onnx_of)
    board = ["--device", "jetson-tx2", "--link", "local", "--quiet"]

    assert main(["deploy", "7-cut", "--model", f"cut_from_{code}:build", *board]) == code

    told = capfd.readouterr()
    if code:
        (line,) = told.err.splitlines()
        assert "7-cut was not installed on jetson-tx2: output: off by" in line
        assert not here.told("builds")
    else:
        assert "with Sequential (torch" in told.out
        assert "installed: 7-cut, version 0001" in told.out
