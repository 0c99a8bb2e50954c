"""What the ONNX parser of each TensorRT release is known to read.

Sources, all of the project onnx-tensorrt: the operator tables ``operators.md`` for TensorRT 5.1, 7.2, 8.4,
8.5, 9.2 and 10.15, and ``docs/Changelog.md`` up to 10.15, which dates what came between two tables. No
table for 8.2 was at hand: it is the one for 8.4 without what the changelog says came with 8.4. None for 7.1
either: what came between 5.1 and 7.2 is not known of it. ``Reciprocal`` and ``Dropout`` are marked
as missing in later tables, but are in the one for 5.1, and the parser kept them.

An operator that is in a table stays in later ones. One that is in none, or only in a table newer than the
release asked about, is *unknown* there: never fine, never refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, Literal

from edgesynth.devices.release import Release

__all__ = [
    "Standing",
    "allowed_types",
    "opset_range",
    "standing",
]

Standing = Literal["read", "refused", "unknown"]

_FIRST: Final[Release] = (8, 2)
_SEVENTH: Final[Release] = (7, 2)
_FIFTH: Final[Release] = (5, 1)
_OLDEST: Final[Release] = (7, 1)
_NEWEST: Final[Release] = (10, 15)


@dataclass(frozen=True)
class _History:
    """When an operator came.

    Attributes:
        absent: The last release it is known to be missing in.
        since: The first release it is known to be in; ``None`` when no table has it.
    """

    absent: Release | None = None
    since: Release | None = None


def _words(text: str) -> list[str]:
    return text.split()


_ALWAYS: Final = _words(
    """
    Abs Acos Acosh Add And ArgMax ArgMin Asin Asinh Atan Atanh AveragePool BatchNormalization Cast Ceil
    Celu Clip Concat Constant ConstantOfShape Conv ConvTranspose Cos Cosh CumSum DepthToSpace
    DequantizeLinear Div Dropout Einsum Elu Equal Erf Exp Expand EyeLike Flatten Floor Gather
    GatherElements GatherND Gemm GlobalAveragePool GlobalLpPool GlobalMaxPool Greater GreaterOrEqual GRU
    HardSigmoid Identity If ImageScaler InstanceNormalization IsNaN LeakyRelu Less LessOrEqual Log
    LogSoftmax Loop LRN LSTM LpNormalization LpPool MatMul Max MaxPool Mean Min Mul Neg
    NonMaxSuppression Not Or Pad ParametricSoftplus Pow PRelu QuantizeLinear RandomUniform
    RandomUniformLike Range Reciprocal ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMax
    ReduceMean ReduceMin ReduceProd ReduceSum ReduceSumSquare Relu Reshape Resize ReverseSequence RNN
    Round ScaledTanh Scan Scatter ScatterElements ScatterND Selu Shape Sigmoid Sign Sin Sinh Size Slice
    Softmax Softplus Softsign SpaceToDepth Split Sqrt Squeeze Sub Sum Tan Tanh ThresholdedRelu Tile TopK
    Transpose Unsqueeze Upsample Where
    """
)
"""In the table for 8.4, and not dated later by the changelog."""

_SINCE_SEVEN: Final = _words(
    """
    And ConstantOfShape DequantizeLinear Equal Erf Expand Greater GRU Less Loop LSTM Not Or QuantizeLinear
    RandomUniform RandomUniformLike Range Resize RNN Scan Size Tile Where
    """
)
"""In the table for 7.2, and not in the one for 5.1."""
_AFTER_SEVEN: Final = _words(
    """
    CumSum EyeLike GatherElements GatherND GlobalLpPool If IsNaN LpNormalization LpPool NonMaxSuppression
    ReverseSequence Round Scatter ScatterElements ScatterND Sign
    """
)
"""Marked as not supported in the table for 7.2."""
_NEW_OPSET: Final = _words("Celu Einsum GreaterOrEqual LessOrEqual")
"""In no table before 8: they came with an opset that TensorRT 7 does not read."""

_NEVER: Final = _words(
    """
    AffineGrid Bernoulli BitShift BitwiseAnd BitwiseNot BitwiseOr BitwiseXor CenterCropPad Col2Im
    Compress ConcatFromSequence ConvInteger DFT Det DynamicQuantizeLinear ImageDecoder MatMulInteger
    MaxRoiPool MaxUnpool MelWeightMatrix Multinomial NegativeLogLikelihoodLoss Optional
    OptionalGetElement OptionalHasElement QLinearConv QLinearMatMul RegexFullMatch SequenceAt
    SequenceConstruct SequenceEmpty SequenceErase SequenceInsert SequenceLength SequenceMap
    SoftmaxCrossEntropyLoss SplitToSequence StringConcat StringNormalizer StringSplit TfIdfVectorizer
    Unique
    """
)
"""Marked as not supported in the newest table."""

_CAME: Final[Mapping[str, _History]] = MappingProxyType(
    {
        "Shrink": _History((8, 2), (8, 4)),
        "Xor": _History((8, 2), (8, 4)),
        **{
            name: _History((8, 4), (8, 5))
            for name in _words(
                "GridSample HardSwish MeanVarianceNormalization Mod NonZero OneHot RandomNormal "
                "RandomNormalLike RoiAlign Trilu"
            )
        },
        "GroupNormalization": _History((8, 5), (8, 6)),
        "LayerNormalization": _History((8, 5), (8, 6)),
        "IsInf": _History((8, 5), (8, 6)),
        "CastLike": _History((8, 5), (9, 2)),
        "Hardmax": _History((9, 1), (9, 2)),
        "DeformConv": _History((10, 0), (10, 1)),
        "BlackmanWindow": _History((10, 3), (10, 4)),
        "HammingWindow": _History((10, 3), (10, 4)),
        "HannWindow": _History((10, 3), (10, 4)),
        "STFT": _History((10, 4), (10, 5)),
        "Attention": _History((10, 13), (10, 14)),
        "RotaryEmbedding": _History((10, 14), (10, 15)),
        "RMSNormalization": _History((10, 14), (10, 15)),
        "TensorScatter": _History((10, 14), (10, 15)),
        # In the table for 10.15 and not in the one for 9.2; the changelog does not say when they came.
        "Gelu": _History((9, 2), (10, 15)),
        "Mish": _History((9, 2), (10, 15)),
    }
)

_HISTORY: Final[Mapping[str, _History]] = MappingProxyType(
    {
        **{name: _History(None, _FIFTH) for name in _ALWAYS},
        **{name: _History(None, _SEVENTH) for name in _SINCE_SEVEN},
        **{name: _History(_SEVENTH, _FIRST) for name in (*_AFTER_SEVEN, *_NEW_OPSET)},
        **{name: _History(_NEWEST, None) for name in _NEVER},
        **_CAME,
    }
)

_FLOATS: Final = frozenset({"FLOAT", "FLOAT16"})
_FLOAT_ONLY: Final = frozenset(
    _words(
        """
        Acos Acosh ArgMax ArgMin Asin Asinh Atan Atanh BatchNormalization Ceil Celu ConstantOfShape Cos
        Cosh CumSum Einsum Erf Exp Floor Log LogSoftmax LRN LpNormalization MatMul NonMaxSuppression Pow
        ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMax ReduceMean ReduceMin ReduceProd
        ReduceSum ReduceSumSquare Reciprocal Softmax Sqrt Tan TopK
        """
    )
)
"""Operators whose row in the tables for TensorRT 8 lists FP32 and FP16 alone."""


def standing(operator: str, release: Release) -> Standing:
    """What is known about an operator of the default domain in one release."""
    history = _HISTORY.get(operator)
    if history is None or release < _OLDEST:
        return "unknown"
    if history.since is not None and release >= history.since:
        return "read"
    return "refused" if history.absent is not None and release <= history.absent else "unknown"


def came_with(operator: str) -> Release | None:
    """The first release whose parser is known to read the operator."""
    history = _HISTORY.get(operator)
    return history.since if history else None


def opset_range(release: Release) -> tuple[int, int] | None:
    """The lowest and the highest operator set the release is documented to read; ``None`` if unknown.

    7.2: up to 11. 8.2 and 8.4: up to 13. 8.5: up to 17. 9.2: up to 19. 10.0: 9 to 20. 10.15: 9 to 24.
    Releases between two tables get the smaller range. The tables before 10 give no lower end; 7 is the first
    opset of ONNX 1.2.
    """
    documented: tuple[tuple[Release, tuple[int, int]], ...] = (
        ((10, 15), (9, 24)),
        ((10, 0), (9, 20)),
        ((9, 2), (7, 19)),
        ((8, 5), (7, 17)),
        ((8, 0), (7, 13)),
        (_OLDEST, (7, 11)),
    )
    return next((limits for since, limits in documented if release >= since), None)


def opset_is_closed(release: Release) -> bool:
    """Whether opsets above the documented range are known not to be read, rather than just not documented.

    True for the releases that have a table of their own; those between two tables may read more.
    """
    return release < (9, 0) or release in {(9, 2), (10, 0), (10, 15)}


def allowed_types(operator: str, release: Release) -> frozenset[str] | None:
    """The only element types the tables list for an operator, or ``None`` where they are not this narrow."""
    return _FLOATS if release < (9, 0) and operator in _FLOAT_ONLY else None


def has_int64(release: Release) -> bool:
    """Whether the release computes in INT64; before 9.0 it is cast down to INT32, clamped."""
    return release >= (9, 0)
