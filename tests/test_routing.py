"""Who answers a key: the same arm every time, shares that are exact, and a growing share that keeps its keys."""

import pytest
from scipy.stats import binomtest, kstest

from tasks.errors import BadInput
from tasks.routing import CHALLENGER, CHAMPION, arm_of, place_of

KEYS = [f"client-{n}" for n in range(20_000)]


@pytest.mark.parametrize("share", [0.05, 0.25, 0.5])
def test_share_of_keys_is_the_share_that_was_asked_for(share: float) -> None:
    found = sum(arm_of(key, "r1", share) == CHALLENGER for key in KEYS)
    assert binomtest(found, len(KEYS), share).pvalue > 0.001


def test_keys_lie_uniformly_and_another_salt_draws_them_anew() -> None:
    assert kstest([place_of(key, "r1") for key in KEYS], "uniform").pvalue > 0.001
    both = sum(arm_of(key, "r1", 0.5) == arm_of(key, "r2", 0.5) for key in KEYS)
    assert binomtest(both, len(KEYS), 0.5).pvalue > 0.001


def test_growing_share_keeps_every_key_and_the_ends_are_exact() -> None:
    for key in KEYS[:2000]:
        arms = [arm_of(key, "r1", share) for share in (0, 0.05, 0.25, 1)]
        assert arms[0] == CHAMPION
        assert arms[-1] == CHALLENGER
        assert arms == sorted(arms, key=[CHAMPION, CHALLENGER].index)


@pytest.mark.parametrize("share", [-0.1, 1.1, float("nan")])
def test_share_outside_0_and_1_is_refused(share: float) -> None:
    with pytest.raises(BadInput, match="lies between 0 and 1"):
        arm_of("a", "r1", share)
