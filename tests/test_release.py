"""The whole release on a small project: real flow, real registry, real ledger, a few epochs on drawn images."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
import pytest
import yaml

from flows.release import Released, hold_to_order, release, rules
from tasks.checkup import checkup
from tasks.digests import digest_of, sha256_file
from tasks.errors import BackboneRefused, BadInput, Busy, DataRejected, DigestMismatch, RegistryTrouble
from tasks.lease import hold
from tasks.ledger import Ledger
from tasks.project import load_project
from tasks.registry import Registry
from tasks.replay import replay
from tasks.settings import settings
from tasks.summary import in_full, status_lines
from tests.small_checkout import QUICK, working_in, write_images, write_plan, write_project

PETS = Path("governance/projects/pets.yaml")
pytestmark = pytest.mark.usefixtures("prefect_server")


@pytest.fixture
def checkout_after_release(learnt: Path, tmp_path: Path) -> Iterator[Path]:
    """A copy of the released stages (not of the registry, which knows where it lies)."""
    shutil.copytree(learnt, tmp_path / "checkout")
    with working_in(tmp_path / "checkout"):
        yield Path()


def test_good_model_becomes_champion_with_record_pages_and_run(released: tuple[Path, Released]) -> None:
    root, outcome = released
    with working_in(root):
        registry = Registry("pets", settings())
        assert (outcome.verdict, outcome.version) == ("PASS", "1")
        assert registry.aliases() == {"champion": "1", "challenger": None, "previous": None}
        record = json.loads(next(Path("governance/decisions/pets").glob("*.json")).read_text())
        assert record["verdict"] == "PASS"
        assert [sentence.split(" (")[0] for sentence in record["done"]] == [
            "registered as version 1",
            "version 1 made champion; previous: none",
        ]
        digests = {name: sha256_file(path) for name, path in rules(load_project(PETS), Path("runs/pets")).items()}
        assert {name: record["evidence"][name] for name in digests} == digests
        assert "<svg" in outcome.report.read_text()
        entry = registry.ledger.read("pets", "decision")[0]
        run = registry.client.get_run(entry.body["run"])
        assert run.data.metrics["test/accuracy"] == pytest.approx(1, abs=0.1)
        assert run.inputs.dataset_inputs[0].tags[0].value == entry.body["data"]["digest"]
        artifacts = {a.path for a in registry.client.list_artifacts(run.info.run_id)}
        assert {
            "report.html",
            "brief.html",
            "card.html",
            "README.md",
            "audit.html",
            "selection.html",
            "evidence",
        } <= artifacts
        assert entry.body["evidence"]["audit"] == sha256_file(Path("runs/pets/audit/audit.json"))
        assert entry.body["backbone"]["by"] == "the shortlist"
        assert entry.body["backbone"]["scores"][0]["scores"]["linear_probe"]["n"] > 0
        assert entry.body["data"]["versioned"] is False


def test_status_and_show_tell_what_was_decided(released: tuple[Path, Released]) -> None:
    with working_in(released[0]):
        registry, about = Registry("pets", settings()), load_project(Path("governance/projects/pets.yaml"))
        lines = "\n".join(status_lines(registry, about))
        assert "champion    version 1, PASS" in lines
        assert "is not under DVC" in lines
        assert in_full(registry, "last") in in_full(registry, "champion")
        with pytest.raises(BadInput, match="pets has no decision '99'"):
            in_full(registry, "99")


def test_second_release_runs_no_stage_and_records_nothing_new(released: tuple[Path, Released]) -> None:
    root, first = released
    with working_in(root):
        made = {p: p.stat().st_mtime_ns for p in Path("runs").rglob("stage.json")}
        entries = len(Registry("pets", settings()).ledger.read())
        again = release(project="pets")
        assert again == first
        assert made == {p: p.stat().st_mtime_ns for p in Path("runs").rglob("stage.json")}
        assert len(Registry("pets", settings()).ledger.read()) == entries


def test_verdict_that_comes_back_is_a_new_decision_on_the_same_version(checkout_after_release: Path) -> None:
    first = release(project="pets")
    write_plan(Path(), 0.6, minimum_n=10_000)
    assert release(project="pets").verdict == "INCONCLUSIVE"
    write_plan(Path(), 0.6)
    back = release(project="pets")
    registry = Registry("pets", settings())
    assert (back.verdict, back.version) == ("PASS", first.version)
    assert back.decision > first.decision
    lines = "\n".join(status_lines(registry, load_project(PETS)))
    assert f"version 1, PASS in decision {back.decision}" in lines
    assert f"decision {back.decision}, " in lines.splitlines()[-1]
    assert "tied to version 1, which is the same model, champion already" in in_full(registry, "last")
    pages = {json.loads(p.read_text())["number"] for p in Path("governance/decisions/pets").glob("*.json")}
    assert pages == {e.number for e in registry.ledger.read("pets", "decision")}


def test_flips_alone_lead_to_a_candidate_between_the_two_that_is_judged_again(checkout_after_release: Path) -> None:
    write_plan(Path(), 0.6, flips=0.001)  # which so few images cannot show of any model
    assert "no other model is in use to compare with" in release(project="pets").criteria[-1]
    write_project(Path(), params={**QUICK, "finetune": {**QUICK["finetune"], "seed": 5}})
    outcome = release(project="pets")
    registry = Registry("pets", settings())
    assert (outcome.verdict, outcome.version) == ("INCONCLUSIVE", None)
    assert registry.aliases()["champion"] == "1"
    first, second = registry.ledger.read("pets", "decision")[-2:]
    assert second.number == outcome.decision
    assert first.body["evidence"]["model"] != second.body["evidence"]["model"]
    assert {first.body["evidence"]["champion"], second.body["evidence"]["champion"]} == {
        sha256_file(Path("runs/pets/comparison/champion.json"))
    }
    facts = json.loads(Path("runs/pets/blended/pets/model/model.json").read_text())
    assert facts["interpolated"]["share"] in yaml.safe_load(Path("params.yaml").read_text())["interpolate"]["shares"]
    assert replay(registry, first).identical
    assert replay(registry, second).identical


def ask_for_more(cases: Path, elsewhere: Path) -> None:
    """Beside accuracy the plan asks for a must-pass case, an external set, and timings beside the champion's."""
    write_images(elsewhere, noise=9)
    cases.mkdir()
    shutil.copy(elsewhere / "001.png", cases / "stripe.png")
    row = {"file_name": "stripe.png", "label": "dog", "added": "2026-03-01", "provenance": "drawn", "why": "a test"}
    pd.DataFrame([row]).to_csv(cases / "cases.csv", index=False)
    write_plan(Path(), 0.6)
    plan = yaml.safe_load(Path("governance/plan.yaml").read_text())
    rest = {"minimum_n": 1, "severity": "block", "reason": "r"}
    for name, section, metric, place, bound in (
        ("case", "standard", "case_passed", "cases/case=*", {"at_least": 1.0}),
        ("kept", "champion", "case_kept", "cases/case=*", {"at_least": 1.0}),
        ("elsewhere", "external", "accuracy", "external/elsewhere", {"at_least": 0.6}),
        ("quick", "latency", "latency_p95_ms", "test", {"at_most": 100}),
        ("as-quick", "latency", "latency_ratio_to_champion", "test", {"at_most": 2}),
    ):
        asked = {"name": name, "metric": metric, "slice": place, **bound, **rest}
        plan[section] = [*(plan[section] if isinstance(plan[section], list) else []), asked]
    pinned = {"name": "elsewhere", "data": str(elsewhere), "sha256": digest_of(elsewhere), "reason": "r"}
    Path("governance/plan.yaml").write_text(yaml.safe_dump({**plan, "external_sets": [pinned]}))


def test_case_external_set_and_timings_are_judged_and_replayed(
    checkout_after_release: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask_for_more(Path("cases"), Path("elsewhere"))
    told = {"single_ms": [[5.0, 6.0]] * 100, "batch_ms": [[20.0]] * 100, "cold_start_s": 4.0, "peak_memory_mb": 700.0}
    monkeypatch.setattr("tasks.measure_latency.time_in_fresh_process", lambda *_: told)
    write_project(Path(), cases="cases")
    first = release(project="pets")
    assert (first.verdict, first.version) == ("PASS", "1")
    assert "NOT APPLICABLE median time of an image over the champion's on test: there are no timings" in "\n".join(
        first.criteria
    )
    write_project(Path(), cases="cases", params={**QUICK, "finetune": {**QUICK["finetune"], "seed": 5}})
    second = release(project="pets")
    said = [sentence.split(":")[0] for sentence in second.criteria]
    assert "PASS must-pass case read right on cases/case=stripe" in said
    assert "PASS must-pass case not lost against the champion on cases/case=stripe" in said
    assert "PASS accuracy on external/elsewhere" in said
    assert "PASS median time of an image over the champion's on test" in said
    assert json.loads(Path("runs/pets/parity/parity.json").read_text())["paths"][2]["images"] > 0
    registry = Registry("pets", settings())
    assert [replay(registry, d).differences for d in registry.ledger.read("pets", "decision")] == [[], []]


def test_plan_that_follows_a_look_at_the_test_set_cannot_pass(checkout_after_release: Path) -> None:
    assert release(project="pets").verdict == "PASS"
    write_plan(Path(), 0.55)
    outcome = release(project="pets")
    registry = Registry("pets", settings())
    assert (outcome.verdict, outcome.version) == ("INCONCLUSIVE", None)
    assert "was entered on 20" in outcome.sentence
    assert "after these test images were first opened on 20" in outcome.sentence
    sizes = pd.read_parquet("runs/pets/split/manifest.parquet")["split"].value_counts()
    fresh = f"label {sizes['test'] + 1} fresh images for test and {sizes['mirror'] + 1} fresh images for mirror"
    assert outcome.sentence.endswith(fresh)
    record = json.loads(sorted(Path("governance/decisions/pets").glob("*-inconclusive.json"))[-1].read_text())
    assert (record["verdict"], record["sentence"]) == ("INCONCLUSIVE", outcome.sentence)
    assert json.loads(Path("runs/pets/verdict/verdict.json").read_text())["overall"] == "PASS"  # of the figures alone
    assert registry.client.get_run(registry.ledger.read("pets", "decision")[-1].body["run"]).data.tags["verdict"] == (
        "INCONCLUSIVE"
    )
    assert release(project="pets").decision == outcome.decision
    write_plan(Path(), 0.5)  # between the judging and the recording
    with pytest.raises(DigestMismatch, match="is not the plan that the verdict was made by"):
        hold_to_order.fn(registry, load_project(PETS), Path("runs/pets"))


def test_spent_test_set_is_not_opened_and_other_images_of_other_classes_are_another_model(
    checkout_after_release: Path,
) -> None:
    write_plan(Path(), 0.6, alpha=0.025)
    assert release(project="pets").verdict == "PASS"
    assert release(project="pets").verdict == "PASS"  # the same result once more is no further look
    scored = Path("runs/pets/predictions/stage.json").stat().st_mtime_ns
    write_project(Path(), params={**QUICK, "finetune": {**QUICK["finetune"], "seed": 5}})
    outcome = release(project="pets")
    assert (outcome.verdict, outcome.version, outcome.report, outcome.criteria) == ("INCONCLUSIVE", None, None, [])
    assert "opened 1 time, which at 0.025 each spends the 0.025 that the plan allows" in outcome.sentence
    assert "fresh images for test and" in outcome.sentence
    assert Path("runs/pets/predictions/stage.json").stat().st_mtime_ns == scored
    registry = Registry("pets", settings())
    assert registry.ledger.read("pets")[-1].kind == "refusal"
    assert registry.aliases()["champion"] == "1"
    write_images(Path("pets"), noise=7)  # other images: a test set that nobody has seen
    table = pd.read_csv("pets/metadata.csv")
    table.replace({"label": {"dog": "hound"}}).to_csv("pets/metadata.csv", index=False)
    outcome = release(project="pets")
    assert (outcome.verdict, outcome.version) == ("PASS", "2")
    mlflow.set_tracking_uri(settings().tracking_uri)
    model = mlflow.pyfunc.load_model("models:/pets@champion")
    answer = model.predict(pd.DataFrame({"image": [Path("pets/001.png").read_bytes()]}))
    assert list(answer.columns) == ["label", "prob_cat", "prob_hound"]


@pytest.mark.parametrize(("at_least", "minimum_n", "verdict"), [(1.0, 20, "FAIL"), (0.6, 10_000, "INCONCLUSIVE")])
def test_other_verdicts_are_recorded_and_promote_nothing(
    checkout_after_release: Path, at_least: float, minimum_n: int, verdict: str
) -> None:
    if verdict == "FAIL":  # labels in the wrong order: every answer is wrong
        table = pd.read_csv("pets/metadata.csv")
        random = np.random.default_rng(0)
        table.assign(label=random.permutation(table["label"])).to_csv("pets/metadata.csv", index=False)
    write_plan(Path(), at_least, minimum_n)
    outcome = release(project="pets")
    registry = Registry("pets", settings())
    assert (outcome.verdict, outcome.version) == (verdict, None)
    assert registry.aliases()["champion"] is None
    assert [e.kind for e in registry.ledger.read("pets")] == ["plan", "opening", "intent", "decision"]
    page = next(Path("governance/decisions/pets").glob(f"*-{verdict.lower()}.md")).read_text()
    assert "* nothing: only PASS registers and promotes" in page


@pytest.mark.parametrize(
    ("variable", "place", "said"),
    [
        ("MLFLOW_TRACKING_URI", "http://127.0.0.1:9", "MLflow at http://127.0.0.1:9 failed"),
        ("KEEL_LEDGER_URL", "sqlite:////nowhere/ledger.db", "the ledger at sqlite:////nowhere/ledger.db does not"),
    ],
)
def test_registry_or_ledger_out_of_reach_stops_the_flow_before_anything_is_learnt(
    checkout: Path, monkeypatch: pytest.MonkeyPatch, variable: str, place: str, said: str
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setenv(variable, place)
    with pytest.raises(RegistryTrouble, match=said):
        release(project="pets")
    assert not Path("runs").exists()


def test_release_that_another_machine_is_running_is_not_begun_twice(checkout: Path, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    with (
        hold(Ledger(settings().ledger_url), "pets.release", tmp_path / "other", wait=0),
        pytest.raises(Busy, match=r"pets\.release is held by process"),
    ):
        release(project="pets")
    assert not Path("runs").exists()


def test_broken_contract_stops_the_flow_before_anything_is_learnt(checkout: Path) -> None:
    shutil.copy("pets/000.png", "pets/002.png")
    with pytest.raises(DataRejected, match=r"000\.png.*002\.png|002\.png.*000\.png"):
        release(project="pets")
    assert not Path("runs/pets/split").exists()
    assert [e.kind for e in Ledger(settings().ledger_url).read()] == ["plan"]


def test_backbone_that_policy_refuses_stops_the_flow(checkout: Path) -> None:
    file = Path("governance/backbones.yaml")
    file.write_text(file.read_text().replace("licence: Apache-2.0", "licence: CC-BY-NC-4.0"))
    with pytest.raises(BackboneRefused, match=r"CC-BY-NC-4\.0"):
        release(project="pets")
    assert not Path("runs").exists()


def test_unknown_section_of_overrides_is_named(checkout: Path) -> None:
    write_project(Path(), params={"finetunes": {}})
    with pytest.raises(BadInput, match=r"params has no section \['finetunes'\]"):
        release(project="pets")


def test_overrides_that_dvc_would_not_see_are_refused_by_name(checkout: Path) -> None:
    pipeline = Path("dvc.yaml")
    pipeline.write_text(pipeline.read_text().replace("runs/digits/", "runs/pets/"))
    with pytest.raises(
        BadInput,
        match=r"pets overrides attribute, evaluate, finetune, shortlist, stress of params\.yaml and has stages",
    ):
        release(project="pets")
    assert not Path("runs").exists()


def test_logged_model_is_the_judged_one(released: tuple[Path, Released]) -> None:
    root, _ = released
    with working_in(root):
        mlflow.set_tracking_uri(settings().tracking_uri)
        model = mlflow.pyfunc.load_model("models:/pets@champion")
        table = pd.read_parquet("runs/pets/predictions/predictions.parquet").head(8)
        answer = model.predict(pd.DataFrame({"image": [Path("pets", i).read_bytes() for i in table["image_id"]]}))
        assert np.allclose(answer[["prob_cat", "prob_dog"]], table[["prob_cat", "prob_dog"]], atol=1e-6)
        assert (answer["label"] == table["predicted"]).all()


def test_doctor_finds_everything_in_order_and_names_an_alias_moved_by_hand(released: tuple[Path, Released]) -> None:
    with working_in(released[0]):
        chosen = settings()
        lines = {name: (trouble, sentence) for name, trouble, sentence in checkup("pets", chosen)}
        assert {name for name, (trouble, _) in lines.items() if trouble} == {"DVC remote"}  # the copy has no .dvc
        registry = Registry("pets", chosen)
        registry.set_aliases({"champion": None, "challenger": None, "previous": None})
        lines = {name: (trouble, sentence) for name, trouble, sentence in checkup("pets", chosen)}
        registry.set_aliases({"champion": "1", "challenger": None, "previous": None})
        assert lines["registry"][0]
        assert "champion is version none, the ledger says 1: an alias was moved by hand" in lines["registry"][1]
