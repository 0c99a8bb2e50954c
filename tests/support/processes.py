"""Programs that a test starts, and waits for no longer than it must."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable
from typing import TypeVar

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
