"""The plots of the report and of the selection, each drawn to an SVG text that is the same for the same numbers."""

import io
from collections.abc import Callable, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from tasks.findings import Finding

INK, SOFT, GOOD, BAD, OTHER = "#1c2733", "#8795a3", "#1a7f5a", "#b3372f", "#c27c0e"
STYLE: Any = {
    "svg.hashsalt": "keel",
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": SOFT,
    "text.color": INK,
    "axes.labelcolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
}


def draw(width: float, height: float, paint: Callable[[Axes], None]) -> str:
    """A figure of width x height inches, one pair of axes, as an SVG element."""
    return draw_grid(width, height, lambda figure: paint(figure.add_subplot()))


def draw_grid(width: float, height: float, paint: Callable[[Figure], None]) -> str:
    """A figure of width x height inches as an SVG element."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(width, height), layout="constrained")
        paint(figure)
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None}, transparent=True)
    text = buffer.getvalue()
    return text[text.index("<svg") :]


def confusion_matrix(actual: pd.Series, predicted: pd.Series, classes: list[str]) -> str:
    """Counts on the test split, shaded by the share of each actual class."""
    table = pd.crosstab(actual, predicted).reindex(index=classes, columns=classes, fill_value=0)
    shares = table.to_numpy() / np.maximum(table.to_numpy().sum(axis=1, keepdims=True), 1)
    few = len(classes) <= 20

    def paint(axes: Axes) -> None:
        axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
        for i, j in np.argwhere(table.to_numpy() > 0) if few else []:
            colour = "white" if shares[i, j] > 0.5 else INK
            axes.text(j, i, str(table.iat[i, j]), ha="center", va="center", color=colour, fontsize=8)
        if few:
            axes.set_xticks(range(len(classes)), classes)
            axes.set_yticks(range(len(classes)), classes)
        axes.set_xlabel("predicted")
        axes.set_ylabel("actual")

    return draw(4.6, 4.4, paint)


def reliability_diagram(table: pd.DataFrame) -> str:
    """Confidence against accuracy in bins (columns split, confidence, accuracy, count); on the diagonal is honest."""

    def paint(axes: Axes) -> None:
        axes.plot([0, 1], [0, 1], color=SOFT, linewidth=1, linestyle="--")
        for split, colour in (("test", INK), ("mirror", OTHER)):
            part = table[(table["split"] == split) & (table["count"] > 0)]
            sizes = 10 + 190 * part["count"] / max(1, part["count"].max())
            axes.scatter(part["confidence"], part["accuracy"], s=sizes, color=colour, alpha=0.7, label=split)
            axes.plot(part["confidence"], part["accuracy"], color=colour, alpha=0.5)
        axes.set(xlim=(0, 1.02), ylim=(0, 1.02), xlabel="confidence", ylabel="accuracy")
        axes.legend(frameon=False, loc="upper left", markerscale=0.5)

    return draw(4.6, 4.4, paint)


def risk_coverage_curve(table: pd.DataFrame, points: Sequence[tuple[str, Finding, Finding]]) -> str:
    """Selective risk by coverage (columns split, coverage, risk), and where the chosen threshold lies on each split.

    `points` are (split, coverage, selective accuracy), both drawn with their intervals.
    """

    def paint(axes: Axes) -> None:
        for split, colour in (("test", INK), ("mirror", OTHER)):
            part = table[table["split"] == split]
            axes.plot(100 * part["coverage"], 100 * part["risk"], color=colour, linewidth=1.2, alpha=0.8, label=split)
        for split, coverage, accuracy in points:
            if coverage.is_number and accuracy.is_number:
                colour = INK if split == "test" else OTHER
                x, y = 100 * coverage.value, 100 * (1 - accuracy.value)
                axes.plot([100 * coverage.low, 100 * coverage.high], [y, y], color=colour, linewidth=3, alpha=0.4)
                ends = [100 * (1 - accuracy.high), 100 * (1 - accuracy.low)]
                axes.plot([x, x], ends, color=colour, linewidth=3, alpha=0.4)
                axes.plot(x, y, "o", color=colour, markersize=7, label=f"chosen threshold, {split}")
        axes.set(xlim=(0, 101), xlabel="coverage: answered by the model, %", ylabel="selective risk: answers wrong, %")
        axes.set_ylim(bottom=0)
        axes.legend(frameon=False, loc="upper left", fontsize=8)
        axes.grid(color="#e3e8ed")
        axes.set_axisbelow(True)

    return draw(8, 3.2, paint)


def corruption_curves(table: pd.DataFrame) -> str:
    """Accuracy against severity, axes for each kind of corruption (columns kind, level, model, accuracy, low, high)."""
    kinds, across = list(dict.fromkeys(table["kind"])), 5
    down = -(-len(kinds) // across)

    def paint(figure: Figure) -> None:
        for place, kind in enumerate(kinds):
            axes = figure.add_subplot(down, across, place + 1)
            for model, colour in (("candidate", GOOD), ("scratch", SOFT)):
                part = table[(table["kind"] == kind) & (table["model"] == model)]
                levels = part["level"].astype(int)
                axes.fill_between(levels, 100 * part["low"], 100 * part["high"], color=colour, alpha=0.2, linewidth=0)
                axes.plot(levels, 100 * part["accuracy"], color=colour, marker=".", linewidth=1.4, label=model)
            axes.set(xlim=(-0.2, 5.2), ylim=(0, 101), xticks=range(6))
            axes.set_title(kind, fontsize=9)
            axes.grid(color="#e3e8ed")
            axes.tick_params(labelsize=7)
            if place == 0:
                axes.legend(frameon=False, fontsize=7, loc="lower left")
        figure.supxlabel("severity (0: as taken)", fontsize=9)
        figure.supylabel("accuracy, %", fontsize=9)

    return draw_grid(9, 0.5 + 1.7 * down, paint)


def training_curves(model: pd.DataFrame, scratch: pd.DataFrame) -> str:
    """Validation loss by epoch, one line a learning rate; dotted lines mark where a phase opens more."""

    def paint(axes: Axes) -> None:
        for table, colour, name in ((model, GOOD, "from the backbone"), (scratch, SOFT, "from scratch")):
            for place, (rate, curve) in enumerate(table.groupby("rate")):
                style: Any = ("-", "--", ":", "-.")[place % 4]
                label = f"{name}, rate {rate:g}"
                axes.plot(curve["epoch"], curve["validation_loss"], color=colour, linestyle=style, label=label)
        openings = model[model["phase"].diff() > 0]["epoch"].unique()
        for epoch in openings:
            axes.axvline(epoch - 0.5, color=SOFT, linewidth=0.6, linestyle=":")
        axes.set(xlabel="epoch", ylabel="validation loss", yscale="log")
        axes.legend(frameon=False, fontsize=8)

    return draw(8, 3, paint)


def audit_losses(checks: Sequence[dict[str, Any]]) -> str:
    """A row a check of the augmentation audit: what was lost as a share of what is allowed, with its interval."""

    def paint(axes: Axes) -> None:
        for place, check in enumerate(reversed(checks)):
            colour = {"HARMFUL": BAD, "HARMLESS": GOOD}.get(check["outcome"], OTHER)
            value, low, high = (100 * check["loss"][key] / check["bound"] for key in ("value", "low", "high"))
            axes.plot([low, high], [place, place], color=colour, linewidth=3, alpha=0.5)
            axes.plot(value, place, "o", color=colour, markersize=6)
        axes.axvline(0, color=SOFT, linewidth=0.8)
        axes.axvline(100, color=BAD, linewidth=1.2)
        axes.set_yticks(range(len(checks)), [f"{c['ingredient']}: {c['question']}" for c in reversed(checks)])
        axes.set_xlabel("lost, % of what is allowed (red line); left of 0 is a gain")
        axes.grid(axis="x", color="#e3e8ed")
        axes.set_axisbelow(True)

    return draw(8, 0.9 + 0.3 * len(checks), paint)


def score_intervals(candidates: Sequence[dict[str, Any]], winner: str) -> str:
    """Accuracy of the frozen readers and of the short fine-tune, a row a backbone, each with its interval."""
    kinds = (("linear probe, frozen", OTHER, 0.2), ("neighbours, frozen", SOFT, 0.0), ("short fine-tune", GOOD, -0.2))

    def paint(axes: Axes) -> None:
        rows = list(reversed(candidates))
        for place, row in enumerate(rows):
            tuned = row["short_finetune"]
            found = (row["scores"]["linear_probe"], row["scores"]["neighbours"], tuned and tuned["accuracy"])
            for (_, colour, shift), finding in zip(kinds, found, strict=True):
                if finding:
                    ends = [100 * finding["low"], 100 * finding["high"]]
                    axes.plot(ends, [place + shift] * 2, color=colour, linewidth=3, alpha=0.5)
                    axes.plot(100 * finding["value"], place + shift, "o", color=colour, markersize=6)
        for name, colour, _ in kinds:
            axes.plot([], [], "o-", color=colour, label=name)
        axes.set_yticks(range(len(rows)), [f"{r['name']}{' (chosen)' if r['name'] == winner else ''}" for r in rows])
        axes.set_xlabel("accuracy on validation, %, with its interval")
        axes.grid(axis="x", color="#e3e8ed")
        axes.set_axisbelow(True)
        axes.legend(frameon=False, fontsize=8, loc="lower center", bbox_to_anchor=(0.5, 1), ncols=3)

    return draw(8, 1.2 + 0.6 * len(candidates), paint)


def rank_distribution(candidates: Sequence[dict[str, Any]]) -> str:
    """How often each backbone took each place by the frozen scores, over the resamples; the first place is darkest."""

    def paint(axes: Axes) -> None:
        rows = list(reversed(candidates))
        shades = np.linspace(1, 0.12, max(2, len(rows)))
        for place, row in enumerate(rows):
            left = 0.0
            for number, share in enumerate(row["rank_shares"]):
                axes.barh(place, 100 * share, left=left, color=GOOD, alpha=float(shades[number]), height=0.55)
                if share > 0.06:
                    axes.text(left + 50 * share, place, f"{number + 1}.", ha="center", va="center", fontsize=8)
                left += 100 * share
        axes.set_yticks(range(len(rows)), [row["name"] for row in rows])
        axes.set(xlim=(0, 100), xlabel="share of resamples, %, by place")

    return draw(8, 0.9 + 0.4 * len(candidates), paint)


def cost_and_accuracy(candidates: Sequence[dict[str, Any]], costs: dict[str, Any]) -> str:
    """Accuracy on validation against images a second in training; a ring is frozen, a dot after the short fine-tune."""

    def paint(axes: Axes) -> None:
        for row in candidates:
            speed = costs[row["name"]].train
            probe = 100 * row["scores"]["linear_probe"]["value"]
            axes.plot(speed, probe, "o", color=OTHER, markerfacecolor="none", markersize=8)
            if row["short_finetune"]:
                tuned = 100 * row["short_finetune"]["accuracy"]["value"]
                axes.plot([speed, speed], [probe, tuned], color=SOFT, linewidth=1)
                axes.plot(speed, tuned, "o", color=GOOD, markersize=8)
            axes.annotate(row["name"], (speed, probe), (6, -12), textcoords="offset points", fontsize=8)
        axes.set(xscale="log", xlabel="images a second in training, here", ylabel="accuracy, %")
        axes.margins(x=0.25, y=0.2)

    return draw(8, 3, paint)
