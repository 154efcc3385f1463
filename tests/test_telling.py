"""Bursts on top of what a model says: counted always, an abstention only where the rules name them."""

from pathlib import Path

import numpy as np
import pytest

from service.messages import Kept
from service.telling import Said, with_burst
from tasks.told import Told

KEPT = Kept("2", "d" * 64, Path(), Path(), 1, "v", ("cat", "dog"), 8)
SAID = Said("champion", KEPT, np.array([0.9, 0.1]), np.zeros(2), {"ood": 1.0}, Told("cat", "cat", None, ()), {})


@pytest.mark.parametrize(
    ("near", "blocks", "label", "flagged"),
    [(4, True, "cat", []), (5, False, "cat", ["burst"]), (5, True, "", ["burst"])],
)
def test_a_burst_is_scored_flagged_and_withheld_as_the_rules_say(
    near: int, blocks: bool, label: str, flagged: list[str]
) -> None:
    said = with_burst(SAID, near, 5, blocks)
    assert said.scores == {"ood": 1.0, "burst": near}
    assert (said.told.label, list(said.flags)) == (label, flagged)
    assert all("burst" in reason for reason in said.told.reasons)
    assert bool(said.told.reasons) == (not label)
