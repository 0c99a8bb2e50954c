"""What a builder is told: flags, sizes, where layers run, and what was measured before."""

import sys

from .control import CONTROL  # isort: skip  # first: it makes the next one importable

import fake_dla


class ITimingCache:
    """What a builder has measured: here, how many builds have added to it."""

    def __init__(self, builds):
        self.builds = builds

    def serialize(self):
        return "{} builds by {}".format(self.builds, CONTROL["version"]).encode()


class Config:
    default_device_type = None
    DLA_core = -1

    def __init__(self):
        self._flags = []
        self._profiles = []
        self._timings = 0
        self._read = None

    def create_timing_cache(self, data):
        if not data:
            return ITimingCache(0)
        words = data.decode("utf-8", "replace").split()
        return ITimingCache(int(words[0])) if words[1:3] == ["builds", "by"] else None

    def set_timing_cache(self, cache, ignore_mismatch):
        self._timings = self._read = cache.builds
        return True

    def get_timing_cache(self):
        return ITimingCache(self._timings)

    def _known(self):
        return self._read

    def _core(self):
        return None if self.default_device_type is None else self.DLA_core

    def can_run_on_DLA(self, layer):  # noqa: N802 - as TensorRT calls it
        network = layer._network
        free = any(-1 in tensor[1] for tensor in network._inputs)
        left = fake_dla.left_on_gpu(CONTROL, network._half(self), free)
        return layer.name not in [name for name, _ in left]

    def set_flag(self, flag):
        self._flags.append(flag.name)

    def set_memory_pool_limit(self, pool, size):
        self._pool = size

    def add_optimization_profile(self, profile):
        if not profile:
            sys.stderr.write("[TRT] [E] 4: the optimization profile is not valid\n")
            return -1
        self._profiles.append(profile)
        return len(self._profiles) - 1

    def _workspace(self):
        return getattr(self, "_pool", None) or self.max_workspace_size


class Profile:
    def __init__(self):
        self._shapes = {}

    def set_shape(self, name, least, usual, most):
        self._shapes[name] = [list(shape) for shape in (least, usual, most)]

    def __bool__(self):
        """Whether each axis rises from the least to the most, as it must."""
        return all(
            1 <= low <= usual[axis] <= most[axis]
            for least, usual, most in self._shapes.values()
            for axis, low in enumerate(least)
        )
