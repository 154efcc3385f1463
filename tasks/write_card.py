"""Write the model card (Mitchell et al. 2019): README.md as the Hugging Face hub wants it, and card.html from it."""

import json
import logging
from pathlib import Path
from typing import Any

import pandas as pd
from jinja2 import Environment, PackageLoader, select_autoescape
from markdown_it import MarkdownIt

from tasks.findings import index_findings, read_findings
from tasks.guard import Guard
from tasks.model_card import model_card
from tasks.plan import load_plan
from tasks.stage import stage
from tasks.verdict import read_verdict

CARD = "README.md"
logger = logging.getLogger("tasks.write_card")


@stage
def write_card(
    verdict: Path, report: Path, manifest: Path, model: Path, backbone: Path, guard: Path, plan: Path, out: Path
) -> None:
    """Write README.md and card.html; every figure is a Finding of the report or a fact of model and guard."""
    name = manifest.parent.name
    card = model_card(
        name,
        read_verdict(verdict),
        index_findings(read_findings(report)),
        pd.read_parquet(manifest / "manifest.parquet"),
        _json(model / "model.json"),
        _json(backbone / "passport.json"),
        Guard.load(guard),
        load_plan(plan),
    )
    (out / CARD).write_text(card, encoding="utf-8")
    body = MarkdownIt("commonmark", {"html": False}).enable("table").render(card.split("---\n", 2)[2])
    environment = Environment(loader=PackageLoader("tasks", "."), autoescape=select_autoescape(default=True))
    page = environment.get_template("card.html.j2").render(name=name, body=body)
    (out / "card.html").write_text(page, encoding="utf-8")
    logger.info("wrote the model card")


def _json(path: Path) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return document
