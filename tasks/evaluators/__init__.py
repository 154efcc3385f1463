"""Evaluators: one question a module, all with one interface.

    evaluate(predictions, manifest, params, baseline, costs) -> Iterator[Finding]

`predictions` and `baseline` are tables as the stage predict writes them, the baseline's from the network trained from
scratch; `manifest` is the split stage's, `costs` the plan's. An evaluator yields what it can measure and nothing else:
what it leaves out, the gate misses by name.
"""

from collections.abc import Iterator
from typing import Protocol

import pandas as pd

from tasks.findings import Finding
from tasks.params import EvaluateParams
from tasks.plan import Costs


class Evaluator(Protocol):
    """What each module of this package is."""

    @property
    def METRICS(self) -> tuple[str, ...]:
        """The names of all metrics that it reports."""
        ...

    def evaluate(
        self,
        predictions: pd.DataFrame,
        manifest: pd.DataFrame,
        params: EvaluateParams,
        baseline: pd.DataFrame | None = None,
        costs: Costs | None = None,
    ) -> Iterator[Finding]:
        """The findings that answer the module's question."""
        ...
