"""The decision record: what was decided, why, on which evidence, with which risks, by whom; Markdown and JSON."""

import getpass
import json
import os
from pathlib import Path
from typing import Any

from tasks.ledger import Entry
from tasks.verdict import Verdict

FOLDER = Path("governance/decisions")


def decided_by() -> str:
    """Who or what runs this: KEEL_ACTOR, else the account's name."""
    try:
        return os.environ.get("KEEL_ACTOR") or getpass.getuser()
    except (KeyError, OSError):
        return "unknown account"


def decision_body(
    verdict: Verdict,
    data: dict[str, Any],
    model: dict[str, Any],
    passport: dict[str, Any],
    git: dict[str, str],
    selection: dict[str, Any],
) -> dict[str, Any]:
    """What goes into the ledger for one verdict; digests point at the evidence, sentences repeat it."""
    return {
        "verdict": verdict.overall,
        "sentence": verdict.sentence,
        "criteria": [judgement.sentence for judgement in verdict.judgements],
        "evidence": dict(verdict.digests),
        "data": data,
        "code": {**git, "digest": model["digests"]["code"], "environment": model["digests"]["environment"]},
        "model": {key: model[key] for key in ("architecture", "backbone", "rate", "temperature", "seed")},
        "backbone": backbone_choice(passport, selection),
        "risks": [*passport["risks"], *passport["limitations"]],
        "approval": "none asked for: this project runs with a single user",
        "by": decided_by(),
    }


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


def write_decision(entry: Entry, folder: Path = FOLDER) -> Path:
    """Write the record of a ledger entry under <folder>/<project>/; the same entry gives the same files."""
    place = folder / entry.project
    place.mkdir(parents=True, exist_ok=True)
    stem = f"{entry.number:05d}-{entry.body['verdict'].lower().replace(' ', '-')}"
    document = {"number": entry.number, "at": entry.at, "project": entry.project, **entry.body}
    document["ledger"] = {"previous": entry.previous, "hash": entry.hash}
    text = json.dumps(document, indent=1, ensure_ascii=False) + "\n"
    (place / f"{stem}.json").write_text(text, encoding="utf-8")
    (place / f"{stem}.md").write_text(render_decision(entry), encoding="utf-8")
    return place / f"{stem}.md"


def render_decision(entry: Entry) -> str:
    """The record as Markdown."""
    body = entry.body
    lines = [
        f"# Decision {entry.number}: {body['verdict']} for {entry.project}",
        f"\n{body['sentence']}\n",
        f"Recorded {entry.at} by {body['by']}. Approval: {body['approval']}.\n",
        "## Why\n",
        *(f"* {sentence}" for sentence in body["criteria"]),
        "\n## On which evidence (sha256)\n",
        *(f"* {name}: `{digest}`" for name, digest in sorted(body["evidence"].items())),
        f"* data: {body['data']['sentence']}",
        f"* code: `{body['code']['digest']}`, git {body['code']['commit']}",
        f"* environment: `{body['code']['environment']}`",
        f"* MLflow run: `{body['run']}`",
        "\n## The model\n",
        *(f"* {name}: {value}" for name, value in body["model"].items()),
        *_choice_lines(body),
        "\n## Known risks and limitations (from the backbone's passport)\n",
        *(f"* {risk}" for risk in body["risks"]),
        f"\nLedger entry {entry.number}: `{entry.hash}`, after `{entry.previous}`.",
    ]
    return "\n".join(lines) + "\n"


def _choice_lines(body: dict[str, Any]) -> list[str]:
    """Why this backbone; decisions of before there was a shortlist do not say."""
    if "backbone" not in body:
        return []
    choice = body["backbone"]
    return ["\n## The backbone\n", choice["sentence"] + "\n", *(f"* {reason}" for reason in choice["reasons"])]
