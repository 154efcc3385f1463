"""The model card: the hub's own parser reads its metadata, and the sections of Mitchell et al. 2019 are all there."""

from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import ModelCard

from tasks.findings import index_findings, read_findings
from tasks.model_card import cell
from tasks.write_card import write_card
from tests.drawn_release import PASSPORT, PLAN, write_release

SECTIONS = (
    *("Model details", "Intended use", "Factors", "Metrics", "Evaluation data", "Training data"),
    *("Quantitative analyses", "What it does not answer", "Ethical considerations", "Caveats and recommendations"),
)


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    root = tmp_path_factory.mktemp("run") / "pets"
    write_release(root)
    return {
        "plan": PLAN,
        **{name: root / name for name in ("verdict", "report", "manifest", "model", "backbone", "guard")},
    }


@pytest.fixture(scope="module")
def card(given: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_card.fn(**given, out=tmp_path_factory.mktemp("card") / "card")


def test_the_hub_s_parser_reads_licence_library_and_results(card: Path, given: dict[str, Any]) -> None:
    data = ModelCard.load(card / "README.md").data
    assert (data.license, data.library_name, data.model_name) == ("apache-2.0", "timm", "pets")
    found = index_findings(read_findings(given["report"]))
    told = {(result.dataset_split, result.metric_type): result.metric_value for result in data.eval_results}
    assert {key: found[metric, key[0]].value for key, metric in (
        (("test", "accuracy"), "accuracy"),
        (("test", "f1"), "macro_f1"),
        (("mirror", "balanced_accuracy"), "balanced_accuracy"),
    )}.items() <= told.items()  # fmt: skip


def test_all_sections_stand_in_both_forms_in_order(card: Path) -> None:
    text, page = (card / "README.md").read_text(), (card / "card.html").read_text()
    assert [line[3:] for line in text.splitlines() if line.startswith("## ")] == list(SECTIONS)
    assert [page.index(f"<h2>{title}</h2>") for title in SECTIONS] == sorted(
        page.index(f"<h2>{title}</h2>") for title in SECTIONS
    )


def test_tables_are_tables_and_say_each_slice_s_finding(card: Path, given: dict[str, Any]) -> None:
    page, found = (card / "card.html").read_text(), index_findings(read_findings(given["report"]))
    noise = found["accuracy", "mirror/condition=noise"]
    assert f"<td>mirror/condition=noise</td>\n<td>{noise.n}</td>\n<td>{100 * noise.value:.1f}" in page
    assert "|---|" not in page


def test_texts_of_others_are_no_markup(card: Path) -> None:
    text, page = (card / "README.md").read_text(), (card / "card.html").read_text()
    assert "limitations \\| of the backbone" in text
    assert "limitations | of the backbone" in page
    assert "Nothing &lt;photographed&gt;." in page
    assert PASSPORT["training_data"] not in text
    assert cell("a_b\n *c*") == "a\\_b \\*c\\*"


def test_the_guard_s_thresholds_stand_with_their_rates(card: Path) -> None:
    text = (card / "README.md").read_text()
    assert "confidence is below 0.800 is left to a person" in text
    assert "at most 2.4 % (0.063 to 8.8 %)" in text  # 1 in 41, and Beta(1, 40), for 40 calibration images
    assert text.count(" of 40 |") == 3
