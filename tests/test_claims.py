"""Sentences follow from intervals: what is claimed is proven, and what is not proven is said to be so."""

from typing import Any

import pytest

from tasks.ablation import ingredient_sentence
from tasks.claims import change_sentence, edges, gain_sentence, method_sentence

ROW: dict[str, Any] = {
    "metric": "accuracy",
    "method": "gradual",
    "against": "scratch",
    "labels": 10,
    "place": "test",
    "n": 1290,
    "clusters": 258,
    "seeds": 3,
    "interval": "seeds crossed with a bootstrap of units",
}


def row(value: float, low: float, high: float, **more: Any) -> dict[str, Any]:
    return {**ROW, "value": value, "low": low, "high": high, **more}


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (
            row(0.121, 0.08, 0.164),
            "Pretraining adds 12.1 pp [8.0, 16.4] of accuracy at 10 labels a class on test (n = 1290 from 258 units).",
        ),
        (
            row(-0.248, -0.317, -0.179, labels="all", place="mirror/condition=noise", n=258),
            "Pretraining costs 24.8 pp [17.9, 31.7] of accuracy at all labels on mirror/condition=noise (n = 258).",
        ),
        (
            row(0.012, -0.009, 0.034, place="test/simulated=white on dark 3"),
            "No proven gain from pretraining at 10 labels a class on test under simulated white on dark, severity 3: "
            "+1.2 pp [-0.9, +3.4] (n = 1290 from 258 units).",
        ),
        (row(0.03, 0.0, 0.06), "No proven gain from pretraining"),
    ],
)
def test_gain_is_claimed_only_when_the_interval_excludes_zero(found: dict[str, Any], said: str) -> None:
    assert gain_sentence(found).startswith(said)


def test_methods_and_ingredients_are_ranked_only_when_proven() -> None:
    better, unproven = row(0.02, 0.01, 0.03, against="full"), row(0.02, -0.01, 0.05, against="full")
    assert method_sentence(better) == "Gradual is better than full by 2.0 pp [1.0, 3.0] at 10 labels a class on test."
    assert method_sentence(unproven).startswith("Gradual is not proven better than full")
    assert ingredient_sentence(row(-0.02, -0.03, -0.01, against="weight decay")).startswith("Weight decay costs 2.0 pp")
    assert ingredient_sentence(unproven).startswith("Full is not proven to matter on test: +2.0 pp")


def test_change_names_its_direction() -> None:
    assert "is proven smaller with gradual than with scratch" in change_sentence(row(-0.02, -0.03, -0.01), "The gap")
    assert "is not proven other" in change_sentence(row(0.02, -0.03, 0.05), "The gap")


def test_best_rate_at_the_edge_of_its_grid_is_said() -> None:
    inside = {"method": "full", "labels": 5, "rate": 0.004, "edge": ""}
    outside = {"method": "probe", "labels": "all", "rate": 0.1, "edge": "the highest"}
    assert list(edges([inside])) == []
    assert list(edges([inside, outside])) == [
        "Rates outside the grids: the best rate is the edge of its grid for probe at all labels (0.1, the highest)."
    ]
