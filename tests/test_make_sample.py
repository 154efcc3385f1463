"""Facts of the bundled sample, and that writing it again gives the same bytes."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tasks.conditions import CONDITIONS, apply_condition
from tasks.digests import digest_of
from tasks.errors import BadInput
from tasks.make_sample import FORM_STARTS, NIGHTS, load_inks, make_sample


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_sample.fn(out=tmp_path_factory.mktemp("sample") / "data")


def test_blocks_begin_where_the_copied_form_does() -> None:
    labels = "".join(map(str, load_inks()[1]))
    for start in FORM_STARTS:
        assert "0123456789" in labels[start : start + 30], start  # a missing scan can shift the rest of the run


def test_sample_is_the_bundled_one_byte_for_byte(sample: Path) -> None:
    assert digest_of(sample) == digest_of(Path("data"))


def test_no_writer_block_is_in_two_parts(sample: Path) -> None:
    labelled = pd.read_csv(sample / "metadata.csv", dtype=str)
    windows = pd.concat(pd.read_csv(p, dtype=str) for p in (sample / "production").glob("*/metadata.csv"))
    parts = [*(set(part["subject"]) for _, part in labelled.groupby("source")), set(windows["subject"])]
    assert len(set.union(*parts)) == sum(map(len, parts)) == 14


def test_mirror_shows_each_scan_under_each_condition(sample: Path) -> None:
    mirror = pd.read_csv(sample / "metadata.csv", dtype=str).query("source == 'desk B'")
    assert set(mirror["condition"]) == set(CONDITIONS)
    assert (mirror.groupby("scan")["condition"].nunique() == 5).all()


def test_windows_are_at_least_21_nights_with_the_conditions_of_the_plan(sample: Path) -> None:
    tables = [pd.read_csv(p, dtype=str) for p in sorted((sample / "production").glob("*/metadata.csv"))]
    assert [t["condition"].unique().tolist() for t in tables] == [[condition] for condition in NIGHTS]
    assert len(tables) >= 21
    assert tables[-1]["label"].isna().any()


@pytest.mark.parametrize("name", list(CONDITIONS))
def test_conditions_grow_with_severity_and_stay_in_range(name: str) -> None:
    scan = np.full((64, 64), 240, dtype=np.float32)
    scan[20:44, 28:36] = 30
    changes = []
    for severity in (1, 3, 5):
        result = apply_condition(name, scan, severity, np.random.default_rng(0))
        assert result.min() >= 0
        assert result.max() <= 255
        changes.append(float(np.abs(result - scan).mean()))
    assert changes[0] < changes[2] or name == "white on dark"


def test_existing_folder_is_not_overwritten(sample: Path) -> None:
    with pytest.raises(BadInput, match="exists; remove it first"):
        make_sample.fn(out=sample)
