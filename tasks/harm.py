"""Harm, not just change: whether the champion now errs more than it was accepted with, by the labels that arrive.

Each monitor watches one risk, on all images or on every value of a slice column, with a statistic of its own
(tasks/e_detector.py). What it tolerates is the pessimistic end of that risk at release, plus a margin. The
family of them raises the alarm when the mean of their evidence reaches the declared average run length: a mean of
e-detectors is an e-detector, whatever the dependence between them, so the promise holds for the family. The alarm never
comes later than with a budget shared out among them, as a monitor that reaches its share lifts the mean to the whole.
Monitors weigh the same, and so do the slices within one.

An alarm stays open until the evidence has fallen below the early warning; then the monitors begin anew, so that each
alarm has had a run of its own, of the declared length. Evidence is carried on from night to night as the alarm's own at
most, so that the end of harm shows however long it lasted, and soonest where errors fall far below what is tolerated.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Literal, Self

import numpy as np
import pandas as pd
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator
from scipy.optimize import brentq

from tasks.e_detector import BETS, MonitorState, advance, begin, lowered
from tasks.errors import EvidenceMissing
from tasks.findings import Finding
from tasks.metrics import PROBABILITY, classes_of, outcomes_of
from tasks.slices import EMPTY, SLICE

Text = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]
Risk = Literal["error", "brier"]
ALL = "all"


class Monitor(BaseModel):
    """Watch `risk` on all images, or with `slice: column=*` on each value of a column that the release was judged on.

    Tolerated is the risk accepted at release plus `margin`. With fewer than `minimum` labels since the champion came
    in, silence is no sign of health; an alarm needs no minimum.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)
    name: str = Field(pattern=r"^[^/]+$")
    risk: Risk
    slice: str = Field(pattern=r"^(all|[^/=]+=\*)$")
    margin: float = Field(ge=0, lt=1, allow_inf_nan=False)
    minimum: int = Field(ge=1)
    reason: Text


class HarmRules(BaseModel):
    """The family of monitors. Without harm the mean time to a false HARM is at least `average_run_length` nights.

    `early_warning` is the same for a false warning: evidence of that much makes a night WATCH. Within T nights either
    is false with a chance of at most T divided by its run length (chance_of_false_alarm).
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)
    monitors: list[Monitor] = Field(min_length=1)
    average_run_length: int = Field(ge=2, default=1000)
    early_warning: int = Field(ge=1, default=100)
    reason: Text

    @model_validator(mode="after")
    def _named_once(self) -> Self:
        names = [monitor.name for monitor in self.monitors]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"monitors named more than once: {', '.join(twice)}")
        return self

    @model_validator(mode="after")
    def _warns_first(self) -> Self:
        if self.early_warning >= self.average_run_length:
            raise ValueError(
                f"early_warning {self.early_warning} would not come before the alarm at {self.average_run_length}; "
                "set it lower"
            )
        return self


States = dict[str, MonitorState]  # by place: `<monitor>/all` or `<monitor>/<column>=<value>`
Accepted = Mapping[tuple[str, str], float]  # by risk and slice: `all` or `<column>=<value>`


@dataclass(frozen=True)
class Harm:
    """What the family says after a night: `evidence` and the share of it that stands behind each place.

    `leading` is the place with most of it and `began` the night on which its harm most likely began, None without any
    sign of it. `short` are the places with fewer labels than their monitor's minimum.
    """

    evidence: float
    parts: dict[str, float]
    leading: str
    began: str | None
    short: tuple[str, ...]
    alarm: bool
    warning: bool


@dataclass(frozen=True)
class Alarm:
    """An alarm that is open: the night that raised it, and the one on which its harm most likely began."""

    night: str
    began: str


def losses(table: pd.DataFrame, risk: Risk) -> np.ndarray:
    """The loss (n,) in [0, 1] of each labelled image of a table with label, predicted and prob_<class>.

    `error` is 0 or 1; `brier` is half the squared distance between the probabilities and the truth (Brier 1950). A
    label that the model does not know is an error, at the distance of the truth from a class with no probability.
    EvidenceMissing names a row without label, prediction or probabilities.
    """
    classes = classes_of(table)
    _require(table, ["label", "predicted", *([] if classes else [f"{PROBABILITY}<class>"])])
    outcomes = outcomes_of(table)
    unsound = table["label"].isna() | (outcomes.predicted < 0) | ~np.isfinite(outcomes.probabilities).all(axis=1)
    if unsound.any():
        raise EvidenceMissing(
            f"{int(unsound.sum())} of {len(table)} rows have no label, known prediction or probabilities, the first "
            f"at {table.index[unsound][0]}; give only labelled and scored images"
        )
    if risk == "error":
        return np.asarray(outcomes.truth != outcomes.predicted, dtype=float)
    truth = np.where(outcomes.truth[:, None] == np.arange(len(classes)), 1.0, 0.0)
    return np.asarray((((outcomes.probabilities - truth) ** 2).sum(axis=1) + (outcomes.truth < 0)) / 2)


def accepted_risks(findings: list[Finding]) -> dict[tuple[str, str], float]:
    """The risks that the release was accepted with, the pessimistic ends of its findings on test."""
    found: dict[tuple[str, str], float] = {}
    for finding in findings:
        split, _, place = finding.slice.partition("/")
        if split == "test" and finding.metric == "accuracy":
            found["error", place or ALL] = 1 - finding.low
        if split == "test" and finding.metric == "brier":
            found["brier", place or ALL] = finding.high / 2
    return found


def advance_all(
    states: States, rules: HarmRules, table: pd.DataFrame, accepted: Accepted, champion: str, night: str
) -> States:
    """Every monitor's state after the labels that arrived on one night.

    `table` holds the champion's answers to the images whose labels arrived: label, predicted, prob_<class>, unit,
    weight (1 for labels that came by themselves, else what `to_label` said) and the columns slice_<column>.
    """
    _require(table, ["unit", "weight"])
    found = begin_all(states, rules, accepted, champion)
    for monitor, place, _ in _places(rules, accepted):
        rows, key = rows_of(table, place), f"{monitor.name}/{place}"
        told = losses(rows, monitor.risk)
        found[key] = advance(found[key], told, rows["weight"].to_numpy(), rows["unit"].to_numpy(), night)
    return found


def begin_all(states: States, rules: HarmRules, accepted: Accepted, champion: str) -> States:
    """A state for every monitor that the rules name: the one that it had, or one that has seen nothing.

    A monitor begins anew when the champion or what it tolerates has changed.
    """
    found: States = {}
    for monitor, place, tolerated in _places(rules, accepted):
        key = f"{monitor.name}/{place}"
        before = states.get(key)
        if before is None or (before.champion, before.tolerated) != (champion, tolerated):
            before = begin(champion, tolerated, key)
        found[key] = before
    return found


def judge_harm(states: States, rules: HarmRules) -> Harm:
    """What the family of monitors says. EvidenceMissing when a monitor has no state."""
    parts: dict[str, float] = {}
    short: list[str] = []
    for monitor in rules.monitors:
        own = {key: state for key, state in states.items() if key.partition("/")[0] == monitor.name}
        if not own:
            raise EvidenceMissing(f"monitor '{monitor.name}' has no state; advance all monitors first")
        share = 1 / len(rules.monitors) / len(own)
        parts |= {key: share * state.evidence for key, state in own.items()}
        short += [key for key, state in own.items() if state.labels < monitor.minimum]
    evidence, leading = sum(parts.values()), max(parts, key=parts.__getitem__)
    alarm = evidence >= rules.average_run_length
    warning = evidence >= rules.early_warning
    return Harm(evidence, parts, leading, states[leading].began, tuple(short), alarm, warning)


def carried(states: States, rules: HarmRules) -> States:
    """The states of a night as the next one goes on from them, with as much evidence as makes an alarm at most.

    The highest bets alone are lowered, to one height: what a great harm leaves of the others then shows a smaller one
    that goes on, or one on another slice.
    """
    alarm = rules.average_run_length
    if not states or judge_harm(states, rules).evidence <= alarm:
        return states

    def lowered_to(height: float) -> States:
        return {key: lowered(state, float(np.exp(height))) for key, state in states.items()}

    def above(height: float) -> float:
        return judge_harm(lowered_to(height), rules).evidence - alarm

    bets = len(BETS) * len(rules.monitors) * len(states)  # no bet weighs less than one of so many
    return lowered_to(float(brentq(above, np.log(alarm / 2), np.log(2 * alarm * bets))))


def open_alarm(before: Alarm | None, harm: Harm, night: str) -> Alarm | None:
    """The alarm that is open after a night: the one from `before` it, a new one, or none."""
    began = harm.began or night
    if before is None:
        return Alarm(night, began) if harm.alarm else None
    return Alarm(before.night, min(before.began, began)) if harm.warning else None


def rows_of(table: pd.DataFrame, place: str) -> pd.DataFrame:
    """The rows of `all` or of `<column>=<value>`."""
    if place == ALL:
        return table
    column, _, value = place.partition("=")
    _require(table, [SLICE + column])
    return table[table[SLICE + column].replace("", EMPTY) == value]


def unwatched(rules: HarmRules, table: pd.DataFrame, accepted: Accepted) -> list[str]:
    """The slices of the night, `<column>=<value>`, that a monitor is on but that the release was never judged on."""
    known = {place for _, place, _ in _places(rules, accepted)}
    columns = dict.fromkeys(monitor.slice.removesuffix("=*") for monitor in rules.monitors if monitor.slice != ALL)
    _require(table, [SLICE + column for column in columns])
    return sorted(
        f"{column}={value}"
        for column in columns
        for value in table[SLICE + column].replace("", EMPTY).unique()
        if f"{column}={value}" not in known
    )


def _places(rules: HarmRules, accepted: Accepted) -> Iterator[tuple[Monitor, str, float]]:
    """Each monitor with each place that it watches and the risk tolerated there."""
    for monitor in rules.monitors:
        begins = monitor.slice.removesuffix("*")
        places = [
            place
            for risk, place in accepted
            if risk == monitor.risk and (place == ALL if begins == ALL else place.startswith(begins))
        ]
        if not places:
            raise EvidenceMissing(
                f"monitor '{monitor.name}': the release has no accepted {monitor.risk} on {monitor.slice}; judge it "
                "there at release, or watch another slice"
            )
        for place in places:
            tolerated = accepted[monitor.risk, place] + monitor.margin
            if tolerated < 1 or place == ALL:  # at 1 nothing would be harm: too few test images, told as unwatched
                yield monitor, place, tolerated


def _require(table: pd.DataFrame, columns: list[str]) -> None:
    missing = [column for column in columns if column not in table]
    if missing:
        raise EvidenceMissing(f"the night's table has no column {', '.join(missing)}; score and join its window first")
