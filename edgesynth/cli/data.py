"""``--data`` of several verbs: what the user names becomes a task, or stays the name of a file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

from edgesynth.errors import InputError

if TYPE_CHECKING:
    from edgesynth.tasks import Task

__all__ = ["DATA_HELP", "read_data"]

DATA_HELP: Final = (
    "Real inputs: a job file or a run folder, for its task's data and metric; a folder of images, one folder "
    "per class; .npz (also labels), .npy, or a data set's name; int8 needs them."
)


def read_data(text: str | None, network: Path | None) -> str | Task | None:
    """What ``--data`` means.

    Args:
        text: A job file (``.toml``), a run folder, an image folder, ``.npz``, ``.npy``, or a data set's name.
        network: The ONNX file, whose input says how images of a folder are read; ``None`` without one.

    Returns:
        A task; or the text, which :func:`~edgesynth.deploy.samples.load_samples` reads.

    Raises:
        InputError: The folder cannot be read without a job file that says how.
        JobError: The job file does not validate.
        RunError: The run was not started from a job file.
        DataError: The data are missing or unusable.
    """
    if text is None:
        return None
    path = Path(text)
    if path.suffix == ".toml":
        from edgesynth.job import load_job

        return load_job(path).build_task()
    if not path.is_dir():
        return text
    from edgesynth.cli.runs import is_run, read_job

    if is_run(path):
        return read_job(path)[0].build_task()
    return _image_folder(path, network)


def _image_folder(path: Path, network: Path | None) -> Task:
    """Images in one folder per class, as large as the network takes them."""
    from edgesynth.deploy.onnx_graph import input_shapes, read_model
    from edgesynth.tasks import load_image_folder

    shapes = [] if network is None else list(input_shapes(read_model(network)).values())
    shape = shapes[0] if len(shapes) == 1 else None
    sizes = [size for size in (shape or ())[1:] if isinstance(size, int)]
    if len(sizes) != 3 or sizes[1] != sizes[2] or sizes[0] not in (1, 3):
        raise InputError(
            f"{path} is a folder, and this network does not say how its images are read; write a job file "
            "with the [task] it was trained for, and give that: --data job.toml"
        )
    return load_image_folder(path, size=sizes[1], colour="rgb" if sizes[0] == 3 else "grey")
