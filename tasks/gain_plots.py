"""The plots of a certificate and of an ablation."""

from typing import Any

from matplotlib.axes import Axes

from tasks.arms import Row
from tasks.claims import BASELINE, RECIPE, describe_place, pick
from tasks.plots import BAD, GOOD, INK, OTHER, SOFT, draw

COLOURS = {"gradual": GOOD, "full": INK, "lp-ft": OTHER, "probe": SOFT, "scratch": BAD}


def gain_curve(rows: list[Row], points: list[dict[str, Any]], split: str) -> str:
    """What pretraining adds to accuracy, against labels a class, one line a method; bars are the intervals."""

    def paint(axes: Axes) -> None:
        methods = [m for m in COLOURS if m != BASELINE]
        for number, method in enumerate(methods):
            found = {row["labels"]: row for row in pick(rows, method=method, against=BASELINE, place=split)}
            lines = [found[point["labels"]] for point in points]
            places = [k + 0.07 * (number - (len(methods) - 1) / 2) for k in range(len(lines))]
            wide = 2.4 if method == RECIPE else 1.3
            axes.plot(
                places, [100 * r["value"] for r in lines], "o-", color=COLOURS[method], linewidth=wide, label=method
            )
            for place, row in zip(places, lines, strict=True):
                axes.plot([place] * 2, [100 * row["low"], 100 * row["high"]], color=COLOURS[method], linewidth=wide)
        axes.axhline(0, color=BAD, linewidth=1, linestyle="--")
        axes.set_xticks(range(len(points)), [f"{p['labels']}\n({p['images']} images)" for p in points])
        axes.set(xlabel="labels a class", ylabel="points over scratch", title=f"gain on {split}")
        axes.legend(frameon=False, fontsize=8)

    return draw(4.6, 3.8, paint)


def accuracy_curve(rows: list[Row], points: list[dict[str, Any]], split: str) -> str:
    """The accuracy of every method against labels a class."""

    def paint(axes: Axes) -> None:
        for method, colour in COLOURS.items():
            found = {row["labels"]: row for row in pick(rows, method=method, against=None, place=split)}
            lines = [found[point["labels"]] for point in points]
            axes.plot(range(len(lines)), [100 * r["value"] for r in lines], "o-", color=colour, label=method)
            low, high = ([100 * row[end] for row in lines] for end in ("low", "high"))
            axes.fill_between(range(len(lines)), low, high, color=colour, alpha=0.1, linewidth=0)
        axes.set_xticks(range(len(points)), [str(p["labels"]) for p in points])
        axes.set(xlabel="labels a class", ylabel="accuracy, %", title=f"accuracy on {split}")
        axes.legend(frameon=False, fontsize=8)

    return draw(4.6, 3.8, paint)


def differences(rows: list[Row], titles: list[str], label: str) -> str:
    """A row a difference with its interval; green is proven above 0, red below."""

    def paint(axes: Axes) -> None:
        for place, row in enumerate(reversed(rows)):
            colour = GOOD if row["low"] > 0 else BAD if row["high"] < 0 else SOFT
            axes.plot([100 * row["low"], 100 * row["high"]], [place] * 2, color=colour, linewidth=3, alpha=0.5)
            axes.plot(100 * row["value"], place, "o", color=colour)
        axes.axvline(0, color=INK, linewidth=1)
        axes.set_yticks(range(len(rows)), list(reversed(titles)))
        axes.set_xlabel(label)
        axes.grid(axis="x", color="#e3e8ed")
        axes.set_axisbelow(True)

    return draw(8, 0.9 + 0.3 * len(rows), paint)


def place_titles(rows: list[Row]) -> list[str]:
    """`mirror/condition=faded (n = 258)`."""
    return [f"{describe_place(row['place'])} (n = {row['n']})" for row in rows]
