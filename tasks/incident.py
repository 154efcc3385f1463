"""Incidents: what went wrong with a model in use, what was done, and what is left to do, told from the ledger.

An incident is opened by an entry of kind `incident`, which the nightly run writes when it finds harm. While the alarm
is open, each night whose labels count compares the versions again: an entry of kind `comparison`. The story is read
from the entries around it, so that it cannot say other than what was recorded.
"""

import datetime as dt
from typing import Any

from tasks.bundle import flatten
from tasks.decision import decided_by
from tasks.errors import BadInput
from tasks.fallbacks import withdrawal_of
from tasks.history import RESTORE, Deployment, aliases_after, deployments, in_short, moment, who_did
from tasks.ledger import Entry
from tasks.registry import Registry

INCIDENT, COMPARISON = "incident", "comparison"
BEFORE = 7  # nights of the ledger before an incident that its timeline shows
Moment = tuple[str, int, str]  # when, the entry's number, what happened


def open_incident(
    registry: Registry, night: dt.date, cause: str, evidence: dict[str, Any], action: str, version: str
) -> Entry:
    """Enter an incident: the sentence of its cause, the figures behind it, and the sentence of what was done.

    `version` is the champion that did harm; `evidence` may name the entry of the rollback that answered it, under
    `rollback`. The same incident of the same night is entered once. Raises BadInput when a sentence is missing.
    """
    if not cause.strip() or not action.strip():
        raise BadInput("an incident says what went wrong (cause) and what was done (action); one of the two is empty")
    said = {"night": night.isoformat(), "cause": cause.strip(), "action": action.strip()}
    known = registry.ledger.read(registry.project, INCIDENT)
    if known and said.items() <= known[-1].body.items():
        return known[-1]
    about = {"champion": version, "by": decided_by()}
    return registry.ledger.append(INCIDENT, registry.project, {**said, **about, "evidence": evidence})


def enter_comparison(
    registry: Registry, incident: Entry, night: dt.date, evidence: dict[str, Any], action: str
) -> Entry:
    """Enter what a later night did about an incident, with its figures as in `open_incident`."""
    said = {"night": night.isoformat(), "incident": incident.number, "action": action, "by": decided_by()}
    return registry.ledger.append(COMPARISON, registry.project, {**said, "evidence": evidence})


def incident_of(entries: list[Entry], night: str) -> Entry | None:
    """The incident of a night, if one was opened."""
    return next((e for e in entries if e.kind == INCIDENT and e.body["night"] == night), None)


def answer_of(entries: list[Entry], night: str) -> Entry | None:
    """What a night did about harm, if it had to: the incident that it opened, or its comparison."""
    return next((e for e in entries if e.kind in (INCIDENT, COMPARISON) and e.body["night"] == night), None)


def last_answer(incident: Entry, entries: list[Entry]) -> Entry:
    """The newest comparison of an incident, or itself."""
    again = [e for e in entries if e.kind == COMPARISON and e.body["incident"] == incident.number]
    return again[-1] if again else incident


def find_incident(project: str, entries: list[Entry], what: str) -> Entry:
    """An incident by the number of its entry, or as `last`; BadInput lists those there are."""
    incidents = [e for e in entries if e.kind == INCIDENT]
    found = incidents[-1:] if what == "last" else [e for e in incidents if str(e.number) == what]
    if not found:
        known = ", ".join(f"{e.number} ({e.body['night']})" for e in incidents) or "none so far"
        raise BadInput(f"{project} has no incident '{what}'; its incidents: {known}")
    return found[0]


def story(incident: Entry, entries: list[Entry], owner: str) -> dict[str, Any]:
    """What the template incident.html.j2 shows; `owner` is who answers for the plan."""
    body, moved = incident.body, rollback_of(incident, entries)
    last = last_answer(incident, entries).body
    facts = {
        "project": incident.project,
        "number": incident.number,
        "night": body["night"],
        "cause": _capital(body["cause"]),
        "action": _capital(last["action"]),
        "owner": owner,
        "left": body["champion"] or "none",
        "in_use": aliases_after(entries)["champion"] or "none",
        "restored": moved.body["version"] if moved else None,
        "by": who_did(moved.body) if moved else None,
        "seconds": f"{moved.body['seconds']:.1f}" if moved else None,
    }
    return {
        **facts,
        "timeline": timeline(incident, entries),
        **laid_out(body["evidence"] | last["evidence"]),
        "to_do": to_do(incident, entries),
        "hash": incident.hash,
        "messages": [("To the owner", _to_owner(facts)), ("To those who use the answers", _to_users(facts))],
    }


def laid_out(evidence: dict[str, Any]) -> dict[str, Any]:
    """The evidence for a page: each list of records as a table, all else as rows of a name and a value."""
    flat = flatten(evidence)
    records = [(name, rows) for name, rows in flat if isinstance(rows, list) and rows and isinstance(rows[0], dict)]
    named = dict(records)
    return {
        "evidence": [(name, in_short(value)) for name, value in flat if name not in named and value not in (None, [])],
        "tables": [
            {"title": name, "columns": list(rows[0]), "rows": [[in_short(v) for v in row.values()] for row in rows]}
            for name, rows in records
        ],
    }


def rollback_of(incident: Entry, entries: list[Entry]) -> Entry | None:
    """The entry of the rollback that answered the incident: the one it names, else the first one after it."""
    moves = [e for e in entries if e.kind == "done" and e.body["action"] == RESTORE]
    named = last_answer(incident, entries).body["evidence"].get("rollback")
    later = [e for e in moves if e.number > incident.number and e.body["left"] == incident.body["champion"]]
    return next((e for e in moves if e.number == named), later[0] if later else None)


def timeline(incident: Entry, entries: list[Entry]) -> list[Moment]:
    """From the model's going live, over the nights before, to the next incident or to now, oldest first."""
    live = _turn(incident, entries)
    begin = moment(incident) - dt.timedelta(days=BEFORE)
    later = [e.number for e in entries if e.kind == INCIDENT and e.number > incident.number]
    end = later[0] if later else entries[-1].number + 1
    shown = [e for e in entries if e.number < end and (moment(e) >= begin or (live and e.number == live.start.number))]
    told = [(e.at[:16].replace("T", " "), e.number, _happened(e)) for e in shown]
    return [(at, number, said) for at, number, said in told if said]


def to_do(incident: Entry, entries: list[Entry]) -> list[str]:
    """What is still to be done, by whether the version that did harm is in use."""
    project, left = incident.project, incident.body["champion"]
    if aliases_after(entries)["champion"] == left:
        return [
            f"Decide whether version {left} stays in use; `keel rollback --project {project} --why ...` puts the "
            "version before it back, checked like any other.",
            "Find the source, device or site whose images changed; keep its images out until they are understood.",
            "Label more of the images of these nights: they settle whether the model or its input is the cause.",
            f"Retrain with these images and release: `keel release --project {project}`.",
        ]
    withdrawn = withdrawal_of(left, entries) is not None if left else False
    stays = (
        f"Version {left} stays withdrawn until it passes on other images, cases or another plan." if withdrawn else ""
    )
    return [
        *([stays] if stays else []),
        f"Add images that version {left} read wrong, and must never be read wrong again, to the must-pass cases.",
        f"Train a candidate with these images and release: `keel release --project {project}`.",
        f"Have `keel audit --project {project}` say that nothing else was changed.",
    ]


def _happened(entry: Entry) -> str:
    """One sentence for an entry that belongs in a timeline; nothing for the others."""
    body = entry.body
    match entry.kind:
        case "done" if "champion" in body.get("moved", {}):
            return _moved(body)
        case "drill":
            return "a rollback was rehearsed: " + ("it would hold" if body["held"] else f"no: {body['why_not']}")
        case "incident":
            return f"incident opened: {body['cause']}; {body['action']}"
        case "comparison":
            return f"compared again on the night of {body['night']}: {body['action']}"
        case "undone":
            return f"a change was undone: {body['why']}"
        case _:
            return f"{entry.kind}: {body['sentence']}" if body.get("sentence") else ""


def _moved(body: dict[str, Any]) -> str:
    if body["action"] == RESTORE:
        return f"version {body['version']} put back in place of version {body['left']}, by {who_did(body)}"
    return f"version {body['moved']['champion']} became champion"


def _turn(incident: Entry, entries: list[Entry]) -> Deployment | None:
    """The time as champion of the version that the incident is about, the last one that began before it."""
    turns = [d for d in deployments(entries) if d.version == incident.body["champion"]]
    return next((d for d in reversed(turns) if d.start.number < incident.number), None)


def _capital(sentence: str) -> str:
    return sentence[0].upper() + sentence[1:]


def _to_owner(facts: dict[str, Any]) -> str:
    done = f"Version {facts['in_use']} is in use now."
    if facts["in_use"] == facts["restored"]:
        done = f"Version {facts['restored']} is in use again since; the move took {facts['seconds']} s."
    elif facts["in_use"] == facts["left"]:
        moved = f"Version {facts['restored']} was put back, but" if facts["restored"] else "Nothing was moved:"
        done = f"{moved} version {facts['left']} is in use, and needs your decision."
    return (
        f"Incident {facts['number']} of {facts['project']}, night of {facts['night']}: {facts['cause'].rstrip('.')}. "
        f"What was done: {facts['action'].rstrip('.')}. {done}"
    )


def _to_users(facts: dict[str, Any]) -> str:
    now = "Another approved version answers now."
    if facts["in_use"] == facts["restored"]:
        now = "An earlier, approved version answers again."
    elif facts["in_use"] == facts["left"]:
        now = "The model is still in use while we look into it: have a person confirm answers that matter."
    return (
        f"In the night of {facts['night']} we found that the automatic reading ({facts['project']}) was less reliable "
        f"than it has to be. {now} Please check again what was decided on its answers since [DATE]. Questions go to "
        f"{facts['owner']}."
    )
