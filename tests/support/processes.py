"""Programs that a test starts, and waits for no longer than it must."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable
from typing import Any, TypeVar

Seen = TypeVar("Seen")


def ended(process: subprocess.Popen[str], patience_s: float = 120.0) -> tuple[str, str]:
    """What it said; one that does not end is killed, and fails the test."""
    try:
        return process.communicate(timeout=patience_s)
    except subprocess.TimeoutExpired:
        process.kill()
        raise


def wait_for(seen: Callable[[], Seen], patience_s: float = 120.0) -> Seen:
    """Wait until something is true, and give it."""
    until = time.monotonic() + patience_s
    while not (found := seen()) and time.monotonic() < until:
        time.sleep(0.02)
    assert found
    return found


def read_until(process: subprocess.Popen[bytes], text: str) -> list[Any]:
    """The JSON lines that it prints, up to the first one with this text."""
    assert process.stdout is not None
    assert process.stderr is not None
    lines = []
    for line in process.stdout:
        lines.append(json.loads(line))
        if text in line.decode():
            return lines
    raise AssertionError(process.stderr.read().decode())
