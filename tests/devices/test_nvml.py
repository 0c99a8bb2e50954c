"""Power of a GPU: what NVML says becomes a line that the host reads, and what it refuses is said."""

import shutil
import subprocess

import pytest
from fake_nvml import FIRST, Library

from edgesynth.agent.tegrastats import parse_line
from edgesynth.devices.cuda_driver import first_gpu
from edgesynth.devices.nvml import NvmlGpu, load_nvml
from edgesynth.errors import DeviceError, EdgesynthError, MissingDependencyError, SensorError


def test_a_reading_has_power_clock_and_temperature():
    gpu = NvmlGpu(Library(), lambda: FIRST)

    record = parse_line(gpu.line())

    assert record.rails == {"GPU_BOARD": 28_750}
    assert record.gpu_clock_mhz == 1177
    assert record.temperatures_c == {"GPU": 51.0}
    assert record.unread == ()
    assert (gpu.name, gpu.driver) == ("NVIDIA RTX A2000", "580.95.05")
    assert gpu.rails.total_text == "GPU_BOARD (graphics board alone)"
    assert gpu.sensor.filter_s == 1.0


def test_a_gpu_that_hides_its_clock_still_tells_power():
    assert parse_line(NvmlGpu(Library("clock"), lambda: FIRST).line()).rails == {"GPU_BOARD": 28_750}


IDLE, SET_BY_SOMEBODY, SYNC_BOOST, DISPLAY = 0x1, 0x2, 0x10, 0x100


@pytest.mark.parametrize("asked_by", ["Event", "Throttle"])
def test_why_clocks_are_slowed_is_told_by_name_in_every_release(asked_by):
    calm = IDLE | SET_BY_SOMEBODY | SYNC_BOOST | DISPLAY
    gpu = NvmlGpu(Library(asked_by=asked_by, bits=[0x04, 0x08 | 0x40, 0x20, 0x80, calm, 0]), lambda: FIRST)

    assert gpu.limits() == ("SW power cap",)
    assert gpu.limits() == ("HW slowdown", "HW thermal slowdown")
    assert gpu.limits() == ("SW thermal slowdown",)
    assert gpu.limits() == ("HW power brake slowdown",)
    assert gpu.limits() == gpu.limits() == ()


def test_a_gpu_that_does_not_say_why_clocks_are_slowed_is_not_taken_for_a_calm_one():
    assert NvmlGpu(Library("reasons"), lambda: FIRST).limits() is None
    assert NvmlGpu(Library(asked_by="No"), lambda: FIRST).limits() is None


@pytest.mark.parametrize(
    ("library", "error", "said"),
    [
        (Library("init"), DeviceError, "no NVIDIA driver answers on this machine"),
        (Library(count=0), DeviceError, "no NVIDIA GPU: the driver of this machine tells of 0"),
        (Library(FIRST.encode()), DeviceError, f"nothing of the GPU at {FIRST}, on which CUDA runs"),
        (Library("power"), SensorError, "A2000 does not tell its power"),
    ],
)
def test_what_is_missing_is_said(library, error, said):
    with pytest.raises(error, match=said):
        NvmlGpu(library, lambda: FIRST)


DRIVER = """
#include <stdlib.h>
#include <string.h>
int cuInit(unsigned flags) { return flags; }
int cuDeviceGet(int *device, int index) {
    const char *visible = getenv("CUDA_VISIBLE_DEVICES");
    if (visible && !*visible) return 100;
    *device = (visible ? atoi(visible) : 1) + index;  /* the second on the bus is the fastest */
    return 0;
}
int cuDeviceGetPCIBusId(char *address, int size, int device) {
    strncpy(address, device ? "0000:65:00.0" : "0000:17:00.0", size);
    return 0;
}
"""


@pytest.fixture(scope="module")
def driver(tmp_path_factory):
    """A CUDA driver of two GPUs, with an order of its own."""
    gcc = shutil.which("gcc")
    if gcc is None:
        pytest.skip("no gcc to compile a driver with")
    folder = tmp_path_factory.mktemp("driver")
    (folder / "cuda.c").write_text(DRIVER)
    subprocess.run([gcc, "-shared", "-fPIC", "-o", folder / "libcuda.so", folder / "cuda.c"], check=True)
    return str(folder / "libcuda.so")


def test_power_is_read_of_the_gpu_that_cuda_calls_its_first(driver, monkeypatch):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    gpu = NvmlGpu(Library(count=2), lambda: first_gpu(driver))
    assert gpu.address == "0000:65:00.0"
    assert parse_line(gpu.line()).rails == {"GPU_BOARD": 300_000}

    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    gpu = NvmlGpu(Library(count=2), lambda: first_gpu(driver))
    assert gpu.address == FIRST
    assert parse_line(gpu.line()).rails == {"GPU_BOARD": 28_750}


def test_a_machine_whose_gpus_are_hidden_says_so(driver, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")

    with pytest.raises(DeviceError, match=r"cuDeviceGet gave error 100.* CUDA_VISIBLE_DEVICES"):
        NvmlGpu(Library(count=2), lambda: first_gpu(driver))


def test_a_machine_without_the_driver_of_cuda_says_so():
    with pytest.raises(DeviceError, match="the CUDA driver cannot be loaded"):
        first_gpu("libcuda-of-nobody.so")


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
