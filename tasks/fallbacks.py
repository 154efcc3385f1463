"""Fallbacks: which earlier versions a project can fall back on, by its ledger alone.

A version may be put back when it was champion before, which took a PASS and every approval that its plan asks. One that
a rollback took out of use, or whose rollout was aborted, is withdrawn: nothing puts it back by itself until a newer
decision is tied to it that rests on other images, cases or another plan than the one before, so that two versions
cannot be swapped to and fro, and the same verdict cannot simply be had again. A person may, by name, and the record
says who and why.
"""

import datetime as dt

from tasks.best_version import RollbackRules
from tasks.errors import BadInput
from tasks.history import RESTORE, aliases_after, deployments, finished, moment, newest_decision, until
from tasks.ledger import Entry
from tasks.rollout import ABORT, KIND, rollout_entries
from tasks.verdict import PASS

NEWS = ("manifest", "cases", "external", "plan")  # one of these must differ for a decision to be news of a version
DRILL = "drill"  # the kind of the entry of a rehearsal


def rollbacks(entries: list[Entry]) -> list[tuple[Entry, Entry]]:
    """Each finished rollback as (intent, closing entry), oldest first."""
    return [(intent, end) for intent, end in finished(entries) if intent.body["action"] == RESTORE]


def withdrawal_of(version: str, entries: list[Entry]) -> Entry | None:
    """The entry that took the version out of use, unless a decision that is news was tied to it since."""
    left = [end for intent, end in rollbacks(entries) if intent.body["before"]["champion"] == version]
    left += [
        entry for entry in rollout_entries(entries) if (entry.body["move"], entry.body["version"]) == (ABORT, version)
    ]
    if not left:
        return None
    now, then = (newest_decision(version, seen) for seen in (entries, until(entries, left[-1])))
    return None if now.number > left[-1].number and _is_news(now, then) else left[-1]


def still_withdrawn(version: str, entries: list[Entry]) -> list[str]:
    """Why a release does not promote a version that was withdrawn; nothing where it may."""
    taken = withdrawal_of(version, entries)
    if taken is None:
        return []
    return [
        f"version {version} was taken out of use by the {how_withdrawn(taken)} of entry {taken.number}, and decision "
        f"{newest_decision(version, entries).number} on it rests on the same images, cases and plan as before: train "
        "another candidate, add the images that did harm to the data or the must-pass cases, or put it back by name "
        f"(`keel rollback {version} --why ...`)"
    ]


def how_withdrawn(taken: Entry) -> str:
    """By what the entry took a version out of use: a rollback, or a rollout that was aborted."""
    return "aborted rollout" if taken.kind == KIND else "rollback"


def refuse_target(version: str, project: str, entries: list[Entry]) -> Entry:
    """The decision that accepted the version; BadInput says why one cannot be put back, with the way out."""
    champion = aliases_after(entries)["champion"]
    if champion is None:
        raise BadInput(f"{project} has no champion, so there is nothing to roll back; `keel release` makes one")
    if version == champion:
        raise BadInput(f"version {version} of {project} is champion already; name another one, or `keel drill` to try")
    decision = newest_decision(version, entries)
    if decision.body["verdict"] != PASS:
        raise BadInput(
            f"version {version} of {project} was not accepted: decision {decision.number} on it says "
            f"{decision.body['verdict']}; {_choices(project, entries, champion)}"
        )
    if version not in {deployed.version for deployed in deployments(entries)}:
        raise BadInput(
            f"version {version} of {project} was never in use, so putting it there is a promotion, which "
            f"`keel release` does once whoever must agree has; {_choices(project, entries, champion)}"
        )
    return decision


def fallbacks(entries: list[Entry], most: int | None = None) -> list[str]:
    """The versions that may be put back without a person's word, the one used last first.

    `most` limits how many are named beside the one before the champion.
    """
    found = [version for version in _accepted(entries) if withdrawal_of(version, entries) is None]
    return found if most is None else found[: 1 + most]


def only_by_hand(entries: list[Entry], most: int | None = None) -> list[str]:
    """The versions that were in use and are withdrawn, so that a person alone may put them back; as `fallbacks`."""
    found = [version for version in _accepted(entries) if withdrawal_of(version, entries) is not None]
    return found if most is None else found[: 1 + most]


def why_by_hand(entries: list[Entry], rules: RollbackRules, night: dt.date, version: str) -> str | None:
    """Why a person has to decide on putting the version back tonight; None where the rules let the evidence decide."""
    made = rollbacks(entries)
    if not made:
        return None
    champion = deployments(entries)[-1]
    intent, last = made[-1]
    nights = (night - _night_of(intent)).days
    if champion.start.number == last.number:
        return (
            f"version {champion.version} became champion by the rollback of entry {last.number}, and a rollback of a "
            f"rollback is a person's to make: `keel rollback {version} --why ...`"
        )
    if (left := withdrawal_of(version, entries)) is not None:
        return (
            f"the rollback of entry {left.number} took version {version} out of use, and a person alone puts it back: "
            f"`keel rollback {version} --why ...`"
        )
    if nights < rules.cool_down_nights:
        return (
            f"the last rollback (entry {last.number}) was {max(nights, 0)} nights ago and the rules ask for "
            f"{rules.cool_down_nights} before the next one that no person makes: `keel rollback {version} --why ...`"
        )
    return None


def _accepted(entries: list[Entry]) -> list[str]:
    """The versions that were champion before and passed their newest decision, the one used last first."""
    champion = aliases_after(entries)["champion"]
    used = dict.fromkeys(deployed.version for deployed in reversed(deployments(entries)))
    return [v for v in used if v != champion and newest_decision(v, entries).body["verdict"] == PASS]


def _night_of(intent: Entry) -> dt.date:
    """The night that a rollback was made on: that of its evidence, for nights can be judged later; else its day."""
    night = intent.body.get("evidence", {}).get("night")
    return dt.date.fromisoformat(night) if night else moment(intent).date()


def _is_news(decision: Entry, before: Entry) -> bool:
    """Whether a decision on the same model could come out otherwise than the one before."""
    return any(decision.body["evidence"].get(key) != before.body["evidence"].get(key) for key in NEWS)


def _choices(project: str, entries: list[Entry], champion: str) -> str:
    used = dict.fromkeys(d.version for d in deployments(entries) if d.version != champion)
    if not used:
        return f"{project} has no earlier champion to go back to"
    return f"versions that were in use before: {', '.join(used)}"
