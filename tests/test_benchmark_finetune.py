"""The figures of benchmarks/finetune.py: its split, its intervals, its bars and its table, without any engine."""

import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from benchmarks.finetune import SETTINGS, Task, options, phases, plan, split
from benchmarks.peers.verdict import FULL, NAMES, OURS, QUICK, Run, accuracy_gain, judge, plot, speedups, table

SHARES = {"validation": 0.08, "train": 0.692, "order": 0}
PEERS = [name for name in NAMES if name != OURS]
IMAGES, SUBJECTS = 400, 40  # of a seed's test set


@pytest.fixture
def photos() -> pd.DataFrame:
    """2,000 rows of 200 subjects."""
    return pd.DataFrame({"subject": [f"s{i % 200:03}" for i in range(2000)]})


@pytest.fixture
def tested() -> dict[int, pd.DataFrame]:
    """Test rows of three seeds that share no subject."""
    return {
        seed: pd.DataFrame(
            {
                "subject": [f"{seed}-{i % SUBJECTS}" for i in range(IMAGES)],
                "file_name": [f"{seed}-{i}" for i in range(IMAGES)],
            }
        )
        for seed in range(3)
    }


def run(part: str, engine: str, seed: int, seconds: float, wrong: int = 4, **more: float) -> Run:
    """A run that took so long and was wrong on its first images."""
    hits = "0" * wrong + "1" * (IMAGES - wrong)
    figures = {"seconds": seconds, "hits": hits, "accuracy": 1 - wrong / IMAGES, "epochs": 7}
    return {"part": part, "engine": engine, "seed": seed, **figures, **more}


@pytest.fixture
def good() -> list[Run]:
    """Runs under which every bar of FULL holds, most by a hair."""
    runs = [run("memory", OURS, 0, 60, images=100000, growth_mb=512, budget_mb=512)]
    for seed in range(3):
        for part, ours in (("same", 16.6), ("own", 12.4), ("head", 3.3)):
            runs += [run(part, peer, seed, 50 + 5 * place) for place, peer in enumerate(PEERS)]
            runs.append(run(part, OURS, seed, ours))
        runs += [run("head+", OURS, seed, 3.3 + 14 * 0.47, epochs=21), run("stage", OURS, seed, 6.2)]
        runs += [run("stage+", OURS, seed, 6.2 + 14 * 0.89, epochs=21), run("loop", OURS, seed, 0, share=0.801)]
    return runs


def failing(runs: list[Run], tested: dict[int, pd.DataFrame]) -> list[str]:
    return [j.sentence for j in judge(runs, FULL, tested) if not j.held]


def test_split_keeps_subjects_apart_and_reaches_the_shares(photos: pd.DataFrame) -> None:
    for seed in range(3):
        parts = split(photos, seed, SHARES)
        found = {name: set(photos["subject"].loc[rows]) for name, rows in parts.items()}
        assert not found["train"] & found["test"]
        assert not found["validation"] & (found["train"] | found["test"])
        assert sum(len(rows) for rows in parts.values()) == len(photos)
        assert len(parts["train"]) == 1380  # 138 whole subjects of ten, the most within 1,384


def test_split_is_the_same_each_time_and_tests_other_subjects_under_each_seed(photos: pd.DataFrame) -> None:
    first, second, third = (split(photos, seed, SHARES) for seed in range(3))
    assert np.array_equal(first["validation"], third["validation"])
    assert np.array_equal(first["test"], split(photos, 0, SHARES)["test"])
    assert not set(first["test"]) & set(second["test"])
    assert not set(second["test"]) & set(third["test"])


def test_split_says_when_there_are_too_few_subjects() -> None:
    with pytest.raises(SystemExit, match="3 subjects are too few: none is left for validation"):
        split(pd.DataFrame({"subject": list("abc") * 10}), 0, SHARES)


def test_engines_take_turns_within_each_seed_and_another_goes_first_each_time() -> None:
    tasks = [task for task in plan(["keel", "timm", "fastai"], 2) if task.part == "same"]
    assert [t.engine for t in tasks] == ["keel", "timm", "fastai", "timm", "fastai", "keel"]
    assert [t.seed for t in tasks] == [0, 0, 0, 1, 1, 1]


def test_every_engine_has_settings_and_the_same_epochs_in_the_first_comparison() -> None:
    settings = yaml.safe_load(SETTINGS.read_text(encoding="utf-8"))
    assert set(settings) == {*NAMES, "data", "shared"}
    for engine in NAMES:
        same = phases(Task("same", engine, 0), False, settings)
        assert [(phase["open"], phase["epochs"]) for phase in same] == [("head", 1), ("all", 6)], engine


def test_only_the_memory_part_knows_of_budgets() -> None:
    own = {"options": {"a": 1}, "memory": {"quick": {"images": 3, "budget_mb": 5, "options": {"b": 2}}}}
    assert options(Task("same", OURS, 0), False, own) == {"a": 1}
    assert options(Task("memory", OURS, 0), True, own) == {"a": 1, "b": 2, "images": 3, "budget_mb": 5}


def test_accuracy_gain_is_wider_when_errors_gather_in_few_subjects(tested: dict[int, pd.DataFrame]) -> None:
    spread = "0" * 20 + "1" * (IMAGES - 20)  # one image of each of 20 subjects
    gathered = "".join("0" if i % SUBJECTS < 2 else "1" for i in range(IMAGES))  # all ten images of two subjects
    ours = run("own", OURS, 0, 1, wrong=0)
    apart, together = (accuracy_gain([ours], [ours | {"hits": hits}], tested) for hits in (spread, gathered))
    assert apart.value == together.value == pytest.approx(20 / IMAGES)
    assert together.high - together.low > 1.5 * (apart.high - apart.low)


def test_accuracy_gain_of_two_that_never_differ_is_tangos_interval(tested: dict[int, pd.DataFrame]) -> None:
    same = [run("own", OURS, 0, 1)]
    gain = accuracy_gain(same, same, tested)
    most = 1.96**2 / (IMAGES + 1.96**2)  # Tango 1998 with no discordant pair: z^2 / (n + z^2)
    assert gain.value == 0
    assert (gain.low, gain.high) == (pytest.approx(-most, rel=1e-3), pytest.approx(most, rel=1e-3))


def test_accuracy_gain_takes_only_seeds_that_both_have(tested: dict[int, pd.DataFrame]) -> None:
    ours = [run("own", OURS, seed, 1, wrong=0) for seed in range(3)]
    assert accuracy_gain(ours, [run("own", "timm", 1, 1)], tested).n == IMAGES
    assert math.isnan(accuracy_gain(ours, [], tested).low)


def test_accuracy_gain_of_three_seeds_is_narrower_than_of_one(tested: dict[int, pd.DataFrame]) -> None:
    ours, theirs = ([run("own", e, seed, 1, wrong) for seed in range(3)] for e, wrong in ((OURS, 4), ("timm", 8)))
    one, three = accuracy_gain(ours[:1], theirs, tested), accuracy_gain(ours, theirs, tested)
    assert one.value == three.value
    assert three.high - three.low < 0.7 * (one.high - one.low)


def test_speedups_pair_by_seed_and_count_an_epoch_of_a_frozen_phase() -> None:
    theirs = [run("head", "timm", 0, 20, epochs=10), run("head", "timm", 1, 30, epochs=10)]
    assert speedups(theirs, [run("stage", OURS, 1, 1, epochs=5)]) == [3.0 / 0.2]


def test_all_bars_hold(good: list[Run], tested: dict[int, pd.DataFrame]) -> None:
    assert failing(good, tested) == []


@pytest.mark.parametrize(
    ("part", "change", "sentence"),
    [
        ("own", {"seconds": 12.6}, "to the best peer's accuracy: 4.0 times faster than timm loop"),
        ("own", {"hits": "0" * 12 + "1" * (IMAGES - 12)}, "accuracy against the best peer"),
        ("own", {"hits": "0" * 6 + "1" * (IMAGES - 6)}, "accuracy against the best peer"),
        ("same", {"seconds": 16.7}, "at the same epochs: 3.0 times faster than timm loop"),
        ("head+", {"seconds": 3.3 + 14 * 0.48}, "an epoch of the head alone: each further one is 14.9 times"),
        ("stage+", {"seconds": 6.2 + 14 * 0.9}, "an epoch of the last stage beside a peer's frozen one: each further"),
        ("loop", {"share": 0.799}, "the loop against the pure forward and backward pass: 80%"),
        ("memory", {"growth_mb": 513}, "memory for 100,000 images: 513 MB more"),
    ],
)
def test_a_bar_that_is_missed_fails_alone(
    good: list[Run], tested: dict[int, pd.DataFrame], part: str, change: Run, sentence: str
) -> None:
    worse = [r | change if (r["part"], r["engine"]) == (part, OURS) else r for r in good]
    assert [s.startswith(sentence) for s in failing(worse, tested)] == [True]


def test_what_was_not_measured_fails_by_name(good: list[Run], tested: dict[int, pd.DataFrame]) -> None:
    sentences = failing([], tested)
    assert len(sentences) == len(failing([r for r in good if r["engine"] != OURS], tested)) == 6
    assert all(sentence.endswith("not measured") for sentence in sentences)


def test_a_fast_peer_that_does_not_reach_the_accuracy_sets_no_time(
    good: list[Run], tested: dict[int, pd.DataFrame]
) -> None:
    hasty = {"seconds": 5.0, "accuracy": 0.7, "hits": "0" * 120 + "1" * (IMAGES - 120)}
    runs = [r | hasty if (r["part"], r["engine"]) == ("own", "fastai") else r for r in good]
    assert failing(runs, tested) == []


def test_quick_bars_are_wider_and_none_is_gone() -> None:
    assert all(getattr(QUICK, name) <= value for name, value in vars(FULL).items())
    assert all(getattr(QUICK, name) > 0 for name in ("own", "same", "head", "stage", "loop", "memory"))


def test_table_has_a_row_an_engine_and_dashes_for_what_is_missing(good: list[Run]) -> None:
    lines = table(good).splitlines()
    assert len({len(line) for line in lines}) == 1
    assert [line.split("  ")[0] for line in lines[1:]] == list(NAMES.values())
    assert "16.6 s (16.6-16.6)" in lines[1]
    assert "99.00 %" in lines[1]
    assert lines[2].rstrip().endswith("-")


def test_plot_is_drawn_even_when_a_part_is_missing(good: list[Run], tmp_path: Path) -> None:
    plot([r for r in good if r["part"] != "own"], tmp_path / "plot.png")
    assert (tmp_path / "plot.png").stat().st_size > 10_000
