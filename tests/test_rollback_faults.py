"""A rollback that is broken at a step leaves the old state or the new one; benchmarks/faults.py walks them all."""

from pathlib import Path

import pytest

from benchmarks.faults import NEW, OLD, broken, quiet, watch

ALIAS = "MLflow: set_registered_model_alias"
APPEND = "ledger: append"


@pytest.fixture(scope="module")
def steps(three_versions: Path, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    quiet()
    return watch(three_versions, tmp_path_factory.mktemp("watched") / "pets")


def place(steps: list[str], name: str, number: int) -> int:
    """Where the step of that name is, the first, second or last (-1) of it."""
    return [k for k, step in enumerate(steps) if step == name][number]


def test_every_move_is_a_step(steps: list[str]) -> None:
    assert steps.count(ALIAS) == 2
    assert steps.count(APPEND) == 2
    assert steps.index(APPEND) < steps.index(ALIAS)
    assert steps[-1] == "ledger: writing"


@pytest.mark.parametrize(
    ("fault", "name", "number", "ends"),
    [
        ("killed", ALIAS, 0, OLD),
        ("killed", ALIAS, 1, OLD),
        ("killed", APPEND, 1, OLD),
        ("killed", "ledger: writing", -1, NEW),
        ("cut off", "MLflow: load_model", 1, OLD),
        ("disk full", APPEND, 1, OLD),
        ("ledger locked", APPEND, 1, OLD),
        ("MLflow locked", ALIAS, 1, OLD),
        ("beside", ALIAS, 1, NEW),
        ("overtaken", APPEND, 0, None),
    ],
)
def test_broken_rollback_ends_as_it_began_or_as_it_was_to_end(
    three_versions: Path, tmp_path: Path, steps: list[str], fault: str, name: str, number: int, ends: object
) -> None:
    after = broken(three_versions, tmp_path / "pets", fault, place(steps, name, number), name)
    assert after.problems == []
    if ends is not None:
        assert after.now == ends
    if (fault, name) in (("killed", APPEND), ("cut off", "MLflow: load_model")) and number == 1:
        assert after.left == NEW  # the repair has something to undo
