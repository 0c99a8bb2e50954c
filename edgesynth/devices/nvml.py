"""Power of an NVIDIA GPU through NVML, the library of its driver.

NVML tells the power of the GPU with its circuitry, memory included; from Ampere on (but for GA100) it is a
mean over the last second, before that an instant (NVML API reference, ``nvmlDeviceGetPowerUsage``).

It also tells why clocks are lower than they could be, as bits (``nvml.h``, ``nvmlClocksEventReasons``, before
release 535 of the driver ``nvmlClocksThrottleReasons`` with the same values). Those of a GPU that rests or
whose clocks somebody has set are no throttling.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, Protocol

from edgesynth.devices.cuda_driver import first_gpu
from edgesynth.devices.profile import Rails, Sensor
from edgesynth.errors import DeviceError, MissingDependencyError, SensorError

__all__ = ["NvmlGpu", "NvmlLibrary", "load_nvml"]

_RAIL: Final = "GPU_BOARD"
_MEAN_S: Final = 1.0
_RATE_HZ: Final = 10.0
_ASK_LIMITS: Final = ("nvmlDeviceGetCurrentClocksEventReasons", "nvmlDeviceGetCurrentClocksThrottleReasons")
_LIMITS: Final = {  # as nvidia-smi calls them
    0x04: "SW power cap",
    0x08: "HW slowdown",
    0x20: "SW thermal slowdown",
    0x40: "HW thermal slowdown",
    0x80: "HW power brake slowdown",
}


class NvmlLibrary(Protocol):
    """The part of ``pynvml`` that is used here; its functions raise ``NVMLError``."""

    NVMLError: type[Exception]
    NVML_TEMPERATURE_GPU: int
    NVML_CLOCK_SM: int

    def nvmlInit(self) -> None: ...  # noqa: D102
    def nvmlDeviceGetCount(self) -> int: ...  # noqa: D102
    def nvmlDeviceGetHandleByPciBusId(self, address: bytes) -> Any: ...  # noqa: ANN401, D102
    def nvmlDeviceGetName(self, handle: Any) -> str | bytes: ...  # noqa: ANN401, D102
    def nvmlSystemGetDriverVersion(self) -> str | bytes: ...  # noqa: D102
    def nvmlDeviceGetPowerUsage(self, handle: Any) -> int: ...  # noqa: ANN401, D102
    def nvmlDeviceGetTemperature(self, handle: Any, kind: int) -> int: ...  # noqa: ANN401, D102
    def nvmlDeviceGetClockInfo(self, handle: Any, kind: int) -> int: ...  # noqa: ANN401, D102


def load_nvml() -> NvmlLibrary:
    """The real library.

    Raises:
        MissingDependencyError: It is not installed.
    """
    try:
        import pynvml
    except ImportError as error:
        raise MissingDependencyError(
            "reading the power of an NVIDIA GPU needs nvidia-ml-py; pip install 'edgesynth[gpu]'"
        ) from error
    library: NvmlLibrary = pynvml
    return library


class NvmlGpu:
    """The GPU of this machine that networks run on, opened and read once.

    Args:
        library: ``pynvml``, or what behaves like it.
        find: Gives the PCI address of that GPU.

    Raises:
        DeviceError: There is no driver, or CUDA sees no GPU.
        SensorError: The GPU does not tell its power.

    Attributes:
        name: Of the GPU.
        driver: Version of its driver.
        address: On the PCI bus.
    """

    def __init__(self, library: NvmlLibrary, find: Callable[[], str] = first_gpu) -> None:
        self._nvml = library
        try:
            library.nvmlInit()
            count = library.nvmlDeviceGetCount()
        except library.NVMLError as error:
            raise DeviceError(
                f"no NVIDIA driver answers on this machine ({error}); install one, or measure on host-cpu"
            ) from error
        if count == 0:
            raise DeviceError("there is no NVIDIA GPU: the driver of this machine tells of 0")
        self.address = find()
        try:
            self._handle = library.nvmlDeviceGetHandleByPciBusId(self.address.encode())
        except library.NVMLError as error:
            raise DeviceError(
                f"the driver tells nothing of the GPU at {self.address}, on which CUDA runs ({error}); "
                "let this user see all GPUs"
            ) from error
        self.name = _text(library.nvmlDeviceGetName(self._handle))
        self.driver = _text(library.nvmlSystemGetDriverVersion())
        self._power_mw()

    @property
    def rails(self) -> Rails:
        """The graphics board alone: neither the processor nor the rest of the machine."""
        return Rails(names=(_RAIL,), total=(_RAIL,), parts=(), scope="graphics board alone")

    @property
    def sensor(self) -> Sensor:
        """A mean over a second, told in milliwatts."""
        return Sensor("NVML", _MEAN_S, _RATE_HZ, {_RAIL: 1.0})

    def line(self) -> str:
        """Clock, temperature and power of this moment; a figure that is not told is left out."""
        power_mw = self._power_mw()
        parts = []
        try:
            clock_mhz = self._nvml.nvmlDeviceGetClockInfo(self._handle, self._nvml.NVML_CLOCK_SM)
            parts.append(f"GR3D_FREQ @{clock_mhz}")
            kind = self._nvml.NVML_TEMPERATURE_GPU
            parts.append(f"GPU@{self._nvml.nvmlDeviceGetTemperature(self._handle, kind)}C")
        except self._nvml.NVMLError:  # a virtual GPU hides them
            pass
        return " ".join([*parts, f"{_RAIL} {power_mw}mW/{power_mw}mW"])

    def limits(self) -> tuple[str, ...] | None:
        """Why the GPU slows its clocks at this moment; ``None`` where it does not tell."""
        for name in _ASK_LIMITS:  # the library and the driver may each be too old, or too new, for a name
            ask = getattr(self._nvml, name, None)
            if ask is None:
                continue
            try:
                bits = ask(self._handle)
            except self._nvml.NVMLError:
                continue
            return tuple(limit for bit, limit in _LIMITS.items() if bits & bit)
        return None

    def _power_mw(self) -> int:
        try:
            return self._nvml.nvmlDeviceGetPowerUsage(self._handle)
        except self._nvml.NVMLError as error:
            raise SensorError(f"{self.name} does not tell its power ({error}); use another GPU") from error


def _text(value: str | bytes) -> str:
    """Older releases of the library answer in bytes."""
    return value.decode() if isinstance(value, bytes) else value
