"""The history of a project, from the ledger alone: which version was live when, and what each release changed.

A finished change says which aliases it moved; laid one over the other, these moves are what the registry must show.
A rollback is such a change: the version put back is live under the decision that accepted it.
"""

import datetime as dt
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from tasks.approvals import describe_approvals
from tasks.errors import BadInput
from tasks.ledger import Entry
from tasks.registry import ALIASES, Aliases
from tasks.verdict import PASS

RESTORE = "restore"  # the action of a change that puts an earlier version back
THOUSAND = 1000  # from here on a number is told in full
RULES = {"parameters": "params.yaml", "project": "the project file", "catalogue": "the catalogue of backbones"}


@dataclass(frozen=True)
class Deployment:
    """A version's time as champion under one decision: `since` is when it began, `start` when the version went live.

    `end` names the entry that ended it; None: it is live now.
    """

    version: str
    start: Entry
    since: Entry
    decision: Entry
    end: Entry | None

    @property
    def put_back(self) -> bool:
        """Whether a rollback brought it live, and not a release."""
        return bool(self.since.body["action"] == RESTORE)

    def overlaps(self, first: dt.datetime, last: dt.datetime) -> bool:
        """Whether it was live at some moment from `first` to `last`, both counted in."""
        return moment(self.since) <= last and (self.end is None or moment(self.end) > first)


def moment(entry: Entry) -> dt.datetime:
    """When the entry was written."""
    return dt.datetime.fromisoformat(entry.at)


def finished(entries: list[Entry]) -> Iterator[tuple[Entry, Entry]]:
    """Each finished change as (intent, the entry that closed it), in the order of the closing."""
    intents = {e.number: e for e in entries if e.kind == "intent"}
    for entry in entries:
        if entry.kind != "undone" and entry.body.get("intent") in intents:
            yield intents[entry.body["intent"]], entry


def aliases_after(entries: list[Entry]) -> Aliases:
    """Where the finished changes have left the aliases."""
    aliases: Aliases = dict.fromkeys(ALIASES)
    for _, end in finished(entries):
        aliases |= end.body.get("moved", {})
    return aliases


def registrations(entries: list[Entry]) -> dict[str, tuple[Entry, Entry]]:
    """Each registered version with the change that registered it."""
    return {e.body["version"]: (i, e) for i, e in finished(entries) if i.body["action"] == "register"}


def until(entries: list[Entry], last: Entry) -> list[Entry]:
    """The entries up to and with `last`."""
    return [e for e in entries if e.number <= last.number]


def newest_decision(version: str, entries: list[Entry]) -> Entry:
    """The newest decision that the version was tied to by these entries."""
    number = None
    for intent, end in finished(entries):
        if intent.body["action"] in ("register", "confirm") and version in (
            end.body.get("version"),
            intent.body.get("version"),
        ):
            number = intent.body["decision"]
    found = [e for e in entries if e.number == number and e.kind == "decision"]
    if not found:
        raise BadInput(f"the ledger has no decision on version {version}: no release made it; `keel audit` says more")
    return found[0]


def deployments(entries: list[Entry]) -> list[Deployment]:
    """Every version's times as champion, oldest first; a version that is tied to a newer decision begins a new one."""
    turns: list[tuple[str | None, Entry, Entry]] = []  # champion, since when live, since when under its decision
    for intent, end in finished(entries):
        champion, start = (turns[-1][0], turns[-1][1]) if turns else (None, end)
        moved = end.body.get("moved", {})
        if "champion" in moved:
            turns.append((moved["champion"], end, end))
        elif intent.body["action"] == "confirm" and intent.body["version"] == champion:
            turns.append((champion, start, end))
    ends = [*(since for _, _, since in turns[1:]), None]
    return [
        Deployment(version, start, since, newest_decision(version, until(entries, since)), end)
        for (version, start, since), end in zip(turns, ends, strict=False)  # without turns there is no end either
        if version is not None
    ]


def live_on(entries: list[Entry], when: str, now: dt.datetime) -> list[Deployment]:
    """What was live at a time, or at some moment of a day (ISO 8601; UTC unless an offset is given)."""
    first, last = _span(when)
    if first > now:
        raise BadInput(f"{when} is still to come; ask for a day or a time up to now, {now:%Y-%m-%dT%H:%M} UTC")
    return [d for d in deployments(entries) if d.overlaps(first, last)]


def why(project: str, entries: list[Entry], when: str, now: dt.datetime) -> str:
    """What was live then, on which data, under which plan, by whose decision, from when to when."""
    found = live_on(entries, when, now)
    if not found:
        first = next(iter(deployments(entries)), None)
        since = (
            f"the first champion came {first.start.at} (entry {first.start.number})" if first else "there was none yet"
        )
        return f"{project} had no champion on {when} (UTC); {since}"
    return "\n\n".join(_paragraph(project, d, entries) for d in found)


def changelog(project: str, entries: list[Entry]) -> str:
    """The releases in Markdown, newest first, each with what changed in data, model and plan since the one before."""
    parts, before, seen = [], None, 0
    for deployed in deployments(entries):
        last = deployed.since.number if deployed.put_back else deployed.decision.number
        refused = [e for e in entries if e.kind == "decision" and seen < e.number < last]
        refused = [e for e in refused if e.body["verdict"] != PASS]
        parts.append("\n".join(_section(deployed, before, refused)))
        before, seen = deployed, deployed.since.number
    waiting = [e for e in entries if e.kind == "decision" and e.number > seen and e.body["verdict"] != PASS]
    head = [f"# Releases of {project}", "From the ledger; times are UTC."]
    if waiting:
        head.append("## Not released since\n\n" + "\n".join(_refusal(e) for e in reversed(waiting)))
    return "\n\n".join([*head, *reversed(parts)] if parts or waiting else [*head, "None yet."])


def in_short(value: Any) -> str:
    """A value in a sentence: four figures of a fraction, a list without its brackets, anything else as it is."""
    if isinstance(value, list):
        return ", ".join(in_short(one) for one in value)
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= THOUSAND else f"{value:.4g}"
    return str(value)


def who_did(rollback: dict[str, Any]) -> str:
    """Who made a rollback, from the body of its entry: a person, or the nightly rules under an account."""
    return str(rollback["by"] if rollback["by_a_person"] else f"the nightly rules ({rollback['by']})")


def _span(when: str) -> tuple[dt.datetime, dt.datetime]:
    try:
        first = dt.datetime.fromisoformat(when)
    except ValueError as error:
        raise BadInput(f"'{when}' is no date and no time; write 2026-11-25 or 2026-11-25T14:30, in UTC") from error
    first = first.astimezone(dt.UTC) if first.tzinfo else first.replace(tzinfo=dt.UTC)
    is_day = len(when) <= len("2026-11-25")
    return first, first + dt.timedelta(days=1, microseconds=-1) if is_day else first


def _paragraph(project: str, deployed: Deployment, entries: list[Entry]) -> str:
    body, start, end = deployed.decision.body, deployed.start, deployed.end
    ended = "is live now" if end is None else f"until {end.at} (entry {end.number})"
    if end is not None and end.body.get("moved", {}).get("champion", deployed.version) == deployed.version:
        ended = f"under this decision {ended}, when it was tied to a newer one"
    git = body["code"]
    lines = {
        "champion": f"version {deployed.version} of {project}, since {start.at} (entry {start.number}); {ended}",
        **({"rollback": who_put_back(start)} if start.body["action"] == RESTORE else {}),
        "decision": f"{deployed.decision.number} by {body['by']}, {deployed.decision.at}",
        "approval": describe_approvals(deployed.decision, entries),
        "verdict": body["sentence"],
        **({"risks": "; ".join(body["risk_register"])} if body.get("risk_register") else {}),
        "data": body["data"]["sentence"],
        "plan": f"{body['evidence']['plan']} (version {body['plan']['version']}, owner {body['plan']['owner']})",
        "model": f"{body['evidence']['model']} ({body['model']['architecture']} from {body['backbone']['name']})",
        "code": f"{git['digest']}, git {git['commit']}, files changed since: {git['changed']}",
        "evidence": f"MLflow run {body['run']}; `keel replay {deployed.decision.number}` recomputes the verdict",
    }
    return "\n".join(f"{name:12}{line}" for name, line in lines.items())


def who_put_back(entry: Entry) -> str:
    """Who put a version back in place of which other one, and why."""
    body = entry.body
    return f"put back in place of version {body['left']} by {who_did(body)}: {body['why']}"


def _section(deployed: Deployment, before: Deployment | None, refused: list[Entry]) -> list[str]:
    if deployed.put_back:
        head = f"## Version {deployed.version} again, {deployed.since.at[:16].replace('T', ' ')}\n"
        said = f"Rollback, entry {deployed.since.number}: {who_put_back(deployed.since)}."
        return [head, said, f"It is live under decision {deployed.decision.number}.", *(_refusal(e) for e in refused)]
    body, decision = deployed.decision.body, deployed.decision
    again = "" if deployed.since == deployed.start else ", confirmed"
    old = before.decision.body if before else None
    lines = [
        f"## Version {deployed.version}{again}, {deployed.since.at[:16].replace('T', ' ')}\n",
        f"{body['sentence']}. Decision {decision.number} by {body['by']}.\n",
        f"* **Data**: {_data(body, old)}",
        f"* **Model**: {_model(deployed, before)}",
        f"* **Plan**: {_plan(body, old)}",
    ]
    if old is not None and (rules := [RULES[k] for k in RULES if body["evidence"][k] != old["evidence"][k]]):
        lines.append(f"* **Rules**: changed: {', '.join(rules)}")
    return [*lines, *(_refusal(e) for e in refused)]


def _refusal(decision: Entry) -> str:
    return f"* Not released, decision {decision.number} of {decision.at[:10]}: {decision.body['sentence']}"


def _data(body: dict[str, Any], old: dict[str, Any] | None) -> str:
    counts = ", ".join(f"{name} {count}" for name, count in body["data"]["images"].items())
    if old is None:
        return f"{body['data']['sentence']} ({counts})"
    now, was = body["data"]["images"], old["data"]["images"]
    if body["data"]["digest"] == old["data"]["digest"] and now == was:
        return "unchanged"
    steps = [f"{name} {now.get(name, 0)} ({now.get(name, 0) - was.get(name, 0):+d})" for name in sorted({**now, **was})]
    images = "as many images in every split" if now == was else f"images: {', '.join(steps)}"
    return f"{body['data']['sentence']}, before {old['data']['digest']}; {images}"


def _model(deployed: Deployment, before: Deployment | None) -> str:
    body = deployed.decision.body
    now = body["model"]
    if before is None:
        return f"{now['architecture']}, {now['backbone']}, learning rate {now['rate']:g}, seed {now['seed']}"
    if deployed.version == before.version:
        return "unchanged"
    old, was = before.decision.body, before.decision.body["model"]
    changed = [f"{key} {in_short(was[key])} -> {in_short(now[key])}" for key in now if now[key] != was[key]]
    if body["code"]["digest"] != old["code"]["digest"]:
        changed.append("trained by other code")
    if body["code"]["environment"] != old["code"]["environment"]:
        changed.append("other versions of the libraries")
    return f"trained anew, before version {before.version}; {', '.join(changed) or 'the same recipe'}"


def _plan(body: dict[str, Any], old: dict[str, Any] | None) -> str:
    if old is None:
        return f"version {body['plan']['version']}, {len(body['plan']['criteria'])} criteria"
    if body["evidence"]["plan"] == old["evidence"]["plan"]:
        return "unchanged"
    now, was = body["plan"]["criteria"], old["plan"]["criteria"]
    steps = [f"{name}: {was[name]} -> {now[name]}" for name in now if name in was and now[name] != was[name]]
    steps += [f"{name} is new: {now[name]}" for name in now if name not in was]
    steps += [f"{name} is gone: {was[name]}" for name in was if name not in now]
    return f"version {body['plan']['version']}, " + ("; ".join(steps) or "changed in words alone")
