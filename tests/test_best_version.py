"""A version is chosen only where it is proved better on the same images; else nothing moves, and it says why."""

import json

import numpy as np
import pandas as pd
import pytest
from pydantic import ValidationError
from scipy.stats import binom, binomtest

from tasks.best_version import STAKES, RollbackRules, choose, gains_in_question, log_evidence
from tasks.digests import canonical_json
from tasks.errors import BadInput, EvidenceMissing

LENGTH = 100


def table(**losses: list[float]) -> pd.DataFrame:
    """Images of their own units; the versions are v3, v2, ... in the order given."""
    n = len(next(iter(losses.values())))
    columns = {name.removeprefix("v"): np.array(values, float) for name, values in losses.items()}
    return pd.DataFrame({"image_id": range(n), "unit": range(n), **columns})


def errs(first: int, last: int, n: int) -> list[float]:
    """Wrong on the images first to last, of n."""
    return [float(first <= place < last) for place in range(n)]


def drawn(random: np.random.Generator, n: int, size: int, rates: dict[str, float]) -> pd.DataFrame:
    """Units of `size` images, half of which are right or wrong as a whole."""
    units = np.arange(n) // size
    whole = random.random(units.max() + 1) < 0.5
    columns = {}
    for name, rate in rates.items():
        alone, together = random.random(n) < rate, random.random(units.max() + 1) < rate
        columns[name] = np.where(whole[units], together[units], alone).astype(float)
    return pd.DataFrame({"image_id": range(n), "unit": units, **columns})


def test_version_that_is_far_better_is_chosen_with_its_figures() -> None:
    choice = choose(table(v3=errs(0, 40, 200), v2=errs(0, 10, 200), v1=errs(0, 38, 200)), "3", LENGTH)
    assert choice.version == "2"
    assert "version 2 loses 5.0 % on 200 labelled images, the champion, version 3, 20.0 %" in choice.sentence
    assert "gain of +15.0 points" in choice.sentence
    better, same = choice.compared
    assert (better.gain, same.gain) == (pytest.approx(0.15), pytest.approx(0.01))
    assert better.low > 0.07
    assert better.proved
    assert not same.proved


def test_evidence_is_that_of_every_stake_and_never_beyond_what_an_exact_test_of_the_pairs_allows() -> None:
    # Markov's inequality: a bet on pairs that lie apart wins as much with a chance of at most its inverse.
    for gained, lost in ((12, 2), (9, 1), (9, 5), (3, 0), (4, 4), (20, 8), (14, 9), (30, 15), (60, 20)):
        both, n = 60, 300
        champion = errs(0, both + gained, n)
        other = [float(p < both or both + gained <= p < both + gained + lost) for p in range(n)]
        evidence = choose(table(v3=champion, v2=other), "3", LENGTH).compared[0].evidence
        by_hand = np.mean([(1 + share) ** gained * (1 - share) ** lost for share in STAKES])
        assert evidence == pytest.approx(by_hand)
        assert evidence <= 1 / binomtest(gained, gained + lost, alternative="greater").pvalue


@pytest.mark.parametrize("size", [1, 4])
def test_one_of_equally_good_versions_is_seldom_moved_to_however_often_one_looks_and_from_whichever_night(
    size: int,
) -> None:
    # Fails where `choose` needs less than `average_run_length` for each version, or takes images for units.
    random, draws, nights, length = np.random.default_rng(5), 200, 10, 100
    moved = 0
    for _ in range(draws):
        losses = drawn(random, 20 * nights, size, {"3": 0.1, "2": 0.1})
        gains = (losses["3"] - losses["2"]).groupby(losses["unit"]).mean().to_numpy()
        each = len(gains) // nights
        looks = [
            log_evidence(gains[each * first : each * last]) for last in range(1, nights + 1) for first in range(last)
        ]
        moved += max(looks) >= np.log(length)
    assert moved <= binom.ppf(0.999, draws, nights / length)


def test_interval_ends_where_bets_are_settled_and_holds_the_truth() -> None:
    random, needed = np.random.default_rng(1), 20.0
    held = 0
    for _ in range(200):
        gains = random.choice([-1.0, 0.0, 1.0], 80, p=[0.05, 0.75, 0.2])
        low, high = gains_in_question(gains, needed)
        assert log_evidence(gains, low) == pytest.approx(np.log(needed), abs=1e-6)
        assert log_evidence(-gains, -high) == pytest.approx(np.log(needed), abs=1e-6)
        held += low <= 0.15 <= high
    assert held >= binom.ppf(0.001, 200, 1 - 2 / needed)


def test_copies_of_an_image_are_no_further_evidence() -> None:
    champion, other = errs(0, 4, 30), errs(0, 1, 30)
    copies = table(v3=champion * 10, v2=other * 10)
    assert choose(copies, "3", LENGTH).version == "2"
    assert choose(copies.assign(unit=copies["unit"] % 30), "3", LENGTH).version is None


def test_asking_more_versions_widens_every_interval() -> None:
    random = np.random.default_rng(0)
    losses = drawn(random, 300, 1, {"3": 0.2, "2": 0.12, "1": 0.2, "0": 0.2, "7": 0.2, "8": 0.2})
    alone = choose(losses[["image_id", "unit", "3", "2"]], "3", LENGTH).compared[0]
    among = choose(losses, "3", LENGTH).compared[0]
    assert among.version == alone.version == "2"
    assert among.low < alone.low
    assert among.high > alone.high


def test_broken_input_moves_nothing_and_the_sentence_says_so() -> None:
    choice = choose(table(v3=errs(0, 80, 200), v2=errs(0, 80, 200)), "3", LENGTH)
    assert choice.version is None
    assert "the input is the likelier cause than the model" in choice.sentence
    assert "quarantine the source" in choice.sentence


def test_thin_evidence_names_the_labels_that_would_settle_it() -> None:
    champion, other = errs(0, 6, 40), errs(0, 3, 40)
    choice = choose(table(v3=champion, v2=other), "3", LENGTH)
    assert choice.version is None
    assert choice.labels_needed is not None
    assert f"about {choice.labels_needed} more labels" in choice.sentence
    times = 1 + -(-choice.labels_needed // 40)
    assert choose(table(v3=champion * times, v2=other * times), "3", LENGTH).version == "2"


def test_too_few_labels_move_nothing_however_clear_they_are() -> None:
    losses = table(v3=errs(0, 30, 30), v2=errs(0, 0, 30))
    assert choose(losses, "3", LENGTH, least=30).version == "2"
    choice = choose(losses, "3", LENGTH, least=50)
    assert (choice.version, choice.labels_needed) == (None, 20)
    assert "a move needs 50: label 20 more" in choice.sentence


def test_without_labels_or_without_another_version_nothing_moves() -> None:
    assert "no label has arrived" in choose(table(v3=[], v2=[]), "3", LENGTH, least=10).sentence
    alone = choose(table(v3=errs(0, 5, 20)), "3", LENGTH)
    assert (alone.version, alone.champion_loss) == (None, 0.25)
    assert "no accepted version beside it" in alone.sentence


def test_graded_losses_are_compared_like_wrong_answers() -> None:
    random = np.random.default_rng(3)
    base = random.random(200) * 0.5
    choice = choose(table(v3=list(base + 0.2), v2=list(base)), "3", LENGTH)
    assert choice.version == "2"
    assert choice.compared[0].gain == pytest.approx(0.2)


def test_one_unit_alone_proves_nothing() -> None:
    losses = table(v3=errs(0, 50, 100), v2=errs(0, 0, 100)).assign(unit="desk A")
    choice = choose(losses, "3", LENGTH)
    assert choice.version is None
    assert choice.compared[0].low < -0.9


def test_figures_go_into_the_ledger_as_they_are() -> None:
    evidence = choose(table(v3=errs(0, 40, 200), v2=errs(0, 10, 200)), "3", LENGTH).as_evidence()
    said = json.loads(canonical_json(evidence))
    assert said["compared"][0]["version"] == said["version"] == "2"
    assert (said["n"], said["units"], said["average_run_length"]) == (200, 200, LENGTH)


@pytest.mark.parametrize(
    ("change", "error", "says"),
    [
        ({"2": [np.nan, 0, 0, 0]}, EvidenceMissing, "version 2 has no loss on 1 of 4 images"),
        ({"2": [1.5, 0, 0, 0]}, BadInput, "version 2 has a loss of 1.5"),
        ({"image_id": [1, 1, 2, 3]}, BadInput, "image 1 has more than one row"),
        ({"unit": [None, "a", "b", "c"]}, EvidenceMissing, "1 images have no unit"),
        ({"3": None}, EvidenceMissing, "no column 3"),
    ],
)
def test_missing_or_impossible_losses_are_named(change: dict[str, object], error: type, says: str) -> None:
    losses = table(v3=[1, 0, 0, 0], v2=[0, 0, 0, 0])
    losses = losses.drop(columns="3") if change.get("3", 0) is None else losses.assign(**change)
    with pytest.raises(error, match=says):
        choose(losses, "3", LENGTH)


RULES = {
    "average_run_length": 1000,
    "cool_down_nights": 3,
    "least_labels": 30,
    "candidates": 2,
    "reason": "for the test",
}


@pytest.mark.parametrize(
    "change",
    [
        {"average_run_length": 1},
        {"average_run_length": 2.5},
        {"cool_down_nights": -1},
        {"least_labels": 0},
        {"reason": " "},
        {"more": 1},
    ],
)
def test_rules_are_checked_field_by_field(change: dict[str, object]) -> None:
    assert RollbackRules.model_validate(RULES).candidates == 2
    with pytest.raises(ValidationError):
        RollbackRules.model_validate({**RULES, **change})
