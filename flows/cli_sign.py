"""`keel approve`, `waive`, `risk` and `key`: what people answer for with their signature."""

from pathlib import Path
from typing import Annotated

import typer

from flows.terminal import ProjectName, app, checkout

KeyFile = Annotated[Path, typer.Option(help="Your private key; `keel key new` makes one.")]
Reason = Annotated[str, typer.Option(help="The reason, for whoever reads this later.")]


@app.command()
def approve(
    key: KeyFile,
    why: Reason,
    decision: Annotated[str, typer.Argument(help="last, or a decision's number.")] = "last",
    project: ProjectName = "digits",
    just_print: Annotated[bool, typer.Option("--print", help="Print the signed line; enter nothing.")] = False,
) -> None:
    """Stand by a decision with a signature; once every role that its plan asks has, `keel release` promotes."""
    key = key.absolute()
    with checkout(project) as chosen:
        from tasks.registry import Registry
        from tasks.sign_off import approve as give_approval

        for line in give_approval(Registry(project, chosen), decision, key, why, just_print):
            typer.echo(line)


@app.command()
def waive(
    criterion: Annotated[str, typer.Argument(help="A criterion of the project's plan.")],
    until: Annotated[str, typer.Option(help="The last day on which it is waived: 2026-12-31.")],
    why: Reason,
    key: Annotated[Path | None, typer.Option(help="The private key of whoever waives it.")] = None,
    project: ProjectName = "digits",
) -> None:
    """Let a criterion that is not met count as a warning until a day, by name and for a reason."""
    key = key.absolute() if key else None
    with checkout(project) as chosen:
        from tasks.ledger import Ledger
        from tasks.sign_off import waive as give_waiver

        typer.echo(give_waiver(Ledger(chosen.ledger_url), project, criterion, until, why, key))


risk_app = typer.Typer(no_args_is_help=True, help="The risk register: what stands open, and who accepted what.")
app.add_typer(risk_app, name="risk")


@risk_app.command("list")
def risk_list(project: ProjectName = "digits") -> None:
    """Each risk of the project as it stands with the last decision, and what it stops."""
    with checkout(project) as chosen:
        from tasks.ledger import Ledger
        from tasks.sign_off import risk_lines

        typer.echo("\n".join(risk_lines(Ledger(chosen.ledger_url), project)))


@risk_app.command("accept")
def risk_accept(
    risk: Annotated[str, typer.Argument(metavar="ID", help="A risk of governance/risks.yaml.")],
    key: KeyFile,
    why: Reason,
    project: ProjectName = "digits",
) -> None:
    """Accept a risk as it is worded, until its review, with a signature."""
    key = key.absolute()
    with checkout(project) as chosen:
        from tasks.ledger import Ledger
        from tasks.sign_off import accept_risk

        typer.echo(accept_risk(Ledger(chosen.ledger_url), project, risk, key, why))


key_app = typer.Typer(no_args_is_help=True, help="Keys to sign approvals, waivers and acceptances with.")
app.add_typer(key_app, name="key")


@key_app.command("new")
def key_new(path: Annotated[Path, typer.Argument(help="The file for the private key; it must not exist yet.")]) -> None:
    """Write a new private key that only you can read, and print what to add to governance/roles.yaml."""
    path = path.absolute()
    with checkout():
        from tasks.sign_off import key_lines

        typer.echo("\n".join(key_lines(path)))
