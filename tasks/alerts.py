"""Which news somebody must be told, and which were told already: the section `alerts` of governance/watch.yaml.

An alarm is a verdict with its cause. It is told once and lasts until a night is HEALTHY, which is told too. One that
comes back within the cool-down of its last message is not told again: people learn to ignore alarms that chatter
(ANSI/ISA-18.2-2016, on chattering alarms). What was told, and what could not be sent, are the ledger's entries of kind
`alert`, so that any process knows.
"""

import datetime as dt
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from tasks.ledger import Entry
from tasks.night import HARM, HEALTHY, Night

KIND = "alert"
MISSED, RECOVERED, ROLLBACK = "MISSED", "RECOVERED", "ROLLBACK"
Key = tuple[str, str]  # the verdict and its cause: what makes two alarms the same one


class AlertRules(BaseModel):
    """Which verdicts call somebody, and how soon the same alarm may call again once it has ended."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    page_on: tuple[Literal["WATCH", "HARM", "NO DATA", "CANNOT JUDGE", "MISSED", "ROLLBACK"], ...]  # not HEALTHY
    cool_down_hours: float = Field(ge=0)
    reason: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]


@dataclass(frozen=True)
class News:
    """What one night, or one look at the record, has to tell: its verdict, the cause, and sentences for people.

    `night` is the night that it is about, as 2026-06-01; `page` a link, or "" where there is none.
    """

    verdict: str
    cause: str
    night: str
    headline: str
    sentences: tuple[str, ...]
    page: str = ""

    @property
    def key(self) -> Key:
        """What makes it the same alarm as another night's."""
        return self.verdict, self.cause

    def text(self) -> str:
        """The body of a message."""
        return "\n".join([*self.sentences, *([self.page] if self.page else [])])


def news_of(night: Night, page: str, action: str = "") -> News:
    """What a night has to tell; `action` is the sentence of what was done about harm."""
    sentences = (*night.body["sentences"], *([action] if action else []))
    return News(night.verdict, cause_of(night), night.night, night.sentence, sentences, page)


def news_of_rollback(moved: Entry, night: Night, page: str) -> News:
    """What a night has to tell that put an earlier version back; `moved` is the entry that closed the move."""
    body = moved.body
    what = f"version {body['version']} was put back in place of version {body['left']}"
    cause = f"version {body['version']} in place of version {body['left']}, entry {moved.number}"
    return News(ROLLBACK, cause, night.night, f"{ROLLBACK} {night.night}: {what}", (what, body["why"]), page)


def news_of_missed(nights: Sequence[str], last: str | None) -> News:
    """What the watchdog has to tell of the nights that have no verdict; `last` is the last that has one."""
    since = f"the last verdict on record is of {last}" if last else "no night is on record at all"
    sentence = f"no verdict for {len(nights)} of the nights that are over ({', '.join(nights)}): {since}"
    return News(MISSED, "no verdict", nights[-1], f"{MISSED} {nights[-1]}: {sentence}", (sentence,))


def cause_of(night: Night) -> str:
    """What the verdict rests on, the same night after night: the monitor of harm, else the sentence without figures.

    Harm by the version that was put back is another alarm than that by the one before it.
    """
    if night.verdict == HARM:
        return f"{night.body['harm']['harm']['leading']}, version {night.body['version']}"
    return re.sub(r"\d[\d.,-]*", "#", night.body["sentences"][0]) if night.body["sentences"] else ""


def to_tell(entries: Iterable[Entry], news: News, rules: AlertRules, now: dt.datetime) -> list[News]:
    """The messages to send, in order: what could not be sent before, then an alarm, or that all is well again.

    `now` is the time with its zone, against which the cool-down runs.
    """
    held = list(entries)
    waiting = {key: one for key, one in unsent(held).items() if key != news.key}
    messages = list(waiting.values())
    if news.verdict == HEALTHY:
        over = [*lasting(held), *waiting]
        return [*messages, recovery(news, over)] if over else messages
    if news.verdict in rules.page_on and news.key not in lasting(held) and not cooling(held, news.key, rules, now):
        messages.append(news)
    return messages


def recovery(news: News, over: Sequence[Key]) -> News:
    """The message that what was told of is over."""
    ended = "; ".join(f"{verdict} ({cause})" for verdict, cause in over if verdict != ROLLBACK) or "what was told"
    sentences = (f"over: {ended}", *news.sentences)
    return News(RECOVERED, "", news.night, f"{RECOVERED} {news.night}: the night was {HEALTHY}", sentences, news.page)


def lasting(entries: Iterable[Entry]) -> list[Key]:
    """The alarms that were told and have not ended: those sent since all was last said to be well."""
    keys: dict[Key, None] = {}
    for entry in (e for e in entries if e.kind == KIND and e.body["sent"]):
        if entry.body["verdict"] == RECOVERED:
            keys = {}
        else:
            keys[_key(entry)] = None
    return list(keys)


def unsent(entries: Iterable[Entry]) -> dict[Key, News]:
    """The alarms that could not be sent and were not since, oldest first; a recovery is found anew each night."""
    waiting: dict[Key, News] = {}
    for entry in (e for e in entries if e.kind == KIND):
        waiting.pop(_key(entry), None)
        if not entry.body["sent"] and entry.body["verdict"] != RECOVERED:
            waiting[_key(entry)] = _news(entry.body)
    return waiting


def cooling(entries: Iterable[Entry], key: Key, rules: AlertRules, now: dt.datetime) -> bool:
    """Whether the alarm was told so recently that it is not told again; a rollback is told once."""
    alerts = (e for e in entries if e.kind == KIND)
    times = [dt.datetime.fromisoformat(e.at) for e in alerts if e.body["sent"] and _key(e) == key]
    return bool(times) and (key[0] == ROLLBACK or now - times[-1] < dt.timedelta(hours=rules.cool_down_hours))


def alert_body(news: News, why_not: str | None) -> dict[str, Any]:
    """What the ledger keeps of a message: what it said, and why it was not sent where it was not."""
    kept = {"verdict": news.verdict, "cause": news.cause, "night": news.night, "headline": news.headline}
    return {**kept, "sentences": list(news.sentences), "page": news.page, "sent": why_not is None, "why_not": why_not}


def _key(entry: Entry) -> Key:
    return entry.body["verdict"], entry.body["cause"]


def _news(body: dict[str, Any]) -> News:
    late = f"could not be sent before: {body['why_not']}"
    sentences = tuple(said for said in body["sentences"] if not said.startswith("could not be sent before"))
    return News(body["verdict"], body["cause"], body["night"], body["headline"], (*sentences, late), body["page"])
