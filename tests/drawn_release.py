"""The folders of a release that nobody trained: drawn predictions, really evaluated, compared and judged."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

from tasks.cases import ANSWERS
from tasks.comparison import CHAMPION, write_comparison
from tasks.evaluate import evaluate
from tasks.findings import Finding, write_findings
from tasks.fit_guard import threshold_of
from tasks.gate import judge_criteria, judge_folder, together, verdict_of
from tasks.guard import Facts, Guard
from tasks.plan import load_plan
from tasks.suspicion import SCORES
from tasks.told import Terms
from tasks.verdict import VERDICT, Verdict, write_verdict
from tests.drawn_predictions import CLASSES, PARAMS, draw_manifest, draw_predictions, draw_tables

PLAN = Path("governance/plan.yaml")
PASSPORT = {
    "name": "some-backbone",
    "licence": "Apache-2.0",
    "attribution": "Drawn.",
    "training_data": "Nothing <photographed>.",
    "chosen": {"sentence": "The owner chose it."},
    **{key: [f"{key} | of the backbone"] for key in ("intended_use", "excluded_use", "limitations", "biases", "risks")},
}
FACTS = {
    "architecture": "test_resnet",
    "backbone": "some-backbone",
    "classes": CLASSES,
    "image_size": 32,
    "train_images": 6,
    "temperature": 1.0,
    "rate": 0.01,
    "validation_loss": 0.5,
    "seed": 1,
    "training": ["trained in 32-true"],
    "digests": {"code": "c" * 64},
}
KNOBS: dict[str, Any] = {
    "split": {"seed": 7},
    "finetune": {"batch_size": 16, "weight_decay": 0.05, "label_smoothing": 0.1, "patience": 5}
    | dict.fromkeys(("drop_path", "mixup", "cutmix", "l2_sp", "ema"), 0),
    "evaluate": PARAMS.model_dump(),
}


def write_release(root: Path) -> dict[str, Any]:
    """What write_pages takes, with a champion to compare with; each image is there."""
    manifest = draw_manifest(test=120, scans=40).assign(source="desk A", licence="CC0-1.0", consent="given")
    ours = draw_predictions(manifest, 2.5, 1)
    tables = draw_tables(manifest, ours, draw_predictions(manifest, 1, 2))
    tables = {"manifest": manifest} | {k: v for k, v in tables.items() if k != "manifest"}
    for name, table in tables.items():
        (root / name).mkdir(parents=True)
        table.to_parquet(root / name / f"{name.removeprefix('scratch_')}.parquet", index=False)
    inputs = {name: root / name for name in tables}
    report = evaluate.fn(**inputs, plan=PLAN, params=PARAMS, out=root / "report")
    comparison, latency = _compare(root, manifest, tables["cases"]), _time(root)
    verdict = together(together(judge_folder(report, PLAN, {}), comparison, False), latency, False)
    (root / "verdict").mkdir()
    write_verdict(verdict, root / "verdict" / VERDICT)
    _write_the_rest(root, manifest)
    decided = {
        "verdict": dataclasses.asdict(verdict),
        "data": {"digest": "d" * 32, "sentence": "data as drawn"},
        "params": KNOBS,
        "standing": {"waivers": {"calibration": 9}, "risk_register": ["mixed-up (low): Cats <are> dogs. It is open"]},
        "risks": [{"what": "Cats are taken for dogs.", "level": "low", "mitigation": None}],
    }
    folders = ("manifest", "backbone", "audit", "model", "scratch", "predictions", "attributions", "report")
    given = {name: root / name for name in (*folders, "comparison", "latency", "data")}
    return {"name": "pets", "decided": decided, "plan": PLAN, **given}


def _compare(root: Path, manifest: pd.DataFrame, cases: pd.DataFrame) -> Verdict:
    out = root / "comparison"
    out.mkdir()
    (out / CHAMPION).write_text(json.dumps({"version": "3", "why_not": None}))
    draw_predictions(manifest, 2.5, 3).to_parquet(out / "predictions.parquet", index=False)
    cases.to_parquet(out / ANSWERS, index=False)
    return write_comparison(root / "predictions", root / "cases", out, root / "manifest", PLAN, PARAMS, {}, out)


def _time(root: Path) -> Verdict:
    """One figure is there; what else the plan asks of latency is missing evidence."""
    (root / "latency").mkdir()
    found = [Finding("latency_p95_ms", "test", 4.0, 3.5, 5.0, 200, 200, "order statistics")]
    write_findings(found, root / "latency/report.json")
    plan = load_plan(PLAN)
    return verdict_of(judge_criteria(found, plan.asked("latency"), plan.level, {}), False)


def _write_the_rest(root: Path, manifest: pd.DataFrame) -> None:
    for name, file, document in (
        ("model", "model.json", FACTS),
        ("backbone", "passport.json", PASSPORT),
        ("audit", "audit.json", {"sentence": "no augmentation"}),
    ):
        (root / name).mkdir()
        (root / name / file).write_text(json.dumps(document))
    curves = pd.DataFrame({"rate": [0.01], "phase": [1], "open": ["head"], "epoch": [1], "validation_loss": [0.5]})
    (root / "scratch").mkdir()
    for name in ("model", "scratch"):
        curves.to_csv(root / name / "curves.csv", index=False)
    (root / "guard").mkdir()
    write_drawn_guard(root / "guard")
    Image.new("L", (8, 8), 120).save(root / "attributions/gallery.png")
    (root / "attributions/gallery.csv").write_text("row,column,actual,predicted,confidence\nwrong,1,a,b,0.9\n")
    for path in manifest["path"]:
        file = root / "data" / path
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (8, 8), 200).save(file, "PNG")


def write_drawn_guard(folder: Path) -> None:
    """A guard of nobody's model, with the thresholds of drawn scores."""
    drawn = np.random.default_rng(5).random((3, 40))
    thresholds = {name: threshold_of(s, 0.01, 0.95, s) for name, s in zip(SCORES, drawn, strict=True)}
    facts = Facts("m" * 64, tuple(CLASSES), 5, 3, 0.1, 1.0)
    Guard(facts, Terms(0.8, 0.5), thresholds, np.eye(2), np.zeros((3, 2))).save(folder)
