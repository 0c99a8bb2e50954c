"""What an ONNX file says of its types and sizes: what it computes in, and what it takes and gives.

A board has no package that reads ONNX, so the few fields that count are read from the bytes (onnx.proto3 of
ONNX, in the wire format of Protocol Buffers).
"""

import mmap
from typing import Any, Callable, Dict, Iterator, List, Optional, Set, Tuple, Union

__all__ = ["computes_in_half", "disagreement", "read_input_shapes", "read_output_kinds", "read_precision"]

_UINT8, _FLOAT16, _BFLOAT16 = 2, 10, 16  # TensorProto.DataType
_FLOATS = (1, _FLOAT16, 11, _BFLOAT16)
_QUANTISED = {17: "fp8", 18: "fp8", 19: "fp8", 20: "fp8", 21: "int4", 22: "int4", 23: "fp4"}  # others: int8
_KINDS = {2: "UINT8", 3: "INT8", 6: "INT32", 7: "INT32", 9: "BOOL"}
_MULTIPLY = ("Conv", "ConvTranspose", "Gemm", "MatMul", "Einsum", "LSTM", "GRU", "RNN", "Attention")
_VARINT, _FIXED_64, _BYTES, _FIXED_32 = 0, 1, 2, 5
_NEGATIVE = 1 << 63  # of a whole number, whose sign is its highest bit
_HALF_SHOULD = (
    "precision comes from the graph here, and this one computes in {}; edgesynth export --precision fp16 "
    "writes one that computes in fp16"
)
_INT8_SHOULD = (
    "it holds no Q/DQ pairs, without which nothing is computed in int8; edgesynth export --precision int8 "
    "--data quantises it"
)


def read_precision(path: str) -> str:
    """``fp32``, ``fp16``, ``bf16``, or what it is quantised to (``int8``, ``fp8``, ``int4``, ``fp4``).

    A graph is of the precision in which its matrices are multiplied, the lowest if there are several: what
    sums may stay in FP32 beside them.

    Args:
        path: A file.

    Returns:
        The precision; empty where the file cannot be read as ONNX.

    Raises:
        OSError: It cannot be opened.
    """
    return str(_read(path, lambda reader: reader.precision(), ""))


def computes_in_half(model: Union[str, bytes]) -> bool:
    """Whether any node takes FP16, in a quantised graph too; not where it cannot be read as ONNX.

    Args:
        model: A file's path, or its content.

    Raises:
        OSError: It cannot be opened.
    """
    if isinstance(model, bytes):
        return bool(_asked(model, _Reader.computes_in_half, False))
    return bool(_read(model, _Reader.computes_in_half, False))


def read_output_kinds(path: str) -> Dict[str, str]:
    """TensorRT's names of the types of a file's outputs, for who reads them as old trtexec prints them.

    Numbers of any floating-point type are printed alike, and are called ``FLOAT``; builders before
    TensorRT 10 keep integers of 64 bits in 32.

    Args:
        path: A file.

    Returns:
        Types by name; nothing where the file cannot be read as ONNX.

    Raises:
        OSError: It cannot be opened.
    """
    found: Dict[str, str] = _read(path, lambda reader: reader.output_kinds(), {})
    return found


def read_input_shapes(path: str) -> Dict[str, List[int]]:
    """The shape of every input of a file that says one; -1 is a free size.

    Args:
        path: A file.

    Returns:
        Shapes by name; nothing where the file cannot be read as ONNX.

    Raises:
        OSError: It cannot be opened.
    """
    found: Dict[str, List[int]] = _read(path, lambda reader: reader.input_shapes(), {})
    return found


def _read(path: str, wanted: Callable[["_Reader"], Any], missing: Any) -> Any:
    """What a reader of a file gives, or what stands for it where there is nothing to be read."""
    with open(path, "rb") as file:
        try:
            data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except ValueError:  # it is empty
            return missing
        with data:
            return _asked(data, wanted, missing)


def _asked(data: Any, wanted: Callable[["_Reader"], Any], missing: Any) -> Any:
    """The same of a file's content."""
    try:
        return wanted(_Reader(data))
    except (IndexError, ValueError):
        return missing


def disagreement(holds: str, precision: str, in_graph: bool) -> str:
    """Why an engine of a file may not be called by this precision; empty where it may.

    Args:
        holds: What the file computes in; see :func:`read_precision`.
        precision: What the engine is to be called.
        in_graph: Whether the types of the graph decide, and no flag of the builder.
    """
    unread = not holds and not in_graph and precision != "int8"  # which the builder itself will refuse
    if holds == precision or unread or (holds, precision, in_graph) == ("fp32", "fp16", False):
        return ""
    if not holds:
        return "it cannot be read as ONNX, so nobody knows what it computes in; export it again"
    if precision == "int8":
        return _INT8_SHOULD
    if (holds, precision) == ("fp32", "fp16"):
        return _HALF_SHOULD.format(holds)
    does = "is quantised to" if holds in ("int8", *_QUANTISED.values()) else "computes in"
    return "it {} {} itself; ask for that, or export it in {}".format(does, holds, precision)


class _Reader:
    """The nodes of a model, and the types of what they take."""

    def __init__(self, data: Any) -> None:
        self._data = data
        self._multiplied: Set[int] = set()
        self._taken: Set[int] = set()
        self._quantised: Set[str] = set()

    def precision(self) -> str:
        self._graph(self._whole(), {})
        if self._quantised:
            return min(self._quantised, key=("fp4", "int4", "fp8", "int8").index)
        computed = self._multiplied or self._taken
        for kind, name in ((_FLOAT16, "fp16"), (_BFLOAT16, "bf16")):
            if kind in computed:
                return name
        return "fp32"

    def computes_in_half(self) -> bool:
        self._graph(self._whole(), {})
        return _FLOAT16 in self._taken

    def output_kinds(self) -> Dict[str, str]:
        outputs = [self._declared(value) for number, value in self._fields(self._whole()) if number == 12]
        return {name: _KINDS.get(kind, "FLOAT") for name, kind in outputs}

    def input_shapes(self) -> Dict[str, List[int]]:
        found: Dict[str, List[int]] = {}
        for number, value in self._fields(self._whole()):
            shape = self._shape(value) if number == 11 else None
            if shape is not None:
                found[self._declared(value)[0]] = shape
        return found

    def _whole(self) -> Any:
        """The graph of the model."""
        graphs = [value for number, value in self._fields((0, len(self._data))) if number == 7]
        if len(graphs) != 1:
            raise ValueError("there is no graph")
        return graphs[0]

    def _graph(self, span: Any, around: Dict[str, int]) -> None:
        """Go through a graph, whose nodes stand in the order in which they compute."""
        kinds = dict(around)
        nodes: List[Any] = []
        for number, value in self._fields(span):
            if number == 1:
                nodes.append(value)
            elif number == 5:
                name, kind = self._tensor(value)
                kinds[name] = kind
            elif number in (11, 13):  # inputs, and what the exporter knew of others
                name, kind = self._declared(value)
                kinds.setdefault(name, kind)
        for node in nodes:
            self._node(node, kinds)

    def _node(self, span: Any, kinds: Dict[str, int]) -> None:
        inputs: List[str] = []
        outputs: List[str] = []
        attributes: Dict[str, int] = {}
        operator = ""
        for number, value in self._fields(span):
            if number == 1:
                inputs.append(self._text(value))
            elif number == 2:
                outputs.append(self._text(value))
            elif number == 4:
                operator = self._text(value)
            elif number == 5:
                name, held = self._attribute(value, kinds)
                attributes[name] = held
        made = self._made(operator, [kinds.get(name, 0) for name in inputs], attributes)
        for name in outputs:
            kinds[name] = made or kinds.get(name, 0)

    def _made(self, operator: str, taken: List[int], attributes: Dict[str, int]) -> int:
        """The type that an operator makes of those it takes, which are taken note of; 0 if nobody knows."""
        floats = [kind for kind in taken if kind in _FLOATS]
        made = floats[0] if floats else 0
        if operator == "QuantizeLinear":
            point = taken[2] if len(taken) > 2 else 0
            made = point or attributes.get("output_dtype") or _UINT8
            self._quantised.add(_QUANTISED.get(made, "int8"))
        elif operator == "DequantizeLinear":
            self._quantised.add(_QUANTISED.get(taken[0], "int8"))
            made = taken[1]
        elif operator in ("Cast", "Constant", "ConstantOfShape"):
            made = attributes.get("to") or attributes.get("value") or 0
        elif operator == "CastLike":
            made = taken[1]
        else:
            self._taken.update(floats)
            self._multiplied.update(floats if operator in _MULTIPLY else ())
        return made

    def _attribute(self, span: Any, kinds: Dict[str, int]) -> Tuple[str, int]:
        """Its name, and the number or the type of the tensor in it; graphs are gone through."""
        name, held = "", 0
        for number, value in self._fields(span):
            if number == 1:
                name = self._text(value)
            elif number == 3:
                held = value
            elif number == 5:
                held = self._tensor(value)[1]
            elif number in (6, 11):
                self._graph(value, kinds)
        return name, held

    def _tensor(self, span: Any) -> Tuple[str, int]:
        name, kind = "", 0
        for number, value in self._fields(span):
            if number == 2:
                kind = value
            elif number == 8:
                name = self._text(value)
        return name, kind

    def _declared(self, span: Any) -> Tuple[str, int]:
        """Name and element type of a value; 0 for what is no tensor."""
        name, kind = "", 0
        for number, value in self._fields(span):
            if number == 1:
                name = self._text(value)
            elif number == 2:
                for of_type, tensor in self._fields(value):
                    if of_type == 1:
                        kind = next((held for field, held in self._fields(tensor) if field == 1), 0)
        return name, kind

    def _shape(self, span: Any) -> Optional[List[int]]:
        """Sizes of a declared tensor; ``None`` where it has no shape."""
        for path in (2, 1, 2):  # its type, which is a tensor's, and the shape of that
            inner = [value for number, value in self._fields(span) if number == path]
            if not inner:
                return None
            span = inner[0]
        sizes = []
        for number, axis in self._fields(span):
            size = next((held for field, held in self._fields(axis) if field == 1), 0) if number == 1 else 0
            sizes.append(size if 0 < size < _NEGATIVE else -1)
        return sizes

    def _text(self, span: Tuple[int, int]) -> str:
        return bytes(self._data[span[0] : span[1]]).decode("utf-8")

    def _fields(self, span: Tuple[int, int]) -> Iterator[Tuple[int, Any]]:
        """Number and value of every field: a whole number, or where its bytes begin and end."""
        at, end = span
        while at < end:
            key, at = self._varint(at)
            number, wire = key >> 3, key & 7
            if wire == _VARINT:
                value, at = self._varint(at)
                yield number, value
                continue
            if wire == _BYTES:
                length, at = self._varint(at)
            elif wire in (_FIXED_32, _FIXED_64):
                length = 4 if wire == _FIXED_32 else 8
            else:
                raise ValueError("there is no wire type {}".format(wire))
            if at + length > end:
                raise ValueError("it was cut off")
            yield number, (at, at + length)
            at += length

    def _varint(self, at: int) -> Tuple[int, int]:
        value, shift = 0, 0
        while True:
            byte = self._data[at]
            value |= (byte & 0x7F) << shift
            at, shift = at + 1, shift + 7
            if not byte & 0x80:
                return value, at
            if shift > 63:
                raise ValueError("a number is too long")
