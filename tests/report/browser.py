"""A headless Chromium, driven over two pipes: pages as a person sees them, at the width of any screen."""

from __future__ import annotations

import base64
import fcntl
import io
import json
import os
import shutil
import signal
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from PIL import Image

CHROMIUM = next(
    (path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), ""
)
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
)
PHONE = 390
"""Pixels of a usual phone's width."""
DESKTOP = 1280


class Browser:
    """One browser and one page, for use in a ``with`` statement.

    Args:
        profile: A folder for the browser's own files.
    """

    def __init__(self, profile: Path) -> None:
        # The browser reads commands from its descriptor 3 and answers on 4, a zero byte after each.
        hears, self._to = os.pipe()
        self._from, says = os.pipe()
        hears, says = (fcntl.fcntl(end, fcntl.F_DUPFD, 20) for end in (hears, says))
        self._pid = os.posix_spawn(
            CHROMIUM,
            [CHROMIUM, *FLAGS, f"--user-data-dir={profile}", "--remote-debugging-pipe", "about:blank"],
            os.environ,
            file_actions=[
                (os.POSIX_SPAWN_DUP2, hears, 3),
                (os.POSIX_SPAWN_DUP2, says, 4),
                (os.POSIX_SPAWN_OPEN, 2, os.devnull, os.O_WRONLY, 0),
            ],
        )
        for end in (hears, says):
            os.close(end)
        self._number, self._rest, self._session = 0, b"", ""
        self.console: list[str] = []
        self._loaded = False

    def __enter__(self) -> Browser:
        target = self._call("Target.createTarget", {"url": "about:blank"})["targetId"]
        self._session = self._call("Target.attachToTarget", {"targetId": target, "flatten": True})[
            "sessionId"
        ]
        for domain in ("Page", "Runtime", "Log"):
            self._call(f"{domain}.enable")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.kill(self._pid, signal.SIGKILL)
        os.waitpid(self._pid, 0)
        os.close(self._to)
        os.close(self._from)

    def open(self, page: Path, width: int, *, dark: bool = False, media: str = "") -> None:
        """Load a page of the disk at a width in pixels.

        Args:
            page: The file.
            width: Of the window; up to 600 it is that of a phone.
            dark: Whether the reader prefers dark pages.
            media: ``print`` for paper.
        """
        screen = {"width": width, "height": 844, "deviceScaleFactor": 1, "mobile": width <= 600}
        self._call("Emulation.setDeviceMetricsOverride", screen)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self._call("Emulation.setEmulatedMedia", {"media": media, "features": [scheme]})
        self._loaded, self.console = False, []
        self._call("Page.navigate", {"url": page.as_uri()})
        while not self._loaded:
            self._hear(self._read())

    def ask(self, script: str) -> Any:
        """The value of a JavaScript expression in the page."""
        found = self._call("Runtime.evaluate", {"expression": script, "returnByValue": True})
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    def picture(self, path: Path | None = None, height: int | None = None) -> np.ndarray:
        """The page from its top, whole unless a height is given: ``[height, width, 3]``."""
        width, whole = self.ask("[innerWidth, document.documentElement.scrollHeight]")
        box = {"x": 0, "y": 0, "width": width, "height": min(whole, height or whole), "scale": 1}
        shot = self._call("Page.captureScreenshot", {"clip": box, "captureBeyondViewport": True})
        data = base64.b64decode(shot["data"])
        if path is not None:
            path.write_bytes(data)
        with Image.open(io.BytesIO(data)) as image:
            return np.asarray(image.convert("RGB")).astype(int)

    def printed(self) -> bytes:
        """The page on A4 paper, as PDF."""
        paper = {
            "paperWidth": 8.27,
            "paperHeight": 11.69,
            "preferCSSPageSize": True,
            "printBackground": False,
        }
        return base64.b64decode(self._call("Page.printToPDF", paper)["data"])

    def _call(self, method: str, parameters: Mapping[str, Any] | None = None) -> dict[str, Any]:
        self._number += 1
        message: dict[str, Any] = {"id": self._number, "method": method, "params": parameters or {}}
        if self._session:
            message["sessionId"] = self._session
        data = json.dumps(message).encode() + b"\0"
        while data:
            data = data[os.write(self._to, data) :]
        while True:
            answer = self._read()
            if answer.get("id") == self._number:
                assert "error" not in answer, answer["error"]
                result: dict[str, Any] = answer["result"]
                return result
            self._hear(answer)

    def _read(self) -> dict[str, Any]:
        while b"\0" not in self._rest:
            data = os.read(self._from, 1 << 20)
            assert data, "the browser ended"
            self._rest += data
        message, self._rest = self._rest.split(b"\0", 1)
        read: dict[str, Any] = json.loads(message)
        return read

    def _hear(self, event: Mapping[str, Any]) -> None:
        """Note what happens between a question and its answer."""
        method, told = event.get("method"), event.get("params", {})
        if method == "Page.loadEventFired":
            self._loaded = True
        elif method == "Runtime.consoleAPICalled":
            self.console += [str(part.get("value", part)) for part in told["args"]]
        elif method == "Runtime.exceptionThrown":
            self.console.append(told["exceptionDetails"].get("exception", {}).get("description", "exception"))
        elif method == "Log.entryAdded":
            self.console.append(told["entry"]["text"])
