"""What the GPU of a board that is not there computes: an ONNX file's own arithmetic, with faults on request.

Started by the board's TensorRT under the host's Python. Reads a line of JSON (the file, the builder's flags,
the faults) and answers with the inputs and outputs, and the layers if asked; then, for every call, a line
with the shapes of the inputs and their bytes, and answers with a line of sizes and the bytes of the outputs.
"""

import base64
import json
import sys

import numpy as np
import onnxruntime

NAMES = {
    "tensor(float)": "FLOAT",
    "tensor(int64)": "INT32",
    "tensor(int32)": "INT32",
    "tensor(bool)": "BOOL",
    "tensor(uint8)": "UINT8",
}
TYPES = {"FLOAT": np.float32, "INT32": np.int32, "BOOL": np.bool_, "UINT8": np.uint8}


def spoil_weights(model, spoil):
    """Change the largest initializer."""
    from onnx import numpy_helper

    tensor = max(model.graph.initializer, key=lambda one: len(one.raw_data))
    tensor.CopyFrom(numpy_helper.from_array(spoil(numpy_helper.to_array(tensor)).copy(), tensor.name))


def spoiled(payload, faults, full):
    """The network as a faulty builder would have it."""
    import onnx

    model = onnx.load_model_from_string(payload)
    if "weights" in faults:
        spoil_weights(model, lambda weight: weight * np.float32(1.1))
    if "channels" in faults:
        spoil_weights(model, lambda weight: weight[::-1])
    if "half" in faults:
        from edgesynth.devices.half import Kept, to_half

        return to_half(model, [Kept(name, "", "the builder obeys") for name in full])[0]
    return model


class Session:
    """ONNX Runtime; NumPy's own half precision for a network in it, which the runtime computes in single."""

    def __init__(self, payload, faults, full=()):
        model = spoiled(payload, faults, full) if {"weights", "channels", "half"} & set(faults) else None
        payload = model.SerializeToString() if model else payload
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4
        options.intra_op_num_threads = 1
        self._runtime = onnxruntime.InferenceSession(payload, options, providers=["CPUExecutionProvider"])
        self._exact = None
        if "half" in faults:
            from onnx.reference import ReferenceEvaluator

            self._exact = ReferenceEvaluator(model)
        self.inputs = [self._known(value) for value in self._runtime.get_inputs()]
        self.outputs = [self._known(value) for value in self._runtime.get_outputs()]
        self._wide = {value.name for value in self._runtime.get_inputs() if value.type == "tensor(int64)"}

    def _known(self, value):
        shape = [size if isinstance(size, int) else -1 for size in value.shape]
        return [value.name, shape, NAMES[value.type]]

    def __call__(self, feed):
        feed = {name: value.astype(np.int64) if name in self._wide else value for name, value in feed.items()}
        found = (self._exact or self._runtime).run(None, feed)
        return [
            np.asarray(value).astype(TYPES[kind])
            for value, (_, _, kind) in zip(found, self.outputs, strict=True)
        ]


def layers(payload):
    """Name and kind of every layer, after the nodes."""
    import onnx

    nodes = onnx.load_model_from_string(base64.b64decode(payload)).graph.node
    return [[node.name, "ELEMENTWISE"] for node in nodes]


def main():
    source, sink = sys.stdin.buffer, sys.stdout.buffer
    asked = json.loads(source.readline())
    faults = asked["faults"]
    if "flagged" in faults and "FP16" not in asked["flags"]:
        faults = []  # the others are those of half precision
    session = Session(base64.b64decode(asked["onnx"]), faults, asked.get("full", ()))

    def answer(value):
        sink.write(json.dumps(value).encode() + b"\n")

    told = {"inputs": session.inputs, "outputs": session.outputs}
    if asked.get("layers"):  # which takes loading onnx
        told["layers"] = layers(asked["onnx"])
    answer(told)
    sink.flush()
    kinds = {name: TYPES[kind] for name, _, kind in session.inputs}
    calls = 0
    for line in iter(source.readline, b""):
        calls += 1
        feed = {}
        for name, shape in json.loads(line).items():
            size = int(np.prod(shape)) * np.dtype(kinds[name]).itemsize
            feed[name] = np.frombuffer(source.read(size), kinds[name]).reshape(shape)
        if "normalisation" in faults:
            feed = {name: value * np.float32(2) for name, value in feed.items()}
        outputs = session(feed)
        if "nan" in faults and calls == 2:
            outputs[0].reshape(-1)[0] = np.nan
        if f"size:{len(next(iter(feed.values())))}" in faults:  # other kernels for it, and wrong ones
            outputs[0] = outputs[0] * np.float32(1.1)
        if "infinite" in faults:
            outputs[0].reshape(-1)[:2] = [np.nan, -np.inf]
        answer([value.nbytes for value in outputs])
        for value in outputs:
            sink.write(value.tobytes())
        sink.flush()


main()
