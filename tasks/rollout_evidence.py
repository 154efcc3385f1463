"""What is known of a challenger on its way: bets on its errors, and on the guards, carried from one run to the next.

Each bet is a test martingale (tasks/shadow.py): runs may look as often as they like. Labels count once in a rollout,
answers once for the guards, in the order in which they came. That the challenger is no worse is bet upon over the whole
rollout. That it does harm is bet upon at each step anew, for what it did well in a long shadow would hide what it does
to its clients.
"""

from typing import Literal

import numpy as np
import pandas as pd
from pydantic import BaseModel, ConfigDict

from tasks.canary import (
    CHALLENGER,
    CHAMPION,
    SLOWEST,
    Compared,
    abstentions_of,
    as_answered,
    compare,
    failures_of,
    slow_clients,
)
from tasks.errors import EvidenceMissing
from tasks.rollout import Standing
from tasks.rollout_rules import SHADOW, RolloutRules
from tasks.shadow import ShadowState, advance_agreements, advance_shadow

BOTH = ("better", "worse")
COUNTS = ("nights", "labels", "units", "disagreements", "difference", "agreements")
KEPT = ("source", "errors", "paired", "between", "seen")
LOG, NIGHTS = "log", "nights"  # where evidence comes from: the service's answers, or the windows of the nights


class Evidence(BaseModel):
    """All that the runs of one rollout have seen."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    entry: int  # Standing.entry: the step that the guards, the counts and `before` are of
    source: Literal["log", "nights"]
    errors: ShadowState  # against the labels, over the whole rollout
    before: ShadowState  # the same before the step
    failures: ShadowState
    abstentions: ShadowState
    slow: ShadowState
    paired: int = 0  # comparisons on one request
    between: int = 0  # comparisons between the arms
    requests: int = 0  # of the challenger's in the step
    seen: str = ""  # when the last answer came that the guards have counted
    to_label: tuple[str, ...] = ()  # requests whose label would tell most

    def in_step(self) -> ShadowState:
        """The bets and the counts on the labels as if they had begun with the step."""
        return combined(self.errors, self.before, -1)


def combined(one: ShadowState, other: ShadowState, sign: int) -> ShadowState:
    """The bets and counts of `one` and `sign` times those of `other`; bets add up, for they are logarithms."""
    bets = {s: tuple((np.array(getattr(one, s)) + sign * np.array(getattr(other, s))).tolist()) for s in BOTH}
    return one.model_copy(update={**bets, **{key: getattr(one, key) + sign * getattr(other, key) for key in COUNTS}})


def no_evidence(entry: int, champion: str, challenger: str) -> Evidence:
    """Before the first run; the two are model folders' digests."""
    new = ShadowState(champion=champion, challenger=challenger)
    return Evidence(entry=entry, source="log", errors=new, before=new, failures=new, abstentions=new, slow=new)


def at_step(evidence: Evidence, found: Standing) -> Evidence:
    """The evidence with the guards and the counts begun anew, where the rollout has come to another step."""
    if evidence.entry == found.entry:
        return evidence
    new = no_evidence(found.entry, evidence.errors.champion, evidence.errors.challenger)
    kept = {"before": evidence.errors} | {key: getattr(evidence, key) for key in KEPT}
    return new.model_copy(update=kept)


def of_the_nights(evidence: Evidence, state: ShadowState) -> Evidence:
    """The evidence with what the nights have bet, for a project whose windows are folders."""
    known = evidence if evidence.source == NIGHTS else no_evidence(evidence.entry, state.champion, state.challenger)
    return known.model_copy(update={"source": NIGHTS, "errors": state, "paired": state.units})


def with_labels(evidence: Evidence, compared: Compared, margin: float, in_step: bool = True) -> Evidence:
    """The evidence with labels that are news; those of a service take the place of what the nights have bet.

    Labels of requests from before the step, told since, count for the rollout and not for the step.
    """
    if not len(compared.units):
        return evidence
    known = evidence
    if known.source == NIGHTS:
        anew = ShadowState(champion=known.errors.champion, challenger=known.errors.challenger)
        known = known.model_copy(update={"source": LOG, "errors": anew, "before": anew, "paired": 0})
    between = len(compared.units) - compared.paired
    sums = {"paired": known.paired + compared.paired, "between": known.between + between}
    errors = advance(known.errors, compared, margin)
    before = {} if in_step else {"before": combined(known.before, combined(errors, known.errors, -1), 1)}
    return known.model_copy(update={"errors": errors, **before, **sums})


def with_agreements(evidence: Evidence, due: int, margin: float) -> Evidence:
    """The evidence with the step's units on which both agree, `due` in all, those that it has already among them."""
    more = due - evidence.in_step().agreements
    if evidence.source == NIGHTS or more <= 0:
        return evidence
    return evidence.model_copy(update={"errors": advance_agreements(evidence.errors, more, margin)})


def with_answers(evidence: Evidence, table: pd.DataFrame, found: Standing, rules: RolloutRules) -> Evidence:
    """The evidence with the requests of a table (tasks/canary.py) that came after those that the guards have seen.

    In shadow both models are held against each other on each request, and its time to answer is not looked at, since
    nobody waits for it; as a canary, by what the clients of each arm got.
    """
    new = table[table["at"] > pd.Timestamp(evidence.seen)] if evidence.seen else table
    if new.empty:
        return evidence
    got = new if found.kind == SHADOW else as_answered(new)
    failures = advance(evidence.failures, compare(got, failures_of(got)), rules.guards.errors.increase)
    withheld = advance(evidence.abstentions, compare(got, abstentions_of(got)), rules.guards.abstentions.increase)
    slow = evidence.slow if found.kind == SHADOW else _slower(evidence.slow, as_answered(table), got, rules)
    return evidence.model_copy(
        update={
            "failures": failures,
            "abstentions": withheld,
            "slow": slow,
            "requests": evidence.requests + int(got[f"error_{CHALLENGER}"].notna().sum()),
            "seen": new["at"].max().isoformat(),
        }
    )


def advance(state: ShadowState, compared: Compared, margin: float) -> ShadowState:
    """The bets after these comparisons."""
    if not len(compared.units):
        return state
    return advance_shadow(state, compared.champion, compared.challenger, compared.units, margin)


def _slower(state: ShadowState, all_of_them: pd.DataFrame, new: pd.DataFrame, rules: RolloutRules) -> ShadowState:
    """The bet that more than 1 % of the challenger's answers are slower than the ratio allows for."""
    ours = all_of_them[f"latency_ms_{CHAMPION}"].dropna().to_numpy(float)
    try:
        slow = slow_clients(new, ours, rules.guards.latency.ratio)
    except EvidenceMissing:
        return state
    if slow.empty:
        return state
    return advance_shadow(state, np.zeros(len(slow)), slow.to_numpy(), slow.index.to_numpy(), SLOWEST)


def telling(table: pd.DataFrame, unlabelled: np.ndarray, most: int) -> tuple[str, ...]:
    """Up to so many requests without a label, newest first: where the two differ; else of each arm in turn."""
    ours, theirs = (table[f"predicted_{side}"] for side in (CHAMPION, CHALLENGER))
    both = (ours.notna() & theirs.notna()).to_numpy()
    if both.any():
        chosen = table[unlabelled & both & (ours != theirs).to_numpy()]
        return tuple(chosen["request_id"].iloc[::-1].head(most))
    turn = table[unlabelled].iloc[::-1]
    turn = turn.assign(place=turn.groupby("arm").cumcount()).sort_values(["place", "arm"], kind="stable")
    return tuple(turn["request_id"].head(most)) if turn["arm"].nunique() > 1 else ()
