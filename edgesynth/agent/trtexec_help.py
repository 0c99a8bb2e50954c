"""What trtexec says of itself: the options that it has, and its version."""

import functools
import re
from typing import List

from edgesynth.agent.board import find_program, run
from edgesynth.agent.errors import Refusal

__all__ = ["has_flags", "options", "read_options", "read_version", "version"]

_OPTION = re.compile(r"^ {0,4}(--\w+)", re.MULTILINE)  # further right its prose begins, which names others
_BANNER = re.compile(r"\[TensorRT v(\d+)\]")


@functools.lru_cache(maxsize=None)
def _help() -> str:
    program = find_program("trtexec")
    if program is None:
        raise Refusal(
            "tensorrt",
            "there is neither tensorrt for Python nor trtexec on this board; install TensorRT of its JetPack",
        )
    done = run([program, "--help"], timeout_s=60.0)
    return done.output + done.errors


def options() -> List[str]:
    """The options this trtexec has.

    Raises:
        Refusal: There is no trtexec.
    """
    return read_options(_help())


def read_options(said: str) -> List[str]:
    """The options in its help, and not those that the prose names."""
    return _OPTION.findall(said)


def has_flags() -> bool:
    """Whether it takes precision from its options; where not, the graph decides.

    Raises:
        Refusal: There is no trtexec.
    """
    return "--fp16" in options()


def version() -> str:
    """Its version, e.g. ``8.2.1``; empty if it does not say (7.x does not) or there is none."""
    try:
        return read_version(_help())
    except Refusal:
        return ""


def read_version(said: str) -> str:
    """The version in what it printed: digits of two from 10 on, of one for major and minor before."""
    match = _BANNER.search(said)
    if match is None:
        return ""
    number = int(match.group(1))
    major, rest = divmod(number, 10000 if number >= 100000 else 1000)  # 100300 is 10.3.0, 8201 is 8.2.1
    return "{}.{}.{}".format(major, rest // 100, rest % 100)
