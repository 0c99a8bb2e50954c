"""Which of a machine's NVIDIA GPUs is CUDA's first: the one that ONNX Runtime runs networks on.

CUDA orders GPUs in its own way (the fastest first, unless ``CUDA_DEVICE_ORDER`` says ``PCI_BUS_ID``) and sees
those alone that ``CUDA_VISIBLE_DEVICES`` names; NVML has all of them in the order of the bus. So the driver
is asked where its first is (CUDA driver API reference, ``cuDeviceGetPCIBusId``).
"""

from __future__ import annotations

import ctypes
from typing import Final

from edgesynth.errors import DeviceError

__all__ = ["first_gpu"]

_LIBRARY: Final = "libcuda.so.1"
_LONGEST: Final = 32  # characters of an address: domain, bus, device and function


def first_gpu(library: str = _LIBRARY) -> str:
    """The PCI address of CUDA's first GPU, e.g. ``0000:65:00.0``.

    Args:
        library: Of the driver.

    Raises:
        DeviceError: There is no driver, or CUDA sees no GPU.
    """
    try:
        driver = ctypes.CDLL(library)
    except OSError as error:
        raise DeviceError(f"the CUDA driver cannot be loaded ({error}); install the GPU's driver") from error
    device = ctypes.c_int()
    address = ctypes.create_string_buffer(_LONGEST)
    for name, arguments in (
        ("cuInit", (ctypes.c_uint(0),)),
        ("cuDeviceGet", (ctypes.byref(device), ctypes.c_int(0))),
        ("cuDeviceGetPCIBusId", (address, ctypes.c_int(_LONGEST), device)),
    ):
        if code := getattr(driver, name)(*arguments):
            raise DeviceError(
                f"CUDA does not say which GPU is its first ({name} gave error {code}); "
                "see what CUDA_VISIBLE_DEVICES names"
            )
    return address.value.decode()
