"""The selection as one self-contained page for a person: who won, why, how sure, at what cost, with which risks."""

from typing import Any

from jinja2 import Environment, PackageLoader, select_autoescape

from tasks.cost import Cost
from tasks.plots import cost_and_accuracy, rank_distribution, score_intervals
from tasks.selection import METRICS, PIXELS, told


def selection_page(selection: dict[str, Any], costs: dict[str, Cost], project: str) -> str:
    """The page as HTML, from the record and the timings."""
    candidates = selection["candidates"]
    environment = Environment(loader=PackageLoader("tasks", "."), autoescape=select_autoescape(default=True))
    environment.filters["told"] = told
    page = {
        "project": project,
        "selection": selection,
        "candidates": candidates,
        "metrics": METRICS,
        "rows": [table_row(row, costs[row["name"]], row["name"] == selection["winner"]) for row in candidates],
        "pixels": (PIXELS, told(selection["raw_pixels"])),
        "has_mirror": any(row["mirror"] for row in candidates),
        "level": f"{100 * selection['params']['level']:g} %",
        "device": sorted({f"{cost.device}, {cost.threads} threads" for cost in costs.values()}),
        "plots": {
            "scores": score_intervals(candidates, selection["winner"]),
            "ranks": rank_distribution(candidates),
            "cost": cost_and_accuracy(candidates, costs),
        },
    }
    return environment.get_template("selection.html.j2").render(page)


def table_row(row: dict[str, Any], cost: Cost, chosen: bool) -> dict[str, Any]:
    """One line of the table of candidates, every figure as it is shown."""
    logme, tuned = row["scores"]["logme"], row["short_finetune"]
    return {
        "name": row["name"],
        "chosen": chosen,
        "architecture": row["architecture"],
        "place": row["place"],
        "first": f"{100 * row['rank_shares'][0]:.0f} %",
        "probe": told(row["scores"]["linear_probe"]),
        "neighbours": told(row["scores"]["neighbours"]),
        "logme": f"{logme['value']:.3f} [{logme['low']:.3f}, {logme['high']:.3f}]",
        "mirror": {metric: told(finding) for metric, finding in row["mirror"].items()},
        "tuned": f"{told(tuned['accuracy'])}, loss {tuned['loss']:.4f}" if tuned else "not fine-tuned",
        "parameters": f"{row['parameters']:,}",
        "forward": f"{cost.forward:,.0f}",
        "train": f"{cost.train:,.0f}",
        "latency": f"{cost.latency_ms:.2f} ms",
    }
