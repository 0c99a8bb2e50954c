"""Times of the layers of a network as ONNX Runtime runs them, from its own profiler."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from edgesynth.devices.onnx_session import open_session

__all__ = ["time_layers"]

_SUFFIX: Final = "_kernel_time"


def time_layers(
    onnxruntime: Any,  # noqa: ANN401 - a module without types
    model: str,
    feeds: Mapping[str, Any],
    runs: int,
    providers: list[Any],
) -> list[tuple[str, float]]:
    """Name and mean time in ms of every layer, in the order they run; fused ones are one.

    ONNX Runtime tells them in whole microseconds. Its sessions share the threads of the process; see
    :class:`~edgesynth.devices.runtimes.OnnxRuntime`, which must have been made before.

    Args:
        onnxruntime: The module.
        model: Path of an ONNX file.
        feeds: Its inputs by name.
        runs: Calls to average over; one more loads everything.
        providers: As of an inference session.
    """
    with tempfile.TemporaryDirectory(prefix="edgesynth-") as folder:
        options = onnxruntime.SessionOptions()
        options.use_per_session_threads = False
        options.enable_profiling = True
        options.profile_file_prefix = str(Path(folder) / "profile")
        session = open_session(onnxruntime, model, options, providers)
        for _ in range(runs + 1):
            session.run(None, feeds)
        events = json.loads(Path(session.end_profiling()).read_text(encoding="utf-8"))
    taken_us: dict[tuple[str, str], list[int]] = {}
    for event in events:
        name = str(event.get("name", ""))
        if event.get("cat") == "Node" and name.endswith(_SUFFIX):
            known = event["args"]
            layer = name.removesuffix(_SUFFIX) or known["op_name"]
            taken_us.setdefault((known["node_index"], layer), []).append(event["dur"])
    # One inside a loop runs more often than the network does; its time is that of a call all the same.
    return [
        (layer, sum(taken[len(taken) // (runs + 1) :]) / runs / 1e3) for (_, layer), taken in taken_us.items()
    ]
