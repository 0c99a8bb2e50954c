"""The process that computes one network; see ``compute.py``."""

import json
import subprocess


class Compute:
    """The process that computes one network."""

    def __init__(self, asked, onnx, flags, full, layers=False):
        self._process = subprocess.Popen(
            asked["command"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=asked["env"]
        )
        order = {"onnx": onnx, "flags": flags, "full": full, "faults": asked["faults"], "layers": layers}
        self._process.stdin.write((json.dumps(order) + "\n").encode())
        self.described = self._answer()

    def __call__(self, feed):
        """Bytes of each output for bytes and shape of each input."""
        head = {name: list(shape) for name, shape, _ in feed}
        self._process.stdin.write((json.dumps(head) + "\n").encode())
        for _, _, data in feed:
            self._process.stdin.write(data)
        return [self._process.stdout.read(size) for size in self._answer()]

    def _answer(self):
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline().decode())

    def close(self):
        self._process.stdin.close()
        self._process.wait()
