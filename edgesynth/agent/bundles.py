"""Bundles that are installed on this board: each name has versions, and one of them is current.

    bundles/NAME/0001/             a bundle, as it came
    bundles/NAME/0002/             a later one
    bundles/NAME/0002.before       a link to the version that was current when it came
    bundles/NAME/current           a link to one of the versions: what a program opens

A version is there as a whole before ``current`` is replaced, which is one step of the kernel. So whatever
ends the work, and wherever, ``current`` leads to a whole bundle: the old one or the new one.
"""

import contextlib
import errno
import os
import re
import shutil
from typing import Any, Dict, List, Optional, Set, Tuple

from edgesynth.agent import board, trtexec_help
from edgesynth.agent.asks import take
from edgesynth.agent.board_module import module_name
from edgesynth.agent.dla import refuse_core
from edgesynth.agent.errors import Refusal
from edgesynth.agent.events import Outbox
from edgesynth.agent.info import dla_cores, tensorrt_version
from edgesynth.agent.manifest import ENGINE, MANIFEST, check_files, check_fit, read_manifest

__all__ = ["bundle_folder", "tell_bundles", "tell_install", "tell_remove", "tell_rollback"]

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_VERSION = re.compile(r"\d{4,}")
_CURRENT, _BEFORE = "current", ".before"
_COMING = ".coming"
_GONE = ".gone-"


def bundle_folder() -> str:
    """Where installed bundles are: among the user's data, which nobody takes for a cache."""
    base = os.environ.get("XDG_DATA_HOME") or os.path.join(os.path.expanduser("~"), ".local", "share")
    return os.path.join(base, "edgesynth", "bundles")


def tell_install(request: Dict[str, Any], outbox: Outbox) -> None:
    """Serve the verb ``install``: make what was brought here the current version of its name.

    Args:
        request: ``name``; ``staged``: the folder of the bundle, which is used up; ``engine``: a plan on this
            board that belongs to it, where the folder has none; ``try``: only see whether it could be
            installed, and leave the folder where it is.
        outbox: Told ``start`` with ``bundles``, the one that is now current (see :func:`tell_bundles`), then
            ``end``.

    Raises:
        Refusal: The bundle is damaged, or its engine belongs to another TensorRT, GPU or module; nothing has
            changed.
    """
    name, staged = _name(request), take(request, "staged", str)
    plan = take(request, "engine", str, "")
    if plan:
        _link(plan, os.path.join(staged, ENGINE))
    manifest = _checked(staged)
    if manifest["name"] != name:
        raise Refusal("bundle", "the bundle is of {!r}, not {!r}".format(manifest["name"], name))
    if take(request, "try", bool, False):
        outbox.tell("end")
        return
    home = os.path.join(bundle_folder(), name)
    os.makedirs(home, exist_ok=True)
    coming = os.path.join(home, _COMING)
    shutil.rmtree(coming, ignore_errors=True)
    _move(staged, coming)
    _sync(coming)
    before = _current(home)
    version = "{:04d}".format(max([int(found) for found in _versions(home)] or [0]) + 1)
    if before is not None:
        _point(os.path.join(home, version + _BEFORE), before)
    os.rename(coming, os.path.join(home, version))
    _point(os.path.join(home, _CURRENT), version)
    _tidy(home, {version, before or version})
    outbox.tell("start", bundles=[_entry(home, version, manifest)])
    outbox.tell("end")


def tell_rollback(request: Dict[str, Any], outbox: Outbox) -> None:
    """Serve the verb ``rollback``: make the version that was current before the current one again.

    Args:
        request: ``name``.
        outbox: Told ``start`` with ``bundles``, the one that is now current, then ``end``.

    Raises:
        Refusal: There is no earlier version, or it is damaged or does not fit; nothing has changed.
    """
    home = _home(request)
    current = _current(home)
    before = None if current is None else _before(home, current)
    if before is None:
        raise Refusal("bundle", "there is no earlier version of {!r} to go back to".format(_name(request)))
    manifest = _checked(os.path.join(home, before))
    _point(os.path.join(home, _CURRENT), before)
    outbox.tell("start", bundles=[_entry(home, before, manifest)])
    outbox.tell("end")


def tell_remove(request: Dict[str, Any], outbox: Outbox) -> None:
    """Serve the verb ``remove``: all versions of a ``name``, at once."""
    home = _home(request)
    gone = os.path.join(os.path.dirname(home), _GONE + os.path.basename(home))
    shutil.rmtree(gone, ignore_errors=True)
    os.rename(home, gone)
    shutil.rmtree(gone, ignore_errors=True)
    outbox.tell("end")


def tell_bundles(request: Dict[str, Any], outbox: Outbox) -> None:
    """Serve the verb ``bundles``: one event ``start`` with ``bundles``, then ``end``.

    Each has ``name``, ``path``, ``version``, ``before``, ``manifest``, ``bytes`` and ``problem``, which is
    empty when every file is whole and the engine belongs to this TensorRT, GPU and module.

    Args:
        request: ``name``: only this one.
        outbox: Where to tell it.
    """
    base = bundle_folder()
    names = [_name(request)] if "name" in request else _entries(base)
    found = [_describe(os.path.join(base, name), outbox) for name in names if _NAME.fullmatch(name)]
    outbox.tell("start", bundles=[entry for entry in found if entry is not None])
    outbox.tell("end")


def _describe(home: str, outbox: Outbox) -> Optional[Dict[str, Any]]:
    version = _current(home)
    if version is None:
        return None
    outbox.keep_alive()
    place = os.path.join(home, version)
    manifest: Dict[str, Any] = {}
    problem = ""
    try:
        manifest = read_manifest(place)
        check_files(place, manifest)
        _check_fit(manifest)
    except Refusal as refusal:
        problem = refusal.reason
    return _entry(home, version, manifest, problem)


def _entry(home: str, version: str, manifest: Dict[str, Any], problem: str = "") -> Dict[str, Any]:
    files = manifest.pop("files", {})
    return {
        "name": os.path.basename(home),
        "path": os.path.join(home, _CURRENT),
        "version": version,
        "before": _before(home, version) or "",
        "bytes": sum(entry["bytes"] for entry in files.values()),
        "manifest": manifest,
        "problem": problem,
    }


def _checked(folder: str) -> Dict[str, Any]:
    """The manifest of a bundle that is whole and fits this board."""
    manifest = read_manifest(folder)
    _check_fit(manifest)
    check_files(folder, manifest)
    return manifest


def _check_fit(manifest: Dict[str, Any]) -> None:
    """Refuse an engine of another TensorRT, GPU or module, or for a core of a DLA that is not here."""
    tensorrt, gpu, module = _here()
    check_fit(manifest, tensorrt, gpu, module)
    core = manifest["key"].get("dla_core")
    if core is not None:
        refuse_core(core, dla_cores(), tensorrt, "deploy {!r} anew for ".format(manifest["name"]))


def _here() -> Tuple[str, str, str]:
    """The TensorRT, the GPU and the module of this board, as far as they are known."""
    version = str(tensorrt_version()[0] or trtexec_help.version())
    return version, str(board.soc() or board.model() or ""), module_name()


def _name(request: Dict[str, Any]) -> str:
    name = take(request, "name", str)
    if _NAME.fullmatch(name) is None:
        raise Refusal(
            "request", "a bundle's name has letters, digits, '.', '_' and '-', not {!r}".format(name)
        )
    return str(name)


def _home(request: Dict[str, Any]) -> str:
    home = os.path.join(bundle_folder(), _name(request))
    if _current(home) is None:
        known = [name for name in _entries(bundle_folder()) if _NAME.fullmatch(name)]
        raise Refusal(
            "bundle",
            "no bundle {!r} is installed here; there {}".format(
                _name(request), "are " + ", ".join(known) if known else "is none"
            ),
        )
    return home


def _entries(folder: str) -> List[str]:
    try:
        return sorted(os.listdir(folder))
    except OSError:
        return []


def _versions(home: str) -> List[str]:
    return [name for name in _entries(home) if _VERSION.fullmatch(name)]


def _current(home: str) -> Optional[str]:
    """The version that a program opens."""
    return _target(os.path.join(home, _CURRENT), home)


def _before(home: str, version: str) -> Optional[str]:
    """The version that was current before another one came."""
    return _target(os.path.join(home, version + _BEFORE), home)


def _target(link: str, home: str) -> Optional[str]:
    try:
        version = os.readlink(link)
    except OSError:
        return None
    return version if os.path.isfile(os.path.join(home, version, MANIFEST)) else None


def _point(link: str, version: str) -> None:
    """Have a link lead to a version: before it does, or after, and never to nothing."""
    scratch = link + ".new"
    with contextlib.suppress(FileNotFoundError):
        os.remove(scratch)
    os.symlink(version, scratch)
    os.replace(scratch, link)
    _sync_folder(os.path.dirname(link))


def _tidy(home: str, keep: Set[str]) -> None:
    """Remove the versions that nobody can go back to; one that stays is removed the next time."""
    for name in _entries(home):
        version = name.partition(".")[0]
        if _VERSION.fullmatch(version) and version not in keep:
            path = os.path.join(home, name)
            if os.path.islink(path):
                os.remove(path)
            else:
                shutil.rmtree(path, ignore_errors=True)


def _link(source: str, target: str) -> None:
    """A second name for a file, or a copy where there cannot be one."""
    with contextlib.suppress(FileNotFoundError):
        os.remove(target)
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def _move(source: str, target: str) -> None:
    try:
        os.rename(source, target)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        shutil.copytree(source, target)  # the work folder is on another disk
        shutil.rmtree(source, ignore_errors=True)


def _sync(folder: str) -> None:
    """Wait until the disk has a folder and its files."""
    for name in _entries(folder):
        with open(os.path.join(folder, name), "rb") as file:
            os.fsync(file.fileno())
    _sync_folder(folder)


def _sync_folder(folder: str) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
