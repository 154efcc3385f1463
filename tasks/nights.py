"""The nights on record: one verdict each, read from the ledger's entries of kind `night`."""

import datetime as dt
from collections.abc import Iterable
from typing import Any

from tasks.intervals import wilson
from tasks.ledger import Entry
from tasks.night import HARM, NO_DATA, WATCH, Answer, Night
from tasks.shadow import ShadowState

KIND = "night"


def night_of(entry: Entry) -> Night:
    """The entry as a night."""
    body = entry.body
    return Night(body["night"], body["verdict"], body["sentence"], entry.number, body)


def nights_on_record(entries: Iterable[Entry]) -> dict[str, Night]:
    """The verdict that stands for each night, in the order of the calendar: the newest, where one was judged again."""
    newest = {e.body["night"]: night_of(e) for e in entries if e.kind == KIND}
    return dict(sorted(newest.items()))


def recorded(entries: Iterable[Entry], night: str, window: str, model: str) -> Night | None:
    """The night on record for this window and model; one whose model it put out of use stands as well."""
    held = list(entries)
    found = nights_on_record(held).get(night)
    if found is None or found.body["window"] != window:
        return None
    return found if found.body["model"] == model or rollback_for(held, night) else None


def is_mended(night: Night, broken: Iterable[str]) -> bool:
    """Whether a night on record broke its contract and its window, read again, does not: it is then judged anew."""
    return bool(night.body["broken"]) and not list(broken)


def copy_of(entries: Iterable[Entry], night: str, window: str) -> str | None:
    """The earlier night with exactly these images: sent again, they are no new evidence."""
    held = nights_on_record(entries).values()
    return next((n.night for n in held if n.night < night and n.body["window"] == window), None)


def refused(entries: Iterable[Entry]) -> set[str]:
    """The nights whose window broke its contract or was sent before: their labels are not asked."""
    return {n.night for n in nights_on_record(entries).values() if n.body["broken"]}


def rollback_for(entries: Iterable[Entry], night: str) -> Entry | None:
    """The finished rollback that was made on that night's evidence, if any."""
    held = list(entries)
    intents = {e.number for e in held if e.kind == "intent" and e.body.get("evidence", {}).get("night") == night}
    return next((e for e in held if e.kind == "done" and e.body.get("intent") in intents), None)


def last_before(entries: Iterable[Entry], night: str) -> Night | None:
    """The latest night on record that lies before this one."""
    earlier = [n for n in nights_on_record(entries).values() if n.night < night]
    return earlier[-1] if earlier else None


def is_late(entries: Iterable[Entry], night: str) -> bool:
    """Whether a later night is on record, or this one with labels that it counted: further ones wait for the next.

    However often it was judged again since: what was counted by any of its records is counted.
    """
    held = [e.body for e in entries if e.kind == KIND]
    return any(b["night"] > night or (b["night"] == night and b["harm"].get("counted", 0) > 0) for b in held)


def due(entries: Iterable[Entry], there: Iterable[dt.date], day: dt.date | None, catch_up: int) -> list[dt.date]:
    """The nights to judge, oldest first.

    With a `day`: that day, and before it the nights missed since the last one on record, `catch_up` in all at most.
    Without: every window that is `there` after the last night on record.
    """
    judged = [dt.date.fromisoformat(name) for name in nights_on_record(entries)]
    if day is None:
        return [date for date in sorted(there) if not judged or date > judged[-1]]
    earlier = [date for date in judged if date < day]
    first = earlier[-1] + dt.timedelta(days=1) if earlier else day
    first = max(first, day - dt.timedelta(days=catch_up - 1))
    return [first + dt.timedelta(days=n) for n in range((day - first).days + 1)]


def figures(entries: Iterable[Entry], level: float) -> dict[str, dict[str, float]]:
    """For each night: its labels so far, how many answers were wrong, and the error with its Wilson interval.

    Labels that came late are with the night of their images. They are the answers of the model that the night was
    judged by; what a later champion says of the same images is another matter.
    """
    held = [e for e in entries if e.kind == KIND]
    judged = {night.night: night.body["model"] for night in nights_on_record(held).values()}
    counts: dict[str, dict[str, int]] = {}
    for entry in held:
        for window, found in entry.body["harm"].get("figures", {}).items():
            if judged.get(window) == entry.body["model"]:
                sums = counts.setdefault(window, {"n": 0, "wrong": 0})
                sums |= {key: sums[key] + found[key] for key in sums}
    return {window: error_figure(sums["n"], sums["wrong"], level) for window, sums in sorted(counts.items())}


def reference_nights(entries: Iterable[Entry], first: dt.date | None, count: int) -> list[str]:
    """The first `count` nights on record, from `first` on, with enough images, a sound contract and no harm.

    The nights from which an alarm says that harm began are left out, up to the last on which it was open.
    """
    start = first.isoformat() if first else ""
    nights = nights_on_record(entries).values()
    harmed = [(n.body["harm"]["open"]["began"], n.night) for n in nights if "open" in n.body["harm"]]
    sound = [
        n.night
        for n in nights
        if n.night >= start and not n.body["broken"] and n.body["images"] and n.verdict not in (HARM, NO_DATA)
    ]
    return [night for night in sound if not any(began <= night <= alarm for began, alarm in harmed)][:count]


def requests(entries: Iterable[Entry]) -> dict[str, dict[str, float]]:
    """For each night the images whose labels were asked for, with the weights that they count with.

    A night that was judged again asked twice: what it asked for first stays asked for, with the weight of that drawing.
    """
    found: dict[str, dict[str, float]] = {}
    for entry in (e for e in entries if e.kind == KIND):
        asked = found.setdefault(entry.body["night"], {})
        for ask in entry.body["drift"].get("to_label", ()):
            asked.setdefault(ask["image"], ask["weight"])
    return dict(sorted(found.items()))


def shadow_of(version: str, champion: str, entries: Iterable[Entry]) -> ShadowState | None:
    """What the nights have bet on a version beside the champion, a model's digest; None where no night did."""
    found = [n.body["shadow"] for n in nights_on_record(entries).values() if n.body["shadow"]]
    own = [facts for facts in found if (facts["version"], facts["state"]["champion"]) == (version, champion)]
    return ShadowState.model_validate(own[-1]["state"]) if own else None


def shadow_so_far(known: Night | None, before: Night | None, night: str) -> dict[str, Any]:
    """What a shadow's bets go on from: `known` is the night itself where it was judged already, else the one `before`.

    A night that is judged again is one night all the same.
    """
    facts = (known.body["shadow"] if known else None) or {}
    if known is None or known.night != night or not facts:
        return dict(facts)
    earlier = (before.body["shadow"] if before else None) or {"state": {}}
    same = all(facts["state"][who] == earlier["state"].get(who) for who in ("champion", "challenger"))
    return facts | {"state": facts["state"] | {"nights": earlier["state"]["nights"] if same else 0}}


def remembered(night: Night | None) -> dict[str, Any]:
    """What the monitors remember after a night: nothing before the first, no evidence once an alarm is over.

    An alarm ends a run: its run length is what was promised, and the next one begins with nothing.
    """
    if night is None:
        return {}
    found = night.body["harm"]
    kept = {key: found[key] for key in ("model", "read", "states", "open") if key in found}
    return kept | {"states": {}} if "over" in found else kept


def counted_before(own: Night | None, champion: str, facts: dict[str, Any]) -> Answer:
    """What the labels say of a night whose labels are not asked: they count once, and a night's evidence stays with it.

    `own` is the night as it was judged before, if it was; `facts` what the monitors remember.
    """
    if own is None or own.body["model"] != champion or "harm" not in own.body["harm"]:
        against = WATCH if "open" in facts and facts["model"] == champion else ""
        return Answer(
            False, against, ("a night that is not after this one is on record: labels count with the next",), facts
        )
    found = own.body["harm"]["harm"]
    against = HARM if own.verdict == HARM else WATCH if found["warning"] else ""
    return Answer(True, against, (own.body["sentences"][0], "its labels were counted before"), facts | {"harm": found})


def error_figure(n: int, wrong: int, level: float) -> dict[str, float]:
    """How many labels, how many answers wrong, and the error with its Wilson interval."""
    low, high = wilson(wrong, n, level)
    return {"n": n, "wrong": wrong, "error": wrong / n, "low": low, "high": high}
