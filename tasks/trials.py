"""Trials: one recipe with one seed at one number of labels, and the files that keep what came of it.

A certificate and an ablation share one folder, which holds for every (recipe, labels, seed, rate)

    <name>.trained.json     the validation loss and the epochs of one learning rate
    <name>.measured.json    what the network with the best rate of its grid did: temperature, forgetting
    <name>.parquet          its answers, a row an image and place; its sha256 stands in the file above

A name ends with a digest of all that the result depends on. Files appear whole, by a rename, so a killed certificate
keeps what was finished and the next one does only what is missing; a file that is torn or was changed is not believed.
"""

import json
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
from pydantic import BaseModel, ConfigDict

from tasks.digests import canonical_json, digest_of_code, digest_of_environment, sha256_file, sha256_text
from tasks.label_draws import Labels, describe_labels, draw_labels
from tasks.recipes import Recipe
from tasks.whole_files import write_whole

MANIFEST, WEIGHTS, PASSPORT = "manifest.parquet", "backbone.safetensors", "passport.json"
SIMULATED = "test/simulated="


class Ground(BaseModel):
    """What all trials of a study stand on; `digest` covers the content of the files, the code and the environment."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    data: Path
    manifest: Path  # the split stage's folder
    backbone: Path  # the folder of choose_backbone
    severities: tuple[int, ...]
    out: Path  # the folder of the trials' files
    code: str
    environment: str
    digest: str


class Trial(BaseModel):
    """One recipe, one number of labels a class, one seed; all of the recipe's rates are tried."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    recipe: Recipe
    labels: Labels
    seed: int

    @property
    def epochs(self) -> int:
        """Of one run."""
        return sum(phase.epochs for phase in self.recipe.phases)

    def at(self, rate: float) -> "Trial":
        """The same at one rate alone."""
        return self.model_copy(update={"recipe": self.recipe.model_copy(update={"rates": [rate]})})


class Outcome(BaseModel):
    """What a trial came to: the validation loss at each rate that did not diverge, and the best rate."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    name: str
    labels: Labels
    seed: int
    losses: dict[float, float]
    best: float


def survey(data: Path, manifest: Path, backbone: Path, severities: list[int], out: Path) -> Ground:
    """The ground as it is now. Images are covered by their sha256 in the manifest, which loading them checks."""
    code, environment = digest_of_code("run_trial"), digest_of_environment()
    made_from = {
        "manifest": sha256_file(manifest / MANIFEST),
        "weights": sha256_file(backbone / WEIGHTS),
        "passport": sha256_file(backbone / PASSPORT),
        "severities": severities,
        "code": code,
        "environment": environment,
    }
    digest = sha256_text(canonical_json(made_from))
    return Ground(
        data=data,
        manifest=manifest,
        backbone=backbone,
        severities=tuple(severities),
        out=out,
        code=code,
        environment=environment,
        digest=digest,
    )


def read_passport(ground: Ground) -> dict[str, Any]:
    """The backbone's passport, as choose_backbone wrote it."""
    passport: dict[str, Any] = json.loads((ground.backbone / PASSPORT).read_text(encoding="utf-8"))
    return passport


def evidence_of(trials: list[Trial], outcomes: list[Outcome], ground: Ground) -> dict[str, str]:
    """The digests of all that a document was made from; `trials` covers the measured files of every trial."""
    stems = [file_stem(trial, outcome.best, ground) for trial, outcome in zip(trials, outcomes, strict=True)]
    measured = [f"{sha256_file(with_suffix(stem, '.measured.json'))}  {stem.name}" for stem in sorted(stems)]
    return {
        "manifest": sha256_file(ground.manifest / MANIFEST),
        "backbone": sha256_file(ground.backbone / WEIGHTS),
        "trials": sha256_text("\n".join(measured)),
        "ground": ground.digest,
        "code": ground.code,
        "environment": ground.environment,
    }


@dataclass
class Progress:
    """How far a study is, in images to train on, of which a trial's share is known beforehand."""

    total: float
    train: pd.DataFrame
    done: float = 0
    started: float = field(default_factory=time.perf_counter)

    @classmethod
    def of(cls, first: list[Trial], other_seeds: int, train: pd.DataFrame) -> "Progress":
        """For the first seed's trials, at all rates, and as many others at one rate each."""
        progress = cls(0, train)
        alone = sum(progress.work(trial) / len(trial.recipe.rates) for trial in first)
        progress.total = sum(map(progress.work, first)) + other_seeds * alone
        return progress

    def work(self, trial: Trial) -> float:
        """Images that training passes over."""
        images = len(draw_labels(self.train, trial.labels, trial.seed))
        return images * trial.epochs * len(trial.recipe.rates)

    def more(self, trials: list[Trial]) -> list[Trial]:
        """Count these in as well."""
        self.total += sum(map(self.work, trials))
        return trials

    def after(self, trial: Trial, outcome: Outcome) -> str:
        """The line to show when a trial has ended."""
        self.done += self.work(trial)
        share = self.done / self.total
        left = (time.perf_counter() - self.started) * (1 - share) / share
        what = f"{outcome.name} at {describe_labels(outcome.labels)}, seed {outcome.seed}"
        loss = outcome.losses[outcome.best]
        return (
            f"{100 * share:3.0f} %, {left / 60:.1f} min left: {what}, rate {outcome.best:g}, validation loss {loss:.3f}"
        )


def simulated_place(condition: str, severity: int) -> str:
    """The name of the test images under a simulated condition, in the form of a slice."""
    return f"{SIMULATED}{condition} {severity}"


def file_stem(trial: Trial, rate: float, ground: Ground) -> Path:
    """Where the files of one rate lie, without their suffixes; two names of one recipe share them."""
    recipe = trial.recipe.model_dump(mode="json", exclude={"name", "rates"})
    made_from = {"recipe": recipe, "labels": trial.labels, "seed": trial.seed, "rate": rate, "ground": ground.digest}
    key = sha256_text(canonical_json(made_from))[:16]
    return ground.out / f"{trial.labels}-seed{trial.seed}-rate{rate:g}-{key}"


def with_suffix(stem: Path, suffix: str) -> Path:
    """The stem holds points of its own (a rate), so pathlib's with_suffix will not do."""
    return stem.with_name(stem.name + suffix)


def read_trained(stem: Path) -> dict[str, Any] | None:
    """What one rate came to; None when it was not tried, or the file is not whole."""
    return _read(with_suffix(stem, ".trained.json"))


def write_trained(stem: Path, facts: dict[str, Any]) -> None:
    """Keep what one rate came to."""
    _write(with_suffix(stem, ".trained.json"), facts)


def read_measured(stem: Path) -> tuple[dict[str, Any], pd.DataFrame] | None:
    """The facts and the answers of a measured network; None when there are none, or one of the files was changed."""
    facts, table = _read(with_suffix(stem, ".measured.json")), with_suffix(stem, ".parquet")
    if facts is None or not table.is_file() or sha256_file(table) != facts["answers"]:
        return None
    return facts, pd.read_parquet(table)


def write_measured(stem: Path, facts: dict[str, Any], answers: pd.DataFrame) -> None:
    """Keep what a network did: the answers first, then the facts that name them."""
    table = with_suffix(stem, ".parquet")
    table.parent.mkdir(parents=True, exist_ok=True)
    write_whole(table, answers.to_parquet(index=False))
    _write(with_suffix(stem, ".measured.json"), {**facts, "answers": sha256_file(table)})


def _read(path: Path) -> dict[str, Any] | None:
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        body = document["body"]
        return body if document["sha256"] == sha256_text(canonical_json(body)) else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _write(path: Path, body: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    body = json.loads(canonical_json(body))
    write_whole(path, json.dumps({"sha256": sha256_text(canonical_json(body)), "body": body}).encode())
