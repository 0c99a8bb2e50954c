"""The report shows what a run keeps of its networks' answers, and no such section for a run without."""

from __future__ import annotations

import base64
import re
import shutil
from pathlib import Path

import pytest
from sample_runs import CLASSES, add_answers, build
from test_report import Page, report

from edgesynth.errors import RunError
from edgesynth.report import write_report
from edgesynth.runs import Run
from edgesynth.tasks.detection.confusion import SHOWN

NBSP = "\N{NARROW NO-BREAK SPACE}"


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("runs") / "fashion", cycles=0, trouble=False)


def copy(plain: Path, folder: Path, **options) -> Path:
    shutil.copytree(plain, folder / "run")
    return add_answers(folder / "run", **options)


@pytest.fixture(scope="module")
def drawn(plain: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str, Page]:
    folder = copy(plain, tmp_path_factory.mktemp("drawn"), alike=False)
    return folder, *report(folder)


def pictures(page: Page) -> list[str]:
    return [value for tag, name, value in page.attributes if (tag, name) == ("img", "src")]


def test_a_run_without_them_has_no_such_section(plain: Path) -> None:
    _, page = report(plain)
    assert "What the networks answer" not in page.text
    assert "img" not in page.tags


def test_every_picture_is_in_the_file_itself_with_words_for_it(drawn) -> None:
    folder, _, page = drawn
    sources = pictures(page)
    assert len(sources) == 12 * 7
    kept = {path.read_bytes() for path in (folder / "pictures").glob("*.png")}
    assert {base64.b64decode(source.removeprefix("data:image/png;base64,")) for source in sources} == kept
    alts = [value for tag, name, value in page.attributes if (tag, name) == ("img", "alt")]
    assert len(alts) == len(sources)
    assert "truth: T-shirt" in alts
    assert "Hatched: the network is wrong there." in page.text
    assert any(re.fullmatch(r"seed 1000: T-shirt \d+% [✓✗]", alt) for alt in alts)
    assert "Of 240 test samples: 12." in page.text


def test_answers_that_leave_the_picture_as_it_is_share_one(plain: Path, tmp_path: Path) -> None:
    _, page = report(copy(plain, tmp_path, alike=True))
    assert len(pictures(page)) == 12
    assert page.text.count("seed 1004") >= 12
    labels = [value for tag, name, value in page.attributes if tag == "span" and name == "aria-label"]
    assert labels.count("right") == labels.count("wrong") == 12 * 3


def test_mistakes_are_told_in_a_matrix_while_it_can_be_read(drawn) -> None:
    _, text, page = drawn
    assert text.count('<table class="matrix">') == 2
    assert text.count('class="hit"') == 2 * len(CLASSES)
    assert "Prototype: of what is true (rows)" in page.text


@pytest.mark.parametrize("more", [0, 40])
def test_how_boxes_were_matched_is_told(plain: Path, tmp_path: Path, more: int) -> None:
    classes = ("car", "dog", *(f"class {number}" for number in range(more)), "background")
    text, page = report(copy(plain, tmp_path, alike=True, classes=classes, metric="map50", curves=False))
    assert ('<table class="matrix">' in text) == (not more)
    told = re.search(r"confidence of at least ([\d.]+) are matched to objects of any class", page.text)
    assert float(told.group(1)) == SHOWN
    assert "how many test objects are of" in page.text
    assert "n is how many test objects are of that class" in page.text


def test_many_classes_are_told_by_the_most_frequent_mistakes(plain: Path, tmp_path: Path) -> None:
    many = tuple(f"class {number}" for number in range(40))
    text, page = report(copy(plain, tmp_path, alike=True, classes=many, curves=False))
    assert '<table class="matrix">' not in text
    assert re.search(r"The most frequent mistakes of seed \d+ among 40 classes", page.text)
    assert "10 more are in the run’s details.json" in page.text
    assert "n is how many test samples are of the true class" in page.text
    assert "Precision and recall" not in page.text


def test_classes_and_other_metrics_are_tabled_and_curves_drawn(drawn) -> None:
    _, _, page = drawn
    assert "Pixel accuracy" in page.text
    assert "95.00 %" in page.text.replace(NBSP, " ")
    assert "Accuracy of every class that the test data have. n is how many test samples" in page.text
    assert "for the 9 of 10 classes that lost most" in page.text
    labels = [value for tag, name, value in page.attributes if (tag, name) == ("svg", "aria-label")]
    curves = [label for label in labels if label.startswith("Precision against recall of ")]
    assert len(curves) == 9
    assert "at 50%" in curves[0]
    assert page.tags.count("table") == page.tags.count("caption")


def test_the_same_run_gives_the_same_bytes(drawn) -> None:
    folder, text, _ = drawn
    assert report(folder)[0] == text


def test_hostile_names_stay_text(plain: Path, tmp_path: Path) -> None:
    nasty = "</script><script>alert(1)</script><b>\"'&"
    folder = copy(plain, tmp_path, alike=False, classes=(nasty, "b"))
    _, page = report(folder)
    assert "script" not in page.tags
    assert "b" not in page.tags
    assert page.text.count(nasty) > 10


def test_lost_and_damaged_files_are_told_apart(plain: Path, tmp_path: Path) -> None:
    folder = copy(plain, tmp_path, alike=True)
    for path in folder.glob("networks/*/details.json"):
        path.unlink()
    _, page = report(folder)
    assert "Side by side" in page.text
    assert "Class by class" not in page.text
    next((folder / "pictures").glob("*.png")).unlink()
    with Run.open(folder) as run, pytest.raises(RunError, match="are damaged"):
        write_report(run)
