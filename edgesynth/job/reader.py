"""Read a job file, and say precisely what is wrong with it when something is."""

from __future__ import annotations

import difflib
import tomllib
from importlib import resources
from pathlib import Path
from typing import Final

from edgesynth.errors import JobError
from edgesynth.job.job import Job
from edgesynth.job.validation import validate

__all__ = ["EXAMPLE", "load_job", "parse_job"]

EXAMPLE: Final = resources.files("edgesynth.job").joinpath("example.toml")
"""A complete, commented job file; ``edgesynth init`` writes a copy."""


def load_job(path: Path | str) -> Job:
    """Read and check a job file; nothing is built or opened yet.

    Args:
        path: A TOML file. Paths and modules it names are looked up beside it.

    Raises:
        JobError: The file is missing, is not TOML, or says something that cannot be; the message
            names the file, the table, the key, the value and what is allowed.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise JobError(f"there is no job file {path}{_neighbour(path)}") from None
    except IsADirectoryError:
        raise JobError(f"{path} is a folder, not a job file{_inside(path)}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise JobError(f"the job file {path} cannot be read: {error}") from error
    return parse_job(text, folder=path.parent, label=str(path))


def parse_job(text: str, *, folder: Path, label: str = "job") -> Job:
    """Read a job from TOML text.

    Args:
        text: The TOML.
        folder: What relative paths and modules are looked up in.
        label: What messages call the text.

    Raises:
        JobError: As :func:`load_job`.
    """
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise JobError(f"{label} is not valid TOML: {error}") from error
    return Job(validate(data, label, folder.resolve()), folder.resolve())


def _neighbour(path: Path) -> str:
    folder = path.parent
    names = sorted(p.name for p in folder.glob("*.toml")) if folder.is_dir() else []
    near = difflib.get_close_matches(path.name, names, n=1, cutoff=0.6)
    if near:
        return f"; did you mean {folder / near[0]}?"
    return "; write one with: edgesynth init"


def _inside(folder: Path) -> str:
    return f"; did you mean {folder / 'job.toml'}?" if (folder / "job.toml").is_file() else ""
