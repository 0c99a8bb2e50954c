"""Every error edgesynth raises on purpose, as one tree.

    EdgesynthError                 something went wrong, and the message says what to do
    ├── InputError                 bad usage or bad input                      (exit code 2)
    │   ├── JobError               a job file that does not validate
    │   ├── DataError              a data set that cannot be used
    │   ├── TraceError             a module that cannot be traced
    │   ├── ArchitectureError      an architecture that does not fit its space
    │   ├── RequirementError       a requirement that cannot be read or be met
    │   ├── TrainingError          training diverged (NaN or infinite loss)
    │   ├── RunError               a run folder that is missing, damaged, locked or full
    │   └── MissingDependencyError an optional package is needed and not installed
    ├── RequirementsNotMet         finished, but no network met every requirement (exit code 1)
    └── DeviceError                the device or the link to it failed         (exit code 3)
        ├── LinkError              the board cannot be reached, or the link dropped
        ├── SensorError            no usable power rail or counter
        └── MeasurementError       a measurement could not be completed

Messages state what happened, with which value, and what to do about it.
"""

from __future__ import annotations

import unicodedata
from typing import Final

__all__ = [
    "ArchitectureError",
    "DataError",
    "DeviceError",
    "EdgesynthError",
    "InputError",
    "JobError",
    "LinkError",
    "MeasurementError",
    "MissingDependencyError",
    "RequirementError",
    "RequirementsNotMet",
    "RunError",
    "SensorError",
    "TraceError",
    "TrainingError",
    "printable",
]


_BREAKING: Final = frozenset({"Cc", "Cs", "Zl", "Zp"})
"""Categories of Unicode: control characters, lone surrogates, ends of lines and paragraphs."""


def printable(text: object) -> str:
    """A text, or the name of a file, on one line: what would break it or a terminal is escaped."""
    return "".join(
        sign.encode("unicode_escape").decode() if unicodedata.category(sign) in _BREAKING else sign
        for sign in str(text)
    )


class EdgesynthError(Exception):
    """Root of every error raised on purpose.

    Attributes:
        exit_code: What the command line exits with when this error ends a command.
    """

    exit_code = 2


class InputError(EdgesynthError):
    """Bad usage or bad input: nothing was done, nothing was lost."""


class JobError(InputError):
    """A job file is missing, malformed, or has an unknown or invalid key."""


class DataError(InputError):
    """A data set is missing, empty, has one class, or holds a file that cannot be read."""

    def __str__(self) -> str:
        """The message on one line; it names files, and those may be called anything."""
        return printable(super().__str__())


class TraceError(InputError):
    """A module cannot be traced; the message names the line of the user's code."""


class ArchitectureError(InputError):
    """An architecture names an unknown dimension or an impossible choice."""


class RequirementError(InputError):
    """A requirement cannot be read, or no network was found that can meet it."""


class TrainingError(InputError):
    """Training diverged; the message gives the epoch, the step and the learning rate."""


class RunError(InputError):
    """A run folder is missing, damaged, in use by another process, or the disk is full."""


class MissingDependencyError(InputError):
    """An optional package is needed; the message names the extra that installs it."""


class RequirementsNotMet(EdgesynthError):
    """The run finished, but no network met every requirement."""

    exit_code = 1


class DeviceError(EdgesynthError):
    """The device, or the link to it, failed."""

    exit_code = 3


class LinkError(DeviceError):
    """The board cannot be reached, refused the key, or the link dropped."""


class SensorError(DeviceError):
    """The device has no power rail or counter that can be trusted."""


class MeasurementError(DeviceError):
    """A measurement could not be completed on the device."""
