"""The challenger in shadow: errors of either kind by simulation, and what a night's record keeps."""

import numpy as np
import pytest

from tasks.errors import BadInput, EvidenceMissing
from tasks.shadow import DROP, HOLD, PROMOTE, ShadowState, advance_shadow, capital, judge_shadow

MARGIN, ERROR = 0.05, 0.05
BEGUN = ShadowState(champion="a", challenger="b")


def run(difference: float, nights: int, labels: int, seed: int, disagree: float = 0.2) -> str:
    """The verdict of the first night that gives one: the challenger is worse by `difference` on average."""
    random, state = np.random.default_rng(seed), BEGUN
    for _ in range(nights):
        draws = random.random(labels)
        worse, better = draws < (disagree + difference) / 2, draws > 1 - (disagree - difference) / 2
        state = advance_shadow(state, better.astype(float), worse.astype(float), np.arange(labels), MARGIN)
        verdict, _ = judge_shadow(state, MARGIN, ERROR)
        if verdict != HOLD:
            return verdict
    return HOLD


@pytest.mark.parametrize("difference", [0.05, 0.08])
def test_a_challenger_at_the_margin_or_beyond_is_rarely_promoted_however_often_one_looks(difference: float) -> None:
    promoted = sum(run(difference, 60, 20, seed) == PROMOTE for seed in range(100))
    assert promoted / 100 <= 0.05 + 3 * (0.05 * 0.95 / 100) ** 0.5


def test_an_equal_challenger_is_promoted_in_time_and_rarely_dropped() -> None:
    verdicts = [run(0.0, 60, 40, seed) for seed in range(100)]
    assert verdicts.count(PROMOTE) >= 90
    assert verdicts.count(DROP) <= 12


def test_a_challenger_that_is_much_worse_is_dropped() -> None:
    assert [run(0.2, 60, 40, seed, disagree=0.3) for seed in range(20)] == [DROP] * 20


def test_capital_of_a_challenger_on_the_margin_is_one_on_average() -> None:
    """The average over both outcomes of one unit, exactly: a fair game."""
    states = [advance_shadow(BEGUN, np.array([0.0]), np.array([loss]), np.array(["u"]), MARGIN) for loss in (0.0, 1.0)]
    for side in ("better", "worse"):
        same, worse = (capital(getattr(state, side)) for state in states)
        assert 0.95 * same + 0.05 * worse == pytest.approx(1.0)


def test_it_holds_until_enough_labels_are_there_and_names_those_still_needed() -> None:
    equal = np.zeros(400)
    verdict, said = judge_shadow(BEGUN, MARGIN, ERROR)
    assert verdict == HOLD
    needed = int(said.split()[1])
    state = advance_shadow(BEGUN, equal[:needed], equal[:needed], np.arange(needed), MARGIN)
    assert judge_shadow(state, MARGIN, ERROR)[0] == PROMOTE
    less = advance_shadow(BEGUN, equal[: needed // 2], equal[: needed // 2], np.arange(needed // 2), MARGIN)
    assert judge_shadow(less, MARGIN, ERROR)[0] == HOLD


def test_images_of_a_unit_are_one_bet_and_their_order_does_not_matter() -> None:
    ours, theirs, units = np.array([0.0, 1, 0, 1]), np.array([1.0, 1, 1, 0]), np.array(["u", "u", "v", "v"])
    state = advance_shadow(BEGUN, ours, theirs, units, MARGIN)
    turned = advance_shadow(BEGUN, ours[::-1], theirs[::-1], units[::-1], MARGIN)
    assert (state.units, state.disagreements, state.difference) == (2, 1, 0.5)
    assert state.better == pytest.approx(turned.better)


def test_the_state_survives_json_exactly() -> None:
    state = advance_shadow(BEGUN, np.array([0.0, 1.0]), np.array([1.0, 0.3]), np.array([1, 2]), MARGIN)
    assert ShadowState.model_validate_json(state.model_dump_json()) == state


def test_missing_and_impossible_losses_are_refused() -> None:
    with pytest.raises(EvidenceMissing, match="missing"):
        advance_shadow(BEGUN, np.array([np.nan]), np.array([0.0]), np.array([1]), MARGIN)
    with pytest.raises(BadInput, match="between 0 and 1"):
        advance_shadow(BEGUN, np.array([2.0]), np.array([0.0]), np.array([1]), MARGIN)
    with pytest.raises(BadInput, match="must match"):
        advance_shadow(BEGUN, np.array([0.0]), np.array([]), np.array([1]), MARGIN)
