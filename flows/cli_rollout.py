"""`keel rollout`: where a challenger stands on its way to all traffic, and why; run it, end it, or skip a step."""

from pathlib import Path
from typing import Annotated

import typer

from flows.terminal import ProjectName, app, checkout, progress, quiet_prefect, server_ahead

Reason = Annotated[str, typer.Option(help="The reason, for whoever reads this later.")]
rollout_app = typer.Typer(
    invoke_without_command=True, help="A challenger on its way: where it stands, and what moves it."
)
app.add_typer(rollout_app, name="rollout")


@rollout_app.callback()
def rollout(context: typer.Context, project: ProjectName = "digits") -> None:
    """Where the rollout stands and why; moves nothing."""
    if context.invoked_subcommand is not None:
        return
    with checkout(project) as chosen:
        from tasks.project import load_project
        from tasks.registry import Registry
        from tasks.rollout_lines import rollout_lines
        from tasks.watch import load_watch

        about = load_project(Path("governance/projects") / f"{project}.yaml")
        typer.echo("\n".join(rollout_lines(Registry(about.name, chosen), load_watch(about.watch).rollout)))


@rollout_app.command("run")
def run(project: ProjectName = "digits") -> None:
    """Read the evidence, and move the challenger on, wait, take it off, or promote it; the schedule runs it daily."""
    with checkout(project):
        with progress():
            with server_ahead():
                from flows.rollout import rollout as flow
            quiet_prefect()
            entry = flow(project=project)
        if entry is None:
            typer.echo(f"{project} has no challenger that goes through steps")
            return
        typer.echo(f"{entry.body['sentence']} (entry {entry.number})")
        typer.echo("\n".join(f"  {sentence}" for sentence in entry.body["sentences"][1:]))


@rollout_app.command("abort")
def abort(why: Reason, project: ProjectName = "digits") -> None:
    """Take the challenger off at whatever step it is; all traffic is the champion's again, within seconds."""
    with checkout(project):
        with progress():
            with server_ahead():
                from flows.rollout import abort as flow
            quiet_prefect()
            entry = flow(project=project, why=why)
        typer.echo(f"{entry.body['sentence']} (entry {entry.number})")
        typer.echo(f"the champion, version {entry.body['champion']}, answers {entry.body['champion_answers']}")


@rollout_app.command("skip")
def skip(
    to: Annotated[str, typer.Option(help="A later step, or promotion.")],
    key: Annotated[Path, typer.Option(help="The private key of somebody who may (governance/roles.yaml).")],
    why: Reason,
    project: ProjectName = "digits",
) -> None:
    """Go to a later step without its evidence, in an emergency: signed, and on record."""
    key = key.absolute()
    with checkout(project):
        with progress():
            with server_ahead():
                from flows.rollout import skip as flow
            quiet_prefect()
            entry = flow(project=project, to=to, why=why, key=key)
        typer.echo(f"{entry.body['sentence']} (entry {entry.number})")
