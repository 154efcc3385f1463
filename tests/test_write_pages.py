"""The report and the brief: every figure is the finding that it names, and nothing is fetched from elsewhere."""

import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from markupsafe import escape

from tasks.brief import DEMANDS, UNSET, benefit, brief, plain_place
from tasks.dossier import Dossier, read_dossier
from tasks.findings import Found, index_findings, read_findings
from tasks.metrics import NUMBER, REGISTRY
from tasks.plan import SECTIONS, Nothing, load_plan
from tasks.report_page import champion, headline, wrong
from tasks.write_pages import write_pages
from tests.drawn_release import PASSPORT, PLAN, write_release

VOID = {"meta", "img", "br", "line", "circle", "path", "use", "rect"}


class Reader(HTMLParser):
    """The elements that name a metric, with their attributes and text, and every address that the page names."""

    def __init__(self) -> None:
        super().__init__()
        self.shown: list[dict[str, Any]] = []
        self.open: list[tuple[str, dict[str, Any] | None]] = []
        self.addresses: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.addresses += [str(found[key]) for key in ("src", "href", "xlink:href") if key in found]
        entry = {**found, "text": ""} if "data-metric" in found else None
        if entry:
            self.shown.append(entry)
        if tag not in VOID:
            self.open.append((tag, entry))

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop()[0] == tag

    def handle_data(self, data: str) -> None:
        for _, entry in self.open:
            if entry is not None:
                entry["text"] += data


def read_page(file: Path) -> Reader:
    reader = Reader()
    reader.feed(file.read_text(encoding="utf-8"))
    return reader


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return write_release(tmp_path_factory.mktemp("run"))


@pytest.fixture(scope="module")
def pages(given: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_pages.fn(**given, out=tmp_path_factory.mktemp("out") / "pages")


@pytest.fixture(scope="module")
def found(given: dict[str, Any]) -> Found:
    return index_findings(f for name in ("report", "comparison", "latency") for f in read_findings(given[name]))


@pytest.fixture(scope="module")
def dossier(given: dict[str, Any]) -> Dossier:
    folders = {
        name: given[name]
        for name in ("manifest", "predictions", "report", "comparison", "latency", "model", "backbone")
    }
    return read_dossier("pets", given["decided"], load_plan(PLAN), folders)


@pytest.mark.parametrize("page", ["report.html", "brief.html"])
def test_every_figure_is_the_finding_that_it_names(pages: Path, found: Found, page: str) -> None:
    shown = read_page(pages / page).shown
    assert len(shown) > (150 if page == "report.html" else 4)
    for element in shown:
        finding = found[element["data-metric"], element["data-slice"]]
        exact = [float(element[f"data-{name}"]) for name in ("value", "low", "high")]
        assert exact == [finding.value, finding.low, finding.high], element
        assert int(element["data-n"]) == finding.n


@pytest.mark.parametrize(("page", "scales"), [("report.html", (1, 100)), ("brief.html", (100, 1000))])
def test_the_numbers_in_words_are_those_of_the_finding_rounded(
    pages: Path, found: Found, page: str, scales: tuple[int, int]
) -> None:
    told = [element for element in read_page(pages / page).shown if element.get("class") != "strip"]
    assert told
    for element in told:
        finding = found[element["data-metric"], element["data-slice"]]
        numbers = re.findall(r"[-+]?\d+(?:\.\d+)?", element["text"].replace("of 100", "").replace(",", ""))[:3]
        number_like = REGISTRY[finding.metric].unit == NUMBER
        scale = scales[0 if page == "report.html" and number_like else 1 if page == "report.html" or number_like else 0]
        for text, exact in zip(numbers, (finding.value, finding.low, finding.high), strict=True):
            half = 0.5 * 10.0 ** -len(text.partition(".")[2])
            assert abs(float(text) - scale * exact) <= half + 1e-9, element


def test_each_demand_is_shown_against_its_bound(pages: Path, given: dict[str, Any]) -> None:
    text = (pages / "report.html").read_text()
    for judgement in given["decided"]["verdict"]["judgements"]:
        sentence = judgement["sentence"].removeprefix(judgement["outcome"]).strip()
        assert escape(sentence) in text
    strips = [e for e in read_page(pages / "report.html").shown if e.get("class") == "strip"]
    judged = given["decided"]["verdict"]["judgements"]
    assert {j["metric"] for j in judged if j["low"] is not None} <= {e["data-metric"] for e in strips}


def test_risks_waivers_and_approval_are_told(pages: Path, dossier: Dossier) -> None:
    report, short = ((pages / name).read_text() for name in ("report.html", "brief.html"))
    assert "mixed-up (low): Cats &lt;are&gt; dogs. It is open" in report
    assert "nobody&#39;s approval. Waived: calibration (entry 9)." in report
    assert "Cats are taken for dogs. Nothing is done against it yet." in short
    assert ("Cats are taken for dogs. (low risk)", "mixed-up (low): Cats <are> dogs. It is open") in wrong(dossier)


def test_negative_flips_come_with_their_images(pages: Path, found: Found) -> None:
    text = (pages / "report.html").read_text()
    lost = round(
        sum(found["negative_flip_rate", s].value * found["negative_flip_rate", s].n for s in ("test", "mirror"))
    )
    part = text[text.index("<h3>Right before, wrong now</h3>") : text.index('<h2 id="transfer">')]
    assert f"<p>{lost} images of test and mirror" in part
    assert part.count("data:image/png;base64,") == min(lost, 24)


@pytest.mark.parametrize("page", ["report.html", "brief.html"])
def test_a_page_is_small_and_asks_nobody_for_anything(pages: Path, page: str) -> None:
    file = pages / page
    assert file.stat().st_size < 3_000_000
    assert all(a.startswith(("data:", "#")) for a in read_page(file).addresses)
    assert not re.search(r"@import|url\((?!#)|<script|<link", file.read_text())


def test_the_brief_says_costs_for_1000_images_who_answers_and_until_when(pages: Path, found: Found) -> None:
    text, plan = (pages / "brief.html").read_text(), load_plan(PLAN)
    saving = found["saving_over_always_ask", "mirror"]
    assert f"{1000 * saving.value:,.0f} ({1000 * saving.low:,.0f} to {1000 * saving.high:,.0f})" in text
    assert plan.owner in text
    assert f"{plan.review_by.day} {plan.review_by:%B %Y}" in text
    assert PASSPORT["excluded_use"][0] in text
    for jargon in ("champion", "macro", "slice", "mirror", "calibration", "Brier", "test/"):
        assert jargon not in re.sub(r"<style.*?</style>|<[^>]*>", "", text, flags=re.DOTALL)


def test_without_a_champion_the_report_says_why(given: dict[str, Any], dossier: Dossier) -> None:
    alone = replace(dossier, champion={"version": None, "why_not": "nobody is in use"}, champion_answers=None)
    assert champion(alone, given["data"]) == {"why_not": "nobody is in use"}
    assert [row["title"].split(",")[0] for row in headline(alone)][2] == "gain over training from scratch"
    assert [row["title"] for row in headline(dossier)][2] == "gain over the model in use"


def test_without_costs_the_brief_has_no_figure_in_money(dossier: Dossier) -> None:
    assert benefit(dossier) is not None
    free = dossier.plan.model_copy(update={"costs": Nothing(none="nobody knows")})
    assert benefit(replace(dossier, plan=free)) is None


@pytest.mark.parametrize(
    ("place", "said"),
    [
        ("mirror", "images from the place of use"),
        ("test/label=3", "images that the model had never seen, with label 3"),
        (
            "mirror/weak=condition=noise & stroke=thin",
            "images from the place of use, with condition noise and stroke thin",
        ),
        ("mirror/slant & stroke=left & thin", "images from the place of use, with slant left and stroke thin"),
        ("test/stroke=*", "images that the model had never seen, by stroke"),
        ("test/stroke & slant=*", "images that the model had never seen, by stroke and slant"),
    ],
)
def test_places_are_said_in_plain_words(place: str, said: str) -> None:
    assert plain_place(place) == said


def test_the_brief_says_when_nobody_has_set_the_demands(dossier: Dossier) -> None:
    assert UNSET not in brief(dossier)["decision"]
    scaffold = replace(dossier, plan=dossier.plan.model_copy(update={"scaffold": True}))
    assert brief(scaffold)["decision"].endswith(UNSET)


def test_the_brief_has_words_for_every_section_of_a_plan() -> None:
    assert set(DEMANDS) == set(SECTIONS)


def test_pages_are_the_same_bytes_from_the_same_record(given: dict[str, Any], pages: Path, tmp_path: Path) -> None:
    again = write_pages.fn(**given, out=tmp_path / "pages")
    for name in ("report.html", "brief.html"):
        assert (again / name).read_bytes() == (pages / name).read_bytes()
