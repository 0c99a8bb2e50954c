"""Options that several verbs share."""

from __future__ import annotations

from typing import Annotated, TypeAlias

import typer

__all__ = ["AsJson", "CudaGraph", "DlaCore", "Inside", "Model", "Quiet", "Samples", "Wait"]

AsJson: TypeAlias = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]
CudaGraph: TypeAlias = Annotated[
    bool,
    typer.Option(
        "--cuda-graph",
        help="Of a board: launch calls as a CUDA graph, where the engine can be recorded as one.",
    ),
]
DlaCore: TypeAlias = Annotated[
    int | None,
    typer.Option(
        "--dla",
        min=0,
        metavar="CORE",
        help="Of Xavier and Orin: run on this core of the DLA, in fp16; on the GPU what a DLA does not take.",
    ),
]
Inside: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        "--inside",
        metavar="STEP",
        help="What the engine does itself, by --data: normalise takes stored values, answer gives classes, "
        "masks or boxes; once per step.",
    ),
]
Model: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--model",
        help="Compare with PyTorch too: what a generated network was cut from; of an ONNX file "
        "package.module:callable, which returns the module it was written from, with its trained weights.",
    ),
]
Quiet: TypeAlias = Annotated[bool, typer.Option("--quiet", "-q", help="No progress on stderr.")]
Samples: TypeAlias = Annotated[
    int | None,
    typer.Option(
        "--samples",
        min=1,
        help="The most to take of the data; 256, or 1024 where labels tell whether a precision will do.",
    ),
]
Wait: TypeAlias = Annotated[
    float, typer.Option("--wait", min=0.0, metavar="SECONDS", help="Wait for a board that another run has.")
]
