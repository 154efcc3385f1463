"""The pages of a certificate and of an ablation: self-contained HTML, drawn from the document and nothing else."""

from dataclasses import dataclass
from typing import Any

from jinja2 import Environment, PackageLoader, select_autoescape

from tasks.arms import Row
from tasks.claims import BASELINE, RECIPE, percent, pick, points
from tasks.gain_plots import accuracy_curve, differences, gain_curve, place_titles
from tasks.label_draws import Labels, describe_labels
from tasks.params import METHODS
from tasks.recipes import FULL_RECIPE
from tasks.slices import JUDGED

INTERVALS = (
    "Intervals are at {level:g} %. Differences are paired: the same images, the same seed, the same drawn labels on "
    "both sides. Their variance is the sum of that over images (a bootstrap over groups such as subjects, or over "
    "units where groups are few) and of that over seeds, which cross (Owen 2007; Cameron, Gelbach & Miller 2011); "
    "quantiles are Student's at Satterthwaite's degrees of freedom, for three seeds are few."
)
DRAWS = (
    "A seed sets the initial weights, the order of the images and the augmentation, and draws which training images "
    "keep their labels; a draw with more labels holds the one with fewer, and groups take turns within a class."
)
RATES = (
    "Each method tried as many learning rates as every other; the lowest validation loss chose. No test image was seen."
)


@dataclass(frozen=True)
class Cell:
    """A table's cell; `sign` is up or down where a difference is proven."""

    text: str
    sign: str = ""


def certificate_page(document: dict[str, Any]) -> str:
    """certificate.html."""
    rows, most = document["accuracy"], document["points"][-1]["labels"]
    splits = [split for split in JUDGED if pick(rows, place=split)]
    gains = pick(rows, method=RECIPE, against=BASELINE, labels=most)
    return _render(
        document,
        title=f"Transfer certificate: {document['project']}{', quick' if document['quick'] else ''}",
        lead=document["claims"]["What pretraining adds"],
        plots=[gain_curve(rows, document["points"], split) for split in splits]
        + [accuracy_curve(rows, document["points"], split) for split in splits],
        wide_plots=[
            {
                "title": f"Gain of {RECIPE} over scratch at {describe_labels(most)}, everywhere",
                "svg": differences(gains, place_titles(gains), "points of accuracy, with the interval"),
            }
        ],
        tables=[
            *(_accuracy_table(document, split) for split in splits),
            *(_gain_table(document, split) for split in splits),
            _metric_table(document, "calibration", "ece", most, "Calibration error after temperature", splits),
            _metric_table(document, "calibration", "nll", most, "Negative log-likelihood after temperature", splits),
            *(
                _metric_table(document, "groups", metric, most, title, _places(document["groups"]))
                for metric, title in (
                    ("worst group", "Accuracy of the worst group"),
                    ("group gap", "Gap between groups"),
                )
                if document["groups"]
            ),
            _forgetting_table(document, most),
            _rates_table(document),
        ],
        how=[
            INTERVALS.format(level=100 * document["level"]),
            DRAWS,
            RATES,
            "CKA is the linear one of Kornblith et al. 2019; the probe of the source task is a ridge classifier on "
            "formula classes that the backbone was pretrained on, drawn anew.",
        ],
    )


def ablation_page(document: dict[str, Any]) -> str:
    """ablation.html."""
    rows = document["accuracy"]
    splits = [split for split in JUDGED if pick(rows, place=split)]
    worth = {split: [r for r in pick(rows, method=FULL_RECIPE, place=split) if r["against"]] for split in splits}
    names = [FULL_RECIPE, *document["ingredients"]]
    by_name = {(r["method"], r["place"]): r for r in rows if r["against"] is None}
    worth_of = {(r["against"], r["place"]): r for found in worth.values() for r in found}
    table = {
        "title": "Accuracy without each ingredient",
        "note": "In brackets the interval; then what the full recipe has over it, paired.",
        "columns": ["left out", *(f"{split}{more}" for split in splits for more in ("", ", worth"))],
        "rows": [
            [
                Cell("nothing" if name == FULL_RECIPE else name),
                *(
                    cell
                    for split in splits
                    for cell in (Cell(percent(by_name[name, split])), _signed(worth_of.get((name, split))))
                ),
            ]
            for name in names
        ],
    }
    return _render(
        document,
        title=f"Ablation: {document['project']}{', quick' if document['quick'] else ''}",
        lead=[s for sentences in document["claims"].values() for s in sentences if "not proven" not in s]
        or ["No ingredient is proven to matter."],
        plots=[],
        wide_plots=[
            {
                "title": f"What each ingredient adds on {split}",
                "svg": differences(found, [r["against"] for r in found], "points of accuracy lost without it"),
            }
            for split, found in worth.items()
        ],
        tables=[table, _rates_table(document)],
        how=[INTERVALS.format(level=100 * document["level"]), DRAWS, RATES],
    )


def _render(document: dict[str, Any], **page: Any) -> str:
    environment = Environment(loader=PackageLoader("tasks", "."), autoescape=select_autoescape(default=True))
    about = f"{document['backbone']['name']} ({document['backbone']['architecture']}), seeds {document['seeds']}"
    return environment.get_template("study.html.j2").render(
        subtitle=f"{about}; {document['data']['sentence']}",
        claims=document["claims"],
        not_shown=document["not_shown"],
        evidence=sorted(document["evidence"].items()),
        **page,
    )


def _accuracy_table(document: dict[str, Any], split: str) -> dict[str, Any]:
    found = {(r["method"], r["labels"]): r for r in pick(document["accuracy"], place=split, against=None)}
    return _by_labels(document, f"Accuracy on {split}", list(METHODS), lambda m, n: Cell(percent(found[m, n])))


def _gain_table(document: dict[str, Any], split: str) -> dict[str, Any]:
    rows = [row for row in pick(document["accuracy"], place=split) if row["against"]]
    found = {(f"{r['method']} over {r['against']}", r["labels"]): r for r in rows}
    names = list(dict.fromkeys(name for name, _ in found))
    return _by_labels(document, f"Paired differences on {split}", names, lambda m, n: _signed(found[m, n]))


def _by_labels(document: dict[str, Any], title: str, names: list[str], cell: Any) -> dict[str, Any]:
    labels: list[Labels] = [point["labels"] for point in document["points"]]
    rows = [[Cell(name), *(cell(name, count) for count in labels)] for name in names]
    return {"title": title, "columns": ["", *(describe_labels(count) for count in labels)], "rows": rows}


def _metric_table(
    document: dict[str, Any], kind: str, metric: str, labels: Labels, title: str, places: list[str]
) -> dict[str, Any]:
    rows = pick(document[kind], metric=metric, labels=labels)
    alone = {(r["method"], r["place"]): r for r in rows if r["against"] is None}
    change = {(r["method"], r["place"]): r for r in rows if r["against"]}
    show = _number if metric == "nll" else percent
    table = [
        [
            Cell(method),
            *(
                cell
                for place in places
                for cell in (
                    Cell(show(alone[method, place])),
                    _signed(change.get((method, place)), metric == "nll", metric != "worst group"),
                )
            ),
        ]
        for method in METHODS
    ]
    columns = ["", *(f"{place}{more}" for place in places for more in ("", ", over scratch"))]
    return {"title": f"{title}, {describe_labels(labels)}", "columns": columns, "rows": table}


def _forgetting_table(document: dict[str, Any], labels: Labels) -> dict[str, Any]:
    rows = []
    for row in pick(document["forgetting"], labels=labels):
        after, before = row["source_after"], row["source_before"]
        rows.append(
            [
                Cell(row["method"]),
                Cell("{:.3f} [{:.3f}, {:.3f}]".format(*row["cka"])),
                Cell("not known" if before is None else f"{100 * before:.1f} %"),
                Cell("not known" if after is None else "{:.1f} % [{:.1f}, {:.1f}]".format(*(100 * x for x in after))),
            ]
        )
    return {
        "title": f"Forgetting, {describe_labels(labels)}",
        "note": "The row of scratch is what a network shares with the pretrained one without having started from it.",
        "columns": ["", "linear CKA to the pretrained features", "source task before", "source task after"],
        "rows": rows,
    }


def _rates_table(document: dict[str, Any]) -> dict[str, Any]:
    rows = []
    for found in document["chosen"]:
        losses = ", ".join(
            f"{g['rate']:g}: " + ("diverged" if g["validation_loss"] is None else f"{g['validation_loss']:.3f}")
            for g in found["grid"]
        )
        edge = f", {found['edge']} of its grid" if found["edge"] else ""
        rows.append([Cell(found["method"]), Cell(str(found["labels"])), Cell(f"{found['rate']:g}{edge}"), Cell(losses)])
    return {
        "title": "Learning rates",
        "note": f"Chosen by validation loss with seed {document['seeds'][0]}.",
        "columns": ["", "labels a class", "chosen", "validation loss by rate"],
        "rows": rows,
    }


def _places(rows: list[Row]) -> list[str]:
    return list(dict.fromkeys(row["place"] for row in rows))


def _number(row: Row) -> str:
    return f"{row['value']:.3f} [{row['low']:.3f}, {row['high']:.3f}]"


def _signed(row: Row | None, plain: bool = False, less_is_better: bool = False) -> Cell:
    if row is None:
        return Cell("")
    text = f"{row['value']:+.3f} [{row['low']:+.3f}, {row['high']:+.3f}]" if plain else points(row)
    better, worse = ("down", "up") if less_is_better else ("up", "down")
    return Cell(text, better if row["low"] > 0 else worse if row["high"] < 0 else "")
