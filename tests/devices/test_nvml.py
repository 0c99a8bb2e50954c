"""Power of a GPU: what NVML says becomes a line that the host reads, and what it refuses is said."""

import pytest

from edgesynth.agent.tegrastats import parse_line
from edgesynth.devices.nvml import NvmlGpu, load_nvml
from edgesynth.errors import DeviceError, EdgesynthError, MissingDependencyError, SensorError


class NvmlError(Exception):
    """What the library raises."""


class Library:
    """Answers like ``pynvml`` on a machine with one GPU, for as long as nothing is refused."""

    NVMLError = NvmlError
    NVML_TEMPERATURE_GPU = 0
    NVML_CLOCK_SM = 1

    def __init__(self, *refused, count=1):
        self.refused = refused
        self.count = count

    def _answer(self, name, value):
        if name in self.refused:
            raise NvmlError("Not Supported")
        return value

    def nvmlInit(self):
        self._answer("init", None)

    def nvmlDeviceGetCount(self):
        return self.count

    def nvmlDeviceGetHandleByIndex(self, index):
        return f"gpu {index}"

    def nvmlDeviceGetName(self, handle):
        return b"NVIDIA RTX A2000"

    def nvmlSystemGetDriverVersion(self):
        return "580.95.05"

    def nvmlDeviceGetPowerUsage(self, handle):
        return self._answer("power", 28_750)

    def nvmlDeviceGetTemperature(self, handle, kind):
        return self._answer("temperature", 51)

    def nvmlDeviceGetClockInfo(self, handle, kind):
        return self._answer("clock", 1177)


def test_a_reading_has_power_clock_and_temperature():
    gpu = NvmlGpu(Library())

    record = parse_line(gpu.line())

    assert record.rails == {"GPU_BOARD": 28_750}
    assert record.gpu_clock_mhz == 1177
    assert record.temperatures_c == {"GPU": 51.0}
    assert record.unread == ()
    assert (gpu.name, gpu.driver) == ("NVIDIA RTX A2000", "580.95.05")
    assert gpu.rails.total_text == "GPU_BOARD (graphics board alone)"
    assert gpu.sensor.filter_s == 1.0


def test_a_gpu_that_hides_its_clock_still_tells_power():
    assert parse_line(NvmlGpu(Library("clock")).line()).rails == {"GPU_BOARD": 28_750}


@pytest.mark.parametrize(
    ("library", "error", "said"),
    [
        (Library("init"), DeviceError, "no NVIDIA driver answers on this machine"),
        (Library(count=0), DeviceError, "no NVIDIA GPU 0: the driver of this machine tells of 0"),
        (Library("power"), SensorError, "A2000 does not tell its power"),
    ],
)
def test_what_is_missing_is_said(library, error, said):
    with pytest.raises(error, match=said):
        NvmlGpu(library)


def test_without_the_library_the_extra_is_named():
    try:
        import pynvml  # noqa: F401
    except ImportError:
        with pytest.raises(MissingDependencyError, match=r"pip install 'edgesynth\[gpu\]'"):
            load_nvml()
    else:
        pytest.skip("nvidia-ml-py is installed")


@pytest.mark.gpu
def test_a_real_gpu_tells_a_power_that_can_be():
    try:
        gpu = NvmlGpu(load_nvml())
    except EdgesynthError as error:
        pytest.skip(str(error))

    assert 1_000 < parse_line(gpu.line()).rails["GPU_BOARD"] < 2_000_000
