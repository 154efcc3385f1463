"""What a run decides by the evidence: the challenger moves on, waits for what is missing, or is taken off.

It is taken off where it is shown to do harm: more errors than the margin allows, or a guard over its bound. It waits
while time, labels or requests are missing, and while the figures so far lie beyond a bound without being shown to.
Past the last step comes promotion, which takes that it is shown to be within the margin.
"""

from dataclasses import dataclass

from tasks.canary import SLOWEST
from tasks.rollout import ABORT, ADVANCE, HOLD, PROMOTE
from tasks.rollout_evidence import NIGHTS, Evidence
from tasks.rollout_rules import SHADOW, RolloutRules, Step
from tasks.shadow import DROP, ShadowState, capital, judge_shadow, mean_difference, seen
from tasks.shadow import PROMOTE as SHOWN


@dataclass(frozen=True)
class Answer:
    """One question about the challenger: ABORT, HOLD, or "" where nothing stands in the way; and the sentence."""

    against: str
    sentence: str


def next_move(evidence: Evidence, step: Step, rules: RolloutRules, nights: int) -> tuple[str, list[str]]:
    """ABORT, HOLD, ADVANCE or PROMOTE after so many nights in the step, and the sentences, what decides first."""
    is_last = rules.after(step.name) is None
    answers = [
        ask_labels(evidence, step, rules, is_last),
        *ask_guards(evidence, step, rules),
        Answer(HOLD if nights < step.nights else "", f"{nights} of the step's {step.nights} nights are over"),
    ]
    for move in (ABORT, HOLD):
        if any(answer.against == move for answer in answers):
            ordered = sorted(answers, key=lambda answer: answer.against != move)
            return move, [answer.sentence for answer in ordered]
    return (PROMOTE if is_last else ADVANCE), [answer.sentence for answer in answers]


def ask_labels(evidence: Evidence, step: Step, rules: RolloutRules, is_last: bool) -> Answer:
    """Whether it errs more than it may, by the labels."""
    here, points = evidence.in_step(), f"{100 * rules.margin:g} points"
    verdict, said = judge_shadow(here, rules.margin, rules.error)
    if verdict == DROP:
        return Answer(ABORT, f"{said}; {how_compared(evidence)}")
    if here.labels < step.labels:
        missing = f"{step.labels - here.labels} of the {step.labels} labels that the step asks for are to come"
        return Answer(HOLD, f"{missing}; {seen(here)}; {how_compared(evidence)}")
    if mean_difference(here) > rules.margin:
        return Answer(HOLD, f"in this step it errs more by over {points}, which is not shown yet: {seen(here)}")
    verdict, said = judge_shadow(evidence.errors, rules.margin, rules.error)
    return Answer(HOLD if is_last and verdict != SHOWN else "", f"{said}; {how_compared(evidence)}")


def how_compared(evidence: Evidence) -> str:
    """Which kind of evidence the labels gave."""
    if evidence.source == NIGHTS:
        return "by the windows of the nights, both on each image"
    return f"{evidence.paired} compared on the same request, {evidence.between} between the arms"


def ask_guards(evidence: Evidence, step: Step, rules: RolloutRules) -> list[Answer]:
    """Whether what is watched beside the labels keeps to its bound."""
    guards, error = rules.guards, rules.error
    if evidence.source == NIGHTS and step.kind == SHADOW and not evidence.requests:
        return [Answer("", "no service answered, so that failures and abstentions were not looked at")]
    bounds = [
        (evidence.failures, guards.errors.increase, guards.errors.requests, "answers that failed"),
        (evidence.abstentions, guards.abstentions.increase, guards.abstentions.requests, "answers withheld"),
    ]
    answers = [ask_guard(state, bound, evidence.requests, least, error, what) for state, bound, least, what in bounds]
    if step.kind != SHADOW:
        said = f"answers that took over {guards.latency.ratio:g} times the champion's p99"
        answers.append(ask_guard(evidence.slow, SLOWEST, evidence.requests, guards.latency.requests, error, said))
    return answers


def ask_guard(state: ShadowState, bound: float, requests: int, least: int, error: float, what: str) -> Answer:
    """One guard: ABORT where it is shown to be over its bound, HOLD where it is so far, or with too few requests."""
    found = (
        f"{what}: {100 * mean_difference(state):+.1f} points beside the champion's, at most {100 * bound:+g} allowed"
    )
    if capital(state.worse) >= 1 / error:
        return Answer(ABORT, f"{found}, and it is shown to be over that")
    if requests < least or not state.units:
        return Answer(HOLD, f"{found}; {requests} of the {least} requests that it takes came in this step")
    return Answer(HOLD if mean_difference(state) > bound else "", found)
