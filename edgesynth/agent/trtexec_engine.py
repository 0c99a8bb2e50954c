"""An engine that trtexec runs on files: raw inputs in, and outputs read back from what it writes.

From 8.6 on trtexec writes every output's bytes. Before, it prints outputs as decimals, of six digits where
they are floating-point numbers, and tells no types.
"""

import os
import re
import shutil
import struct
import tempfile
from typing import Callable, Dict, List, Mapping, NamedTuple, Sequence, Tuple

from edgesynth.agent.batches import Batches
from edgesynth.agent.errors import NetworkFailure, Refusal
from edgesynth.agent.tensors import Tensor, known_size, samples_of
from edgesynth.agent.trtexec_shapes import run_options

__all__ = ["EXPORTED_DIGITS", "TrtexecEngine"]

EXPORTED_DIGITS = 6
"""Digits that are kept of a floating-point output which is exported as a decimal."""

_BINDING = re.compile(r"\b([Ii]nput|[Oo]utput) binding for (.+) with dimensions ((?:-?\d+(?:x-?\d+)*)?)")
_SIZELESS = re.compile(r"\bOutput binding for (.+) is dynamic and will be created")
_DUMPED = re.compile(r"Writing file for (?:in|out)put binding (.+) \(with datatype (\w+) and .*\) to (.+)")
_EXPORTED = re.compile(
    r'"name"\s*:\s*"(.*?)"\s*,\s*"dimensions"\s*:\s*"([^"]*)"\s*,\s*"values"\s*:\s*\[([^\]]*)\]', re.DOTALL
)  # by hand: trtexec prints nan and inf, which are no JSON
_KINDS = {"fp32": "FLOAT", "fp16": "HALF"}
_NUMBERS: Dict[str, Tuple[str, Callable[[str], float]]] = {  # how they are kept, and read
    "FLOAT": ("f", float),
    "HALF": ("e", float),
    "INT32": ("i", int),
    "INT64": ("q", int),
    "BOOL": ("?", {"0": False, "1": True}.__getitem__),
}
_MISFITS = (ValueError, KeyError, OverflowError, struct.error)
_RAW, _TEXT = "--dumpRawBindingsToFile", "--exportOutput"
_JSON = "outputs.json"

Dump = NamedTuple("Dump", [("kind", str), ("file", str)])


class TrtexecEngine:
    """The ``tensors`` and ``run`` of :class:`~edgesynth.agent.engine.Engine`; every call loads the engine.

    Args:
        options: What this trtexec has.
        call: Runs it with more options in a folder, and gives the lines that it printed.
        batches: Samples per call, which the inputs must begin with.
        takes: TensorRT's names of the types of inputs; ``""`` stands for the only one.
        gives: Of outputs, as far as they are known; what trtexec tells itself counts more.
        folder: Where its files may be, while it is open.
        sizes: Of one sample of every input that has a batch, by name: of a range of sizes trtexec must be
            told what each call is of.

    Attributes:
        batches: Samples per call.
        tensors: Inputs and outputs, in a call of the most samples.
        called: The same in the last call.
        digits: To how many digits outputs are rounded; 0 where they are exact.
        assumed: Outputs that are taken for FLOAT, since neither trtexec nor ``gives`` tells their type.

    Raises:
        Refusal: This trtexec takes no files, gives no outputs, or does not say what the engine takes; or an
            input of an engine for a range of sizes has no name.
        NetworkFailure: The engine does not run, or in another batch.
    """

    def __init__(
        self,
        options: Sequence[str],
        call: Callable[[List[str], str], List[str]],
        batches: Batches,
        takes: Mapping[str, str],
        gives: Mapping[str, str],
        folder: str,
        sizes: Mapping[str, Sequence[int]],
    ) -> None:
        if "--loadInputs" not in options or not {_RAW, _TEXT} & set(options):
            raise Refusal(
                "tensorrt",
                "this trtexec has no --loadInputs and --exportOutput, so outputs can only be had through "
                "TensorRT's Python bindings; install them with: sudo apt install python3-libnvinfer",
            )
        self.batches = batches
        self._options = options
        self._sizes = {} if batches.fixed else sizes
        if "" in self._sizes:
            raise Refusal("data", "trtexec must be told sizes by name; say of which input the file is")
        self._call = call
        self._takes, self._gives = takes, gives
        self._raw = _RAW in options
        self.digits = 0 if self._raw else EXPORTED_DIGITS
        os.makedirs(folder, exist_ok=True)
        self._folder = tempfile.mkdtemp(prefix="trtexec-", dir=folder)
        try:
            self.assumed: List[str] = []
            self.tensors = self.called = self._ask()
            self._check(batches.most)
        except BaseException:
            self.close()
            raise

    def run(self, feed: Mapping[str, bytes]) -> Dict[str, bytearray]:
        """The bytes of every output for those of every input."""
        files = []
        for index, (name, data) in enumerate(feed.items()):
            file = "input-{}.raw".format(index)
            with open(os.path.join(self._folder, file), "wb") as sink:
                sink.write(data)
            files.append("{}:{}".format(name, file))
        samples = samples_of((tensor for tensor in self.tensors if tensor.is_input), feed, self.batches)
        given = ["--loadInputs=" + ",".join(files), self._wanted, *self._told(samples)]
        said = self._call(given, self._folder)
        if not self.batches.fixed:
            self.called = self._tensors(said)
        outputs = [tensor for tensor in self.called if not tensor.is_input]
        found = self._dumped(said) if self._raw else self._exported(outputs)
        for tensor in outputs:
            if tensor.name not in found or len(found[tensor.name]) != tensor.size:
                raise Refusal(
                    "tensorrt",
                    "trtexec wrote {} bytes of the output {!r}, which has {}".format(
                        len(found.get(tensor.name, b"")), tensor.name, tensor.size
                    ),
                )
        return {tensor.name: found[tensor.name] for tensor in outputs}

    def close(self) -> None:
        """Remove its files."""
        shutil.rmtree(self._folder, ignore_errors=True)

    @property
    def _wanted(self) -> str:
        return _RAW if self._raw else "{}={}".format(_TEXT, _JSON)

    def _told(self, samples: int) -> List[str]:
        """Options that say what a call is of; none where the engine has one size."""
        return run_options({name: [samples, *size] for name, size in self._sizes.items()}, self._options)

    def _ask(self) -> List[Tensor]:
        """Inputs and outputs, from what it prints about a run on inputs of its own."""
        wanted = [self._wanted] if self._raw else []
        tensors = self._tensors(self._call(wanted + self._told(self.batches.most), self._folder))
        if not any(tensor.is_input for tensor in tensors):
            raise Refusal(
                "tensorrt",
                "this trtexec does not say what the engine takes, and would run on files that do not fit; "
                "outputs can only be had through TensorRT's Python bindings; install them with: "
                "sudo apt install python3-libnvinfer",
            )
        return tensors

    def _tensors(self, said: List[str]) -> List[Tensor]:
        """Inputs and outputs of a run, from what it printed."""
        told = _read_dumps(said)
        tensors = []
        for line in said:
            sizeless = _SIZELESS.search(line)
            if sizeless is not None:
                raise NetworkFailure(
                    "unsupported",
                    "output {!r} has a size that depends on the data".format(sizeless.group(1)),
                )
            match = _BINDING.search(line)
            if match is not None:
                role, name, dimensions = match.groups()
                shape = tuple(int(length) for length in dimensions.split("x") if length)
                is_input = role.lower() == "input"
                known = (self._takes.get(name) or self._takes.get("")) if is_input else self._gives.get(name)
                kind = told[name].kind if name in told else known
                if not kind and not is_input and name not in self.assumed:
                    self.assumed.append(name)
                tensors.append(known_size(Tensor(name, is_input, shape, kind or "FLOAT")))
        return tensors

    def _check(self, batch: int) -> None:
        for tensor in self.tensors:
            if tensor.is_input and tensor.shape and tensor.shape[0] != batch:
                raise Refusal(
                    "data",
                    "trtexec runs the input {!r} as {}, not in batch {}; build the engine with that".format(
                        tensor.name, "x".join(map(str, tensor.shape)), batch
                    ),
                )
            if tensor.is_input and set(tensor.name) & set(",'"):
                raise Refusal("data", "trtexec takes no file for an input called {!r}".format(tensor.name))

    def _dumped(self, said: List[str]) -> Dict[str, bytearray]:
        found = {}
        for name, dump in _read_dumps(said).items():
            with open(os.path.join(self._folder, dump.file), "rb") as file:
                found[name] = bytearray(file.read())
        return found

    def _exported(self, outputs: List[Tensor]) -> Dict[str, bytearray]:
        with open(os.path.join(self._folder, _JSON)) as file:
            told = {name: values for name, _, values in _EXPORTED.findall(file.read())}
        return {tensor.name: _parse(tensor, told[tensor.name]) for tensor in outputs if tensor.name in told}


def _read_dumps(said: List[str]) -> Dict[str, Dump]:
    """Type and file of every tensor that was written."""
    matches = [_DUMPED.search(line) for line in said]
    return {
        match.group(1): Dump(_KINDS.get(match.group(2), match.group(2).upper()), match.group(3).strip())
        for match in matches
        if match is not None
    }


def _parse(tensor: Tensor, values: str) -> bytearray:
    """The bytes of an output from its decimals.

    Raises:
        Refusal: They are not of the type that it is said to be of, kind ``type``; or of one that trtexec
            prints as letters, or that cannot hold them, kind ``tensorrt``.
    """
    if tensor.kind not in _NUMBERS:
        raise Refusal(
            "tensorrt",
            "this trtexec does not print numbers of the output {!r}, which is of the type {}".format(
                tensor.name, tensor.kind
            ),
        )
    form, number = _NUMBERS[tensor.kind]
    words = [word.strip() for word in values.split(",") if word.strip()]
    if tensor.kind == "FLOAT" and any(len(word) > 8 and word.lstrip("-").isdigit() for word in words):
        raise Refusal(  # a floating-point number of that size is printed with an exponent
            "tensorrt",
            "the output {!r} is of whole numbers that single precision cannot hold; say its type, as "
            "edgesynth run does with --type".format(tensor.name),
        )
    try:
        return _packed(form, number, words)
    except _MISFITS as error:
        wrong = next(word for word in words if not _fits(form, number, word))
        raise Refusal(
            "type",
            "output {!r} is not of the type {}: trtexec printed {!r}".format(tensor.name, tensor.kind, wrong),
        ) from error


def _packed(form: str, number: Callable[[str], float], words: Sequence[str]) -> bytearray:
    return bytearray(struct.pack("<{}{}".format(len(words), form), *map(number, words)))


def _fits(form: str, number: Callable[[str], float], word: str) -> bool:
    try:
        _packed(form, number, [word])
    except _MISFITS:
        return False
    return True
