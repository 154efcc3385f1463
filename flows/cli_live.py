"""`keel serve` and `keel label`: the scoring service, and the labels of its answers."""

from pathlib import Path
from typing import Annotated

import typer

from flows.terminal import ProjectName, app, checkout

REFUSED = 3  # the exit code when what should be served is not what was registered


@app.command()
def serve(
    host: Annotated[str, typer.Option(help="Any other than this machine's own needs KEEL_TOKENS.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535)] = 8000,
    workers: Annotated[int, typer.Option(min=1, max=64, help="Processes that hold the model, on each device.")] = 1,
    project: ProjectName = "digits",
) -> None:
    """Answer images over HTTP with the champion, and follow the registry; exit code 3 where it must not be served."""
    with checkout(project) as chosen:
        from flows.common import knobs
        from service.serve import serve as answer
        from tasks.errors import DigestMismatch
        from tasks.params import CheckDataParams
        from tasks.project import load_project
        from tasks.serving_rules import load_serving

        about = load_project(Path("governance/projects") / f"{project}.yaml")
        try:
            answer(about, knobs(CheckDataParams, about), load_serving(about.serving), chosen, host, port, workers)
        except DigestMismatch as error:
            typer.echo(f"DigestMismatch: {error}", err=True)
            raise typer.Exit(REFUSED) from error


@app.command()
def label(
    file: Annotated[Path, typer.Argument(help="CSV: request_id, label; labelled_at and source where they are known.")],
    project: ProjectName = "digits",
) -> None:
    """Put labels of answered requests into the log: nights count them, and the rollout bets on them."""
    file = file.absolute()
    with checkout(project):
        import datetime as dt

        from tasks.log_labels import add_labels, read_label_list
        from tasks.places import log_place
        from tasks.project import load_project

        about = load_project(Path("governance/projects") / f"{project}.yaml")
        rows = read_label_list(file, about.classes, dt.datetime.now(dt.UTC))
        added = add_labels(log_place(), project, rows)
        typer.echo(f"{added} labels are new, {len(rows) - added} were on record")
