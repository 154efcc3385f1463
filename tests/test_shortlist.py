"""The stage on drawn images with small real backbones: what it writes, repeats, leaves out and refuses."""

import datetime as dt
import html
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import timm
import torch
import yaml
from loopback_hub import REPOSITORY, REVISION
from PIL import Image
from safetensors.torch import save_file
from test_backbones import ENTRY, POLICY

from tasks.digests import sha256_file
from tasks.errors import BackboneRefused
from tasks.params import FinetuneParams, Phase, ShortlistParams, load_section
from tasks.shortlist import shortlist

PARAMS = ShortlistParams(
    include_hub=False,
    finalists=1,
    phases=[Phase(open="head", epochs=1, rate=1.0), Phase(open="all", epochs=1, rate=0.5)],
    rates=[0.01],
    least_steps=0,
    most_images=40,
    resamples=100,
    level=0.95,
    min_clusters=5,
    seed=1,
)
TRAINING = load_section(FinetuneParams, Path("params.yaml"), {"image_size": 32, "batch_size": 8})


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """120 drawn images of two classes (dark or light left half), a manifest, a catalogue of two networks and a hub."""
    root = tmp_path_factory.mktemp("shortlist")
    random, rows = np.random.default_rng(0), []
    for place in range(120):
        pixels = random.integers(60, 190, (32, 32, 3), dtype=np.uint8)
        pixels[:, :16] = 60 if place % 2 else 190
        Image.fromarray(pixels).save(root / f"{place:03d}.png")
        row = {"image_id": f"{place:03d}.png", "path": f"{place:03d}.png", "label": "ab"[place % 2]}
        split = ["train", "train", "validation", "mirror"][place // 2 % 4]
        rows.append({**row, "split": split, "group": f"{split}{place // 10}", "unit": row["path"]})
        rows[-1]["sha256"] = sha256_file(root / row["path"])
    (root / "split").mkdir()
    pd.DataFrame(rows).to_parquet(root / "split/manifest.parquet")
    entries = [network(root, "test_resnet"), network(root, "test_vit", img_size=32)]
    entries.append({**ENTRY, "name": "distant", "weights": {"hub": REPOSITORY, "revision": REVISION}})
    entries.append({**ENTRY, "name": "overdue", "review_by": dt.date(2020, 1, 1)})
    (root / "backbones.yaml").write_text(yaml.safe_dump({"policy": POLICY, "backbones": entries}))
    return root


def network(root: Path, architecture: str, **options: Any) -> dict[str, Any]:
    """Random weights in a file, and the entry that lists them."""
    torch.manual_seed(0)
    net = timm.create_model(architecture, num_classes=0, **options)
    file = root / f"backbones/{architecture}.safetensors"
    file.parent.mkdir(exist_ok=True)
    save_file(net.state_dict(), file)
    about = {"weights": {"file": f"backbones/{file.name}"}, "sha256": sha256_file(file), "architecture": architecture}
    size = sum(p.numel() for p in timm.create_model(architecture, num_classes=0).parameters())
    return {**ENTRY, **about, "name": architecture, "parameters": size, "review_by": dt.date(2999, 1, 1)}


def run(project: Path, out: Path, params: ShortlistParams = PARAMS, training: FinetuneParams = TRAINING) -> Path:
    paths = {"manifest": project / "split", "catalogue": project / "backbones.yaml", "weights": project / "backbones"}
    return shortlist.fn(data=project, **paths, params=params, training=training, out=out)


@pytest.fixture(scope="module")
def written(project: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run(project, tmp_path_factory.mktemp("out") / "first", PARAMS.model_copy(update={"finalists": 2}))


def test_the_record_has_every_score_with_its_interval_and_a_sentence_for_every_entry(written: Path) -> None:
    selection = json.loads((written / "selection.json").read_text())
    rows = {row["name"]: row for row in selection["candidates"]}
    assert set(rows) == {"test_resnet", "test_vit"}
    assert selection["winner"] == min(rows, key=lambda name: rows[name]["short_finetune"]["loss"])
    for row in rows.values():
        for found in (*row["scores"].values(), *row["mirror"].values(), row["short_finetune"]["accuracy"]):
            assert found["low"] <= found["value"] <= found["high"]
        assert sum(row["rank_shares"]) == pytest.approx(1)
    assert len(selection["why"]) == 2
    assert "decide nothing here" in selection["mirror_note"]
    assert selection["regret"]["finalists"] == 2


def test_entries_that_were_not_compared_are_listed_with_the_reason(written: Path) -> None:
    left_out = {r["name"]: r["reason"] for r in json.loads((written / "selection.json").read_text())["left_out"]}
    assert set(left_out) == {"distant", "overdue"}
    assert "include_hub" in left_out["distant"]


def test_the_mirror_cannot_change_the_choice(project: Path, written: Path, tmp_path: Path) -> None:
    table = pd.read_parquet(project / "split/manifest.parquet")
    (tmp_path / "split").mkdir()
    table[table["split"] != "mirror"].to_parquet(tmp_path / "split/manifest.parquet")
    paths = {"catalogue": project / "backbones.yaml", "weights": project / "backbones"}
    params = PARAMS.model_copy(update={"finalists": 2})
    out = shortlist.fn(
        data=project, manifest=tmp_path / "split", **paths, params=params, training=TRAINING, out=tmp_path / "out"
    )
    with_mirror, without = (json.loads((folder / "selection.json").read_text()) for folder in (written, out))
    assert without["mirror_note"] == "This project names no deployment mirror."
    for one, other in zip(with_mirror["candidates"], without["candidates"], strict=True):
        assert (one["name"], one["scores"], one["short_finetune"]) == (
            other["name"],
            other["scores"],
            other["short_finetune"],
        )


def test_the_same_inputs_write_the_same_record_for_timings_are_kept_apart(
    project: Path, written: Path, tmp_path: Path
) -> None:
    again = run(project, tmp_path / "again", PARAMS.model_copy(update={"finalists": 2}))
    assert (again / "selection.json").read_bytes() == (written / "selection.json").read_bytes()
    assert set(json.loads((again / "cost.json").read_text())) == {"test_resnet", "test_vit"}


def test_the_page_shows_candidates_sentences_and_plots(written: Path) -> None:
    page = html.unescape((written / "selection.html").read_text())
    selection = json.loads((written / "selection.json").read_text())
    assert page.count("<svg") == 3
    for text in ("test_resnet", "test_vit", selection["regret"]["sentence"], "Left out", "images/s training"):
        assert text in page


def test_only_the_finalists_are_fine_tuned_and_one_that_cannot_take_the_size_is_left_out(
    project: Path, tmp_path: Path
) -> None:
    training = TRAINING.model_copy(update={"image_size": 40})  # no multiple of the transformer's patch of 16
    selection = json.loads((run(project, tmp_path / "out", training=training) / "selection.json").read_text())
    assert [row["name"] for row in selection["candidates"]] == ["test_resnet"]
    reasons = {row["name"]: row["reason"] for row in selection["left_out"]}
    assert "does not take images of 40 pixels (finetune.image_size)" in reasons["test_vit"]


def test_no_candidate_at_all_is_a_refusal_with_all_reasons(project: Path, tmp_path: Path) -> None:
    book = yaml.safe_load((project / "backbones.yaml").read_text())
    book["backbones"] = book["backbones"][2:]
    (tmp_path / "backbones.yaml").write_text(yaml.safe_dump(book))
    paths = {"manifest": project / "split", "catalogue": tmp_path / "backbones.yaml", "weights": project / "backbones"}
    with pytest.raises(BackboneRefused, match=r"is allowed and at hand: .*include_hub.*reviewed by 2020-01-01"):
        shortlist.fn(data=project, **paths, params=PARAMS, training=TRAINING, out=tmp_path / "out")
