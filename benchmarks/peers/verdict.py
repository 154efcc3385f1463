"""From runs to a table, to bars that hold or not, and to a plot. Nothing here runs an engine.

A run is a dictionary, a line of the results file: part, engine, seed, and what the run's process reported. The parts:

    same     the same epochs and batch for all: one of the head, six of all
    own      each engine's own schedule
    head     an epoch with the backbone frozen, averaged over a phase that begins at the files
    stage    as head, with the last stage open too (Keel alone)
    head+, stage+    the same phases with more epochs: the difference is what a further epoch costs, when decoding and
             storing the frozen part's answers is done (Keel alone; its peers do both in every epoch)
    loop     Keel's speed with all open, as a share of the pure forward and backward pass
    memory   what Keel holds in memory for very many images
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, median
from typing import Any

import numpy as np
import pandas as pd

from tasks.intervals import tango
from tasks.metrics import weighted_mean
from tasks.resampling import Clusters, bootstrap, percentiles

Run = dict[str, Any]
OURS = "keel"
NAMES = {
    "keel": "Keel",
    "timm": "timm loop",
    "huggingface": "Hugging Face Trainer",
    "lightning": "Lightning BackboneFinetuning",
    "fastai": "fastai fine_tune",
}
LEVEL, RESAMPLES = 0.95, 2000


@dataclass(frozen=True)
class Bars:
    """The least: times faster, share of the limit, points of accuracy. The most: share of the memory budget."""

    own: float
    same: float
    head: float
    stage: float
    loop: float
    margin: float
    memory: float = 1.0


FULL = Bars(own=4.0, same=3.0, head=15.0, stage=8.0, loop=0.80, margin=-1.0)
# One seed on a machine that is perhaps busy: four fifths of each time; a third of the test images: a wider margin.
QUICK = Bars(own=3.2, same=2.4, head=12.0, stage=6.4, loop=0.70, margin=-3.0)


@dataclass(frozen=True)
class Gain:
    """A difference of two accuracies, with its interval and the number of images."""

    value: float
    low: float
    high: float
    n: int


@dataclass(frozen=True)
class Judgement:
    """One bar, in a sentence."""

    held: bool
    sentence: str


def select(runs: Iterable[Run], part: str, engine: str) -> list[Run]:
    """The runs of one engine in one part, in the order of their seeds."""
    return sorted((r for r in runs if r["part"] == part and r["engine"] == engine), key=lambda r: r["seed"])


def peers_in(runs: Iterable[Run], part: str) -> list[str]:
    """The other engines that a part has runs of."""
    return sorted({r["engine"] for r in runs if r["part"] == part} - {OURS})


def epoch_seconds(run: Run) -> float:
    """Seconds an epoch, decoding and set-up included."""
    return float(run["seconds"] / run["epochs"])


def further_seconds(runs: list[Run], part: str) -> dict[int, float]:
    """Keel's seconds of each further epoch of a frozen phase, by seed."""
    longer = {r["seed"]: r for r in select(runs, f"{part}+", OURS)}
    return {
        short["seed"]: (longer[short["seed"]]["seconds"] - short["seconds"])
        / (longer[short["seed"]]["epochs"] - short["epochs"])
        for short in select(runs, part, OURS)
        if short["seed"] in longer
    }


def fastest(runs: list[Run], part: str, among: Iterable[str]) -> str:
    """The engine with the lowest median of seconds."""
    return min(among, key=lambda engine: median(epoch_or_run(r) for r in select(runs, part, engine)))


def epoch_or_run(run: Run) -> float:
    """What counts as this run's time: an epoch's in `head` and `stage`, else all of it."""
    return epoch_seconds(run) if run["part"] in ("head", "stage") else float(run["seconds"])


def speedups(theirs: list[Run], ours: list[Run]) -> list[float]:
    """How many times faster ours was, seed by seed; only seeds that both ran."""
    by_seed = {r["seed"]: r for r in theirs}
    return [epoch_or_run(by_seed[r["seed"]]) / epoch_or_run(r) for r in ours if r["seed"] in by_seed]


def accuracy_gain(ours: list[Run], theirs: list[Run], tested: dict[int, pd.DataFrame]) -> Gain:
    """Ours minus theirs on the same test images of each seed that both ran.

    The wider of Tango's interval for paired shares and of the bootstrap over subjects. `tested` has the column
    `subject` for each seed's test images; an image that is tested under two seeds counts twice, in one cluster.
    """
    by_seed = {r["seed"]: r for r in theirs}
    shared = [r for r in ours if r["seed"] in by_seed]
    if not shared:
        return Gain(math.nan, math.nan, math.nan, 0)
    gains = np.concatenate([hits_of(r) - hits_of(by_seed[r["seed"]]) for r in shared])
    codes, subjects = pd.factorize(pd.concat([tested[r["seed"]]["subject"] for r in shared]))
    clusters = Clusters(codes, len(subjects), "subjects")
    resampled = bootstrap(lambda weights: weighted_mean(gains, weights)[:, None], clusters, RESAMPLES, seed=0)[:, 0]
    intervals = [tango((gains > 0).sum(), (gains < 0).sum(), len(gains), LEVEL), percentiles(resampled, LEVEL)]
    low, high = min(i.low for i in intervals), max(i.high for i in intervals)
    return Gain(float(gains.mean()), float(low), float(high), len(gains))


def hits_of(run: Run) -> np.ndarray:
    """The string of 0 and 1, a digit an image, as numbers."""
    return np.array([int(digit) for digit in run["hits"]])


def best_peer(runs: list[Run], part: str) -> str:
    """The peer with the highest mean accuracy."""
    return max(peers_in(runs, part), key=lambda engine: mean(r["accuracy"] for r in select(runs, part, engine)))


def judge(runs: list[Run], bars: Bars, tested: dict[int, pd.DataFrame]) -> list[Judgement]:
    """Every bar; what was not measured does not hold."""
    return [
        *judge_own(runs, bars, tested),
        judge_speed(runs, "same", "same", bars.same, "at the same epochs"),
        judge_frozen(runs, "head", bars.head, "an epoch of the head alone"),
        judge_frozen(runs, "stage", bars.stage, "an epoch of the last stage beside a peer's frozen one"),
        judge_share(runs, "loop", "share", bars.loop),
        judge_memory(runs, bars.memory),
    ]


def judge_own(runs: list[Run], bars: Bars, tested: dict[int, pd.DataFrame]) -> list[Judgement]:
    """Time to the best peer's accuracy, each with its own schedule."""
    ours = select(runs, "own", OURS)
    if not ours or not peers_in(runs, "own"):
        return [Judgement(False, "time to the best peer's accuracy: not measured")]
    best = best_peer(runs, "own")
    gain = accuracy_gain(ours, select(runs, "own", best), tested)
    accuracy = Judgement(
        100 * gain.low > bars.margin,
        f"accuracy against the best peer ({NAMES[best]}): {100 * gain.value:+.2f} points "
        f"[{100 * gain.low:+.2f}, {100 * gain.high:+.2f}] (n = {gain.n}), the lower end must be above {bars.margin:+g}",
    )
    level = reached(runs, best, bars, tested)
    return [accuracy, judge_speed(runs, "own", "own", bars.own, "to the best peer's accuracy", level)]


def reached(runs: list[Run], best: str, bars: Bars, tested: dict[int, pd.DataFrame]) -> list[str]:
    """The peers that come as near to the best peer as Keel must: only their times count."""
    against = select(runs, "own", best)
    gains = {peer: accuracy_gain(select(runs, "own", peer), against, tested) for peer in peers_in(runs, "own")}
    return [peer for peer, gain in gains.items() if peer == best or 100 * gain.low > bars.margin]


def judge_speed(
    runs: list[Run], peer_part: str, our_part: str, least: float, what: str, among: list[str] | None = None
) -> Judgement:
    """The median over seeds of how many times faster than the fastest peer."""
    ours, peers = select(runs, our_part, OURS), among or peers_in(runs, peer_part)
    ratios = speedups(select(runs, peer_part, fastest(runs, peer_part, peers)), ours) if ours and peers else []
    if not ratios:
        return Judgement(False, f"{what}: not measured")
    found = median(ratios)
    return Judgement(
        found >= least,
        f"{what}: {found:.1f} times faster than {NAMES[fastest(runs, peer_part, peers)]} "
        f"({min(ratios):.1f} to {max(ratios):.1f} over {len(ratios)} seeds), must be at least {least:g}",
    )


def judge_frozen(runs: list[Run], part: str, least: float, what: str) -> Judgement:
    """How many times faster a further epoch is than the fastest peer's, median over seeds; and the whole phase."""
    further, peers = further_seconds(runs, part), peers_in(runs, "head")
    if not further or not peers:
        return Judgement(False, f"{what}: not measured")
    peer = fastest(runs, "head", peers)
    theirs = {r["seed"]: epoch_seconds(r) for r in select(runs, "head", peer) if r["seed"] in further}
    found = median(theirs[seed] / further[seed] for seed in theirs)
    whole = median(speedups(select(runs, "head", peer), select(runs, part, OURS)))
    epochs = select(runs, part, OURS)[0]["epochs"]
    return Judgement(
        found >= least,
        f"{what}: each further one is {found:.1f} times faster than {NAMES[peer]}'s, must be at least {least:g} "
        f"({whole:.1f} times with decoding, timing and storing spread over {epochs} epochs)",
    )


def judge_share(runs: list[Run], part: str, key: str, least: float) -> Judgement:
    """The loop against the limit."""
    found = [r[key] for r in select(runs, part, OURS)]
    if not found:
        return Judgement(False, "the loop against the pure forward and backward pass: not measured")
    text = f"the loop against the pure forward and backward pass: {median(found):.0%}, must be at least {least:.0%}"
    return Judgement(median(found) >= least, text)


def judge_memory(runs: list[Run], most: float) -> Judgement:
    """What memory grew by, against the budget."""
    found = select(runs, "memory", OURS)
    if not found:
        return Judgement(False, "memory for very many images: not measured")
    run = max(found, key=lambda r: r["growth_mb"])
    text = f"memory for {run['images']:,} images: {run['growth_mb']:,} MB more, must be at most {run['budget_mb']:,} MB"
    return Judgement(run["growth_mb"] <= most * run["budget_mb"], text)


def table(runs: list[Run]) -> str:
    """A row an engine: seconds (lowest to highest) and accuracy of each part."""
    engines = [engine for engine in NAMES if any(r["engine"] == engine for r in runs)]
    heads = ["", "same epochs", "accuracy", "own schedule", "accuracy"]
    heads += ["frozen epoch", "further", "last stage", "further"]
    lines = [[NAMES[engine], *cells(runs, engine)] for engine in engines]
    widths = [max(len(row[i]) for row in [heads, *lines]) for i in range(len(heads))]
    return "\n".join(
        "  ".join(
            cell.ljust(w) if not i else cell.rjust(w) for i, (cell, w) in enumerate(zip(row, widths, strict=True))
        )
        for row in [heads, *lines]
    )


def cells(runs: list[Run], engine: str) -> list[str]:
    """The cells of an engine's row; a dash for what was not measured."""
    found = []
    for part in ("same", "own", "head", "stage"):
        chosen = select(runs, part, engine)
        times = [epoch_or_run(r) for r in chosen]
        digits = 2 if part in ("head", "stage") else 1
        spread = f"{median(times):.{digits}f} s ({min(times):.{digits}f}-{max(times):.{digits}f})" if times else "-"
        found.append(spread)
        if part in ("same", "own"):
            found.append(f"{100 * mean(r['accuracy'] for r in chosen):.2f} %" if chosen else "-")
        else:
            further = further_seconds(runs, part) if engine == OURS else {}
            found.append(f"{median(further.values()):.2f} s" if further else "-")
    return found


def plot(runs: list[Run], path: Path) -> None:
    """Bars of seconds for each engine, a dot a seed, and the accuracy beside it."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    titles = {"same": "1 epoch of the head, 6 of all", "own": "own schedule", "head": "one frozen epoch"}
    figure, panels = plt.subplots(1, 3, figsize=(11, 2.9), layout="constrained")
    engines = [engine for engine in reversed(NAMES) if any(r["engine"] == engine for r in runs)]
    for panel, (part, title) in zip(panels, titles.items(), strict=True):
        for row, engine in enumerate(engines):
            chosen = select(runs, part, engine)
            if not chosen:
                continue
            times = [epoch_or_run(r) for r in chosen]
            panel.barh(row, median(times), color="#1f5f8b" if engine == OURS else "#b8c4cc", height=0.6)
            panel.plot(times, [row] * len(times), "o", color="black", markersize=2.5)
            accuracy = "" if part == "head" else f", {100 * mean(r['accuracy'] for r in chosen):.1f} %"
            panel.text(max(times), row, f"  {median(times):.3g} s{accuracy}", va="center", fontsize=8)
        panel.set_yticks(range(len(engines)), [NAMES[e] for e in engines] if panel is panels[0] else [], fontsize=8)
        panel.set_title(title, fontsize=9)
        panel.set_xlabel("seconds" if part == "head" else "seconds; accuracy on new subjects", fontsize=8)
        panel.tick_params(labelsize=8)
        panel.margins(x=0.45)
        panel.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=130)
    plt.close(figure)
