"""A report is held to its form, and what is wrong with one is said without repeating it."""

import datetime as dt

import pytest

from tasks.errors import BadInput
from tasks.feedback import NEW, Filed, Told, report_of
from tests.small_feedback import AT, MARKER, fields


def filed(**changes: object) -> Filed:
    return Filed(**{"id": "1", "project": "pets", "state": NEW, "told": Told("cat", 0.9, "3", "s"), **changes})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"consent": None}, "consent: Input should be a valid boolean"),
        ({"consent": "yes"}, "consent: Input should be a valid boolean"),
        ({"rating": 6}, "rating: Input should be less than or equal to 5"),
        ({"rating": True}, "rating: Input should be a valid integer"),
        ({"rating": None}, "it says nothing; give a rating, a correct_label or a text"),
        ({"rating": None, "text": "  "}, "it says nothing"),
        ({"retention": "days-0"}, "retention: String should match pattern"),
        ({"retention": "for ever"}, "retention: String should match pattern"),
        ({"groups": {"desk": "A"}}, "groups need consent_groups: true"),
        ({"request_id": "../x"}, "request_id: String should match pattern"),
        ({"at": dt.datetime(2026, 6, 1)}, "at has no time zone"),
        ({"correct_label": " "}, "correct_label: String should have at least 1 character"),
    ],
)
def test_a_report_that_is_not_sound_is_refused_by_field_and_rule(changes: dict[str, object], said: str) -> None:
    with pytest.raises(BadInput, match=said):
        report_of(fields(**changes))


def test_consent_must_be_said() -> None:
    with pytest.raises(BadInput, match=r"consent: Field required; the fields are request_id, "):
        report_of({name: value for name, value in fields().items() if name != "consent"})


@pytest.mark.parametrize("field", ["text", "correct_label", "request_id", "retention", "project", "mood", MARKER])
def test_what_the_user_wrote_is_not_in_the_error_nor_in_its_causes(field: str) -> None:
    with pytest.raises(BadInput) as raised:
        report_of(fields(**{field: MARKER * 300}))
    assert MARKER not in str(raised.value)
    assert (raised.value.__cause__, raised.value.__context__) == (None, None)


def test_retention_is_counted_from_the_day_of_the_report_in_utc() -> None:
    late = dt.datetime(2026, 6, 1, 23, 30, tzinfo=dt.timezone(dt.timedelta(hours=-2)))
    assert report_of(fields(at=late)).expires == dt.date(2026, 7, 2)
    assert report_of(fields(retention="until-withdrawn", at=AT)).expires is None


@pytest.mark.parametrize(
    ("changes", "disagrees", "complains"),
    [
        ({"correct_label": "dog"}, True, True),
        ({"correct_label": "cat"}, False, False),
        ({"correct_label": "dog", "told": None}, None, None),
        ({"rating": 2}, None, True),
        ({"rating": 3}, None, False),
        ({"rating": 5, "correct_label": "dog"}, True, True),
        ({}, None, None),
    ],
)
def test_a_complaint_is_another_class_or_a_poor_rating(
    changes: dict[str, object], disagrees: bool | None, complains: bool | None
) -> None:
    assert (filed(**changes).disagrees, filed(**changes).complains) == (disagrees, complains)


def test_the_text_is_not_in_what_a_log_would_print_of_a_report() -> None:
    assert MARKER not in repr(filed(text=MARKER))
