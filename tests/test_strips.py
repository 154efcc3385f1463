"""A strip puts value, ends and bound where they belong, and says which finding it is."""

import re
from dataclasses import replace

import pytest

from tasks.figures import UNKNOWN, Figure, tell
from tasks.findings import Finding
from tasks.strips import BOUND, COLOURS, EDGE, PLAIN, ends, scale_for, strip, strip_rows
from tasks.verdict import FAIL, PASS

FOUND = Finding("accuracy", "test/condition=<faded>", 0.75, 0.6, 0.9, 40, 40, "wilson", 0.95)


def test_places_are_shares_of_the_scale() -> None:
    drawn = strip(FOUND, scale_for("accuracy", [0.5, 1.0]), bound=0.5, outcome=PASS)
    low, high = 0.5 - 0.05, 1.0  # a tenth more on either side, but no accuracy beyond 1
    expected = [EDGE + (100 - 2 * EDGE) * (x - low) / (high - low) for x in (0.6, 0.9, 0.75, 0.5)]
    bar = re.search(r'<line x1="([\d.]+)%" x2="([\d.]+)%"', drawn)
    dot = re.search(r'cx="([\d.]+)%', drawn)
    tick = re.search(rf'x1="([\d.]+)%" x2="\1%" y1="1" y2="19" stroke="{BOUND}"', drawn)
    assert bar is not None
    assert dot is not None
    assert tick is not None
    shown = [float(bar[1]), float(bar[2]), float(dot[1]), float(tick[1])]
    assert shown == pytest.approx(expected, abs=0.005)
    assert COLOURS[PASS] in drawn


def test_a_strip_names_its_finding_and_escapes_the_slice() -> None:
    drawn = strip(FOUND, scale_for("accuracy", [0.5, 1.0]), None)
    assert 'data-slice="test/condition=&lt;faded&gt;" data-value="0.75" data-low="0.6" data-high="0.9"' in drawn
    assert PLAIN in drawn
    assert BOUND not in drawn


def test_rows_share_a_scale_and_are_coloured_by_the_bound() -> None:
    worse = replace(FOUND, slice="mirror", value=0.3, low=0.2, high=0.4)
    rows = strip_rows([FOUND, worse, replace(FOUND, slice="test", value=float("nan"))], {"mirror": 0.5}, "said")
    assert rows is not None
    assert [row["finding"].slice for row in rows["rows"]] == [FOUND.slice, "mirror"]
    assert COLOURS[FAIL] in rows["rows"][1]["strip"]
    assert rows["ends"] == ("13.0\u00a0%", "97.0\u00a0%")
    assert strip_rows([], {}, "said") is None


def test_a_scale_of_one_value_is_no_division_by_nothing() -> None:
    scale = scale_for("mean_set_size", [2.0, 2.0])
    assert (scale.low, scale.high) == (1.99, 2.01)
    assert ends("accuracy_gain_over_champion", scale_for("accuracy_gain_over_champion", [-0.1, 0.1])) == (
        "-12.0\u00a0points",
        "+12.0\u00a0points",
    )


def test_a_figure_is_its_text_and_in_a_page_also_its_source() -> None:
    figure = tell(FOUND)
    assert figure == "75.0\u00a0% [60.0,\u00a090.0]"
    assert isinstance(figure, Figure)
    assert 'title="accuracy on test/condition=&lt;faded&gt;, n = 40, 95 % interval: wilson"' in figure.__html__()
    assert tell(None) == tell(replace(FOUND, low=float("nan"))) == UNKNOWN
