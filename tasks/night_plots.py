"""Plots of the nights: errors with their intervals, and the evidence for harm with the lines that it is held to."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from tasks.night import HARM, HEALTHY, WATCH, Night
from tasks.plots import BAD, GOOD, INK, OTHER, SOFT, draw

COLOURS = {HEALTHY: GOOD, WATCH: OTHER, HARM: BAD}
SHOWN = 60  # nights
LEAST = 0.1  # of the evidence that is drawn: a logarithm has no zero


def error_plot(nights: Sequence[Night], figures: dict[str, dict[str, float]], tolerated: float | None) -> str:
    """The error of each night with its interval, in the colour of its verdict; "" where no label is known."""
    shown = [night for night in nights[-SHOWN:] if night.night in figures]
    if not shown:
        return ""

    def paint(axes: Axes) -> None:
        for place, night in enumerate(shown):
            figure, colour = figures[night.night], COLOURS.get(night.verdict, SOFT)
            axes.plot(
                [place, place], [100 * figure["low"], 100 * figure["high"]], color=colour, linewidth=3, alpha=0.45
            )
            axes.plot(place, 100 * figure["error"], "o", color=colour, markersize=6)
        if tolerated is not None:
            axes.axhline(100 * tolerated, color=BAD, linewidth=1)
        axes.set(ylabel="wrong answers, %")
        axes.set_ylim(bottom=0)
        _name_nights(axes, [night.night for night in shown])

    return draw(9, 2.8, paint)


def evidence_plot(nights: Sequence[Night], run_length: int, warning: int) -> str:
    """The evidence of the monitors after each night, on a logarithmic scale; "" where there is none."""
    shown = [(night, night.body["harm"]["harm"]["evidence"]) for night in nights[-SHOWN:] if has_evidence(night.body)]
    if not shown:
        return ""

    def paint(axes: Axes) -> None:
        values = [max(value, LEAST) for _, value in shown]
        axes.plot(range(len(shown)), values, color=INK, linewidth=1.2)
        colours = [COLOURS.get(night.verdict, SOFT) for night, _ in shown]
        axes.scatter(range(len(shown)), values, c=colours, s=36, zorder=3)
        axes.axhline(run_length, color=BAD, linewidth=1)
        axes.axhline(warning, color=OTHER, linewidth=1)
        axes.set(yscale="log", ylabel="evidence for harm")
        _name_nights(axes, [night.night for night, _ in shown])

    return draw(9, 2.8, paint)


def has_evidence(body: dict[str, Any]) -> bool:
    """Whether the monitors said anything on that night."""
    return "harm" in body["harm"]


def _name_nights(axes: Axes, names: list[str]) -> None:
    step = max(1, -(-len(names) // 14))
    places = np.arange(0, len(names), step)
    axes.set_xticks(places, [names[place][5:] for place in places])
    axes.grid(axis="y", color="#e3e8ed")
    axes.set_axisbelow(True)
