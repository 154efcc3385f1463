"""Near-duplicates in a row: counted for each client, forgotten in time, bounded in memory."""

import numpy as np
import pytest
from PIL import Image

from tasks.bursts import BurstLimits, Bursts
from tasks.errors import BadInput
from tasks.fingerprints import perceptual_hash

LIMITS = BurstLimits(near_bits=6, seconds=60, pictures=50, clients=3, burst=5)


def test_attack_by_many_small_changes_is_a_burst_and_other_pictures_are_not() -> None:
    random, bursts = np.random.default_rng(0), Bursts(LIMITS)
    start = np.kron(random.integers(0, 255, (8, 8)), np.ones((8, 8))).astype(float)
    near = other = 0
    for step in range(10):
        changed = np.clip(start + random.normal(0, 3, start.shape), 0, 255).astype(np.uint8)
        near = bursts.see("attacker", perceptual_hash(Image.fromarray(changed)), step)
        unlike = np.kron(random.integers(0, 255, (8, 8)), np.ones((8, 8))).astype(np.uint8)
        other = bursts.see("client", perceptual_hash(Image.fromarray(unlike)), step)
    assert near == 9
    assert bursts.is_burst(near)
    assert other == 0
    assert not bursts.is_burst(other)


@pytest.mark.parametrize(("flipped", "near"), [(6, 1), (7, 0)])
def test_near_is_told_by_the_bits_that_differ(flipped: int, near: int) -> None:
    bursts = Bursts(LIMITS)
    bursts.see("client", 2**64 - 1, 0)
    assert bursts.see("client", 2**64 - 2**flipped, 1) == near


def test_what_is_older_than_the_time_is_forgotten_and_clients_are_kept_apart() -> None:
    bursts = Bursts(LIMITS)
    assert [bursts.see("client", 7, at) for at in (0, 30, 59, 60, 91)] == [0, 1, 2, 2, 2]
    assert bursts.see("another", 7, 91) == 0


def test_memory_is_bounded_by_pictures_and_clients() -> None:
    bursts = Bursts(LIMITS)
    for number in range(500):
        bursts.see(f"client {number % 7}", number, number / 1000)
    assert len(bursts.seen) == 3
    for number in range(500):
        bursts.see("one", number, 1)
    assert bursts.see("one", 0, 1) <= 50
    assert {len(recent.pictures) for recent in bursts.seen.values()} == {50}


def test_limit_of_nothing_is_refused() -> None:
    with pytest.raises(BadInput, match="every limit must be above 0"):
        Bursts(BurstLimits(seconds=0))
