"""`keel feedback`: what users say of the answers, from the report to a label, a must-pass case, or its deletion."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from flows.terminal import ProjectName, app, checkout, progress, quiet_prefect, server_ahead
from tasks.ledger import Entry

feedback_app = typer.Typer(no_args_is_help=True, help="Reports of users: add, review, sum up, delete.")
app.add_typer(feedback_app, name="feedback")
ReportId = Annotated[str | None, typer.Argument(help="A report's id; the queue without it.")]


@feedback_app.command()
def add(
    request: Annotated[str, typer.Option(help="The request that it is about.")],
    consent: Annotated[bool, typer.Option("--consent/--no-consent", help="May it be kept? Nothing is, without.")],
    rating: Annotated[int | None, typer.Option(help="1, of no use, to 5.")] = None,
    label: Annotated[str | None, typer.Option(help="The class that would have been right.")] = None,
    text: Annotated[str | None, typer.Option(help="In the user's words; - reads standard input.")] = None,
    retention: Annotated[str, typer.Option(help="days-<number> or until-withdrawn.")] = "days-365",
    group: Annotated[list[str] | None, typer.Option(help="An attribute as name=value; needs --consent-groups.")] = None,
    consent_groups: Annotated[bool, typer.Option("--consent-groups", help="May the attributes be kept?")] = False,
    project: ProjectName = "digits",
) -> None:
    """File a report, as POST /feedback does."""
    words = sys.stdin.read() if text == "-" else text
    with checkout(project):
        import datetime as dt

        from tasks.decision import decided_by
        from tasks.digests import sha256_text
        from tasks.feedback import report_of
        from tasks.feedback_store import FeedbackStore
        from tasks.places import feedback_url

        fields = {"request_id": request, "project": project, "consent": consent, "retention": retention}
        fields |= {"rating": rating, "correct_label": label, "text": words, "consent_groups": consent_groups}
        fields |= {"groups": dict(pair.partition("=")[::2] for pair in group or [])}
        report = report_of({**fields, "at": dt.datetime.now(dt.UTC), "client": sha256_text(decided_by())})
        filed = FeedbackStore(feedback_url()).add(report)
        typer.echo(f"report {filed}; `keel feedback review` shows the queue" if filed else "counted; nothing was kept")


@feedback_app.command("list")
def list_reports(project: ProjectName = "digits") -> None:
    """Every report that is kept, without its text: state, who settled it, when it expires."""
    with checkout(project):
        from tasks.feedback_store import FeedbackStore
        from tasks.places import feedback_url

        store = FeedbackStore(feedback_url())
        for filed in store.read(project):
            settled = f"{filed.state} by {filed.reviewed_by}" if filed.reviewed_by else filed.state
            typer.echo(f"{filed.id}  request {filed.request_id}  {settled}  kept until {filed.expires or 'withdrawn'}")
        typer.echo(f"{store.declined(project)} more came without consent, of which nothing was kept")


@feedback_app.command()
def review(
    report: ReportId = None,
    verdict: Annotated[str | None, typer.Option("--as", help="label, case or noise.")] = None,
    why: Annotated[str, typer.Option(help="The reason, for whoever reads this later; not the user's words.")] = "",
    label: Annotated[str | None, typer.Option(help="The right class, where you know better than the user.")] = None,
    project: ProjectName = "digits",
) -> None:
    """The queue, the most useful report first, with its page; or settle one report."""
    with checkout(project) as chosen:
        from flows.feedback import PATIENCE
        from tasks.feedback_answers import answer_of, look_up_answers
        from tasks.feedback_page import write_page
        from tasks.feedback_queue import queue
        from tasks.feedback_store import FeedbackStore
        from tasks.lease import hold
        from tasks.ledger import Ledger
        from tasks.places import feedback_url, log_place
        from tasks.project import load_project
        from tasks.review_feedback import review as settle

        about = load_project(Path("governance/projects") / f"{project}.yaml")
        ledger, store, place = Ledger(chosen.ledger_url), FeedbackStore(feedback_url()), log_place()
        with hold(ledger, f"{project}.feedback", chosen.state, wait=PATIENCE):
            if report is not None:
                for line in settle(store, ledger, about, place, report, verdict or "", why, label):
                    typer.echo(line)
                return
            waiting = queue(look_up_answers(store, place, project))
            rows = {w.filed.request_id: answer_of(place, project, w.filed.request_id) for w in waiting}
            images = {request: bytes(row["image"]) for request, row in rows.items() if row}
            page = write_page(waiting, images, project, chosen.state)
        for one in waiting:
            typer.echo(one.line())
        typer.echo(f"{len(waiting)} to review; with pictures and texts: {page}")


@feedback_app.command()
def summary(project: ProjectName = "digits") -> None:
    """What may be told of the reports, by the rules of governance/feedback.yaml, and their trend beside the nights."""
    with checkout(project) as chosen:
        import datetime as dt

        from tasks.feedback_answers import look_up_answers
        from tasks.feedback_rules import load_feedback_rules
        from tasks.feedback_store import FeedbackStore
        from tasks.feedback_trend import opinion_of
        from tasks.ledger import Ledger
        from tasks.places import feedback_url, log_place
        from tasks.project import load_project
        from tasks.sum_up import sum_up

        about = load_project(Path("governance/projects") / f"{project}.yaml")
        rules, ledger = load_feedback_rules(about.feedback), Ledger(chosen.ledger_url)
        filed = look_up_answers(FeedbackStore(feedback_url()), log_place(), project)
        for line in sum_up(filed, ledger, project, rules.summary):
            typer.echo(line)
        typer.echo(opinion_of(filed, ledger.read(project), rules.trend, dt.datetime.now(dt.UTC).date()))


@feedback_app.command()
def forget(
    ids: Annotated[list[str], typer.Argument(help="Ids of requests or of reports.")], project: ProjectName = "digits"
) -> None:
    """Remove them everywhere: reports, labels, log, pictures, cases, data. It cannot be undone."""
    with checkout(project):
        with progress():
            with server_ahead():
                from flows.feedback import forget as flow
            quiet_prefect()
            tombstones = flow(project=project, ids=ids)
        show(tombstones)


@feedback_app.command()
def expire(project: ProjectName = "digits") -> None:
    """Remove the reports whose retention has ended, with all that came of them, as the daily deployment does."""
    with checkout(project):
        with progress():
            with server_ahead():
                from flows.feedback import expire as flow
            quiet_prefect()
            tombstones = flow(project=project)
        show(tombstones)


def show(tombstones: list[Entry]) -> None:
    """What was removed, and what nobody here can remove."""
    for entry in tombstones:
        removed = ", ".join(f"{what}: {count}" for what, count in entry.body["removed"].items())
        typer.echo(f"entry {entry.number} of the ledger: {removed}")
        for folder in entry.body["may_show"]:
            typer.echo(f"  the page in {folder} may have a thumbnail of it, and so may its copy in MLflow")
        if any(what.endswith(".csv") for what in entry.body["removed"]):
            typer.echo("  commit what changed; `dvc add` and `dvc gc --workspace --cloud` clear old versions of data")
            typer.echo("  the history of git and backups still have what lay in them")
    if not tombstones:
        typer.echo("nothing was to be removed")
