"""A real browser opens the report from disk without complaint, shows it, and prints it."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sample_runs import build

from edgesynth.report import write_report
from edgesynth.runs import Run

CHROMIUM = next(
    (path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), ""
)
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(not CHROMIUM, reason="no Chromium on PATH (Debian: apt-get install chromium)"),
]
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
    "--enable-logging=stderr",
    "--v=0",
]


@pytest.fixture(scope="module")
def page(tmp_path_factory) -> Path:
    with Run.open(build(tmp_path_factory.mktemp("browser") / "fashion")) as run:
        return write_report(run)


def browse(page: Path, *flags: str) -> list[str]:
    """Open a page and return what it wrote to the console."""
    profile = page.parent / "profile"
    command = [CHROMIUM, *FLAGS, f"--user-data-dir={profile}", *flags, page.as_uri()]
    result = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    return [line for line in result.stderr.splitlines() if "CONSOLE" in line]


def picture(page: Path, name: str, width: int, height: int, *flags: str) -> np.ndarray:
    target = page.parent / f"{name}.png"
    console = browse(page, f"--window-size={width},{height}", f"--screenshot={target}", *flags)
    assert console == []
    with Image.open(target) as image:
        assert image.size == (width, height)
        return np.asarray(image.convert("RGB")).astype(int)


def near(pixels: np.ndarray, colour: tuple[int, int, int]) -> int:
    return int((np.abs(pixels - np.array(colour)).sum(axis=2) < 12).sum())


def test_the_report_shows_its_figures_without_console_messages(page):
    pixels = picture(page, "wide", 1280, 5000)
    assert near(pixels, (0xD5, 0x5E, 0x00)) > 5000  # the prototype's bars
    assert near(pixels, (0x00, 0x72, 0xB2)) > 5000  # the generated networks'
    rows_with_ink = (pixels.sum(axis=2) < 300).any(axis=1)
    assert rows_with_ink[:4000].mean() > 0.25


def test_the_report_fits_a_phone(page):
    pixels = picture(page, "phone", 500, 3000)
    margin = pixels[:, -8:]
    assert near(margin, (0xFD, 0xFD, 0xFC)) > 0.9 * margin.shape[0] * margin.shape[1]


def test_dark_mode_turns_page_and_figures_dark(page):
    pixels = picture(page, "dark", 1280, 3000, "--blink-settings=preferredColorScheme=0")
    assert near(pixels, (0x15, 0x17, 0x1A)) > 0.6 * pixels.shape[0] * pixels.shape[1]
    assert near(pixels, (0xFD, 0xFD, 0xFC)) == 0


def test_the_report_prints(page):
    target = page.parent / "report.pdf"
    assert browse(page, f"--print-to-pdf={target}", "--no-pdf-header-footer") == []
    data = target.read_bytes()
    assert data.startswith(b"%PDF-")
    assert 3 <= data.count(b"/Type /Page\n") + data.count(b"/Type /Page ") <= 12


def test_the_console_would_be_heard(page):
    broken = page.with_name("broken.html")
    broken.write_text(page.read_text().replace("</body>", "<script>nothing.here()</script></body>"))
    assert any(
        "nothing is not defined" in line for line in browse(broken, f"--screenshot={page.parent / 'x.png'}")
    )
