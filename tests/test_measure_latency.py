"""Timings of a real process that starts, loads a small model and answers; the same one is not timed twice."""

import json
from pathlib import Path

import pytest

from tasks.digests import STAMP
from tasks.errors import BadInput
from tasks.findings import TIMINGS
from tasks.hardware import fingerprint
from tasks.judge_latency import judge_latency
from tasks.measure_latency import measure_latency
from tasks.params import MeasureLatencyParams
from tests.drawn_predictions import PARAMS
from tests.small_model import write_run

QUICK = MeasureLatencyParams(
    images=4, singles=20, batches=20, batch_size=2, blocks=10, threads=1, rate_per_s=20, deadline_ms=500
)


@pytest.fixture(scope="module")
def timed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("timed")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KEEL_STATE", str(root / "state"))
        run = write_run(root)
    run = {"data": run["data"], "manifest": run["manifest"], "model": run["model"], "out": root / "timings"}
    measure_latency.fn(**run, hardware=fingerprint(1), params=QUICK, asked=True)
    return run


def test_a_fresh_process_is_timed_from_its_start(timed: dict[str, Path]) -> None:
    assert {p.name for p in timed["out"].iterdir()} == {TIMINGS, STAMP}
    told = json.loads((timed["out"] / TIMINGS).read_text())
    single, batch = ([t for block in told[key] for t in block] for key in ("single_ms", "batch_ms"))
    assert (len(told["single_ms"]), len(single), len(batch)) == (10, 20, 20)
    assert min(single) > 0
    assert 0.5 < told["cold_start_s"] < 120  # torch alone takes longer than half a second
    assert 100 < told["peak_memory_mb"] < 5000
    size = sum((timed["model"] / name).stat().st_size for name in ("model.json", "model.safetensors"))
    assert told["model_size_mb"] == pytest.approx(size / 1e6)
    assert set(told["hardware"]) == {"processor", "cores", "threads", "device", "torch", "python"}


def test_the_same_model_is_timed_again_only_on_other_hardware(
    timed: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = (timed["out"] / TIMINGS).read_bytes()
    calls = []
    monkeypatch.setattr("tasks.measure_latency.time_in_fresh_process", lambda *a: calls.append(a) or {})
    measure_latency.fn(**timed, hardware=fingerprint(1), params=QUICK, asked=True)
    assert (calls, (timed["out"] / TIMINGS).read_bytes()) == ([], before)
    other = {**timed, "out": timed["out"].with_name("other")}
    measure_latency.fn(**other, hardware=fingerprint(2), params=QUICK, asked=True)
    assert len(calls) == 1


def test_nothing_is_timed_where_the_plan_asks_nothing(
    timed: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tasks.measure_latency.time_in_fresh_process", pytest.fail)
    measure_latency.fn(**{**timed, "out": tmp_path / "none"}, hardware={}, params=QUICK, asked=False)
    (tmp_path / "champion").mkdir()
    plan = Path("governance/plan.yaml")
    given = {"champion": tmp_path / "champion", "plan": plan, "params": PARAMS, "not_applicable": {}}
    judge_latency.fn(timings=tmp_path / "none", **given, out=tmp_path / "latency")
    assert json.loads((tmp_path / "latency/report.json").read_text()) == []


def test_the_champion_s_timings_of_the_same_hardware_are_kept_for_a_replay(
    timed: dict[str, Path], tmp_path: Path
) -> None:
    (tmp_path / "champion").mkdir()
    (tmp_path / "champion" / TIMINGS).write_bytes((timed["out"] / TIMINGS).read_bytes())
    given = {"champion": tmp_path / "champion", "plan": Path("governance/plan.yaml"), "params": PARAMS}
    judge_latency.fn(timings=timed["out"], **given, not_applicable={}, out=tmp_path / "latency")
    kept = json.loads((tmp_path / "latency/champion.json").read_text())
    assert kept == {"why_not": None, "timings": json.loads((timed["out"] / TIMINGS).read_text())}
    report = {row["metric"]: row for row in json.loads((tmp_path / "latency/report.json").read_text())}
    assert report["latency_ratio_to_champion"]["value"] == 1


def test_a_process_that_fails_says_why(timed: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tasks.timed_process.__name__", "tasks.no_such_module")
    with pytest.raises(BadInput, match=r"timed on .*model failed: .*No module named tasks\.no_such_module"):
        measure_latency.fn(**{**timed, "out": tmp_path / "out"}, hardware={}, params=QUICK, asked=True)


def test_parameters_that_do_not_fill_the_blocks_are_refused() -> None:
    with pytest.raises(ValueError, match=r"singles \(25\) must be a multiple of blocks \(10\)"):
        MeasureLatencyParams(**{**QUICK.model_dump(), "singles": 25})
