"""Which labels are drawn: nested, seeded, balanced over classes and groups."""

import pandas as pd
import pytest

from tasks.label_draws import curve_points, describe_labels, draw_labels

TRAIN = pd.DataFrame(
    {
        "image_id": [f"i{k}" for k in range(120)],
        "label": ["cat", "dog", "dog"] * 40,
        "group": [f"s{k // 12}" for k in range(120)],
    }
)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_draw_with_more_labels_holds_the_one_with_fewer(seed: int) -> None:
    few, more, most = (set(draw_labels(TRAIN, count, seed)["image_id"]) for count in (2, 5, 20))
    assert few < more < most


def test_every_class_gets_its_number_and_the_order_is_that_of_the_manifest() -> None:
    drawn = draw_labels(TRAIN, 7, seed=1)
    assert drawn["label"].value_counts().to_dict() == {"cat": 7, "dog": 7}
    assert drawn.index.is_monotonic_increasing


def test_groups_take_turns() -> None:
    drawn = draw_labels(TRAIN, 20, seed=1)  # ten groups
    assert drawn.groupby(["label", "group"]).size().unique().tolist() == [2]


def test_another_seed_draws_other_labels_and_the_same_seed_the_same() -> None:
    one, again, other = (set(draw_labels(TRAIN, 5, seed)["image_id"]) for seed in (1, 1, 2))
    assert one == again
    assert one != other


def test_points_at_which_nothing_is_left_out_become_all() -> None:
    assert curve_points(TRAIN, [5, 60, "all"]) == {5: 10, 60: 100, "all": 120}
    assert curve_points(TRAIN, [5, 80, 500]) == {5: 10, "all": 120}
    assert [describe_labels(count) for count in (1, 5, "all")] == ["1 label a class", "5 labels a class", "all labels"]
