"""The selection of a backbone as a record: scores with their intervals, who won, and why, in sentences.

`selection.json` holds what `Selection.as_dict` gives. Timings are kept apart, so that the same images and weights give
the same record.
"""

import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tasks.errors import EvidenceMissing
from tasks.findings import Finding
from tasks.params import Phase
from tasks.transferability import mean_ranks, places, rank_shares

METRICS = {"linear_probe": "linear probe", "neighbours": "neighbours", "logme": "LogME"}
PIXELS = "raw pixels"
FILE = "selection.json"
MIRROR_NOTE = (
    "The scores on the deployment mirror decide nothing here: the mirror judges the release, and a backbone chosen on "
    "it would be judged on what it was chosen for."
)


@dataclass(frozen=True)
class Frozen:
    """One backbone's scores with nothing trained but the readers of its features.

    `scores` and `mirror` go by the keys of METRICS; `resampled` is (B, 3), what the scores might have been; `hits` (N,)
    says which validation images the linear probe read.
    """

    name: str
    scores: dict[str, Finding]
    mirror: dict[str, Finding]
    resampled: np.ndarray
    hits: np.ndarray


@dataclass(frozen=True)
class Finalist:
    """One backbone after the short fine-tune: the lowest validation loss, at which rate, which images it then read."""

    name: str
    loss: float
    rate: float
    accuracy: Finding
    hits: np.ndarray  # (N,) on validation


def rank(entries: list[Frozen]) -> list[int]:
    """The indices of the entries, best first, by the mean of their ranks under the three scores."""
    place = places(values_of(entries))
    return [int(index) for index in np.argsort(place)]


def values_of(entries: list[Frozen]) -> np.ndarray:
    """The scores as (entries, metrics)."""
    return np.array([[entry.scores[metric].value for metric in METRICS] for entry in entries])


def long_enough(phases: list[Phase], images: int, batch_size: int, least_steps: int) -> list[Phase]:
    """The phases, all lengthened by one whole factor until they hold at least `least_steps` batches together."""
    steps = sum(phase.epochs for phase in phases) * math.ceil(images / batch_size)
    factor = max(1, math.ceil(least_steps / steps))
    return [phase.model_copy(update={"epochs": phase.epochs * factor}) for phase in phases]


def winner_of(finalists: list[Finalist]) -> Finalist:
    """The lowest validation loss wins, as among learning rates; timings play no part."""
    return min(finalists, key=lambda finalist: finalist.loss)


def describe_entries(
    entries: list[Frozen], finalists: list[Finalist], differences: dict[str, Finding], about: dict[str, dict[str, Any]]
) -> list[dict[str, Any]]:
    """One dictionary an entry, best first by the frozen scores; `about` holds what the catalogue says of it."""
    order, shares = rank(entries), rank_shares(np.stack([entry.resampled for entry in entries], axis=1))
    ranks = mean_ranks(values_of(entries))
    tuned = {finalist.name: finalist for finalist in finalists}
    rows = []
    for place, index in enumerate(order):
        entry = entries[index]
        finalist = tuned.get(entry.name)
        row: dict[str, Any] = {"name": entry.name, **about[entry.name], "place": place + 1}
        row |= {"mean_rank": round(float(ranks[index]), 4), "rank_shares": [round(float(s), 4) for s in shares[index]]}
        row |= {"scores": _as_dicts(entry.scores), "mirror": _as_dicts(entry.mirror), "short_finetune": None}
        if finalist:
            row["short_finetune"] = {
                "loss": round(finalist.loss, 6),
                "rate": finalist.rate,
                "accuracy": asdict(finalist.accuracy),
                "winner_minus_this": asdict(differences[entry.name]) if entry.name in differences else None,
            }
        rows.append(row)
    return rows


def why(rows: list[dict[str, Any]], winner: str) -> list[str]:
    """Why the winner, and why not each of the others, one sentence each."""
    chosen = next(row for row in rows if row["name"] == winner)
    tuned = chosen["short_finetune"]
    count = sum(row["short_finetune"] is not None for row in rows)
    sentences = [
        f"{winner}: the lowest validation loss of {count} fine-tuned briefly, {tuned['loss']:.4f} at rate "
        f"{tuned['rate']:g}, accuracy {told(tuned['accuracy'])}; place {chosen['place']} of {len(rows)} by the frozen "
        "scores."
    ]
    for row in rows:
        if row["name"] != winner:
            sentences.append(_why_not(row, len(rows)))
    return sentences


def _why_not(row: dict[str, Any], count: int) -> str:
    frozen = f"place {row['place']} of {count} by the frozen scores, linear probe {told(row['scores']['linear_probe'])}"
    tuned = row["short_finetune"]
    if tuned is None:
        return f"{row['name']}: not fine-tuned, {frozen}."
    gap = tuned["winner_minus_this"]
    said = (
        "a proven difference"
        if gap["low"] > 0
        else "provenly the lower accuracy of the two"
        if gap["high"] < 0
        else "not proven apart"
    )
    return (
        f"{row['name']}: validation loss {tuned['loss']:.4f} after the short fine-tune, accuracy "
        f"{told(tuned['accuracy'])}; the winner's accuracy minus its is {points(gap)}, {said}; {frozen}."
    )


def regret(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """What following the frozen ranking alone would have cost: the first's accuracy minus the best finalist's."""
    tuned = [row for row in rows if row["short_finetune"] is not None]
    accuracies = [row["short_finetune"]["accuracy"]["value"] for row in tuned]
    cost = accuracies[0] - max(accuracies)
    best = tuned[int(np.argmax(accuracies))]["name"]
    n = tuned[0]["short_finetune"]["accuracy"]["n"]
    if len(tuned) == 1:
        sentence = "Only one backbone was fine-tuned, so the regret of the ranking was not measured."
    else:
        sentence = (
            f"The ranking's first, {tuned[0]['name']}, reads {100 * accuracies[0]:.1f} % of {n} validation images "
            f"after the short fine-tune, the best finalist, {best}, {100 * max(accuracies):.1f} %: a regret of "
            f"{100 * abs(cost):.1f} points."
        )
    return {"value": round(cost, 6) if len(tuned) > 1 else None, "finalists": len(tuned), "sentence": sentence}


def stability(rows: list[dict[str, Any]], resamples: int) -> str:
    """How far the frozen ranking can be trusted."""
    first, share = rows[0], 100 * rows[0]["rank_shares"][0]
    others = ", ".join(f"{row['name']} {100 * row['rank_shares'][0]:.0f} %" for row in rows[1:])
    return f"{first['name']} comes first by the frozen scores in {share:.0f} % of {resamples} resamples" + (
        f" ({others})." if others else "; there is no other to compare it with."
    )


def expectation(rows: list[dict[str, Any]], winner: str, pixels: Finding, gain: Finding) -> str:
    """What may be expected of transfer from the winner, against a probe of the pixels themselves."""
    chosen = next(row for row in rows if row["name"] == winner)
    probe, tuned = chosen["scores"]["linear_probe"], chosen["short_finetune"]["accuracy"]
    proven = "a proven gain" if gain.low > 0 else "a proven loss" if gain.high < 0 else "no proven difference"
    return (
        f"With nothing of the backbone trained, a linear probe reads {told(probe)} of the validation images, one on "
        f"{PIXELS} {told(asdict(pixels))}: {points(asdict(gain))}, {proven}. The short fine-tune reads {told(tuned)}; "
        "the epoch was chosen on the same images, so expect a little less of new ones."
    )


def risks(rows: list[dict[str, Any]], winner: str) -> list[str]:
    """The risks and limitations that the winner's passport names."""
    chosen = next(row for row in rows if row["name"] == winner)
    return [*chosen["risks"], *chosen["limitations"]]


def told(finding: dict[str, Any]) -> str:
    """A share with its interval and its n."""
    value, low, high = (100 * finding[key] for key in ("value", "low", "high"))
    return f"{value:.1f} % [{low:.1f}, {high:.1f}] (n = {finding['n']})"


def points(finding: dict[str, Any]) -> str:
    """A difference of shares in percentage points with its interval."""
    value, low, high = (100 * finding[key] for key in ("value", "low", "high"))
    return f"{value:+.1f} pp [{low:+.1f}, {high:+.1f}]"


def write_selection(selection: dict[str, Any], path: Path) -> None:
    """Write the record as JSON; a figure that is not a number is refused here."""
    path.write_text(json.dumps(selection, indent=1, allow_nan=False) + "\n", encoding="utf-8")


def read_selection(path: Path) -> dict[str, Any]:
    """Read the record, given as the file or its folder; EvidenceMissing where it does not say who won."""
    file = path / FILE if path.is_dir() else path
    try:
        selection: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        names = [row["name"] for row in selection["candidates"]]
        if selection["winner"] not in names:
            raise ValueError(f"the winner {selection['winner']} is none of {names}")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise EvidenceMissing(f"cannot read the selection {file}: {error}; run the stage shortlist") from error
    return selection


def _as_dicts(findings: dict[str, Finding]) -> dict[str, dict[str, Any]]:
    return {metric: asdict(finding) for metric, finding in findings.items()}
