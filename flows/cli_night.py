"""`keel nightly`, `nights`, `simulate` and `watchdog`: the scheduled half, by hand."""

from pathlib import Path
from typing import Annotated

import typer

from flows.terminal import ProjectName, app, checkout, progress, quiet_prefect, server_ahead

CODES = {"HEALTHY": 0, "WATCH": 0, "HARM": 2, "NO DATA": 3, "CANNOT JUDGE": 3}
Folder = Annotated[Path | None, typer.Option(help="Another folder of windows than <data>/production.")]


@app.command()
def nightly(
    date: Annotated[
        str | None, typer.Option(help="2026-06-01, yesterday or today; all windows not judged yet without it.")
    ] = None,
    until: Annotated[str | None, typer.Option(help="Every night from --date to this one.")] = None,
    windows: Annotated[
        str | None,
        typer.Option(help="Another folder of windows than <data>/production, a URL such as s3://..., or log."),
    ] = None,
    pull: Annotated[bool, typer.Option(help="First fetch what git and DVC have.")] = False,
    project: ProjectName = "digits",
) -> None:
    """Check, score and judge production windows, act on what they say; exit code 2 for HARM, 3 where nobody can say."""
    place = windows if windows in (None, "log") or "://" in windows else str(Path(windows).resolve())
    with checkout(project):
        with progress():
            with server_ahead():
                from flows.nightly import nightly as flow
            quiet_prefect()
            judged = flow(project=project, date=date, until=until, windows=place, pull=pull)
        for night in judged:
            typer.echo(night.sentence)
        if judged:
            typer.echo(f"pages: runs/{project}/nights/nights.html")
            raise typer.Exit(next(code for code in (2, 3, 0) if code in [CODES[night.verdict] for night in judged]))
        typer.echo("no window is waiting: every one is on record; `keel nights` lists them")


@app.command()
def nights(project: ProjectName = "digits") -> None:
    """The nights on record, the newest last: verdict, labels, errors, evidence, drift; and whether users agree."""
    with checkout(project) as chosen:
        import datetime as dt

        from tasks.feedback_rules import load_feedback_rules
        from tasks.feedback_store import FeedbackStore
        from tasks.feedback_trend import opinion_of
        from tasks.ledger import Ledger
        from tasks.night_lines import night_lines
        from tasks.places import feedback_url
        from tasks.project import load_project
        from tasks.watch import load_watch

        about = load_project(Path("governance/projects") / f"{project}.yaml")
        entries = Ledger(chosen.ledger_url).read(project)
        for line in night_lines(entries, load_watch(about.watch).level):
            typer.echo(line)
        filed = FeedbackStore(feedback_url()).read(project)
        if filed:
            rules = load_feedback_rules(about.feedback).trend
            typer.echo(opinion_of(filed, entries, rules, dt.datetime.now(dt.UTC).date()))


@app.command()
def watchdog(project: ProjectName = "digits") -> None:
    """Has every night that should be over a verdict? Names, enters and tells those that have none; exit code 1 then."""
    with checkout(project):
        with progress():
            with server_ahead():
                from flows.watchdog import watchdog as flow
            quiet_prefect()
            last = flow(project=project)
        typer.echo(f"the night of {last}, the last that should be over, has its verdict")


@app.command()
def simulate(
    start: Annotated[str, typer.Option("--from", help="The first night: 2026-07-01.")],
    condition: Annotated[str | None, typer.Option(help="A fault such as faded, noise or fog; none without it.")] = None,
    severity: Annotated[int, typer.Option(help="1 to 5.")] = 3,
    count: Annotated[int, typer.Option("--nights", help="How many nights.")] = 1,
    images: Annotated[int, typer.Option(help="Images a night.")] = 40,
    labels: Annotated[float, typer.Option(help="Share of the images that have a label.")] = 1.0,
    out: Folder = None,
    project: ProjectName = "digits",
) -> None:
    """Write windows with a simulated fault, from images of earlier windows, for `keel nightly --windows`."""
    where = out.resolve() if out else None
    with checkout(project):
        from tasks.project import load_project
        from tasks.simulate import simulate as write
        from tasks.simulated_sources import sources
        from tasks.windows import parse_date

        about = load_project(Path("governance/projects") / f"{project}.yaml")
        place = where or Path("runs") / project / "simulated"
        day = parse_date(start)
        written = write.fn(sources(about, day), condition, severity, day, count, images, labels, place)
        for folder in written:
            typer.echo(str(folder))
        typer.echo(f"judge them with `keel nightly --project {project} --date {start} --windows {place}`")
