"""``edgesynth deploy`` and ``edgesynth run`` against a board behind a real ssh server."""

import json
import shutil

import numpy as np
import onnxruntime
import pytest
from two_inputs import feed, write_kinds, write_network

from edgesynth.cli import main
from edgesynth.deploy import rtx
from edgesynth.deploy.bundle import EngineKey, write_bundle
from edgesynth.deploy.installation import install_bundle, list_bundles
from edgesynth.devices import Board, LocalLink
from edgesynth.errors import LinkError


@pytest.fixture
def command(remote, tmp_path, monkeypatch, capfd):
    """The command line in this process; the board is behind its link."""
    monkeypatch.setattr(rtx, "_MODULE", "no_such_module_anywhere")
    monkeypatch.setenv("PATH", remote.path)
    monkeypatch.chdir(tmp_path)

    def run(*arguments):
        capfd.readouterr()
        code = main([*map(str, arguments), "--device", "jetson-tx2", "--link", remote.url])
        return code, capfd.readouterr()

    return run


@pytest.mark.ssh
@pytest.mark.slow
def test_to_a_running_engine_and_back_again(remote, command, tmp_path):
    write_network(tmp_path / "model.onnx")
    remote.board.compute()
    data = feed(4)
    np.savez(tmp_path / "images.npz", **data)
    for name, value in data.items():
        np.save(tmp_path / f"{name}.npy", value)

    code, told = command(
        "deploy", "model.onnx", "--data", "images.npz", "--precision", "fp32", "-o", "bundle"
    )
    assert code == 0, told.err
    assert "installed: model, version 0001" in told.out
    assert f"verify on {remote.url}" in told.err

    run = ["run", "model", "image=image.npy", "index=index.npy"]
    code, told = command(*run, "-o", "out", "--json")
    assert code == 0, told.err
    expected = onnxruntime.InferenceSession((tmp_path / "model.onnx").read_bytes()).run(None, data)
    for entry, want in zip(json.loads(told.out), expected, strict=True):
        np.testing.assert_allclose(np.load(entry["file"]), want, rtol=1e-6)

    code, told = command("deploy", "bundle", "--json")
    assert json.loads(told.out)["installed"]["before"] == "0001"
    code, told = command("deploy", "--rollback", "model")
    assert (code, told.out.splitlines()[0]) == (0, "installed: model, version 0001")
    code, told = command("deploy", "--list")
    assert "ready" in told.out
    code, told = command("deploy", "--remove", "model")
    assert (code, told.out) == (0, "removed: model\n")
    code, told = command(*run)
    assert code == 2
    assert "none is installed there" in told.err
    remote.board.wait_until_quiet()


@pytest.mark.slow
def test_a_board_with_trtexec_alone_is_deployed_to_and_said_what_it_lacks(here, tmp_path, monkeypatch, capfd):
    monkeypatch.setattr(rtx, "_MODULE", "no_such_module_anywhere")
    monkeypatch.chdir(tmp_path)
    shutil.rmtree(here.modules / "tensorrt")
    here.compute()
    write_network(tmp_path / "model.onnx")
    data = feed(4)
    np.savez("images.npz", **data)
    for name, value in data.items():
        np.save(f"{name}.npy", value)
    board = ["--device", "jetson-tx2", "--link", "local"]
    options = ["--precision", "fp32", "--batch", "4", "--data", "images.npz", "--quiet"]

    assert main(["deploy", "model.onnx", *board, *options]) == 0
    told = " ".join(capfd.readouterr().out.split())
    assert "trtexec of TensorRT 8.2.1 on local" in told
    assert "off by up to 5e-06 of itself" in told
    assert "note: runner.py needs TensorRT for Python, which this board lacks" in told
    assert main(["run", "model", "image=image.npy", "index=index.npy", *board, "-o", "out"]) == 0
    assert "note: this board's trtexec gives decimals of 6 digits" in capfd.readouterr().out

    expected = onnxruntime.InferenceSession((tmp_path / "model.onnx").read_bytes()).run(None, data)
    for index, want in enumerate(expected):
        np.testing.assert_allclose(np.load(f"out/output-{index}.npy"), want, rtol=6e-6)


@pytest.mark.slow
def test_outputs_of_trtexec_have_the_types_of_the_network(here, tmp_path, monkeypatch, capfd):
    monkeypatch.setattr(rtx, "_MODULE", "no_such_module_anywhere")
    monkeypatch.chdir(tmp_path)
    shutil.rmtree(here.modules / "tensorrt")
    here.compute()
    write_kinds(tmp_path / "kinds.onnx")
    x = np.random.default_rng(0).normal(size=(4, 5)).astype(np.float32)
    np.save("x.npy", x)
    board = ["--device", "jetson-tx2", "--link", "local"]
    assert main(["deploy", "kinds.onnx", *board, "--precision", "fp32", "--quiet", "-o", "kept"]) == 0

    for engine, known in (("kinds", True), ("kept", True), ("kept/engine.plan", False)):
        capfd.readouterr()
        assert main(["run", engine, "x.npy", *board, "--batch", "2", "-o", "out"]) == 0
        told = capfd.readouterr().out
        assert ("best, positive may be of another than float32" not in told) is known
        best, positive = (np.load(f"out/output-{index}.npy") for index in range(2))
        assert (best.dtype, positive.dtype) == ((np.int32, np.bool_) if known else (np.float32, np.float32))
        np.testing.assert_array_equal(best, x.argmax(1))
        np.testing.assert_array_equal(positive, x > 0)


@pytest.fixture
def kinds(here, tmp_path, monkeypatch):
    """A network whose outputs are no floats: its input, what deploys it, and what runs it with types."""
    monkeypatch.setattr(rtx, "_MODULE", "no_such_module_anywhere")
    monkeypatch.chdir(tmp_path)
    here.compute()
    write_kinds(tmp_path / "kinds.onnx")
    x = np.random.default_rng(0).normal(size=(4, 5)).astype(np.float32)
    np.save("x.npy", x)
    board = ["--device", "jetson-tx2", "--link", "local"]

    def run(engine, *types):
        options = [part for text in types for part in ("--type", text)]
        return main(["run", engine, "x.npy", *board, "--batch", "2", "-o", "out", "--json", *options])

    def deploy():
        options = ["--precision", "fp32", "--quiet", "-o", "kept"]
        assert main(["deploy", "kinds.onnx", *board, *options]) == 0

    return x, deploy, run


@pytest.mark.slow
def test_outputs_of_a_bare_plan_have_the_types_that_are_said(here, kinds, capfd):
    shutil.rmtree(here.modules / "tensorrt")
    x, deploy, run = kinds
    deploy()
    capfd.readouterr()

    assert run("kept/engine.plan", "best=int32", "positive=bool") == 0

    told = json.loads(capfd.readouterr().out)
    assert [(entry["type"], entry["type_known"]) for entry in told] == [("int32", True), ("bool", True)]
    np.testing.assert_array_equal(np.load("out/output-0.npy"), x.argmax(1))
    assert run("kept", "best=int32") == 0
    assert run("kinds", "positive=bool") == 0
    for engine, said, expected in [
        ("kept/engine.plan", "best=bool", "output 'best' is not of the type BOOL: trtexec printed '"),
        ("kept/engine.plan", "bets=int32", "has no output 'bets'; its outputs are best, positive"),
        ("kept/engine.plan", "x=float32", "has no output 'x'"),
        ("kept", "best=float32", "the output 'best' of kept is int32, not float32"),
        ("kinds", "best=int64", "the output 'best' of kinds is int32, not int64"),
    ]:
        capfd.readouterr()
        assert run(engine, said) == 2
        (line,) = capfd.readouterr().err.splitlines()
        assert expected in line


@pytest.mark.slow
def test_a_type_that_the_board_tells_otherwise_is_refused(kinds, capfd):
    _, deploy, run = kinds
    deploy()
    capfd.readouterr()

    assert run("kept/engine.plan", "best=int32", "positive=bool") == 0
    capfd.readouterr()
    assert run("kept/engine.plan", "positive=float32") == 2
    assert "the output 'positive' of kept/engine.plan is bool, not float32" in capfd.readouterr().err


@pytest.mark.ssh
@pytest.mark.slow
def test_what_differs_ends_with_one_line_and_exit_code_1(remote, command, tmp_path):
    write_network(tmp_path / "two.onnx")
    remote.board.compute("normalisation")

    code, told = command("deploy", "two.onnx", "--precision", "fp32", "--quiet")

    assert code == 1
    (line,) = told.err.splitlines()
    assert line.startswith("edgesynth: two.onnx was not installed on jetson-tx2: sum: off by")
    assert "differs" in told.out


def bundle_of(folder, network, content):
    plan = folder / f"{content}.plan"
    plan.write_text(content)
    key = EngineKey(onnx="0", tensorrt="8.2.1", gpu="tegra186", precision="fp32", batch=1)
    return write_bundle(
        folder / content,
        "net",
        key,
        device="jetson-tx2",
        files={"engine.plan": plan, "network.onnx": network},
        texts={"labels.json": ["a"]},
    )


@pytest.mark.parametrize("at", ["runner.py", "manifest.json"])
def test_a_link_that_drops_while_a_bundle_is_brought_leaves_the_old_one(here, tmp_path, monkeypatch, at):
    network = write_network(tmp_path / "two.onnx")
    put = LocalLink.put

    def drop(self, source, target):
        if target.endswith(at):
            raise LinkError("the connection dropped")
        put(self, source, target)

    link = LocalLink(tmp_path / "work")
    with Board.take(link) as board:
        install_bundle(board, bundle_of(tmp_path, network, "old"))
        monkeypatch.setattr(LocalLink, "put", drop)
        with pytest.raises(LinkError, match="dropped"):
            install_bundle(board, bundle_of(tmp_path, network, "new"))
        monkeypatch.setattr(LocalLink, "put", put)
        (found,) = list_bundles(board)
        assert (found.version, found.problem) == ("0001", "")

        assert install_bundle(board, bundle_of(tmp_path, network, "new")).version == "0002"
    link.close()


def test_what_an_interrupted_run_left_is_removed_by_the_next(here, tmp_path):
    link = LocalLink(tmp_path / "work")
    left = tmp_path / "work/scratch/half"
    left.mkdir(parents=True)
    (left / "engine.plan").write_text("half")

    with Board.take(link):
        assert not left.exists()
    link.close()
