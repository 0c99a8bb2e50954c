"""A real TensorRT builder on this machine, without a GPU: TensorRT for RTX.

Its parser and builder are those of TensorRT's newest generation: strongly typed, precision in the graph.
What it refuses, a Jetson of that generation would refuse; what it builds is proof for no older release, and
its engines run on no Jetson. It runs in a process of its own, so that a crash of the library is a line of
text here.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

from edgesynth.errors import InputError, MissingDependencyError

__all__ = ["RtxBuild", "build_with_rtx", "rtx_missing"]

_MODULE: Final = "tensorrt_rtx_bindings"
_WORKER: Final = Path(__file__).with_name("rtx_worker.py")
_TIMEOUT_S: Final = 900.0
_LAST: Final = 400
"""Characters of a crashed process's last words that are worth repeating."""


@dataclass(frozen=True)
class RtxBuild:
    """What the builder made of a file; true exactly when it gave an engine.

    Attributes:
        file: The file's name.
        version: The builder's; ``""`` when it crashed before it said.
        layers: Layers of the parsed network.
        seconds: Wall time of parsing and building.
        bytes: Size of the engine; 0 without one.
        errors: What it said, one line per error; names the node where the parser does.
    """

    file: str
    version: str
    layers: int
    seconds: float
    bytes: int
    errors: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return self.bytes > 0 and not self.errors

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return {**asdict(self), "passed": bool(self)}


def rtx_missing() -> str:
    """Why there is no builder here; ``""`` when there is one."""
    if find_spec(_MODULE) is not None:
        return ""
    return "TensorRT for RTX is not installed; install it with: pip install 'edgesynth[rtx]'"


def build_with_rtx(
    path: str | os.PathLike[str],
    *,
    batch: int = 1,
    capabilities: Sequence[str] = (),
    timeout_s: float = _TIMEOUT_S,
) -> RtxBuild:
    """Parse and build one ONNX file.

    Args:
        path: The file; the types of its graph decide the precision.
        batch: The batch a free axis is optimised for.
        capabilities: GPUs to build for, by the builder's names (``SM86``); all of them by default.
        timeout_s: When to give up.

    Returns:
        The result; a refusal or a crash is a result, not an error.

    Raises:
        InputError: There is no such file.
        MissingDependencyError: The builder is not installed.
    """
    if missing := rtx_missing():
        raise MissingDependencyError(missing)
    source = Path(path)
    if not source.is_file():
        raise InputError(f"there is no ONNX file {source}; check the path")
    request = {
        "module": _MODULE,
        "path": str(source.resolve()),
        "batch": batch,
        "capabilities": list(capabilities),
    }
    return _ask(source.name, json.dumps(request), timeout_s)


def _ask(name: str, request: str, timeout_s: float) -> RtxBuild:
    try:
        done = subprocess.run(
            [sys.executable, "-P", str(_WORKER)],
            input=request,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout_s,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return RtxBuild(name, "", 0, timeout_s, 0, (f"the builder did not finish in {timeout_s:g} s",))
    lines = done.stdout.strip().splitlines()
    if done.returncode == 0 and lines:
        answer = json.loads(lines[-1])
        return RtxBuild(file=name, **{**answer, "errors": tuple(answer["errors"])})
    return RtxBuild(name, "", 0, 0.0, 0, (_last_words(done.returncode, done.stderr),))


def _last_words(code: int, text: str) -> str:
    how = f"ended by {signal.Signals(-code).name}" if code < 0 else f"failed with exit code {code}"
    said = text.strip().splitlines()
    return f"the builder {how}" + (f": {said[-1][:_LAST]}" if said else "")
