"""Sessions of ONNX Runtime that graphs of FP16 do not end."""

from __future__ import annotations

from typing import Any, Final

from edgesynth.agent.onnx_types import computes_in_half

__all__ = ["open_session"]

_BLOCKING: Final = "NchwcTransformer"
"""A rewriting that ends ONNX Runtime 1.32 with SIGSEGV on graphs of FP16, those of attention at the least."""


def open_session(
    onnxruntime: Any,  # noqa: ANN401 - a module without types
    model: str | bytes,
    options: Any,  # noqa: ANN401 - as the module has them
    providers: list[Any],
) -> Any:  # noqa: ANN401 - an inference session
    """An inference session, as the runtime makes it but for the one rewriting that FP16 does not survive.

    Args:
        onnxruntime: The module.
        model: Path or content of an ONNX file.
        options: Of the session.
        providers: What is to run it.
    """
    off = [_BLOCKING] if computes_in_half(model) else []
    return onnxruntime.InferenceSession(model, options, providers=providers, disabled_optimizers=off)
