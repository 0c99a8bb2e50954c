"""A real browser opens the report from disk without complaint, shows it at any width, and prints it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from browser import CHROMIUM, DESKTOP, PHONE, Browser
from sample_runs import add_answers, build

from edgesynth.report import write_report
from edgesynth.runs import Run

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(not CHROMIUM, reason="no Chromium on PATH (Debian: apt-get install chromium)"),
]

LONG = ("a class with a name that is longer than a phone is wide", "Eriocephalus_africanus_paniculatus", "b")
PAGES = {
    # What the three tasks keep of their answers.
    "classification": {"alike": True},
    "segmentation": {"alike": False, "curves": False},
    "detection": {"alike": False, "confusions": False},
    # What else can be.
    "one class": {"alike": False, "classes": ("tree",), "curves": False},
    "sixty classes": {
        "alike": True,
        "classes": tuple(f"class number {number}" for number in range(60)),
        "curves": False,
    },
    "long names": {"alike": True, "classes": LONG},
    "long names in pictures": {"alike": False, "classes": LONG, "curves": False},
    "only cycles": None,
    "interrupted": None,
}
THREE_TASKS = ("classification", "segmentation", "detection")
TEXTS = """
[...document.querySelectorAll('body *')].flatMap(element => {
  const words = [...element.childNodes].filter(n => n.nodeType === 3).map(n => n.data).join('').trim();
  const style = getComputedStyle(element), box = element.getBoundingClientRect();
  if (!words || !box.width || style.visibility === 'hidden' || element.closest('.sr')) return [];
  const drawn = element instanceof SVGElement, matrix = drawn && element.getScreenCTM();
  const scale = drawn ? Math.hypot(matrix.a, matrix.b) : 1;
  let behind = [];
  for (let at = element; at; at = at.parentElement) behind.push(getComputedStyle(at).backgroundColor);
  return [{words, drawn, size: scale * parseFloat(style.fontSize), behind,
           colour: drawn ? style.fill : style.color}];
})
"""


@pytest.fixture(scope="module")
def browser(tmp_path_factory) -> Iterator[Browser]:
    with Browser(tmp_path_factory.mktemp("profile")) as opened:
        yield opened


@pytest.fixture(scope="module")
def pages(tmp_path_factory) -> Callable[[str], Path]:
    """Writes each when it is first looked at: processes that share these tests need not all write all."""
    folder = tmp_path_factory.mktemp("pages")

    @cache
    def write(name: str) -> Path:
        answers = PAGES[name]
        # Figures take the longest to draw, and those of learning are the same for all.
        cycles = 2 if name in ("classification", "only cycles") else 0
        run = build(folder / name, cycles=cycles, generated=0 if answers is None else 3)
        if answers is not None:
            add_answers(run, **answers)
        with Run.open(run) as opened:
            return write_report(opened)

    return write


@pytest.fixture(scope="module")
def page(tmp_path_factory) -> Path:
    with Run.open(build(tmp_path_factory.mktemp("browser") / "fashion")) as run:
        return write_report(run)


def near(pixels: np.ndarray, colour: tuple[int, int, int]) -> int:
    return int((np.abs(pixels - np.array(colour)).sum(axis=2) < 12).sum())


def test_the_report_shows_its_figures_without_console_messages(browser, page):
    browser.open(page, DESKTOP)
    pixels = browser.picture(height=4000)
    assert browser.console == []
    assert near(pixels, (0xD5, 0x5E, 0x00)) > 300  # the prototype's marks
    assert near(pixels, (0x00, 0x72, 0xB2)) > 300  # the generated networks'
    rows_with_ink = (pixels.sum(axis=2) < 300).any(axis=1)
    assert rows_with_ink.mean() > 0.25


def test_dark_mode_turns_page_and_figures_dark(browser, page):
    browser.open(page, DESKTOP, dark=True)
    pixels = browser.picture(height=3000)
    assert near(pixels, (0x15, 0x17, 0x1A)) > 0.6 * pixels.shape[0] * pixels.shape[1]
    assert near(pixels, (0xFD, 0xFD, 0xFC)) == 0


@pytest.mark.parametrize("name", PAGES)
def test_the_page_is_never_wider_than_a_phone(browser, pages, name):
    browser.open(pages(name), PHONE)
    assert browser.ask("[document.documentElement.scrollWidth, innerWidth]") == [PHONE, PHONE]


@pytest.mark.parametrize("width", [PHONE, 700, DESKTOP])
@pytest.mark.parametrize("name", THREE_TASKS)
def test_text_is_neither_small_nor_in_figures_larger_than_that_of_the_page(browser, pages, name, width):
    browser.open(pages(name), width)
    texts = browser.ask(TEXTS)
    assert any(text["drawn"] for text in texts)
    assert [text for text in texts if text["size"] < 11] == []
    assert [text for text in texts if text["drawn"] and text["size"] > 16] == []


@pytest.mark.parametrize("media", ["screen", "dark", "print"])
@pytest.mark.parametrize("name", THREE_TASKS)
def test_text_stands_out_from_what_is_behind_it(browser, pages, name, media):
    browser.open(pages(name), DESKTOP, dark=media == "dark", media="print" if media == "print" else "")
    texts = browser.ask(TEXTS)
    assert len(texts) > 100
    weak = [(text["words"], found) for text in texts if (found := contrast(text)) < 4.5]
    assert weak == []


def test_a_mark_stays_on_the_line_of_the_answer_that_it_judges(browser, pages):
    for width in (PHONE, DESKTOP):
        browser.open(pages("classification"), width)
        lines = browser.ask(
            "[...document.querySelectorAll('.said tr')].map(row => row.getBoundingClientRect().height)"
        )
        assert len(lines) == 12 * 4
        assert max(lines) < 22
        assert browser.ask("document.querySelectorAll('.said .mark').length") == 12 * 4


def test_a_legend_shows_every_colour_with_its_class(browser, pages):
    browser.open(pages("segmentation"), PHONE)
    shown = browser.ask(
        "[...document.querySelectorAll('.legend .key')].map(key => "
        "[key.textContent, getComputedStyle(key.querySelector('i')).backgroundColor])"
    )
    assert shown[1:] == [["trouser", "rgb(86, 180, 233)"], ["pullover", "rgb(0, 158, 115)"]]
    assert shown[0] == ["T-shirt (no colour)", "rgba(0, 0, 0, 0)"]


@pytest.mark.parametrize("name", THREE_TASKS)
def test_nothing_is_cut_off_on_paper(browser, pages, name):
    paper = 688  # pixels of A4 between its margins
    browser.open(pages(name), paper, media="print")
    assert browser.ask("document.documentElement.scrollWidth") <= paper


def test_the_report_prints(browser, page):
    browser.open(page, DESKTOP)
    data = browser.printed()
    assert browser.console == []
    assert data.startswith(b"%PDF-")
    assert 3 <= data.count(b"/Type /Page\n") + data.count(b"/Type /Page ") <= 12


def test_the_console_would_be_heard(browser, page):
    broken = page.with_name("broken.html")
    broken.write_text(page.read_text().replace("</body>", "<script>nothing.here()</script></body>"))
    browser.open(broken, DESKTOP)
    assert any("nothing is not defined" in line for line in browser.console)


def contrast(text: dict) -> float:
    """The ratio of WCAG 2.2 between a text and what is behind it."""
    ground = np.array([1.0, 1.0, 1.0])
    for colour in reversed(text["behind"]):
        ground = over(colour, ground)
    lights = sorted(luminance(part) for part in (over(text["colour"], ground), ground))
    return round((lights[1] + 0.05) / (lights[0] + 0.05), 2)


def over(colour: str, ground: np.ndarray) -> np.ndarray:
    """A CSS colour, as browsers compute it, laid over another, 0 to 1."""
    kind, values = colour.rstrip(")").split("(")
    numbers = [float(part) for part in values.replace("srgb", "").replace("/", " ").replace(",", " ").split()]
    opacity = numbers[3] if len(numbers) > 3 else 1.0
    whole = 1.0 if kind == "color" else 255.0
    return opacity * np.array(numbers[:3]) / whole + (1 - opacity) * ground


def luminance(colour: np.ndarray) -> float:
    linear = np.where(colour <= 0.04045, colour / 12.92, ((colour + 0.055) / 1.055) ** 2.4)
    return float(linear @ np.array([0.2126, 0.7152, 0.0722]))
