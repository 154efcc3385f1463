"""The console script `keel`. Heavy imports happen inside the commands, so that help is instant."""

import logging
import os
from pathlib import Path
from typing import Annotated

import typer

from flows import cli_feedback, cli_live, cli_night, cli_plan, cli_records, cli_rollback, cli_rollout, cli_sign
from flows.terminal import ProjectName, app, check_room, checkout, progress, quiet_prefect, server_ahead
from tasks.settings import without_password

EXIT_CODES = {"PASS": 0, "FAIL": 2, "INCONCLUSIVE": 3}
Dirty = Annotated[bool, typer.Option(help="Accept data that differ from data.dvc; the record says so.")]
Quick = Annotated[bool, typer.Option(help="Fewer labels, rates and epochs: params.yaml, certify.quick.")]
PARTS = (
    cli_plan,
    cli_sign,
    cli_records,
    cli_night,
    cli_rollback,
    cli_rollout,
    cli_live,
    cli_feedback,
)  # which add their commands to `app` when they are imported


@app.command()
def release(
    data: Annotated[Path | None, typer.Option(help="An image folder; needed once, for a new project.")] = None,
    project: ProjectName = "digits",
    allow_dirty: Dirty = False,
) -> None:
    """Check the data, fine-tune, judge against the plan, record, and promote on PASS."""
    where = data.resolve() if data else None  # before the checkout's root becomes the working folder
    with checkout(project) as chosen:
        with progress():
            logging.getLogger("flows").info("loading the libraries")  # which takes long enough to look dead
            from tasks.scaffold import project_for

            project_for(project, where)
            check_room(chosen.state, Path.cwd())
            with server_ahead():
                from flows.release import release as flow
            quiet_prefect()
            outcome = flow(project=project, allow_dirty=allow_dirty)
        typer.echo("")
        for sentence in outcome.criteria:
            typer.echo(f"  {sentence}")
        typer.echo(f"\n{outcome.sentence}")
        if outcome.report is None:
            typer.echo(f"entry {outcome.decision} of the ledger; nothing was scored, decided or promoted")
            raise typer.Exit(EXIT_CODES[outcome.verdict])
        typer.echo(f"decision {outcome.decision} of {project}; `keel show` prints it in full")
        typer.echo(f"champion: version {outcome.version}" if outcome.version else "nothing was promoted")
        for sentence in outcome.waiting:
            typer.echo(f"  {sentence}")
        if outcome.waiting and not outcome.by_steps:
            typer.echo(f"  then `keel release --project {project}` again promotes it; what is unchanged is kept")
        typer.echo(f"report: {outcome.report}")
        typer.echo(f"runs and models: {without_password(chosen.tracking_uri)} (`keel ui` says how to look at them)")
        raise typer.Exit(EXIT_CODES[outcome.verdict])


@app.command()
def certify(project: ProjectName = "digits", quick: Quick = False, allow_dirty: Dirty = False) -> None:
    """Was transfer worth it: scratch, probe, full, LP-FT and gradual over labels and seeds, with what one may claim."""
    show_study("certify", project, quick, allow_dirty)


@app.command()
def ablate(project: ProjectName = "digits", quick: Quick = False, allow_dirty: Dirty = False) -> None:
    """What each ingredient of the recipe is worth: the same training with one left out at a time."""
    show_study("ablate", project, quick, allow_dirty)


def show_study(name: str, project: str, quick: bool, allow_dirty: bool) -> None:
    """Run the flow of that name and print its sentences."""
    with checkout(project) as chosen:
        with progress():
            logging.getLogger("flows").info("loading the libraries")
            check_room(chosen.state, Path.cwd())
            with server_ahead():
                import flows.certify
            quiet_prefect()
            outcome = getattr(flows.certify, name)(project=project, quick=quick, allow_dirty=allow_dirty)
        for subject, sentences in {**outcome.claims, "What was not shown": outcome.not_shown}.items():
            typer.echo(f"\n{subject}")
            for sentence in sentences:
                typer.echo(f"  {sentence}")
        typer.echo(f"\nentry {outcome.entry} of the ledger; page: {outcome.page}")


@app.command()
def status(project: ProjectName = "digits") -> None:
    """Champion, challenger, previous, data version and the last verdict."""
    with checkout(project) as chosen:
        from tasks.project import load_project
        from tasks.registry import Registry
        from tasks.summary import status_lines

        about = load_project(Path("governance/projects") / f"{project}.yaml")
        for line in status_lines(Registry(about.name, chosen), about):
            typer.echo(line)


@app.command()
def show(
    what: Annotated[
        str, typer.Argument(help="last, a decision's number, or a version: v1, champion, previous.")
    ] = "last",
    project: ProjectName = "digits",
) -> None:
    """A verdict or a model version in full."""
    with checkout(project) as chosen:
        from tasks.registry import Registry
        from tasks.summary import in_full

        typer.echo(in_full(Registry(project, chosen), what))


@app.command()
def doctor(project: ProjectName = "digits") -> None:
    """Is everything in order: data, DVC remote, backbones, registry, ledger, servers."""
    with checkout(project) as chosen:
        from tasks.checkup import checkup

        sick = 0
        for name, trouble, sentence in checkup(project, chosen):
            typer.echo(f"{'TROUBLE' if trouble else 'ok':8}{name:18}{sentence}")
            sick += trouble
        if sick:
            raise typer.Exit(1)


@app.command()
def ui() -> None:
    """How to look at runs, models and flows in a browser."""
    with checkout() as chosen:
        place = without_password(chosen.tracking_uri)
        store = "" if chosen.artifacts is None else f"mlflow ui --backend-store-uri {place} --port 5000"
        typer.echo(f"MLflow:  {store or 'already a server'}")
        typer.echo(f"         {'http://127.0.0.1:5000' if store else place}")
        typer.echo(f"Prefect: PREFECT_HOME={os.environ['PREFECT_HOME']} prefect server start --analytics-off")
        typer.echo(
            "         http://127.0.0.1:4200; to send runs there: PREFECT_API_URL=http://127.0.0.1:4200/api keel release"
        )


def main() -> None:
    """The console script."""
    app()


if __name__ == "__main__":
    main()
