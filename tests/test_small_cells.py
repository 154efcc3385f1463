"""No table that is shown betrays a cell that is not."""

import itertools

from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.small_cells import hidden_cells

TABLES = st.dictionaries(st.sampled_from("abcdef"), st.sets(st.integers(0, 12).map(str), max_size=9), max_size=6)


def crowd(*sizes: int) -> dict[str, set[str]]:
    """Cells of so many people, nobody in two of them."""
    names = (str(n) for n in itertools.count())
    return {"abcdefgh"[i]: {next(names) for _ in range(size)} for i, size in enumerate(sizes)}


def test_small_cells_take_others_with_them_until_the_total_betrays_none() -> None:
    assert hidden_cells(crowd(9, 8, 7), 5) == set()
    assert hidden_cells(crowd(9, 3, 7), 5) == {"b", "c"}  # alone, b would be the total less a and c
    assert hidden_cells(crowd(9, 3, 2, 7), 5) == {"b", "c"}  # five people together
    assert hidden_cells(crowd(9, 1, 2, 7), 5) == {"b", "c", "d"}  # three would still be too few
    assert hidden_cells(crowd(3, 2), 5) == {"a", "b"}


def test_an_empty_cell_stays_and_hides_nobody() -> None:
    assert hidden_cells(crowd(9, 0, 8), 5) == set()
    assert hidden_cells(crowd(9, 3, 0, 8), 5) == {"b", "d"}


def test_cells_that_are_left_out_anyway_count_among_those_left_out() -> None:
    assert hidden_cells(crowd(9, 8, 7), 5, also={"b"}) == {"b", "c"}
    assert hidden_cells(crowd(9, 8, 7), 5, also={"b", "a", "z"}) == {"a", "b"}


def test_one_person_with_many_reports_is_one() -> None:
    assert hidden_cells({"a": ["1"] * 9, "b": list("12345"), "c": list("12345")}, 5) == {"a", "b"}


@settings(max_examples=300, deadline=None, derandomize=True)
@given(TABLES, st.integers(2, 5))
def test_what_total_and_shown_cells_leave_is_never_one_cell_nor_fewer_people(
    people: dict[str, set[str]], least: int
) -> None:
    hidden = hidden_cells(people, least)
    assert all(len(people[cell]) >= least for cell in people if people[cell] and cell not in hidden)
    filled = [cell for cell in hidden if people[cell]]
    if any(people[cell] for cell in people if cell not in hidden):
        assert not filled or (len(filled) > 1 and len(set().union(*(people[c] for c in filled))) >= least)
