"""Release: from the data of a project to a judged, recorded and, if it deserves it, promoted model.

enter the plan -> check data -> split -> shortlist -> choose backbone -> audit augmentation -> fine-tune (and the
from-scratch baseline) -> open the test set -> predict -> check parity -> stress -> attribute -> embed -> ask the
must-pass cases and external sets -> evaluate -> judge -> card -> compare with the champion -> time -> report and brief
-> record -> register as challenger -> promote. FAIL and INCONCLUSIVE are recorded and end there; a test set that is
spent is not opened. Where negative flips alone speak against a candidate, one between it and the champion is judged
after it. A PASS that still needs somebody's approval, or that a high risk stands against, is registered and not
promoted; run the same command again once that is mended: what is unchanged is kept, and the promotion is all that is
left to do.
"""

import dataclasses
import datetime as dt
import json
import logging
import os
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from prefect import flow, task
from prefect.cache_policies import NO_CACHE

from flows.approval import refuse_to_wait_alone, wait_for_approvals
from flows.common import PARAMS, PROJECTS, RUNS, all_params, knobs, reach_registry
from tasks.approvals import found_in
from tasks.attribute import attribute
from tasks.audit_augmentation import audit_augmentation
from tasks.backbones import admit, load_catalogue
from tasks.check_data import check_data
from tasks.check_parity import check_parity
from tasks.choose_backbone import choose_backbone
from tasks.clearance import obstacles
from tasks.compare import compare
from tasks.comparison import FLIPS
from tasks.data_version import DataVersion, data_version
from tasks.decision import decided_by, version_tags
from tasks.digests import canonical_json, sha256_file, sha256_text
from tasks.embed import embed
from tasks.errors import BackboneRefused, BadInput, DigestMismatch
from tasks.evaluate import evaluate
from tasks.fallbacks import still_withdrawn
from tasks.fetch_champion import fetch_champion
from tasks.finetune import finetune
from tasks.finetune_scratch import finetune_scratch
from tasks.gate import together
from tasks.hardware import fingerprint
from tasks.holdout import enter_plan, open_holdout, read_holdout, why_late
from tasks.interpolate import can_interpolate, interpolate
from tasks.judge import judge
from tasks.judge_latency import judge_latency
from tasks.lease import hold
from tasks.ledger import Entry, Ledger
from tasks.lock_stages import lock_stages, stages_of
from tasks.measure_latency import measure_latency
from tasks.params import (
    AUTO,
    AttributeParams,
    AuditParams,
    CheckDataParams,
    ChooseBackboneParams,
    EmbedParams,
    EvaluateParams,
    FinetuneParams,
    InterpolateParams,
    MeasureLatencyParams,
    ShortlistParams,
    SplitParams,
    StressParams,
)
from tasks.plan import Plan, load_plan
from tasks.predict import predict
from tasks.predict_cases import predict_cases
from tasks.predict_external import predict_external
from tasks.project import Project, load_project
from tasks.promote import promote
from tasks.record import record, record_outcome
from tasks.register import identity, register
from tasks.registry import Registry
from tasks.risks import RISKS, load_risks, outcomes_of, standing_of
from tasks.roles import ROLES, load_roles
from tasks.rollout import still_on_its_way
from tasks.settings import prepare_environment
from tasks.shortlist import shortlist
from tasks.split import split
from tasks.stress import stress
from tasks.verdict import FAIL, INCONCLUSIVE, Verdict, read_verdict
from tasks.waivers import apply_waivers, waivers_in_force
from tasks.watch import load_watch
from tasks.write_card import write_card
from tasks.write_pages import write_pages

CATALOGUE = Path("governance/backbones.yaml")
BACKBONES = Path("backbones")
# How figures are made; to change that after a look at the test set is to change the plan.
MEASURING = (EvaluateParams, StressParams, AttributeParams, EmbedParams, MeasureLatencyParams)
COMMON = ("check_data", "split", "shortlist", "backbone", "audit", "scratch")  # what candidates of one release share
logger = logging.getLogger("flows.release")


@dataclass(frozen=True)
class Released:
    """What a release came to; `version` is None when nothing was promoted, `report` when the model was not scored.

    `decision` is the number of the ledger's entry, a decision or a refusal to open the test set. `waiting` says what
    keeps a PASS from being promoted.
    """

    project: str
    verdict: str
    sentence: str
    criteria: list[str]
    decision: int
    version: str | None
    report: Path | None
    waiting: list[str] = field(default_factory=list)
    by_steps: bool = False  # whether it is `keel rollout` that promotes it then, and not the same command


@flow(name="release", validate_parameters=False)
def release(project: str = "digits", allow_dirty: bool = False, wait_for_approval: bool = False) -> Released:
    """Judge a model on the project's data as it is now, and promote it when the plan says PASS.

    With `wait_for_approval`, or KEEL_APPROVE_IN_UI=1, it pauses in Prefect's interface until the approvals are there.
    """
    chosen = prepare_environment()
    in_ui = wait_for_approval or os.environ.get("KEEL_APPROVE_IN_UI") == "1"
    if in_ui:
        refuse_to_wait_alone()
    for name in ("tasks", "flows"):
        logging.getLogger(name).setLevel(logging.INFO)  # or a worker's runs would show Prefect's own lines alone
    about = load_project(PROJECTS / f"{project}.yaml")
    refuse_two_readings(about)
    run = RUNS / about.name
    with hold(Ledger(chosen.ledger_url), f"{about.name}.release", chosen.state, wait=1):
        data = identify_data(about.data, allow_dirty)
        admit_backbone(about)
        plan_review(about)
        registry = reach_registry(about.name, chosen)
        put_plan_on_record(registry, about)
        make_model(about, run)
        refusal = open_test_set(registry, about, run)
        if refusal is not None:
            sentence = f"{INCONCLUSIVE}: {refusal.body['sentence']}"
            return Released(about.name, INCONCLUSIVE, sentence, [], refusal.number, None, None)
        make_verdict(about, run)
        admit_chosen(run / "backbone")
        champion = fetch_champion(registry, run / "model", run / "champion")
        if (refused := refused_before(run, champion)) is not None:
            return Released(
                about.name, INCONCLUSIVE, f"{INCONCLUSIVE}: {refused}", [], last_decision(registry), None, None
            )
        released, verdict = settle(registry, about, run, champion, data, in_ui)
        if flips_alone(verdict) and can_interpolate(champion / "model", run / "model"):
            blended = make_blend(about, run, champion, verdict)
            refusal = open_test_set(registry, about, blended)
            if refusal is not None:
                logger.warning("%s", refusal.body["sentence"])
            else:
                make_verdict(about, blended)
                released, _ = settle(registry, about, blended, champion, data, in_ui, released.decision)
        lock_stages(about.name)
    return released


def settle(
    registry: Registry,
    about: Project,
    run: Path,
    champion: Path,
    data: DataVersion,
    in_ui: bool,
    beside: int | None = None,
) -> tuple[Released, Verdict]:
    """Compare, time, decide, record, and where the plan says PASS register, wait for who must agree, and promote.

    `in_ui` waits in Prefect's interface; `beside` is the decision on another candidate of the same release.
    """
    compare(
        data=about.data,
        manifest=run / "split",
        predictions=run / "predictions",
        model=run / "model",
        champion=champion,
        cases=about.cases,
        answers=run / "cases",
        plan=about.plan,
        params=knobs(EvaluateParams, about),
        not_applicable=about.not_applicable,
        out=run / "comparison",
    )
    time_model(about, run, champion)
    verdict, waived = hold_to_order(registry, about, run)
    standing = take_stock(registry, about, verdict, waived, beside)
    pages = tell(about, run, verdict, data, standing)
    decision = record(registry, run, verdict, data, all_params(about), rules(about, run), standing)
    version, waiting = None, []
    if verdict.passed:
        judged = (about.data, run / "split", run / "predictions")
        registered = register(registry, run / "model", decision.body["run"], version_tags(decision), *judged)
        waiting = clear(registry, about, run, verdict, decision, registered)
        if waiting and in_ui:
            wait_for_approvals(registry.ledger, decision)
            waiting = clear(registry, about, run, verdict, decision, registered)
        if not waiting:
            promote(registry, registered, *judged)
            version = registered
    record_outcome(registry, decision, run)
    criteria = [judgement.sentence for judgement in verdict.judgements]
    report = pages / "report.html"
    by_steps = registry.aliases()["champion"] is not None and bool(load_watch(about.watch).rollout.steps)
    released = Released(
        about.name, verdict.overall, verdict.sentence, criteria, decision.number, version, report, waiting, by_steps
    )
    return released, verdict


def time_model(about: Project, run: Path, champion: Path) -> None:
    """How fast the candidate answers on this machine, judged by the plan's section `latency`."""
    params = knobs(MeasureLatencyParams, about)
    timings = measure_latency(
        data=about.data,
        manifest=run / "split",
        model=run / "model",
        hardware=fingerprint(params.threads),
        params=params,
        asked=bool(load_plan(about.plan).asked("latency")),
        out=run / "timings",
    )
    judge_latency(
        timings=timings,
        champion=champion,
        plan=about.plan,
        params=knobs(EvaluateParams, about),
        not_applicable=about.not_applicable,
        out=run / "latency",
    )


def tell(about: Project, run: Path, verdict: Verdict, data: DataVersion, standing: dict[str, Any]) -> Path:
    """The folder of the report and the brief on what is about to be recorded."""
    decided = {
        "verdict": dataclasses.asdict(verdict),
        "data": {**data.as_dict(), "sentence": data.sentence()},
        "params": all_params(about),
        "standing": standing,
        "risks": [risk.model_dump(mode="json") for risk in load_risks(about.name)],
    }
    folders = (
        "backbone",
        "audit",
        "model",
        "scratch",
        "predictions",
        "attributions",
        "report",
        "comparison",
        "latency",
    )
    return write_pages(
        name=about.name,
        decided=decided,
        plan=about.plan,
        data=about.data,
        manifest=run / "split",
        **{name: run / name for name in folders},
        out=run / "pages",
    )


def make_blend(about: Project, run: Path, champion: Path, verdict: Verdict) -> Path:
    """The folder of a candidate between the champion and the one in `run`, with all that the two have in common."""
    blended = run / "blended" / about.name  # the card and the pages take the name from it
    for name in (*COMMON, "scratch_predictions"):
        shutil.rmtree(blended / name, ignore_errors=True)
        shutil.copytree(run / name, blended / name)
    interpolate(
        data=about.data,
        manifest=run / "split",
        champion=champion / "model",
        model=run / "model",
        budget=min(j.bound for j in verdict.judgements if j.metric == FLIPS and j.severity == "block"),
        params=knobs(InterpolateParams, about),
        out=blended / "model",
    )
    return blended


def refused_before(run: Path, champion: Path) -> str | None:
    """Why the candidate is not compared with a champion that was made from it; None where it was not.

    Against a model that is half its own a candidate has few flips, so asking once more would let in what was refused.
    """
    facts = champion / "model/model.json"
    made_of = json.loads(facts.read_text(encoding="utf-8")).get("interpolated", {}) if facts.is_file() else {}
    if made_of.get("of") != identity(run / "model"):
        return None
    return (
        "this candidate was refused for its negative flips, and the champion is the mixture of it and the one before; "
        "train another candidate"
    )


def last_decision(registry: Registry) -> int:
    """The number of the project's newest decision."""
    return registry.ledger.read(registry.project, "decision")[-1].number


def flips_alone(verdict: Verdict) -> bool:
    """Whether negative flips, and nothing else, stand between the candidate and a PASS."""
    against = {j.metric for j in verdict.judgements if j.severity == "block" and j.outcome in (FAIL, INCONCLUSIVE)}
    return against == {FLIPS}


def make_model(about: Project, run: Path) -> None:
    """The reproducible half up to the model, stage by stage; dvc.yaml holds the same stages with the same files."""
    data = about.data
    manifest, backbone = prepare(about, run)
    audit_augmentation(
        data=data,
        manifest=manifest,
        backbone=backbone,
        params=knobs(AuditParams, about),
        training=knobs(FinetuneParams, about),
        intervals=knobs(EvaluateParams, about),
        out=run / "audit",
    )
    training = {"data": data, "manifest": manifest, "backbone": backbone, "params": knobs(FinetuneParams, about)}
    finetune(**training, out=run / "model")
    finetune_scratch(**training, out=run / "scratch")


def make_verdict(about: Project, run: Path) -> None:
    """The rest of the reproducible half: here test and mirror are scored."""
    file, data, manifest = PROJECTS / f"{about.name}.yaml", about.data, run / "split"
    model, scratch = run / "model", run / "scratch"
    predictions = predict(data=data, manifest=manifest, model=model, out=run / "predictions")
    baseline = predict(data=data, manifest=manifest, model=scratch, out=run / "scratch_predictions")
    check_parity(data=data, manifest=manifest, predictions=predictions, model=model, out=run / "parity")
    tested = {"data": data, "manifest": manifest, "model": model}
    stressed = stress(**tested, scratch=scratch, params=knobs(StressParams, about), out=run / "stress")
    attributions = attribute(**tested, params=knobs(AttributeParams, about), out=run / "attributions")
    embeddings = embed(
        data=data,
        manifest=manifest,
        backbone=run / "backbone",
        model=model,
        params=knobs(EmbedParams, about),
        out=run / "embeddings",
    )
    cases = predict_cases(cases=about.cases, manifest=manifest, model=model, out=run / "cases")
    external = predict_external(
        plan=about.plan,
        manifest=manifest,
        model=model,
        scratch=scratch,
        params=knobs(CheckDataParams, about),
        out=run / "external",
    )
    report = evaluate(
        predictions=predictions,
        scratch_predictions=baseline,
        manifest=manifest,
        stress=stressed,
        attributions=attributions,
        embeddings=embeddings,
        cases=cases,
        external=external,
        plan=about.plan,
        params=knobs(EvaluateParams, about),
        out=run / "report",
    )
    verdict = judge(report=report, plan=about.plan, project=file, model=model, out=run / "verdict")
    write_card(
        verdict=verdict,
        report=report,
        manifest=manifest,
        model=model,
        backbone=run / "backbone",
        plan=about.plan,
        out=run / "card",
    )


def prepare(about: Project, run: Path) -> tuple[Path, Path]:
    """The stages before the training: the manifest's folder and the backbone's."""
    file, data = PROJECTS / f"{about.name}.yaml", about.data
    images = check_data(data=data, project=file, params=knobs(CheckDataParams, about), out=run / "check_data")
    manifest = split(images=images, project=file, params=knobs(SplitParams, about), out=run / "split")
    compared = shortlist(
        data=data,
        manifest=manifest,
        catalogue=CATALOGUE,
        weights=BACKBONES,
        params=knobs(ShortlistParams, about),
        training=knobs(FinetuneParams, about),
        out=run / "shortlist",
    )
    backbone = choose_backbone(
        catalogue=CATALOGUE,
        weights=BACKBONES,
        selection=compared / "selection.json",
        params=knobs(ChooseBackboneParams, about),
        out=run / "backbone",
    )
    return manifest, backbone


@task(cache_policy=NO_CACHE)
def identify_data(data: Path, allow_dirty: bool) -> DataVersion:
    """Which data this is; changed files under DVC stop the flow here."""
    if not data.is_dir():
        raise BadInput(f"the data folder {data} is not there; `dvc pull` fetches the bundled one")
    version = data_version(data, allow_dirty)
    logger.info("%s", version.sentence())
    return version


@task(cache_policy=NO_CACHE)
def admit_backbone(about: Project) -> None:
    """The catalogue's policy as of today, before anything is learnt: the name in force, or for `auto` any entry."""
    name, catalogue = knobs(ChooseBackboneParams, about).name, load_catalogue(CATALOGUE)
    refusals = []
    for entry in catalogue.entries if name == AUTO else [name]:
        try:
            admit(entry, catalogue, dt.date.today())
            return
        except BackboneRefused as error:
            refusals.append(str(error))
    raise BackboneRefused("; ".join(refusals))


@task(cache_policy=NO_CACHE)
def admit_chosen(backbone: Path) -> None:
    """The policy as of today for the backbone in use: a review can fall due while every stage stays unchanged."""
    name = json.loads((backbone / "passport.json").read_text(encoding="utf-8"))["name"]
    admit(name, load_catalogue(CATALOGUE), dt.date.today())


@task(cache_policy=NO_CACHE)
def plan_review(about: Project) -> None:
    """Say when the plan's own review is overdue; it still judges, since an old bound beats none."""
    plan = load_plan(about.plan)
    if plan.is_overdue(dt.date.today()):
        logger.warning("%s was to be reviewed by %s; its owner is %s", about.plan, plan.review_by, plan.owner)


@task(cache_policy=NO_CACHE)
def put_plan_on_record(registry: Registry, about: Project) -> None:
    """Enter the plan in the ledger before there is a result that it could follow."""
    plan_on_record(registry, about)


@task(cache_policy=NO_CACHE)
def open_test_set(registry: Registry, about: Project, run: Path) -> Entry | None:
    """Enter that the model is about to be scored; the refusal when the plan's budget for these images is spent.

    The plan is entered once more, for a person can change it while a model is trained.
    """
    plan = plan_on_record(registry, about)
    holdout, model = read_holdout(run / "split"), identity(run / "model")
    refusal = open_holdout(registry.ledger, about.name, plan, holdout, model, decided_by(), terms(about))
    if refusal:
        logger.warning("%s", refusal.body["sentence"])
    return refusal


@task(cache_policy=NO_CACHE)
def hold_to_order(registry: Registry, about: Project, run: Path) -> tuple[Verdict, dict[str, int]]:
    """The verdict on the figures with the waivers in force, by criterion the entry of each that was needed.

    None passes by a plan that came after a look at the test set.
    """
    verdict, plan = read_verdict(run / "verdict"), load_plan(about.plan)
    for name in ("comparison", "latency"):
        verdict = together(verdict, read_verdict(run / name), plan.scaffold)
    if verdict.digests["plan"] != sha256_file(about.plan):
        raise DigestMismatch(f"{about.plan} is not the plan that the verdict was made by; run the same command again")
    entries, today = registry.ledger.sound(about.name), dt.datetime.now(dt.UTC).date()
    waivers, refused = waivers_in_force(entries, plan, load_roles(), decided_by(), today)
    for sentence in refused:
        logger.warning("%s", sentence)
    verdict, used = apply_waivers(verdict, waivers, plan.scaffold)
    plan = plan_on_record(registry, about)
    why = why_late(registry.ledger, about.name, plan, read_holdout(run / "split"), terms(about))
    if why is None or not verdict.passed:
        return verdict, used
    held = dataclasses.replace(verdict, overall=INCONCLUSIVE, sentence=f"{INCONCLUSIVE}: {why}")
    logger.warning("%s", held.sentence)
    return held, used


@task(cache_policy=NO_CACHE)
def take_stock(
    registry: Registry, about: Project, verdict: Verdict, waived: dict[str, int], beside: int | None
) -> dict[str, Any]:
    """How things stand beside the figures, for the record: waivers in use, and each risk of the project."""
    entries, roles, today = registry.ledger.read(about.name), load_roles(), dt.datetime.now(dt.UTC).date()
    outcomes = outcomes_of(verdict)
    risks = [standing_of(risk, outcomes, entries, roles, today)[0] for risk in load_risks(about.name)]
    return {"outcomes": outcomes, "waivers": waived, "risk_register": risks, "beside": beside}


@task(cache_policy=NO_CACHE)
def clear(registry: Registry, about: Project, run: Path, verdict: Verdict, decision: Entry, version: str) -> list[str]:
    """What keeps the registered model from being promoted; one that is champion already moves nowhere."""
    if registry.aliases()["champion"] == version:
        return []
    entries = registry.ledger.sound(about.name)
    found, now = found_in(run, about.plan), dt.datetime.now(dt.UTC)
    lines = obstacles(decision, outcomes_of(verdict), found, entries, load_roles(), load_risks(about.name), now)
    lines += still_withdrawn(version, entries)
    champion = registry.aliases()["champion"]
    if champion is not None:
        lines += still_on_its_way(version, champion, entries, load_watch(about.watch).rollout)
    for line in lines:
        logger.warning("not promoted: %s", line)
    return lines


def plan_on_record(registry: Registry, about: Project) -> Plan:
    """The plan as it is now, entered in the ledger unless it is the one that the ledger has last."""
    plan = load_plan(about.plan)
    enter_plan(registry.ledger, about.name, plan, about.plan, decided_by(), terms(about))
    return plan


def terms(about: Project) -> str:
    """The digest of what decides a verdict beside the plan."""
    figures = {section.section: knobs(section, about).model_dump(mode="json") for section in MEASURING}
    return sha256_text(canonical_json([dict(sorted(about.not_applicable.items())), figures]))


def refuse_two_readings(about: Project) -> None:
    """Overrides of params.yaml are for projects without stages in dvc.yaml: DVC would record other numbers."""
    if about.params and stages_of(about.name):
        raise BadInput(
            f"project {about.name} overrides {', '.join(about.params)} of params.yaml and has stages in dvc.yaml, "
            "which read params.yaml alone; write the numbers into params.yaml, or remove `params` from "
            f"{PROJECTS / about.name}.yaml"
        )


def rules(about: Project, run: Path) -> dict[str, Path]:
    """The files that say how to train and judge."""
    return {
        "plan": about.plan,
        "parameters": PARAMS,
        "project": PROJECTS / f"{about.name}.yaml",
        "catalogue": CATALOGUE,
        "passport": run / "backbone/passport.json",
        "audit": run / "audit/audit.json",
        "roles": ROLES,
        "risks": RISKS,
    }
