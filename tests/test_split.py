"""The split keeps groups together, keeps classes in proportion, and is the same each time."""

import numpy as np
import pandas as pd
import pytest

from tasks.errors import BadInput, DataRejected
from tasks.params import SplitParams
from tasks.project import Mirror, Project
from tasks.split import deal, make_manifest

PARAMS = SplitParams(train=0.5, validation=0.15, calibration=0.15, test=0.2, min_groups=2, seed=3)


def images(count: int = 600, groups: int = 60) -> pd.DataFrame:
    random = np.random.default_rng(0)
    return pd.DataFrame(
        {
            "path": [f"images/{i:04d}.png" for i in range(count)],
            "label": random.choice(["cat", "dog", "gnu"], count),
            "subject": [f"s{i % groups:02d}" for i in range(count)],
            "device": ["old" if i % groups < 10 else "new" for i in range(count)],
            "captured_at": [f"2026-01-{1 + i % groups // 2:02d}" for i in range(count)],
            "sha256": [f"{i:064x}" for i in range(count)],
            "width": 64,
            "height": 64,
            "brightness": random.uniform(50, 200, count),
            "contrast": 60.0,
            "sharpness": 500.0,
        }
    )


def project(**values: object) -> Project:
    return Project.model_validate({"name": "pets", "data": "x", "group": "subject", **values})


def test_no_group_is_in_two_splits_and_classes_keep_their_shares() -> None:
    manifest = make_manifest(images(), project(), PARAMS)
    assert (manifest.groupby("group")["split"].nunique() == 1).all()
    shares = manifest["split"].value_counts(normalize=True)
    assert shares["train"] == pytest.approx(0.5, abs=0.03)
    within = pd.crosstab(manifest["split"], manifest["label"], normalize="index")
    assert (within.max() - within.min() < 0.12).all()


def test_split_depends_on_the_seed_and_not_on_the_order_of_rows() -> None:
    first = make_manifest(images(), project(), PARAMS)
    again = make_manifest(images().sample(frac=1, random_state=1), project(), PARAMS)
    other = make_manifest(images(), project(), PARAMS.model_copy(update={"seed": 4}))
    assert first.equals(again)
    assert not first["split"].equals(other["split"])


def test_images_without_groups_are_stratified_one_by_one() -> None:
    manifest = make_manifest(images(), project(group=None), PARAMS)
    within = pd.crosstab(manifest["label"], manifest["split"], normalize="index")
    assert np.allclose(within[["calibration", "test", "train", "validation"]], [0.15, 0.2, 0.5, 0.15], atol=0.02)


def test_mirror_by_column_takes_those_rows_and_only_those() -> None:
    manifest = make_manifest(
        images(), project(mirror=Mirror(column="device", values=["old"]), slices=["device"]), PARAMS
    )
    assert ((manifest["slice_device"] == "old") == (manifest["split"] == "mirror")).all()


def test_mirror_by_time_takes_the_newest_groups_whole() -> None:
    table = images()
    manifest = make_manifest(table, project(mirror=Mirror(latest=0.2)), PARAMS)
    mirrored = manifest["split"] == "mirror"
    assert 0.1 < mirrored.mean() <= 0.25
    assert table["captured_at"][mirrored].min() > table["captured_at"][~mirrored].max()


def test_mirror_by_time_compares_instants_and_not_text() -> None:
    table = images(count=4, groups=4).assign(
        captured_at=["2026-01-01T23:30:00-05:00", "2026-01-02", "2026-01-02T03:00", "20260101"]
    )
    manifest = make_manifest(table, project(mirror=Mirror(latest=0.25)), PARAMS)
    assert list(manifest["path"][manifest["split"] == "mirror"]) == ["images/0000.png"]  # half past four in UTC


@pytest.mark.parametrize("date", ["1/1/2024", "2026-13-01", "yesterday", ""])
def test_date_that_cannot_be_told_is_refused_by_name(date: str) -> None:
    table = images()
    table.loc[7, "captured_at"] = date
    with pytest.raises(
        DataRejected, match=rf"1 images have a captured_at .*images/0007\.png \('{date}'\); write it like"
    ):
        make_manifest(table, project(mirror=Mirror(latest=0.2)), PARAMS)


def test_group_on_both_sides_of_the_mirror_is_refused_by_name() -> None:
    table = images()
    table.loc[0, "device"] = "new"
    with pytest.raises(DataRejected, match="1 values of 'subject' lie in the mirror and outside it, the first is s00"):
        make_manifest(table, project(mirror=Mirror(column="device", values=["old"])), PARAMS)


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"group": "patient"}, "group names column 'patient'"),
        ({"slices": ["colour"]}, "slices names column 'colour'"),
        ({"mirror": {"column": "device", "values": ["lost"]}}, r"no image has device in \['lost'\]"),
    ],
)
def test_wrong_columns_are_named(values: dict[str, object], sentence: str) -> None:
    with pytest.raises(BadInput, match=sentence):
        make_manifest(images(), project(**values), PARAMS)


def test_shares_that_do_not_add_up_are_refused() -> None:
    with pytest.raises(BadInput, match=r"add up to 1\.1"):
        make_manifest(images(), project(), PARAMS.model_copy(update={"test": 0.3}))


def test_deal_gives_every_split_something_when_groups_are_few() -> None:
    rows = pd.DataFrame({"group": np.repeat([f"g{i}" for i in range(9)], 20), "label": ["a", "b"] * 90})
    dealt = deal(rows, np.array([0.34, 0.11, 0.11, 0.44]), seed=7)
    assert set(dealt.values()) == {"train", "validation", "calibration", "test"}


def test_annotators_labels_are_kept_for_the_evaluation() -> None:
    table = images()
    manifest = make_manifest(table.assign(annotator_1=table["label"], annotator_2=None), project(), PARAMS)
    assert (manifest["annotator_1"] == manifest["label"]).all()
    assert (manifest["annotator_2"] == "").all()
