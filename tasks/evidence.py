"""The evidence on one candidate: the tables that evaluators read, each joined with the manifest and checked once."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pandas as pd

from tasks.embeddings import Embeddings, join_embeddings
from tasks.findings import TABLES
from tasks.metrics import Outcomes, outcomes_of
from tasks.params import EvaluateParams
from tasks.plan import Costs
from tasks.predictions import join_predictions, read_table


@dataclass(frozen=True, eq=False)
class Evidence:
    """The predictions as the stage predict writes them, the manifest as split does, and how to measure.

    `baseline` holds the predictions of the network trained from scratch; `costs` are the plan's; `stress` are both
    models' answers to harder images (tasks/stress.py), `attributions` what the candidate's answers rest on
    (tasks/attribute.py), `embeddings` what the pretrained backbone sees in every image (tasks/embed.py),
    `cases` the answers to the must-pass cases (tasks/cases.py), `external` those to the external sets
    (tasks/external.py).
    """

    predictions: pd.DataFrame
    manifest: pd.DataFrame
    params: EvaluateParams
    baseline: pd.DataFrame | None = None
    costs: Costs | None = None
    stress: pd.DataFrame | None = None
    attributions: pd.DataFrame | None = None
    embeddings: pd.DataFrame | None = None
    cases: pd.DataFrame | None = None
    external: pd.DataFrame | None = None

    @cached_property
    def judged(self) -> pd.DataFrame:
        """The rows of test and mirror with their predictions."""
        return join_predictions(self.predictions, self.manifest)

    @cached_property
    def baseline_judged(self) -> pd.DataFrame | None:
        """The same rows in the same order with the baseline's predictions."""
        return None if self.baseline is None else join_predictions(self.baseline, self.manifest)

    @cached_property
    def embedded(self) -> Embeddings | None:
        """The manifest's rows with what the stage embed says of each."""
        return None if self.embeddings is None else join_embeddings(self.embeddings, self.manifest)

    @cached_property
    def calibration(self) -> Outcomes:
        """The outcomes of the calibration split, on which thresholds and quantiles are chosen and nothing is judged."""
        return outcomes_of(join_predictions(self.predictions, self.manifest, ("calibration",)))


def read_evidence(files: Mapping[str, Path], params: EvaluateParams, costs: Costs | None) -> Evidence:
    """The evidence from the files of TABLES, each given as itself or as the folder that holds it alone."""
    tables = {name: read_table(files[name]) for name in TABLES}
    return Evidence(
        tables["predictions"],
        tables["manifest"],
        params,
        tables["scratch_predictions"],
        costs,
        tables["stress"],
        tables["attributions"],
        tables["embeddings"],
        tables["cases"],
        tables["external"],
    )
