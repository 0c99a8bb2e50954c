"""The report holds what the run holds, in any state of the run, and nothing from outside."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from sample_runs import MANIFEST, SPACE, build, network

from edgesynth.metrics import Metric, Provenance
from edgesynth.report import headlines, summary_table, write_report
from edgesynth.report.job_text import job_text
from edgesynth.report.summary import chosen_network
from edgesynth.runs import CycleRecord, LayerTimeRecord, NetworkRecord, Run

VOID = {"meta", "link", "br", "img", "hr", "input", "wbr"}
LOADING = {"src", "href", "srcset", "data", "poster", "action", "xlink:href"}


class Page(HTMLParser):
    """Collects what a page says and refuses tags that do not nest."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.words: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] not in {"style", "script"}:
            self.words.append(data)

    @property
    def text(self) -> str:
        return re.sub(r"\s+", " ", " ".join(self.words))


def report(folder: Path) -> tuple[str, Page]:
    with Run.open(folder) as run:
        text = write_report(run).read_text()
    return text, Page(text)


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    return build(tmp_path_factory.mktemp("runs") / "fashion")


@pytest.fixture(scope="module")
def text(finished) -> str:
    return report(finished)[0]


@pytest.fixture(scope="module")
def page(text) -> Page:
    return Page(text)


def test_every_figure_of_the_headline_table_is_on_the_page(finished, page):
    with Run.open(finished) as run:
        rows = summary_table(run)
    assert [row.label for row in rows] == ["prototype", *(f"seed {seed}" for seed in range(1000, 1005))]
    for row in rows:
        for cell in row.cells.values():
            for part in (cell.text, cell.comparison, cell.interval):
                assert re.sub(r"\s", " ", part) in page.text


def test_quality_is_reported_on_test_data_and_compared_with_the_prototype(finished):
    with Run.open(finished) as run:
        rows = summary_table(run)
        prototype, network = run.networks("prototype")[0], run.networks("generated")[0]
    cell = rows[1].cells["macs"]
    assert cell.improvement == prototype.metrics["macs"].value / network.metrics["macs"].value
    assert rows[1].cells["accuracy"].metric == network.test_metrics["accuracy"]
    assert rows[0].cells["accuracy"].comparison == ""
    assert rows[1].to_json()["metrics"]["latency_ms"]["provenance"] == "simulated"
    assert rows[1].feasible is True


def test_headlines_give_the_median_and_the_range_from_worst_to_best(finished):
    with Run.open(finished) as run:
        rows = summary_table(run)
    ratios = sorted(row.cells["macs"].improvement for row in rows[1:])
    macs = next(item for item in headlines(rows) if item.name == "macs")
    assert macs.amount == f"{ratios[2]:.1f}×"
    assert macs.spread == f"{ratios[0]:.1f}× to {ratios[-1]:.1f}×"
    assert (macs.words, macs.networks, macs.provenance) == ("fewer MACs", 5, Provenance.COMPUTED)


def test_the_page_explains_every_provenance_and_says_that_simulated_is_not_measured(page):
    for kind in Provenance:
        assert ("span", "class", f"provenance {kind}") in page.attributes
    assert "marked “simulated” are not measurements" in page.text
    assert "jetson-tx2, simulated, MAXN 1.30 GHz" in page.text


def test_the_page_says_how_to_reproduce_it(page):
    assert "edgesynth generate fashion -n 5 --seed 1000" in page.text
    assert "torch 2.13.0" in page.text
    assert "54 000 train" in page.text.replace("\N{NARROW NO-BREAK SPACE}", " ")


def test_failed_and_inconclusive_networks_are_listed_with_their_reason(page):
    assert "engine build ran out of memory: 7.8 GB asked" in page.text
    assert "clock changed from 1.30 to 0.85 GHz" in page.text


def test_an_update_that_did_not_stand_is_said_to_be_undone(page):
    assert "undone (31 %)" in page.text
    assert "stands (78 %)" in page.text
    assert "Hollow: an update whose networks were no better" in page.text


def test_bottlenecks_and_waste_are_drawn_and_read_out(finished, text, page):
    with Run.open(finished) as run:
        last = run.cycles()[-1]
    rows = re.findall(r'<tr><th scope="row">(.*?)</th>(<td><i class="(?:disc|ring)".*?)</tr>', text)
    drawn = {name.replace("<wbr>", ""): cells.split("<td>")[-1] for name, cells in rows}
    for name, value in last.efficiency.items():
        assert f">{value:.2f}</span>" in drawn[name]
        assert ('class="disc"' in drawn[name]) == (value > 1)
    assert "bottleneck, says more than it costs" in page.text


def test_nothing_is_loaded_and_nothing_is_run(page):
    assert "script" not in page.tags
    for tag, name, value in page.attributes:
        assert not name.startswith("on")
        if name in LOADING:
            assert value.startswith(("#", "data:,")), (tag, name, value)
        assert "http" not in value.lower()


def test_the_style_sheet_and_the_figures_load_nothing_either(text):
    assert "@import" not in text
    assert "@font-face" not in text
    assert set(re.findall(r"url\(([^)]{1,3})", text)) <= {"#pa", "#hi", "#ef", "#la", "#fa"}


def test_figures_and_tables_can_be_read_without_eyes(page):
    labels = [value for tag, name, value in page.attributes if (tag, name) == ("svg", "aria-label")]
    assert len(labels) == page.tags.count("svg") == 3 + 9
    assert all(len(label) > 20 for label in labels)
    assert page.tags.count("table") == page.tags.count("caption") == 9
    assert ("html", "lang", "en") in page.attributes
    ids = [value for _, name, value in page.attributes if name == "id"]
    assert len(ids) == len(set(ids))


def test_every_layer_is_a_pair_of_bars_with_its_macs(finished, text):
    with Run.open(finished) as run:
        chosen = chosen_network(run.networks())
        layers = {layer.name: layer for layer in run.networks("prototype")[0].layers}
    after = {layer.name: layer for layer in chosen.layers}
    longest = max(layer.macs for layer in layers.values())
    for name, layer in layers.items():
        shown = name.replace(".", ".<wbr>")
        (row,) = re.findall(
            rf'<tr><th scope="row">{re.escape(shown)}</th>(<td class="text"><span.*?)</tr>', text
        )
        widths = [float(width) for width in re.findall(r"--w:([\d.]+)", row)]
        own = after[name].macs if name in after else 0
        assert widths == pytest.approx([100 * layer.macs / longest, 100 * own / longest], abs=0.01)
        assert (">removed<" in row) == (name not in after)


def test_every_choice_of_every_network_is_told(finished, text):
    with Run.open(finished) as run:
        records = run.networks("generated")
    for name in SPACE.names:
        shown = name.replace(".", ".<wbr>")
        (row,) = re.findall(
            rf'<th scope="row">{re.escape(shown)}</th>((?:<td style="--share.*?</td>)+)</tr>', text
        )
        chosen = [record.architecture[name] for record in records]
        words = ["in" if value is True else "out" if value is False else str(value) for value in chosen]
        assert re.findall(r">(\w+)</td>", row) == words


def test_a_run_that_ended_without_a_network_says_so_and_why(tmp_path):
    folder = build(tmp_path / "run", cycles=1, generated=0)
    with Run.open(folder, write=True) as run:
        run.event("20 seeds in a row gave no new feasible network")
        run.set_status("finished")
    _, page = report(folder)
    assert "No: the run ended without a network that meets every requirement." in page.text
    assert "20 seeds in a row gave no new feasible network." in page.text


def test_figures_take_their_colours_from_the_page(text):
    figures = "".join(re.findall(r"<svg.*?</svg>", text, flags=re.DOTALL))
    assert set(re.findall(r"#[0-9a-f]{6}\b", figures)) <= {"#000000", "#ffffff"}
    assert "var(--prototype)" in figures
    assert "DejaVu" not in figures


def test_the_same_run_gives_the_same_bytes_in_another_process_and_time_zone(finished, text, tmp_path):
    script = (
        "import sys; from edgesynth.runs import Run; from edgesynth.report import write_report\n"
        "write_report(Run.open(sys.argv[1]), sys.argv[2])"
    )
    environment = {**os.environ, "PYTHONHASHSEED": "7", "TZ": "Asia/Tokyo"}
    again = tmp_path / "again.html"
    subprocess.run([sys.executable, "-c", script, finished, again], check=True, env=environment)
    assert again.read_text() == text


@pytest.mark.parametrize(
    ("state", "says"),
    [
        ({"cycles": 0, "generated": 0, "prototype": False, "trouble": False}, "before its first cycle ended"),
        ({"cycles": 0, "generated": 0, "trouble": False}, "before its first cycle ended"),
        ({"cycles": 1, "generated": 0}, "interrupted after cycle 0"),
        ({"cycles": 3, "generated": 0, "prototype": False}, "interrupted after cycle 2"),
        ({"cycles": 1, "generated": 1, "trouble": False}, "Yes: 1 of 1 network generated"),
        ({"cycles": 0, "generated": 2, "prototype": False, "trouble": False}, "2 distinct architectures"),
        ({"cycles": 2, "generated": 1, "manifest": {}}, "edgesynth generate run -n 1"),
    ],
)
def test_a_run_in_any_state_has_a_report(tmp_path, state, says):
    _, page = report(build(tmp_path / "run", **state))
    assert says in page.text


def test_a_run_that_is_still_going_says_so(tmp_path):
    with Run.create(tmp_path / "run", MANIFEST) as run:
        page = Page(write_report(run).read_text())
    assert "This run is still going" in page.text
    assert "Nothing has been judged yet" in page.text
    assert "latency (median) ≤ 1.5 ms" in page.text.replace("\N{NARROW NO-BREAK SPACE}", " ")


def test_unmet_requirements_are_never_smoothed_over(tmp_path):
    folder = build(tmp_path / "run", cycles=1, generated=2)
    with Run.open(folder, write=True) as run:
        good, bad = run.networks("generated")
        run.record_network(replace(good, verdicts=dict.fromkeys(good.verdicts, "inconclusive")))
        run.record_network(
            replace(bad, metrics={}, test_metrics={}, verdicts={}, status="failed", reason="lost")
        )
    _, page = report(folder)
    assert "No: 0 of 2 networks generated" in page.text
    assert "inconclusive" in page.text
    assert "lost" in page.text


def test_the_slowest_layers_of_the_chosen_network_are_shown_as_the_device_names_them(tmp_path):
    names = [f"stage{stage}.conv{index} + relu{index} || pool" for stage in range(3) for index in range(5)]
    times = tuple(LayerTimeRecord(name, 0.1 * place + 0.01, place / 105) for place, name in enumerate(names))
    record = network("generated", SPACE.smallest(), 0.9, seed=3)
    with Run.create(tmp_path / "run", MANIFEST) as run:
        run.record_network(replace(record, layer_times=times))
        run.record_network(network("candidate", SPACE.largest(), 0.5))
    with Run.open(tmp_path / "run") as run:
        page = Page(write_report(run).read_text())

    assert "The 10 slowest of 15 layers of seed 3" in page.text
    assert record.metrics["latency_ms"].source in page.text
    shown = [name for name in names if name in page.text]
    assert shown == names[5:]
    assert page.text.index(names[14]) < page.text.index(names[13])
    assert "stage2.conv4 + relu4 || pool 1.4100 13.3 %" in page.text


def test_the_conditions_of_the_measurement_are_shown(tmp_path):
    conditions = {
        "mode": "MAXN",
        "clocks_mhz": {"gpu": 1300.5, "emc": 1866},
        "cooling_active": [],
        "set_mode": True,
        "latency_gpu_ms": 1.23456789,
        "mode_id": None,
    }
    record = replace(network("generated", SPACE.smallest(), 0.9, seed=3), rails={"VDD_IN": 6000.4})
    with Run.create(tmp_path / "run", MANIFEST) as run:
        run.record_network(replace(record, conditions=conditions))
    with Run.open(tmp_path / "run") as run:
        page = Page(write_report(run).read_text())

    for shown in (
        "VDD_IN, mean power 6000 mW",
        "clocks mhz gpu 1300.5, emc 1866",
        "cooling active none",
        "set mode yes",
        "latency gpu ms 1.23457",
        "mode id not known",
    ):
        assert shown in page.text


def test_a_run_whose_device_tells_no_times_of_layers_has_no_table_of_them(tmp_path):
    with Run.create(tmp_path / "run", MANIFEST) as run:
        run.record_network(network("generated", SPACE.smallest(), 0.9, seed=3))
        text = Page(write_report(run).read_text()).text
    assert "Where the time goes" not in text
    assert "measured under" not in text


def test_hostile_text_stays_text(tmp_path):
    nasty = "</script><script>alert(1)</script>$x^2$<b>\"'&"
    architecture = SPACE.smallest()
    manifest = {
        **MANIFEST,
        "job": {"prototype": {"name": nasty}, nasty: {nasty: nasty}},
        "data": nasty,
        "versions": {nasty: nasty},
        "requirements": {nasty: nasty},
    }
    with Run.create(tmp_path / "run", manifest) as run:
        for role in ("prototype", "candidate", "generated"):
            record = network(role, architecture, 0.9, seed=3, verdicts={nasty: nasty}, files={nasty: nasty})
            layers = tuple(replace(layer, name=f"{nasty}{i}") for i, layer in enumerate(record.layers))
            times = (LayerTimeRecord(nasty, 1.0, 1.0),)
            run.record_network(
                replace(
                    record,
                    layers=layers,
                    layer_times=times,
                    key=nasty,
                    reason=nasty,
                    conditions={nasty: [nasty]},
                )
            )
        run.record_network(replace(record, key=nasty * 2, status="failed", reason=nasty))
        run.record_cycle(CycleRecord(0, 0.9, 1, 1, 1, 1, 1, 1, 1, binding=nasty, seconds={nasty: 1.0}))
        run.event(nasty)
        page = Page(write_report(run).read_text())
    assert "script" not in page.tags
    assert "b" not in page.tags
    assert page.text.count(nasty) >= 10


def test_a_name_that_is_no_utf_8_does_not_stop_the_report(tmp_path):
    job = MANIFEST["job"]
    named = {**MANIFEST, "job": {**job, "task": {**job["task"], "path": os.fsdecode(b"caf\xe9")}}}
    with Run.create(tmp_path / "run", named) as run:
        assert r"caf\udce9" in write_report(run).read_text(encoding="utf-8")


def test_figures_that_are_not_numbers_do_not_stop_the_report(tmp_path):
    nan = float("nan")
    metrics = {name: Metric(name, nan, Provenance.PREDICTED) for name in ("accuracy", "macs", "latency_ms")}
    with Run.create(tmp_path / "run", MANIFEST) as run:
        for role in ("prototype", "generated"):
            run.record_network(
                NetworkRecord(role, role, {}, metrics, seed=1, verdicts={"macs <= 4e+06": "unknown"})
            )
        run.record_cycle(CycleRecord(0, nan, nan, nan, nan, float("-inf"), nan, nan, nan))
        page = Page(write_report(run).read_text())
    assert "not a number" in page.text


def test_values_that_were_only_predicted_are_drawn_apart(tmp_path):
    folder = build(tmp_path / "run", cycles=1, generated=0)
    with Run.open(folder, write=True) as run:
        record = run.networks("candidate")[0]
        guess = replace(record.metrics["latency_ms"], provenance=Provenance.PREDICTED)
        run.record_network(replace(record, metrics={**record.metrics, "latency_ms": guess}))
    _, page = report(folder)
    assert "cost predicted" in page.text
    assert "latency (median) in ms, predicted" in page.text


def test_the_job_can_be_copied_out_of_the_report():
    job = {
        "seed": 1,
        "synthesis": {"cycles": 8, "odd key": [1, "é\n", {"deep": True}], "none": None, "rate": 0.1},
    }
    back = tomllib.loads(job_text(job))
    assert back == {"seed": 1, "synthesis": {"cycles": 8, "odd key": [1, "é\n", {"deep": True}], "rate": 0.1}}
    assert tomllib.loads(job_text(MANIFEST["job"])) == MANIFEST["job"]
    assert job_text({}) == ""
