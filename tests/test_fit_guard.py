"""The guard is fitted on train, set on calibration, checked on validation; its promises hold where they are made."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from torch import nn

from tasks.attacks import ATTACKS, Network, attack
from tasks.digests import identity
from tasks.errors import EvidenceMissing
from tasks.evaluators.conformal import chosen_quantile
from tasks.evaluators.selective import chosen_threshold
from tasks.evidence import Evidence
from tasks.fit_guard import ALWAYS_ASK, fit_guard, terms_of, threshold_of
from tasks.guard import Guard
from tasks.params import FitGuardParams
from tasks.plan import load_plan
from tasks.predict import score
from tasks.suspicion import SCORES, moved, squeezed
from tests.drawn_predictions import PARAMS, draw_manifest, draw_predictions
from tests.small_model import write_model, write_pictures
from tests.test_attacks import PLAIN

PLAN = Path("governance/plan.yaml")
KNOBS = FitGuardParams(false_rejection=0.01, bits=5, window=3, squeeze_share=0.5, radius=1.0)
SPLITS = ["train", "calibration", "validation", "test"]


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Eighty drawn images in turn in each split, a random model and what it says of them."""
    root = tmp_path_factory.mktemp("run")
    table = write_pictures(root / "data", 80).rename(columns={"file_name": "path"})
    places = np.arange(80)
    table = table.assign(image_id=table["path"], unit=table["path"], group="g", split=np.array(SPLITS)[places // 2 % 4])
    (root / "split").mkdir()
    table.to_parquet(root / "split/manifest.parquet", index=False)
    model = write_model(root / "model")
    (root / "predictions").mkdir()
    outside = table[table["split"] != "train"].reset_index(drop=True)
    score(root / "data", outside, model).to_parquet(root / "predictions/predictions.parquet", index=False)
    names = {"manifest": "split"}
    inputs = {name: root / names.get(name, name) for name in ("data", "manifest", "model", "predictions")}
    return {**inputs, "plan": PLAN}


def test_guard_of_a_run_belongs_to_its_model_and_says_what_it_rests_on(given: dict[str, Path], tmp_path: Path) -> None:
    fit_guard.fn(**given, params=KNOBS, evaluating=PARAMS, out=tmp_path / "guard")
    guard = Guard.load(tmp_path / "guard")
    assert (guard.facts.model, guard.facts.classes) == (identity(given["model"]), ("cat", "dog"))
    assert guard.facts.squeeze_share == 0.5
    assert set(guard.thresholds) == set(SCORES)
    assert all((one.n, one.checked, one.rate) == (20, 20, 1 / 21) for one in guard.thresholds.values())


def test_test_images_are_not_looked_at(given: dict[str, Path], tmp_path: Path) -> None:
    table = pd.read_parquet(given["manifest"] / "manifest.parquet")
    (tmp_path / "split").mkdir()
    table[table["split"] != "test"].to_parquet(tmp_path / "split/manifest.parquet", index=False)
    kept = pd.read_parquet(given["predictions"] / "predictions.parquet")
    kept = kept[kept["image_id"].isin(table["image_id"][table["split"] != "test"])]
    (tmp_path / "predictions").mkdir()
    kept.to_parquet(tmp_path / "predictions/predictions.parquet", index=False)
    without = {**given, "manifest": tmp_path / "split", "predictions": tmp_path / "predictions"}
    documents = []
    for name, inputs in (("with", given), ("without", without)):
        fit_guard.fn(**inputs, params=KNOBS, evaluating=PARAMS, out=tmp_path / name)
        documents.append(json.loads((tmp_path / name / "guard.json").read_text()))
    assert documents[0] == documents[1]


def test_class_without_training_images_is_named(given: dict[str, Path], tmp_path: Path) -> None:
    table = pd.read_parquet(given["manifest"] / "manifest.parquet")
    (tmp_path / "split").mkdir()
    absent = (table["split"] == "train") & (table["label"] == "dog")
    table[~absent].to_parquet(tmp_path / "split/manifest.parquet", index=False)
    with pytest.raises(EvidenceMissing, match="no training image of dog"):
        fit_guard.fn(**{**given, "manifest": tmp_path / "split"}, params=KNOBS, evaluating=PARAMS, out=tmp_path / "g")


def test_terms_are_those_that_the_report_is_made_with() -> None:
    manifest = draw_manifest(test=60, scans=12)
    predictions = draw_predictions(manifest, 2.0, 1)
    evidence = Evidence(predictions, manifest, PARAMS, costs=load_plan(PLAN).prices)
    terms = terms_of(predictions, manifest, PLAN, PARAMS)
    assert (terms.threshold, terms.quantile) == (chosen_threshold(evidence), chosen_quantile(evidence))
    assert 0 < chosen_quantile(evidence) < 1


def test_plan_without_costs_answers_everything_and_a_hopeless_model_nothing(tmp_path: Path) -> None:
    manifest = draw_manifest(test=20, scans=2)
    free = tmp_path / "plan.yaml"
    document = yaml.safe_load(PLAN.read_text()) | {"costs": {"none": "for the test"}}
    free.write_text(yaml.safe_dump(document))
    assert load_plan(free).prices is None
    assert terms_of(draw_predictions(manifest, 2.0, 1), manifest, free, PARAMS).threshold is None
    assert terms_of(draw_predictions(manifest, -4.0, 1), manifest, PLAN, PARAMS).threshold == ALWAYS_ASK


@pytest.mark.parametrize(("n", "rate"), [(129, 0.01), (200, 0.05), (20, 0.01)])
def test_share_of_ordinary_images_that_is_flagged_is_as_promised_in_a_simulation(n: int, rate: float) -> None:
    random = np.random.default_rng(0)
    shares, told = [], threshold_of(random.random(n), rate, 0.9, np.zeros(1))
    for _ in range(4000):  # scores are uniform, so the share above a threshold is one minus it
        shares.append(1 - threshold_of(random.random(n), rate, 0.9, np.zeros(1)).threshold)
    assert np.mean(shares) == pytest.approx(told.rate, rel=0.06)
    assert told.rate <= max(rate, 1 / (n + 1))
    assert np.mean((np.array(shares) < told.low) | (np.array(shares) > told.high)) == pytest.approx(0.1, abs=0.02)


def test_validation_counts_what_is_above_and_what_is_no_number() -> None:
    told = threshold_of(np.arange(100.0), 0.05, 0.95, np.array([3.0, 95.0, 96.0, 200.0, np.nan]))
    assert (told.threshold, told.flagged, told.checked) == (95.0, 3, 5)


def test_calibration_score_that_is_no_number_is_missing_evidence() -> None:
    with pytest.raises(EvidenceMissing, match="of 3 calibration scores 1 are no numbers"):
        threshold_of(np.array([1.0, np.nan, 2.0]), 0.01, 0.95, np.zeros(1))


@pytest.mark.parametrize("name", ATTACKS)
def test_attacked_images_move_further_when_squeezed_than_any_ordinary_one(name: str) -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Flatten(), nn.Linear(3 * 16 * 16, 2))
    with torch.no_grad():  # light or dark tells the classes, and so does a pattern that no eye would see
        weights = 0.05 + torch.randn(3 * 16 * 16).sign()
        net[1].weight.copy_(torch.stack([weights, -weights]))
        net[1].bias.copy_(-net[1].weight.sum(1) * 0.5)
    network = Network(net, PLAIN)
    levels = torch.tensor([4, 7, 24, 27]).repeat(10) * 255 / 31
    plain = levels.round().byte().view(-1, 1, 1, 1).expand(-1, 3, 16, 16).contiguous()
    truth = network(plain.float() / 255).argmax(1)
    found = (attack(name, network, plain.float() / 255, truth, 3 / 255, 5) * 255).round().byte()

    def score_of(pixels: torch.Tensor) -> np.ndarray:
        told, again = (torch.softmax(network(p.float() / 255), 1).numpy() for p in (pixels, squeezed(pixels, 5, 3)))
        return moved(told, again)

    assert np.median(score_of(found)) > 1
    assert score_of(found).min() > score_of(plain).max()
