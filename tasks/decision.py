"""The decision record: what was decided, why, on which evidence, with which risks, by whom, and what followed.

The ledger's entry holds the decision; what followed is read from the entries after it. Markdown and JSON.
"""

import getpass
import json
import os
from pathlib import Path
from typing import Any

from tasks.approvals import APPROVAL, asked_by, asked_of, describe_asked
from tasks.ledger import Entry
from tasks.plan import Plan
from tasks.roles import Roles
from tasks.rollout import KIND as ROLLOUT
from tasks.sentences import describe_terms
from tasks.verdict import PASS, Verdict

FOLDER = Path("governance/decisions")


def decided_by() -> str:
    """Who or what runs this: KEEL_ACTOR, else the account's name."""
    try:
        return os.environ.get("KEEL_ACTOR") or getpass.getuser()
    except (KeyError, OSError):
        return "unknown account"


def decision_body(
    verdict: Verdict,
    rules: dict[str, str],
    plan: Plan,
    data: dict[str, Any],
    model: dict[str, Any],
    passport: dict[str, Any],
    git: dict[str, str],
    selection: dict[str, Any],
    roles: Roles,
) -> dict[str, Any]:
    """What goes into the ledger for one verdict; digests point at the evidence, sentences repeat it.

    `rules` are the digests of the files that say how to train and judge, by name.
    """
    return {
        "verdict": verdict.overall,
        "sentence": verdict.sentence,
        "criteria": [judgement.sentence for judgement in verdict.judgements],
        "evidence": {**verdict.digests, **rules},
        "plan": plan_in_words(plan),
        "data": data,
        "code": {**git, "digest": model["digests"]["code"], "environment": model["digests"]["environment"]},
        "model": {key: model[key] for key in ("architecture", "backbone", "rate", "temperature", "seed")},
        "backbone": backbone_choice(passport, selection),
        "risks": [*passport["risks"], *passport["limitations"]],
        "approval": asked_by(plan, roles),
        "by": decided_by(),
    }


def plan_in_words(plan: Plan) -> dict[str, Any]:
    """The plan as the ledger keeps it: what each criterion asks for, in a sentence."""
    criteria = {criterion.name: describe_terms(criterion) for criterion in plan.criteria}
    return {"version": plan.version, "owner": plan.owner, "criteria": criteria}


def version_tags(decision: Entry) -> dict[str, str]:
    """What a registered version says about itself."""
    data = decision.body["data"]
    return {
        "verdict": decision.body["verdict"],
        "decision": str(decision.number),
        "decision_hash": decision.hash,
        "data_version": data["digest"],
        "data_versioned": str(data["versioned"] and not data["dirty"]).lower(),
        "plan": decision.body["evidence"]["plan"],
    }


def what_was_done(decision: Entry, entries: list[Entry]) -> list[str]:
    """What followed from a decision, in sentences, from the finished changes among its project's `entries`."""
    ends = {e.body["intent"]: e for e in entries if e.kind in ("done", ROLLOUT) and "intent" in e.body}
    intents = [e for e in entries if e.number in ends and e.body.get("decision") == decision.number]
    done = [_sentence(intent, ends[intent.number], entries) for intent in intents]
    if done:
        live = any(i.body["action"] == "promote" or _confirms_champion(i) for i in intents)
        waits = [] if live or not asked_of(decision) else [f"not promoted: approval is {describe_asked(decision)}"]
        return done + waits
    if decision.body["verdict"] == PASS:
        return ["nothing yet: the release ended before the model was registered; run the same command again"]
    return ["nothing: only PASS registers and promotes"]


def _sentence(intent: Entry, end: Entry, entries: list[Entry]) -> str:
    champion = intent.body["before"]["champion"]
    where = f"(ledger entry {end.number})"
    match intent.body["action"]:
        case "register":
            return f"registered as version {end.body['version']} {where}"
        case "confirm":
            already = ", champion already" if _confirms_champion(intent) else ""
            return f"tied to version {intent.body['version']}, which is the same model{already} {where}"
        case "promote":
            before = f"version {champion}" if champion else "none"
            approved = "".join(f"; {sentence}" for sentence in _approved(intent, entries))
            return f"version {intent.body['version']} made champion; previous: {before}{approved} {where}"
        case action:
            return f"{action} {where}"


def _confirms_champion(intent: Entry) -> bool:
    return intent.body["action"] == "confirm" and bool(intent.body["before"]["champion"] == intent.body["version"])


def _approved(intent: Entry, entries: list[Entry]) -> list[str]:
    """The approvals that a promotion could rest on: those of its decision that came before it."""
    about = intent.body["decision"]
    given = [e for e in entries if e.kind == APPROVAL and e.body["decision"] == about and e.number < intent.number]
    return [f"approved by {e.body['by']} as {e.body['role']} (entry {e.number}): {e.body['why']}" for e in given]


def backbone_choice(passport: dict[str, Any], selection: dict[str, Any]) -> dict[str, Any]:
    """Which backbone, who chose it and why, and every candidate's scores with their intervals."""
    kept = ("name", "place", "rank_shares", "scores", "short_finetune")
    return {
        "name": passport["name"],
        **passport["chosen"],
        "reasons": [*selection["why"], selection["expected"], selection["stability"], selection["regret"]["sentence"]],
        "scores": [{key: row[key] for key in kept} for row in selection["candidates"]],
        "left_out": selection["left_out"],
    }


def write_decision(entry: Entry, done: list[str], folder: Path = FOLDER) -> Path:
    """Write the record of a ledger entry, and of what was done so far; the page in Markdown is returned."""
    for file, text in record_files(entry, done, folder).items():
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
    return file


def record_files(entry: Entry, done: list[str], folder: Path = FOLDER) -> dict[Path, str]:
    """The files of a decision's record under <folder>/<project>/ and their texts: JSON, then Markdown."""
    stem = folder / entry.project / f"{entry.number:05d}-{entry.body['verdict'].lower().replace(' ', '-')}"
    document = {"number": entry.number, "at": entry.at, "project": entry.project, **entry.body, "done": done}
    document["ledger"] = {"previous": entry.previous, "hash": entry.hash}
    return {
        stem.with_suffix(".json"): json.dumps(document, indent=1, ensure_ascii=False) + "\n",
        stem.with_suffix(".md"): render_decision(entry, done),
    }


def render_decision(entry: Entry, done: list[str]) -> str:
    """The record as Markdown."""
    body = entry.body
    lines = [
        f"# Decision {entry.number}: {body['verdict']} for {entry.project}",
        f"\n{body['sentence']}\n",
        f"Recorded {entry.at} by {body['by']}. Approval: {describe_asked(entry)}.\n",
        "## What was done\n",
        *(f"* {sentence}" for sentence in done),
        "\n## Why\n",
        *(f"* {sentence}" for sentence in body["criteria"]),
        "\n## On which evidence (sha256)\n",
        *(f"* {name}: `{digest}`" for name, digest in sorted(body["evidence"].items())),
        f"* data: {body['data']['sentence']}",
        f"* code: `{body['code']['digest']}`, git {body['code']['commit']}, files changed since: "
        f"{body['code']['changed']}",
        f"* environment: `{body['code']['environment']}`",
        f"* MLflow run: `{body['run']}`",
        "\n## The model\n",
        *(f"* {name}: {value}" for name, value in body["model"].items()),
        *_choice_lines(body),
        *_register_lines(body),
        "\n## Known risks and limitations (from the backbone's passport)\n",
        *(f"* {risk}" for risk in body["risks"]),
        f"\nLedger entry {entry.number}: `{entry.hash}`, after `{entry.previous}`.",
    ]
    return "\n".join(lines) + "\n"


def _choice_lines(body: dict[str, Any]) -> list[str]:
    """Why this backbone."""
    choice = body["backbone"]
    return ["\n## The backbone\n", choice["sentence"] + "\n", *(f"* {reason}" for reason in choice["reasons"])]


def _register_lines(body: dict[str, Any]) -> list[str]:
    """The project's risks as they stood; decisions of before there was a register have none."""
    if "risk_register" not in body:
        return []
    return ["\n## The risk register\n", *(f"* {line}" for line in body["risk_register"] or ["no risk is entered"])]
