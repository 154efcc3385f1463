"""The whole certificate on a small project: real flow, real registry, real ledger, a few epochs on drawn images."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from flows.certify import Studied, ablate, certify
from tasks.audit_trail import audit
from tasks.digests import sha256_file
from tasks.errors import HoldoutSpent
from tasks.params import METHODS
from tasks.registry import Registry
from tasks.settings import settings
from tests.small_checkout import QUICK, working_in, write_plan, write_project

pytestmark = pytest.mark.usefixtures("prefect_server")
SMALL: dict[str, Any] = {
    "seeds": [1, 2, 3],
    "labels": [4, "all"],
    "epochs": 3,
    "least_steps": 0,
    "rates": {name: [0.01] for name in METHODS},
    "min_slice": 10,
}
FEW = {
    "label_smoothing": 0.0,
    "weight_decay": 0.0,
    "augmentation": {"turn": 5, "shift": 0.0, "scale": 0.0},
}  # few ingredients to leave out


@pytest.fixture(scope="module")
def root(template: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The template with a certificate of seconds."""
    root = tmp_path_factory.mktemp("certified") / "checkout"
    shutil.copytree(template, root)
    write_project(root, params={**QUICK, "finetune": {**QUICK["finetune"], **FEW}, "certify": SMALL})
    return root


@pytest.fixture(scope="module")
def certified(root: Path) -> Studied:
    with working_in(root):
        return certify(project="pets")


def read(root: Path, studied: Studied) -> dict[str, Any]:
    document: dict[str, Any] = json.loads((root / studied.page).with_suffix(".json").read_text())
    return document


def test_certificate_compares_every_method_everywhere(root: Path, certified: Studied) -> None:
    document = read(root, certified)
    assert [point["labels"] for point in document["points"]] == [4, "all"]
    alone = {(r["method"], r["labels"], r["place"]) for r in document["accuracy"] if r["against"] is None}
    places = {"test", "mirror", "test/simulated=noise 3", "mirror/device=old", "test/device=new"}
    assert {(m, n, p) for m in METHODS for n in (4, "all") for p in places} <= alone
    assert {r["seeds"] for r in document["accuracy"]} == {3}
    for row in document["accuracy"] + document["calibration"]:
        assert row["low"] <= row["value"] <= row["high"]


def test_difference_is_the_difference_of_the_accuracies(root: Path, certified: Studied) -> None:
    rows = {(r["method"], r["against"], r["labels"], r["place"]): r["value"] for r in read(root, certified)["accuracy"]}
    for (method, against, labels, place), value in rows.items():
        if against:
            expected = rows[method, None, labels, place] - rows[against, None, labels, place]
            assert value == pytest.approx(expected, abs=1e-9)


def test_page_holds_every_sentence_and_needs_no_other_file(root: Path, certified: Studied) -> None:
    page = (root / certified.page).read_text().replace("&#39;", "'")
    for sentence in [*(s for sentences in certified.claims.values() for s in sentences), *certified.not_shown]:
        assert sentence in page
    assert page.count("<svg") >= 4
    assert "src=" not in page.replace("<svg", "")
    assert 'href="http' not in page.split("<svg")[0]


def test_certificate_is_in_the_ledger_and_in_mlflow(root: Path, certified: Studied) -> None:
    with working_in(root):
        registry = Registry("pets", settings())
        entry = registry.ledger.read("pets", "certificate")[0]
        assert entry.number == certified.entry
        assert entry.body["document"] == sha256_file(certified.page.with_suffix(".json"))
        assert entry.body["page"] == sha256_file(certified.page)
        assert {"manifest", "backbone", "trials", "code", "environment"} <= set(entry.body["evidence"])
        run = registry.client.get_run(entry.body["run"])
        assert "test/all labels/gradual over scratch" in run.data.metrics
        artifacts = {a.path for a in registry.client.list_artifacts(run.info.run_id)}
        assert artifacts == {"certificate.json", "certificate.html"}
        assert [e.kind for e in registry.ledger.read("pets")][:2] == ["plan", "opening"]
        assert not registry.ledger.open_intents("pets")
        assert [line for line in audit(registry) if line[1]] == []
        store = Path(run.info.artifact_uri.removeprefix("file://"), "certificate.html")
        kept = store.read_text()
        store.write_text(kept + "<!-- harmless -->")
        said = [sentence for _, at_fault, sentence in audit(registry) if at_fault]
        store.write_text(kept)
        assert [s.split(" is not ")[0] for s in said] == [f"certificate.html of MLflow run {run.info.run_id}"]


def test_second_certificate_trains_nothing_and_records_nothing(root: Path, certified: Studied) -> None:
    files = {p: p.stat().st_mtime_ns for p in (root / "runs/pets/certificate/trials").iterdir()}
    with working_in(root):
        again = certify(project="pets")
        assert len(Registry("pets", settings()).ledger.read("pets", "certificate")) == 1
        assert len(Registry("pets", settings()).ledger.read("pets", "opening")) == 1
    assert again.entry == certified.entry
    assert {p: p.stat().st_mtime_ns for p in files} == files


def test_study_stops_where_the_test_set_is_spent(root: Path, certified: Studied, tmp_path: Path) -> None:
    shutil.copytree(root, tmp_path / "spent")
    write_plan(tmp_path / "spent", 0.6, alpha=0.025)
    with (
        working_in(tmp_path / "spent"),
        pytest.raises(HoldoutSpent, match=r"opened 1 time, which at 0\.025 each spends"),
    ):
        certify(project="pets")


def test_ablation_says_what_each_ingredient_is_worth(root: Path, certified: Studied) -> None:
    trained = len(list(root.glob("runs/pets/certificate/trials/*.trained.json")))
    with working_in(root):
        ablated = ablate(project="pets")
        kinds = [entry.kind for entry in Registry("pets", settings()).ledger.read("pets")]
    document = read(root, ablated)
    assert document["ingredients"] == ["pretraining", "unfreezing", "layer decay", "augmentation: turn"]
    worth = [row for row in document["accuracy"] if row["against"] and row["place"] in ("test", "mirror")]
    assert [row["against"] for row in worth] == document["ingredients"] * 2
    assert kinds[-1] == "ablation"
    new = len(list(root.glob("runs/pets/certificate/trials/*.trained.json"))) - trained
    assert new == 2 * 3  # the other three are methods of the certificate, trained already
    assert "<svg" in (root / ablated.page).read_text()
