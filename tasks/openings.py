"""Did opening more stages help: a paired test on the validation images, the stop criterion of gradual unfreezing."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from scipy.stats import wilcoxon

ENOUGH = 20  # groups, for the test to be over groups; with fewer, images are taken one by one


@dataclass(frozen=True)
class Opening:
    """What a phase brought: mean validation loss before and after, over `n` groups or images, and the one-sided p."""

    before: float
    after: float
    n: int
    unit: str
    p: float
    level: float

    @property
    def significant(self) -> bool:
        """Whether the loss fell by more than chance would have it."""
        return self.p <= self.level

    def sentence(self, deeper: bool) -> str:
        """What the log, the record and the model card say."""
        figures = (
            f"validation loss {self.before:.4f} -> {self.after:.4f} over {self.n} {self.unit}, "
            f"one-sided Wilcoxon p = {self.p:.3g} against {self.level:g}"
        )
        if self.significant:
            return f"brought a significant gain: {figures}"
        return f"brought no significant gain: {figures}" + ("; unfreezing stops here" if deeper else "")


def gain_of_opening(before: torch.Tensor, after: torch.Tensor, groups: Sequence[Any], level: float) -> Opening:
    """Judge per-image losses (N,) before and after a phase by the signed-rank test of Wilcoxon (1945), one-sided.

    Images of one group are averaged first, since they do not err independently; with fewer than 20 groups images stand
    for themselves. Where nothing changed, p is 1.
    """
    table = pd.DataFrame({"group": list(groups), "before": before.double().numpy(), "after": after.double().numpy()})
    many = ENOUGH <= table["group"].nunique() < len(table)  # groups of one are images
    means = table.groupby("group")[["before", "after"]].mean() if many else table[["before", "after"]]
    fall = (means["before"] - means["after"]).to_numpy()
    p = float(wilcoxon(fall, alternative="greater").pvalue) if np.any(fall != 0) else 1.0
    unit = "groups" if many else "images"
    return Opening(float(table["before"].mean()), float(table["after"].mean()), len(fall), unit, p, level)
