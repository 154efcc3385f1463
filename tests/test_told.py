"""What a client is told: the class, the set, or an abstention with its reason."""

import numpy as np
import pytest

from tasks.errors import BadInput
from tasks.evaluators.conformal import prediction_sets
from tasks.metrics import Outcomes
from tasks.told import Terms, tell

CLASSES = ["a", "b", "c"]


def test_sure_answer_is_told_with_its_prediction_set() -> None:
    told = tell(np.array([0.05, 0.75, 0.2]), CLASSES, Terms(0.7, 0.85))
    assert (told.label, told.predicted, told.prediction_set, told.reasons) == ("b", "b", ("b", "c"), ())


def test_unsure_answer_is_an_abstention_that_says_why() -> None:
    told = tell(np.array([0.05, 0.65, 0.3]), CLASSES, Terms(0.7, None))
    assert (told.label, told.predicted, told.prediction_set) == ("", "b", None)
    assert told.reasons == ("confidence 0.650 is below 0.700, from which an answer costs less than a look",)


@pytest.mark.parametrize(("threshold", "label"), [(None, "a"), (0.0, "a"), (0.4, "a"), (2.0, "")])
def test_without_costs_all_is_answered_and_above_one_nothing(threshold: float | None, label: str) -> None:
    assert tell(np.array([0.4, 0.3, 0.3]), CLASSES, Terms(threshold, None)).label == label


def test_answer_that_is_no_number_is_never_told() -> None:
    for terms in (Terms(None, 0.5), Terms(0.5, None)):
        told = tell(np.array([np.nan, 0.5, 0.5]), CLASSES, terms)
        assert (told.label, told.predicted) == ("", "")
        assert told.reasons == ("the model's answer is not a number for some class",)


def test_sets_are_those_that_the_evaluator_measures() -> None:
    drawn = np.random.default_rng(0).dirichlet(np.ones(3), 200)
    judged = prediction_sets(Outcomes(np.zeros(200, dtype=int), drawn.argmax(axis=1), drawn), 0.6)
    told = [tell(p, CLASSES, Terms(None, 0.6)).prediction_set for p in drawn]
    assert told == [tuple(c for c, inside in zip(CLASSES, row, strict=True) if inside) for row in judged]


def test_answers_for_other_classes_are_refused() -> None:
    with pytest.raises(BadInput, match="2 probabilities came for 3 classes"):
        tell(np.array([0.5, 0.5]), CLASSES, Terms(None, None))
