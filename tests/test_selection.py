"""The record of the choice: who wins, what the regret is, and what the sentences say."""

import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest

from tasks.errors import EvidenceMissing
from tasks.findings import Finding
from tasks.params import Phase
from tasks.selection import (
    METRICS,
    Finalist,
    Frozen,
    describe_entries,
    expectation,
    long_enough,
    rank,
    read_selection,
    regret,
    stability,
    why,
    winner_of,
    write_selection,
)

ABOUT = {"architecture": "a", "risks": ["r"], "limitations": ["l"]}


def finding(value: float, low: float | None = None, high: float | None = None) -> Finding:
    return Finding(
        "m", "validation", value, value if low is None else low, value if high is None else high, 100, 100, ""
    )


def frozen(name: str, *values: float) -> Frozen:
    scores = {metric: finding(value) for metric, value in zip(METRICS, values, strict=True)}
    return Frozen(name, scores, {}, np.tile(values, (10, 1)), np.ones(100, dtype=bool))


def finalist(name: str, loss: float, accuracy: float) -> Finalist:
    return Finalist(name, loss, 0.01, finding(accuracy), np.arange(100) < 100 * accuracy)


ENTRIES = [frozen("a", 0.7, 0.6, -1.0), frozen("b", 0.8, 0.7, 0.0), frozen("c", 0.6, 0.5, -2.0)]
FINALISTS = [finalist("b", 0.4, 0.90), finalist("a", 0.3, 0.93)]
DIFFERENCES = {"b": finding(0.03, -0.01, 0.07)}
ROWS = describe_entries(ENTRIES, FINALISTS, DIFFERENCES, dict.fromkeys("abc", ABOUT))


def test_ranking_is_by_the_mean_rank_of_the_three_scores() -> None:
    assert [ENTRIES[index].name for index in rank(ENTRIES)] == ["b", "a", "c"]
    assert [(row["name"], row["place"], row["mean_rank"]) for row in ROWS] == [
        ("b", 1, 1.0),
        ("a", 2, 2.0),
        ("c", 3, 3.0),
    ]


def test_few_images_lengthen_the_short_fine_tune_and_many_do_not() -> None:
    phases = [Phase(open="head", epochs=2, rate=1.0), Phase(open="all", epochs=5, rate=0.5)]
    assert [p.epochs for p in long_enough(phases, 60, 16, 160)] == [
        12,
        30,
    ]  # 7 epochs of 4 batches are 28, and 6 x 28 = 168
    assert long_enough(phases, 390, 16, 160) == phases  # 7 epochs of 25 batches are 175


def test_the_lowest_validation_loss_wins() -> None:
    assert winner_of(FINALISTS).name == "a"


def test_every_entry_has_a_sentence_that_says_why_or_why_not() -> None:
    said = why(ROWS, "a")
    assert len(said) == 3
    assert said[0].startswith(
        "a: the lowest validation loss of 2 fine-tuned briefly, 0.3000 at rate 0.01, accuracy 93.0 %"
    )
    assert "b: validation loss 0.4000" in said[1]
    assert "+3.0 pp [-1.0, +7.0], not proven apart" in said[1]
    assert said[2].startswith("c: not fine-tuned, place 3 of 3 by the frozen scores")


@pytest.mark.parametrize(("low", "high", "words"), [(0.01, 0.05, "a proven difference"), (-0.07, -0.01, "provenly")])
def test_a_difference_is_called_proven_only_when_its_interval_leaves_zero_out(
    low: float, high: float, words: str
) -> None:
    rows = describe_entries(ENTRIES, FINALISTS, {"b": finding(0.03, low, high)}, dict.fromkeys("abc", ABOUT))
    assert words in why(rows, "a")[1]


def test_regret_is_the_accuracy_of_the_first_by_rank_minus_the_best() -> None:
    found = regret(ROWS)
    assert found["value"] == pytest.approx(-0.03)
    assert "a regret of 3.0 points" in found["sentence"]


def test_one_finalist_measures_no_regret() -> None:
    rows = describe_entries(ENTRIES, FINALISTS[:1], {}, dict.fromkeys("abc", ABOUT))
    assert regret(rows)["value"] is None
    assert "was not measured" in regret(rows)["sentence"]


def test_stability_and_expectation_name_their_figures() -> None:
    assert stability(ROWS, 10).startswith("b comes first by the frozen scores in 100 % of 10 resamples (a 0 %, c 0 %)")
    said = expectation(ROWS, "a", finding(0.5), finding(0.2, 0.1, 0.3))
    assert "+20.0 pp [+10.0, +30.0], a proven gain" in said


def test_a_record_is_read_as_written_and_refused_when_it_names_no_candidate(tmp_path: Path) -> None:
    write_selection({"winner": "a", "candidates": ROWS}, tmp_path / "selection.json")
    assert read_selection(tmp_path)["candidates"] == json.loads(json.dumps(ROWS))
    (tmp_path / "selection.json").write_text(json.dumps({"winner": "x", "candidates": ROWS}))
    with pytest.raises(EvidenceMissing, match="the winner x is none of"):
        read_selection(tmp_path)
    with pytest.raises(EvidenceMissing, match="run the stage shortlist"):
        read_selection(tmp_path / "nowhere")


def test_a_figure_that_is_no_number_is_never_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_selection({"winner": "a", "candidates": [asdict(finding(float("nan")))]}, tmp_path / "selection.json")
