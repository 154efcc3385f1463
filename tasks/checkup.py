"""A check-up of everything that a release leans on: data, DVC remote, backbones, registry, ledger, servers."""

import datetime as dt
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import requests

from tasks.audit_trail import Line, alias_faults, ledger_faults
from tasks.backbones import admit, fetch_weights, load_catalogue
from tasks.candidates import find_candidates
from tasks.data_version import data_version
from tasks.errors import KeelError
from tasks.fallbacks import DRILL, fallbacks
from tasks.history import deployments
from tasks.hub import endpoint, is_offline
from tasks.params import AUTO, ChooseBackboneParams, load_section
from tasks.project import load_project
from tasks.registry import Registry
from tasks.risks import RISKS, load_risks
from tasks.roles import load_roles
from tasks.settings import QUIET, Settings, without_password


def checkup(project: str, chosen: Settings) -> Iterator[Line]:
    """One line for each thing looked at; a check that raises is itself the trouble."""
    checks: dict[str, Callable[[], str]] = {
        "project": lambda: _project(project),
        "data": lambda: _data(project),
        "DVC remote": _remote,
        "backbones": lambda: _backbones(project),
        "people and risks": lambda: _people_and_risks(project),
        "registry": lambda: _registry(project, chosen),
        "ledger": lambda: _ledger(project, chosen),
        "fallback": lambda: _fallback(project, chosen),
        "Prefect": _prefect,
        "settings": lambda: _settings(chosen),
        "telemetry": _telemetry,
    }
    for name, check in checks.items():
        try:
            yield name, False, check()
        except Exception as error:
            yield name, True, str(error).splitlines()[0] if str(error) else type(error).__name__


def _project(project: str) -> str:
    about = load_project(Path(f"governance/projects/{project}.yaml"))
    return f"{about.name}: data in {about.data}, plan {about.plan}"


def _data(project: str) -> str:
    return data_version(load_project(Path(f"governance/projects/{project}.yaml")).data, allow_dirty=False).sentence()


def _remote() -> str:
    from dvc.repo import Repo

    with Repo() as repo:
        missing = repo.status(cloud=True)
        remote = repo.cloud.get_remote_odb()
    gone = [name for name, state in missing.items() if state in ("missing", "deleted")]
    if gone:
        raise KeelError(f"the DVC remote {remote.path} lacks {len(gone)} objects, the first is {gone[0]}; `dvc push`")
    return f"{remote.path} holds all that this checkout records"


def _backbones(project: str) -> str:
    catalogue = load_catalogue(Path("governance/backbones.yaml"))
    about = load_project(Path(f"governance/projects/{project}.yaml"))
    params = load_section(ChooseBackboneParams, Path("params.yaml"), about.params.get("choose_backbone"))
    at_hand = f"{params.name} matches its sha256"
    if params.name == AUTO:
        found, reasons = find_candidates(catalogue, Path("backbones"), Path(params.cache), False, 0.1, dt.date.today())
        if not found:
            raise KeelError(f"no backbone is allowed and at hand: {'; '.join(reasons.values())}")
        at_hand = f"the shortlist compares {', '.join(candidate.entry.name for candidate in found)}"
    else:
        fetch_weights(admit(params.name, catalogue, dt.date.today()), Path(params.cache))  # refused: trouble
    usable, unpinned = 0, []
    for name in catalogue.entries:
        try:
            admit(name, catalogue, dt.date.today())
            usable += 1
        except KeelError as error:
            unpinned.append(str(error))
    rest = f"; refused: {'; '.join(unpinned)}" if unpinned else ""
    return f"{at_hand}; {usable} of {len(catalogue.entries)} entries meet the policy{rest}"


def _people_and_risks(project: str) -> str:
    people, risks = load_roles().people, load_risks(project)
    overdue = [risk.id for risk in risks if dt.date.today() > risk.review_by]
    if overdue:
        raise KeelError(f"the review of {', '.join(overdue)} is overdue; look at it and set review_by in {RISKS}")
    who = ", ".join(sorted({person.name for person in people})) or "nobody: a single user"
    return f"{who} can sign; {len(risks)} risks of {project} are entered"


def _registry(project: str, chosen: Settings) -> str:
    registry, place = Registry(project, chosen), without_password(chosen.tracking_uri)
    if not registry.repair_if_free():
        return f"{place}: a release is moving it right now"
    _raise_first(alias_faults(registry))
    champion = registry.aliases()["champion"]
    return f"{place}: no change left open, champion is version {champion or 'none'}, as the ledger says"


def _ledger(project: str, chosen: Settings) -> str:
    ledger = Registry(project, chosen).ledger
    _raise_first(ledger_faults(ledger))
    return f"{len(ledger.read())} entries, the chain of hashes holds (`keel audit` compares all else with them)"


def _fallback(project: str, chosen: Settings) -> str:
    """Which version could be put back, and whether that was rehearsed since the champion came."""
    entries = Registry(project, chosen).ledger.read(project)
    found, turns = fallbacks(entries), deployments(entries)
    if not found:
        return "no version that could be put back without a person's word"
    drills = [e for e in entries if e.kind == DRILL and e.number > turns[-1].start.number]
    if not drills:
        return f"version {found[0]}, not rehearsed since version {turns[-1].version} is champion (`keel drill` does)"
    body = drills[-1].body
    if not body["held"]:
        raise KeelError(f"the rehearsal of entry {drills[-1].number} did not hold: {body['why_not']}")
    return f"version {body['version']}, rehearsed {drills[-1].at[:10]} in {body['smoke']['seconds']:.1f} s"


def _raise_first(faults: Iterator[str]) -> None:
    for sentence in faults:
        raise KeelError(f"{sentence}; `keel audit` lists everything that is wrong")


def _prefect() -> str:
    api = os.environ.get("PREFECT_API_URL")
    if not api:
        return f"no server set: flows run in their own process, state in {os.environ.get('PREFECT_HOME', '~/.prefect')}"
    try:
        requests.get(f"{api}/health", timeout=5).raise_for_status()
    except requests.RequestException as error:
        place = without_password(api)
        raise KeelError(f"the API at {place} does not answer; start it, or unset PREFECT_API_URL") from error
    return f"the API at {without_password(api)} answers"


def _settings(chosen: Settings) -> str:
    places = {
        "KEEL_STATE": str(chosen.state),
        "MLFLOW_TRACKING_URI": chosen.tracking_uri,
        "KEEL_LEDGER_URL": chosen.ledger_url,
        "PREFECT_API_URL": os.environ.get("PREFECT_API_URL") or "none",
        "HF_ENDPOINT": endpoint(),
        "HF_HUB_OFFLINE": "yes" if is_offline() else "no",
    }
    return without_password(", ".join(f"{name} {place}" for name, place in places.items()))


def _telemetry() -> str:
    on = [key for key, value in QUIET.items() if os.environ.get(key) != value]
    if on:
        return f"switched on by the environment: {', '.join(on)}"
    return "off for Prefect, MLflow, Great Expectations, DVC, Evidently and the hub"
