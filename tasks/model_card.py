"""The model card (Mitchell et al. 2019) in Markdown, with the block of metadata that the Hugging Face hub reads."""

from typing import Any

import pandas as pd
import yaml
from jinja2 import Environment, PackageLoader, StrictUndefined

from tasks.figures import tell
from tasks.findings import Found
from tasks.guard import Guard
from tasks.metrics import REGISTRY
from tasks.plan import Plan
from tasks.sentences import describe_terms
from tasks.slices import EMPTY, JUDGED, SLICE
from tasks.verdict import PASS, Verdict

ORDER = ("train", "validation", "calibration", "test", "mirror")
SHOWN = ("accuracy", "macro_f1", "ece")
TOLD = {"accuracy": "accuracy", "macro_f1": "f1", "balanced_accuracy": "balanced_accuracy"}  # the hub's own names
WEAKEST = 5  # groups of two columns
SPECIAL = "\\*_<>|"


def model_card(
    name: str,
    verdict: Verdict,
    found: Found,
    table: pd.DataFrame,
    facts: dict[str, Any],
    passport: dict[str, Any],
    guard: Guard,
    plan: Plan,
) -> str:
    """The card of the project `name`; `table` is the manifest, `facts` model.json, `passport` the backbone's."""
    environment = Environment(loader=PackageLoader("tasks", "."), undefined=StrictUndefined, autoescape=False)
    environment.filters |= {
        "cell": cell,
        "tell": tell,
        "terms": describe_terms,
        "title": lambda metric: REGISTRY[metric].title,
    }
    whole = [f for (metric, place), f in found.items() if metric == "accuracy" and f.is_number]
    crossed = [
        f for (metric, place), f in found.items() if metric == "group_accuracy" and " & " in place and f.is_number
    ]
    unitary = [{"where": f.slice, "n": f.n, "figures": [tell(found.get((m, f.slice))) for m in SHOWN]} for f in whole]
    page = {
        "name": name,
        "verdict": verdict,
        "facts": facts,
        "passport": passport,
        "guard": guard,
        "plan": plan,
        "level": plan.level,
        "factors": [(c.removeprefix(SLICE), _values(table[c])) for c in table if c.startswith(SLICE)],
        "splits": split_rows(table),
        "shown": SHOWN,
        "unitary": unitary,
        "crossed": sorted(crossed, key=lambda f: f.value)[:WEAKEST],
        "ethics": ethics(verdict, table, passport, plan),
        "caveats": [j.sentence for j in verdict.judgements if j.outcome != PASS] + passport["limitations"],
    }
    body = environment.get_template("model_card.md.j2").render(page)
    head = yaml.safe_dump(metadata(name, found, facts, passport), sort_keys=False, allow_unicode=True)
    return f"---\n{head}---\n{body}"


def metadata(name: str, found: Found, facts: dict[str, Any], passport: dict[str, Any]) -> dict[str, Any]:
    """The block of metadata: licence, library, tags, data, metrics, and results by split (`model-index`)."""
    results = [
        {
            "task": {"type": "image-classification"},
            "dataset": {"type": name, "name": name, "split": split},
            "metrics": [
                {"type": told, "value": f.value, "name": f"{REGISTRY[metric].title} {tell(f)}"}
                for metric, told in TOLD.items()
                if (f := found.get((metric, split))) and f.is_number
            ],
        }
        for split in JUDGED
        if ("accuracy", split) in found
    ]
    return {
        "license": passport["licence"].lower(),
        "library_name": "timm",
        "pipeline_tag": "image-classification",
        "tags": ["image-classification", "timm", facts["architecture"]],
        "datasets": [name],
        "metrics": list(TOLD.values()),
        "model-index": [{"name": name, "results": results}],
    }


def ethics(verdict: Verdict, table: pd.DataFrame, passport: dict[str, Any], plan: Plan) -> list[str]:
    """Consent, what the criteria of fairness and privacy came to, and the biases of the backbone."""
    given = ", ".join(f"{value or 'not stated'} ({count})" for value, count in table["consent"].value_counts().items())
    asked = {criterion.name for criterion in plan.asked("fairness", "privacy")}
    judged = [judgement.sentence for judgement in verdict.judgements if judgement.criterion in asked]
    return [f"Consent to the use of the images: {given}.", *judged, *passport["biases"], *passport["risks"]]


def split_rows(table: pd.DataFrame) -> list[dict[str, Any]]:
    """What lies in each split."""
    return [
        {
            "split": name,
            "images": len(part),
            "groups": part["group"].nunique(),
            "classes": part["label"].nunique(),
            "sources": ", ".join(sorted(set(part["source"]) - {""})) or "not stated",
            "licences": ", ".join(sorted(set(part["licence"]) - {""})) or "not stated",
        }
        for name in ORDER
        if len(part := table[table["split"] == name])
    ]


def cell(text: str) -> str:
    """Plain text for Markdown: one line, none of its signs at work."""
    line = " ".join(text.split())
    return "".join(f"\\{sign}" if sign in SPECIAL else sign for sign in line)


def _values(column: pd.Series) -> list[str]:
    return sorted(column.replace("", EMPTY).unique())
