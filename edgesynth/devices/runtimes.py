"""What runs networks on this machine: ONNX Runtime on its processor or its GPU, or torch on its GPU."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final, Protocol

from numpy.typing import NDArray

from edgesynth.devices.onnx_layers import time_layers
from edgesynth.devices.onnx_session import open_session
from edgesynth.errors import DeviceError, MissingDependencyError

if TYPE_CHECKING:
    from edgesynth.devices.profile import Profile

__all__ = [
    "NetworkInput",
    "OnnxRuntime",
    "Runtime",
    "Session",
    "TorchRuntime",
    "open_runtime",
    "runtime_of",
]

_CUDA: Final = "CUDAExecutionProvider"
_PROVIDERS: Final[Mapping[str, list[Any]]] = {
    "cpu": ["CPUExecutionProvider"],
    "cuda": [(_CUDA, {"use_tf32": "0"})],  # what is asked for as fp32 is computed in it
}


class NetworkInput(Protocol):
    """What a session says of one input."""

    @property
    def name(self) -> str: ...  # noqa: D102
    @property
    def type(self) -> str: ...  # noqa: D102
    @property
    def shape(self) -> list[int | str | None]: ...  # noqa: D102


class Session(Protocol):
    """A network that is ready to run; as an inference session of ONNX Runtime."""

    def run(self, outputs: None, feeds: Mapping[str, NDArray[Any]]) -> object: ...  # noqa: D102
    def get_inputs(self) -> list[Any]: ...  # noqa: D102


class Runtime(Protocol):
    """Opens networks; one is made once per process, before anything runs."""

    @property
    def name(self) -> str:
        """For people, e.g. ``ONNX Runtime``."""
        ...

    @property
    def conditions(self) -> Mapping[str, Any]:
        """What a reader of figures has to know of it."""
        ...

    @property
    def alike(self) -> bool:
        """Whether what slows the reference load slows every network about as much.

        So it is on a processor. On a GPU one may be bound by launches, which the processor does, and another
        not.
        """
        ...

    def open(self, model: str | bytes) -> Session:
        """A session of an ONNX file, given by its path or its content.

        Raises:
            DeviceError: It cannot run where it should.
        """
        ...

    def layers(
        self, model: str, feeds: Mapping[str, NDArray[Any]], runs: int
    ) -> list[tuple[str, float]] | str:
        """Name and mean time in ms of every layer, or why nobody tells."""
        ...


class OnnxRuntime:
    """ONNX Runtime with one provider.

    Threads wait for work by spinning. Those of two sessions would take the processor from one another, and a
    load of fewer threads does not feel what slows many: two virtual processors that now share a core. So all
    sessions of the process share theirs, and this is for a process of its own.

    Args:
        provider: ``cpu`` or ``cuda``.

    Raises:
        ImportError: It is not installed.
    """

    name = "ONNX Runtime"

    def __init__(self, provider: str) -> None:
        import onnxruntime

        onnxruntime.set_default_logger_severity(3)
        self._module: Any = onnxruntime
        self._provider = provider
        self._options = _shared_threads(self._module)
        if provider == "cuda" and hasattr(onnxruntime, "preload_dlls"):
            onnxruntime.preload_dlls()  # CUDA and cuDNN that pip has installed

    @property
    def conditions(self) -> Mapping[str, Any]:
        """Its version."""
        return {"onnxruntime": self._module.__version__}

    @property
    def alike(self) -> bool:
        """On a processor."""
        return self._provider == "cpu"

    def open(self, model: str | bytes) -> Session:
        """A session that runs where it should."""
        session = open_session(self._module, model, self._options, _PROVIDERS[self._provider])
        if self._provider == "cuda" and _CUDA not in session.get_providers():
            raise DeviceError(
                "ONNX Runtime could not use the GPU and fell back to the CPU; install the CUDA and cuDNN "
                "that its release asks for (pip install 'onnxruntime-gpu[cuda,cudnn]')"
            )
        found: Session = session
        return found

    def layers(
        self, model: str, feeds: Mapping[str, NDArray[Any]], runs: int
    ) -> list[tuple[str, float]] | str:
        """Of a processor, as it runs them."""
        if self._provider != "cpu":
            return "ONNX Runtime tells of a GPU how long launches take, not layers"
        return time_layers(self._module, model, feeds, runs, _PROVIDERS[self._provider])


class TorchRuntime:
    """Torch in eager mode: for a GPU that ONNX Runtime does not know.

    Args:
        device: ``cuda``; ``cpu`` where there is none.
    """

    name = "torch"

    def __init__(self, device: str = "cuda") -> None:
        import torch

        torch.backends.cudnn.allow_tf32 = False  # what is asked for as fp32 is computed in it
        torch.backends.cudnn.benchmark = True
        self._version = torch.__version__
        self._device = device

    @property
    def conditions(self) -> Mapping[str, Any]:
        """Its version, and that operators are called one by one."""
        return {"torch": f"{self._version}, eager"}

    @property
    def alike(self) -> bool:
        """On a processor."""
        return self._device == "cpu"

    def open(self, model: str | bytes) -> Session:
        """A session of what torch runs."""
        from edgesynth.devices.torch_session import TorchSession

        return TorchSession(model, self._device)

    def layers(
        self, model: str, feeds: Mapping[str, NDArray[Any]], runs: int
    ) -> list[tuple[str, float]] | str:
        """Of operators, which are called one by one."""
        from edgesynth.devices.torch_session import TorchSession

        return TorchSession(model, self._device).time_layers(feeds, runs)


def runtime_of(profile: Profile) -> str:
    """What runs networks on this machine: ``cpu``, ``cuda`` or ``torch``.

    Args:
        profile: Of this machine.

    Raises:
        MissingDependencyError: It needs a GPU, and nothing that is installed knows one.
    """
    if profile.provider != "cuda":
        return profile.provider
    try:
        import onnxruntime
    except ImportError:
        lacks = "running networks on an NVIDIA GPU needs onnxruntime-gpu; pip install 'edgesynth[gpu]'"
    else:
        runtime: Any = onnxruntime
        if _CUDA in runtime.get_available_providers():
            return "cuda"
        lacks = (
            f"the installed onnxruntime {runtime.__version__} knows no CUDA; "
            "pip uninstall onnxruntime, then pip install 'edgesynth[gpu]'"
        )
    import torch

    if torch.cuda.is_available():
        return "torch"
    raise MissingDependencyError(f"{lacks}; the installed torch {torch.__version__} finds no GPU either")


def open_runtime(kind: str) -> Runtime:
    """The runtime of this name, as of :func:`runtime_of`.

    Raises:
        ImportError: It is not installed.
    """
    return TorchRuntime() if kind == "torch" else OnnxRuntime(kind)


@functools.cache
def _shared_threads(onnxruntime: Any) -> Any:  # noqa: ANN401 - a module without types
    """Options of sessions that share their threads, which are made once in a process."""
    onnxruntime.set_global_thread_pool_sizes()
    options = onnxruntime.SessionOptions()
    options.use_per_session_threads = False
    return options
