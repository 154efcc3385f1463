"""Certify: was transfer worth it? Ablate: which ingredient of the recipe was?

check data -> split -> choose backbone (as a release does, and only where something changed) -> the first seed's trials,
which choose the learning rates -> the other seeds' trials at those rates, and at all rates where a seed falls behind ->
figures, sentences, page -> record.

Trials run where KEEL_TASK_RUNNER says (flows/runner.py). Each leaves files, so a certificate that was killed goes on
where it stopped.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from prefect import flow, task
from prefect.cache_policies import NO_CACHE
from prefect.futures import as_completed

from flows.common import PROJECTS, RUNS, knobs, reach_registry
from flows.release import identify_data, prepare, put_plan_on_record, refuse_two_readings
from flows.runner import task_runner
from tasks import ablation, certificate
from tasks.certificate import at_chosen_rates, fallen_behind, replaced
from tasks.decision import decided_by
from tasks.digests import canonical_json, sha256_file, sha256_text
from tasks.errors import HoldoutSpent
from tasks.holdout import open_holdout, read_holdout
from tasks.lease import hold
from tasks.ledger import Ledger
from tasks.params import CertifyParams, EvaluateParams, FinetuneParams, Section
from tasks.plan import load_plan
from tasks.project import Project, load_project
from tasks.record_study import record_study
from tasks.registry import Registry
from tasks.run_trial import run_trial
from tasks.settings import prepare_environment
from tasks.trials import Ground, Outcome, Progress, Trial, evidence_of, read_passport, survey

TrialsOf = Callable[[pd.DataFrame, FinetuneParams, CertifyParams, int], list[Trial]]
TRIALS = f"{certificate.NAME}/trials"  # of both flows: most recipes of an ablation are methods of the certificate
logger = logging.getLogger("flows.certify")


@dataclass(frozen=True)
class Studied:
    """What a certificate or an ablation came to."""

    claims: dict[str, list[str]]
    not_shown: list[str]
    page: Path
    entry: int


@flow(name="certify", validate_parameters=False)
def certify(project: str = "digits", quick: bool = False, allow_dirty: bool = False) -> Studied:
    """Compare scratch, probe, full, LP-FT and gradual on the project's data, over labels and seeds."""
    return study(
        project, quick, allow_dirty, certificate.NAME, certificate.certificate_trials, certificate.make_certificate
    )


@flow(name="ablate", validate_parameters=False)
def ablate(project: str = "digits", quick: bool = False, allow_dirty: bool = False) -> Studied:
    """Leave out each ingredient of the recipe in turn."""
    return study(project, quick, allow_dirty, ablation.NAME, ablation.ablation_trials, ablation.make_ablation)


def study(
    project: str, quick: bool, allow_dirty: bool, kind: str, trials_of: TrialsOf, make: Callable[..., dict[str, Any]]
) -> Studied:
    """The steps that both flows share."""
    chosen = prepare_environment()
    for name in ("tasks", "flows"):
        logging.getLogger(name).setLevel(logging.INFO)
    about = load_project(PROJECTS / f"{project}.yaml")
    refuse_two_readings(about)
    finetune, evaluate = knobs(FinetuneParams, about), knobs(EvaluateParams, about)
    params = knobs(CertifyParams, about)
    params = params.in_a_hurry() if quick else params
    runner = task_runner()
    with hold(Ledger(chosen.ledger_url), f"{about.name}.release", chosen.state, wait=1):
        data = identify_data(about.data, allow_dirty)
        manifest, backbone = prepare(about, RUNS / about.name)
        registry = reach_registry(about.name, chosen)
        put_plan_on_record(registry, about)
        open_for_study(registry, about, kind, manifest, [finetune, params], backbone)
        table = pd.read_parquet(manifest / "manifest.parquet")
        train = table[table["split"] == "train"]
        ground = survey(about.data, manifest, backbone, params.severities, RUNS / about.name / TRIALS)
        first, *others = (trials_of(train, finetune, params, seed) for seed in params.seeds)
        progress = Progress.of(first, len(others), train)
        run = run_trials.with_options(task_runner=runner)
        tuned = run(first, ground, progress)
        rest = [trial for trials in others for trial in trials]
        found = run(at_chosen_rates(rest, tuned), ground, progress)
        behind = progress.more(fallen_behind(rest, found, tuned, params.retune))
        outcomes = tuned + replaced(found, run(behind, ground, progress) if behind else [])
        document = make(first + rest, outcomes, table, read_passport(ground), params, evaluate, ground)
        document |= {"project": about.name, "quick": quick, "params": params.model_dump(mode="json")}
        document |= {"data": {**data.as_dict(), "sentence": data.sentence()}}
        document |= {"evidence": evidence_of(first + rest, outcomes, ground)}
        out = RUNS / about.name / kind
        entry = record_study(registry, kind, document, out)
    return Studied(document["claims"], document["not_shown"], out / f"{kind}.html", entry.number)


@task(cache_policy=NO_CACHE)
def open_for_study(
    registry: Registry, about: Project, kind: str, manifest: Path, params: list[Section], backbone: Path
) -> None:
    """Enter that the test set is about to be scored, once for each study; HoldoutSpent when the plan allows no more."""
    asked = [kind, *(section.model_dump(mode="json") for section in params), sha256_file(backbone / "passport.json")]
    plan, model = load_plan(about.plan), sha256_text(canonical_json(asked))
    refusal = open_holdout(registry.ledger, about.name, plan, read_holdout(manifest), model, decided_by())
    if refusal:
        raise HoldoutSpent(refusal.body["sentence"])


@flow(name="trials", validate_parameters=False)
def run_trials(trials: list[Trial], ground: Ground, progress: Progress) -> list[Outcome]:
    """The outcomes of the trials, in their order; they run where the flow's task runner puts them."""
    futures = {run_trial.submit(trial, ground): trial for trial in trials}
    for future in as_completed(list(futures)):
        logger.info("%s", progress.after(futures[future], future.result()))
    return [future.result() for future in futures]
