"""The pages of one night and of all nights: self-contained HTML from the record, with pictures from the window."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from jinja2 import Environment, PackageLoader, select_autoescape

from tasks.coded import coded
from tasks.ledger import Entry
from tasks.metrics import PROBABILITY, classes_of
from tasks.night import HARM, HEALTHY, NO_DATA, VERDICTS, Night
from tasks.night_plots import error_plot, evidence_plot
from tasks.pictures import thumbnail
from tasks.watch import Watch

MOOD = {HEALTHY: "good", HARM: "bad", NO_DATA: "bad"}  # of the colours; the others are open
SHOWN, SIDE = 12, 96  # pictures of a gallery, and pixels of one
UNKNOWN = "not known"
Figures = dict[str, dict[str, float]]


def night_page(
    project: str,
    night: Night,
    nights: Sequence[Night],
    figures: Figures,
    watch: Watch,
    answers: pd.DataFrame | None,
    window: Path,
    links: list[tuple[str, str]],
    answer: Entry | None,
) -> str:
    """night.html: `answers` are the champion's (None without a window), `window` the folder of the images.

    `answer` is what the night did about harm, if anything (`answer_of` in tasks/incident.py).
    """
    body, drift = night.body, night.body["drift"].get("drift")
    earlier = [one for one in nights if one.night <= night.night]
    return render(
        "night.html.j2",
        project=project,
        night=night.night,
        verdict=night.verdict,
        mood=MOOD.get(night.verdict, "open"),
        sentence=night.sentence,
        sentences=body["sentences"][1:],
        figures=headline(night, figures),
        incident={"number": answer.body.get("incident", answer.number), **answer.body} if answer else None,
        **lines(earlier, figures, watch),
        monitors=monitors(body),
        tests=tests(drift),
        no_drift=next(iter(body["drift"].get("said", ())), "It was not asked."),
        reference=f"the nights {', '.join(body['drift'].get('reference', []))}",
        drift_level=f"{1 / watch.drift.false_alarm_every:g}",
        false_alarm_every=watch.drift.false_alarm_every,
        drift_notes=drift["notes"][1:-1] if drift else [],
        anomalies=anomalies(drift, answers, window),
        expected=[{**row, "accuracy": share(row["accuracy"], row["low"], row["high"])} for row in expected(body)],
        to_label=asked(body, window),
        mistakes=mistakes(answers, window),
        links=links,
        facts=facts(night),
    )


def nights_page(project: str, nights: Sequence[Night], figures: Figures, watch: Watch) -> str:
    """nights.html: every night on record, the newest first."""
    counts = Counter(night.verdict for night in nights)
    summary = ", ".join(f"{counts[verdict]} {verdict}" for verdict in VERDICTS if counts[verdict])
    return render(
        "nights.html.j2",
        project=project,
        sentence=nights[-1].sentence,
        mood=MOOD.get(nights[-1].verdict, "open"),
        summary=f"{len(nights)} nights from {nights[0].night} to {nights[-1].night}: {summary}.",
        **lines(nights, figures, watch),
        rows=[row(night, figures) for night in reversed(nights)],
    )


def row(night: Night, figures: Figures) -> dict[str, Any]:
    """A night as a row of a table; the terminal shows the same."""
    figure, body = figures.get(night.night), night.body
    drift = body["drift"].get("drift")
    found = body["harm"].get("harm")
    return {
        "night": night.night,
        "link": f"{night.night}/night.html",
        "verdict": night.verdict,
        "mood": MOOD.get(night.verdict, "open"),
        "images": f"{body['images']:,}",
        "labels": f"{figure['n']:,.0f}" if figure else "0",
        "error": share(figure["error"], figure["low"], figure["high"]) if figure else "",
        "evidence": f"{found['evidence']:,.1f}" if found else "",
        "drift": f"{drift['p']:.2g}" if drift else "",
        "version": f"v{body['version']}",
        "why": night.sentence.partition(": ")[2],
    }


def lines(nights: Sequence[Night], figures: Figures, watch: Watch) -> dict[str, Any]:
    """The two plots over the nights, and what their lines stand for."""
    rules = watch.harm
    on_all = {f"{monitor.name}/all" for monitor in rules.monitors if monitor.risk == "error"}
    tolerated = [
        state["tolerated"]
        for night in nights[-1:]
        for key, state in night.body["harm"].get("states", {}).items()
        if key in on_all
    ]
    return {
        "error_plot": error_plot(nights, figures, min(tolerated, default=None)),
        "evidence_plot": evidence_plot(nights, rules.average_run_length, rules.early_warning),
        "run_length": f"{rules.average_run_length:,}",
        "early_warning": f"{rules.early_warning:,}",
    }


def headline(night: Night, figures: Figures) -> list[dict[str, str]]:
    """Three numbers with what they mean."""
    figure, body = figures.get(night.night), night.body
    found, drift = body["harm"].get("harm"), body["drift"].get("drift")
    error = share(figure["error"], figure["low"], figure["high"]).split(" [") if figure else [UNKNOWN]
    return [
        {
            "name": "wrong answers",
            "value": error[0],
            "note": f"[{error[1]} of {figure['n']:,.0f} labelled images" if figure else "no label has come",
        },
        {
            "name": "evidence for harm",
            "value": f"{found['evidence']:,.1f}" if found else UNKNOWN,
            "note": "most of it by " + found["leading"] if found else "",
        },
        {
            "name": "drift, adjusted p",
            "value": f"{drift['p']:.2g}" if drift else UNKNOWN,
            "note": f"{body['images']:,} images tonight",
        },
    ]


def monitors(body: dict[str, Any]) -> list[dict[str, str]]:
    """A row for each place that is watched."""
    parts = body["harm"].get("harm", {}).get("parts", {})
    return [
        {
            "name": key,
            "tolerated": f"{100 * state['tolerated']:.1f} %",
            "labels": f"{state['labels']:,}",
            "evidence": f"{parts.get(key, 0):,.2f}",
            "began": began(state),
        }
        for key, state in body["harm"].get("states", {}).items()
    ]


def began(state: dict[str, Any]) -> str:
    """The night on which the harm that a monitor sees most likely began."""
    best = max(range(len(state["runs"])), key=state["runs"].__getitem__)
    return state["joined"][best] if state["runs"][best] > 0 else ""


def tests(drift: dict[str, Any] | None) -> list[dict[str, str]]:
    """A row for each test of drift."""
    if drift is None:
        return []
    return [
        {
            "name": test["name"],
            "statistic": f"{test['statistic']:.3g}",
            "p": f"{test['p']:.2g}",
            "adjusted": f"{adjusted:.2g}",
            "effect": f"{test['effect']:.2f}",
        }
        for test, adjusted in zip(drift["tests"], drift["adjusted"], strict=True)
    ]


def expected(body: dict[str, Any]) -> list[dict[str, Any]]:
    """The estimates without labels."""
    found: list[dict[str, Any]] = body["drift"].get("expected", [])
    return found


def asked(body: dict[str, Any], window: Path) -> list[dict[str, str]]:
    """The images that a person is asked to label."""
    return [picture(window, row["image"], row["image"]) for row in body["drift"].get("to_label", [])[:SHOWN]]


def anomalies(drift: dict[str, Any] | None, answers: pd.DataFrame | None, window: Path) -> list[dict[str, str]]:
    """The images least like the reference; an id is `<night>/<path>`."""
    if drift is None or answers is None:
        return []
    found = [(one["image_id"].partition("/")[2], one["score"]) for one in drift["anomalies"][:SHOWN]]
    return [picture(window, path, f"{path}: {score:.1f} times as far as usual") for path, score in found]


def mistakes(answers: pd.DataFrame | None, window: Path) -> list[dict[str, str]]:
    """Labelled images that were answered wrong, the surest first."""
    if answers is None:
        return []
    wrong = answers[(answers["label"] != "") & (answers["label"] != answers["predicted"])]
    sure = wrong[[PROBABILITY + c for c in classes_of(wrong)]].max(axis=1)
    rows = wrong.assign(sure=sure).sort_values(["sure", "path"], ascending=[False, True]).head(SHOWN)
    return [
        picture(window, one["path"], f"{one['label']} read as {one['predicted']}, {100 * one['sure']:.0f} %")
        for one in rows.to_dict("records")
    ]


def picture(window: Path, path: str, note: str) -> dict[str, str]:
    """A thumbnail with its note; without the thumbnail where the log did not keep the image."""
    file = window / path
    return {"picture": thumbnail(file, path, SIDE) if file.is_file() else "", "note": note}


def facts(night: Night) -> list[tuple[str, str]]:
    """What an auditor looks for."""
    body = night.body
    return [
        ("entry of the ledger", str(night.number)),
        ("champion", f"version {body['version']}, {body['model']}"),
        ("window", body["window"]),
        ("rules of the nights", body["watch"]),
        ("MLflow run", body["run"]),
    ]


def share(value: float, low: float, high: float) -> str:
    """`7.5 % [2.6, 19.9]`."""
    return f"{100 * value:.1f} % [{100 * low:.1f}, {100 * high:.1f}]"


def render(name: str, **values: Any) -> str:
    """A template of this package."""
    loader = PackageLoader("tasks", ".")
    environment = Environment(loader=loader, autoescape=select_autoescape(["j2"]), trim_blocks=False)
    environment.filters["coded"] = coded
    return environment.get_template(name).render(**values)
