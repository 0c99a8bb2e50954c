"""``"package.module:callable"``: the user's own code, imported and called with clear errors."""

from __future__ import annotations

import difflib
import importlib
import inspect
import sys
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType, TracebackType
from typing import Any, cast

from edgesynth.errors import EdgesynthError, JobError

__all__ = ["call", "is_reference", "load_reference", "users_fault"]

_OURS = Path(__file__).resolve().parents[1]


def is_reference(name: str) -> bool:
    """Whether a name means the user's code rather than something of ours."""
    return ":" in name


def load_reference(reference: str, folder: Path) -> Callable[..., Any]:
    """Import what ``"package.module:callable"`` names.

    Args:
        reference: A module path, a colon, and a name in that module; dots reach into classes.
        folder: Put on the import path first, so that files beside the job file are found.

    Raises:
        JobError: The module cannot be imported (with the line of the user's code that failed), has
            no such name (the nearest one is given), or the name is not callable.
    """
    module_name, _, attribute = reference.partition(":")
    if not module_name or not attribute or attribute.startswith(".") or ":" in attribute:
        raise JobError(f'{reference!r} cannot be read; write "package.module:callable"')
    if module_name.endswith(".py"):
        raise JobError(f"{reference!r} names a file; write the module, {Path(module_name).stem}:{attribute}")
    module = _import(module_name, reference, folder)
    found: Any = module
    for part in attribute.split("."):
        if not hasattr(found, part):
            near = difflib.get_close_matches(part, [n for n in dir(found) if not n.startswith("_")], n=1)
            hint = f"did you mean {near[0]!r}?" if near else "check the spelling"
            raise JobError(f"{reference!r}: {_place(module)} has no {part!r}; {hint}")
        found = getattr(found, part)
    if not callable(found):
        raise JobError(f"{reference!r} is a {type(found).__name__}, not a callable; name a function or class")
    return cast("Callable[..., Any]", found)


def call(
    function: Callable[..., Any], reference: str, given: Mapping[str, Any], offered: Mapping[str, Any]
) -> Any:  # noqa: ANN401
    """Call the user's function and say which line of it failed, if one does.

    Args:
        function: What :func:`load_reference` returned.
        reference: How the job file names it, for messages.
        given: Keyword arguments the user wrote; an unknown one is an error.
        offered: Keyword arguments passed only if the function names them.

    Raises:
        JobError: The function does not take the arguments, or raised something of its own.
    """
    signature = _signature(function)
    named = signature.parameters if signature else {}
    arguments = {**{key: value for key, value in offered.items() if key in named}, **given}
    if signature:
        try:
            signature.bind(**arguments)
        except TypeError as error:
            raise JobError(
                f"{reference!r} cannot be called with {sorted(arguments) or 'no arguments'}: {error}; "
                "set its arguments in the job file, e.g. arguments = { width = 16 }"
            ) from error
    try:
        return function(**arguments)
    except EdgesynthError:
        raise
    except Exception as error:
        raise JobError(f"{reference!r} raised {_told(error)}") from error


def users_fault(error: Exception) -> str:
    """The error in one line with that of the user's code, where that code raised it; empty where ours did.

    Args:
        error: As it was caught; libraries that either code called do not count.
    """
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if not _of_library(frame.filename)]
    return _told(error) if frames and not _is_ours(frames[-1].filename) else ""


def _signature(function: Callable[..., Any]) -> inspect.Signature | None:
    """The signature; ``None`` for builtins that have none."""
    try:
        return inspect.signature(function)
    except ValueError:
        return None


def _import(name: str, reference: str, folder: Path) -> ModuleType:
    home = str(folder.resolve())
    if home not in sys.path:
        sys.path.insert(0, home)
    loaded = sys.modules.get(name)
    local = _file_of(name, folder)
    if loaded is not None and local is not None and Path(loaded.__file__ or "").resolve() != local:
        raise JobError(
            f"{reference!r} means {local}, but another module {name!r} is already loaded "
            f"({loaded.__file__}); rename the file"
        )
    importlib.invalidate_caches()
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name and (name == error.name or name.startswith(f"{error.name}.")):
            near = difflib.get_close_matches(error.name, [path.stem for path in folder.glob("*.py")], n=1)
            hint = f"did you mean {near[0]!r}?" if near else "check the spelling"
            raise JobError(
                f"{reference!r}: there is no module {error.name!r} in {folder.resolve()}, and none is "
                f"installed; {hint}"
            ) from error
        raise JobError(f"{reference!r} cannot be imported: {_told(error)}") from error
    except EdgesynthError:
        raise
    except Exception as error:
        raise JobError(f"{reference!r} cannot be imported: {_told(error)}") from error


def _file_of(name: str, folder: Path) -> Path | None:
    base = folder.resolve().joinpath(*name.split("."))
    return next((p for p in (base.with_suffix(".py"), base / "__init__.py") if p.is_file()), None)


def _place(module: ModuleType) -> str:
    return module.__file__ or module.__name__


def _told(error: Exception) -> str:
    """The error in one line, with the deepest line of the user's own code."""
    what = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else 'no message'}"
    if isinstance(error, SyntaxError) and error.filename:
        return f"{type(error).__name__}: {error.msg} ({error.filename}, line {error.lineno})"
    where = _users_line(error.__traceback__)
    return f"{what} ({where})" if where else what


def _users_line(trace: TracebackType | None) -> str:
    frames = [
        frame
        for frame in traceback.extract_tb(trace)
        if not (_is_ours(frame.filename) or _of_library(frame.filename))
    ]
    if not frames:
        return ""
    last = frames[-1]
    return f"{last.filename}, line {last.lineno}: {last.line}"


def _of_library(filename: str) -> bool:
    """Whether code of others was installed, came with Python, or was made while running."""
    if _is_ours(filename):
        return False
    return "site-packages" in Path(filename).parts or filename.startswith((sys.base_prefix, "<"))


def _is_ours(filename: str) -> bool:
    return _OURS in Path(filename).parents
