"""What every test shares."""

from __future__ import annotations

import os
import signal
import threading

import pytest

pytest_plugins = ("ssh_server",)

# Tests compare figures, so they must not depend on how many cores happen to be free.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# Programs that tests interrupt must hear of it: a shell in the background has its children ignore SIGINT, and
# nohup SIGHUP, to which the tests themselves stay deaf.
if threading.current_thread() is threading.main_thread():
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
        signal.signal(signal.SIGHUP, lambda *_: None)
# The machine of the tests has no energy counters, whatever the one they run on has; some tests give it some.
os.environ["EDGESYNTH_POWERCAP"] = os.devnull
# Errors are checked as users see them.
os.environ.pop("EDGESYNTH_DEBUG", None)


@pytest.fixture(autouse=True)
def _wide_output(monkeypatch: pytest.MonkeyPatch) -> None:
    """Messages wrap at the width of the terminal; tests read them unwrapped and without colours."""
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("NO_COLOR", "1")
