"""Bursts of near-duplicates: one client who sends one picture again and again, each time a little changed.

Attacks that only see answers feel their way by thousands of nearly equal images (Chen, Carlini & Wagner 2020, "Stateful
detection of black-box adversarial attacks", section 3). Each client's last pictures are kept as perceptual hashes
(tasks/fingerprints.py), for a while, and so few that memory stays bounded whoever asks.
"""

import itertools
import math
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from tasks.errors import BadInput


@dataclass(frozen=True)
class BurstLimits:
    """What counts as near, for how long it is remembered, and how much of it; 64 bits a picture."""

    near_bits: int = 6  # of 64 that may differ; of two pictures that have nothing in common about 32 do
    seconds: float = 300.0
    pictures: int = 128  # the newest of each client
    clients: int = 2048  # the newest; with all their pictures about 5 MB
    burst: int = 20  # near-duplicates within the time that make a burst


@dataclass(frozen=True, eq=False)
class Recent:
    """A client's newest pictures, in a ring: the hash of each, uint64 (pictures,), and when it came."""

    pictures: np.ndarray
    times: np.ndarray
    came: Iterator[int]


class Bursts:
    """What clients sent lately. One thread at a time; time is an argument, in seconds of any one clock."""

    def __init__(self, limits: BurstLimits) -> None:
        if min(limits.pictures, limits.clients, limits.burst) < 1 or not 0 < limits.seconds < math.inf:
            raise BadInput(f"bursts cannot be told by {limits}; every limit must be above 0")
        self.limits = limits
        self.seen: OrderedDict[str, Recent] = OrderedDict()

    def see(self, key: str, picture: int, at: float) -> int:
        """Take note of a client's picture (a perceptual hash), and count those before it that are nearly the same."""
        limits = self.limits
        recent = self.seen.get(key)
        if recent is None:
            ring = np.zeros(limits.pictures, np.uint64), np.full(limits.pictures, -math.inf)
            recent = self.seen[key] = Recent(*ring, itertools.count())
        self.seen.move_to_end(key)
        differ = np.bitwise_count(recent.pictures ^ np.uint64(picture))
        near = int(((differ <= limits.near_bits) & (recent.times > at - limits.seconds)).sum())
        place = next(recent.came) % limits.pictures
        recent.pictures[place], recent.times[place] = picture, at
        while len(self.seen) > limits.clients:
            self.seen.popitem(last=False)
        return near

    def is_burst(self, near: int) -> bool:
        """Whether so many near-duplicates are a burst."""
        return near >= self.limits.burst
