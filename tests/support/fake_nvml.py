"""A driver library that is not there: NVML as ``pynvml`` wraps it, on a machine with GPUs."""

__all__ = ["FIRST", "Library", "NvmlError"]

FIRST = "0000:17:00.0"


class NvmlError(Exception):
    """What the library raises."""


class Library:
    """Answers like ``pynvml`` on a machine with GPUs, for as long as nothing is refused.

    Args:
        refused: What it refuses to tell.
        count: Of GPUs.
        asked_by: ``Event`` or ``Throttle``: how this release calls the reasons for lower clocks.
        bits: Those reasons.
    """

    NVMLError = NvmlError
    NVML_TEMPERATURE_GPU = 0
    NVML_CLOCK_SM = 1

    def __init__(self, *refused, count=1, asked_by="Event", bits=()):
        self.refused = refused
        self.count = count
        self._bits = iter(bits)  # what slows the clocks, reading by reading; nothing after the last
        setattr(self, f"nvmlDeviceGetCurrentClocks{asked_by}Reasons", self._reasons)

    def _answer(self, name, value):
        if name in self.refused:
            raise NvmlError("Not Supported")
        return value

    def _reasons(self, handle):
        return self._answer("reasons", next(self._bits, 0))

    def nvmlInit(self):
        self._answer("init", None)

    def nvmlDeviceGetCount(self):
        return self.count

    def nvmlDeviceGetHandleByPciBusId(self, address):
        return self._answer(address, address)

    def nvmlDeviceGetName(self, handle):
        return b"NVIDIA RTX A2000"

    def nvmlSystemGetDriverVersion(self):
        return "580.95.05"

    def nvmlDeviceGetPowerUsage(self, handle):
        return self._answer("power", 28_750 if handle == FIRST.encode() else 300_000)

    def nvmlDeviceGetTemperature(self, handle, kind):
        return self._answer("temperature", 51)

    def nvmlDeviceGetClockInfo(self, handle, kind):
        return self._answer("clock", 1177)
