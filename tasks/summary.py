"""What a person asks about a project: where it stands, and a decision or a version in full."""

import datetime as dt

from tasks.approvals import asked_of, bound_by, missing_approvals
from tasks.decision import render_decision, what_was_done
from tasks.errors import BadInput, KeelError, RegistryTrouble
from tasks.fallbacks import how_withdrawn, withdrawal_of
from tasks.history import registrations
from tasks.ledger import Entry
from tasks.log_reading import last_written
from tasks.places import log_place
from tasks.project import Project
from tasks.registry import Registry
from tasks.roles import load_roles
from tasks.rollout import standing
from tasks.verdict import PASS

UNKNOWN = "which no release of this project made: nothing was judged; `keel release` makes one that is"


def status_lines(registry: Registry, about: Project) -> list[str]:
    """The project in a few lines; first puts back what a killed process left half done."""
    free = registry.repair_if_free()
    lines = [f"project     {about.name}"]
    if not free:
        lines.append("            a release is moving the registry right now; this is the state so far")
    for alias, version in registry.aliases().items():
        lines.append(f"{alias:12}{_about_version(registry, version)}")
    lines.append(f"{'data':12}{_data(about)}")
    lines += _rollout(registry) + _log(about.name)
    decisions = registry.ledger.read(about.name, "decision")
    if not decisions:
        return [*lines, f"{'verdict':12}none yet; `keel release --project {about.name}` makes one"]
    last = decisions[-1]
    lines += [f"{'verdict':12}{last.body['sentence']}", f"{'':12}decision {last.number}, {last.at}"]
    return lines + [f"{'':12}{sentence}" for sentence in _missing(registry, last)]


def in_full(registry: Registry, what: str) -> str:
    """A decision record (`last` or its number) or a registered version (`v3` or an alias), as Markdown."""
    if what == "last" or what.isdigit():
        return _in_full(registry, find_decision(registry, what))
    version = find_version(registry, what)
    tags = registry.version_tags(version)
    names = [alias for alias, number in registry.aliases().items() if number == version]
    lines = [f"# {registry.project} version {version} ({', '.join(names) or 'no alias'})", ""]
    lines += [f"* {key}: {value}" for key, value in sorted(tags.items())]
    if not _is_ours(tags):
        return "\n".join([*lines, "", UNKNOWN])
    return "\n".join([*lines, "", _in_full(registry, find_decision(registry, tags["decision"]))])


def _in_full(registry: Registry, decision: Entry) -> str:
    return render_decision(decision, what_was_done(decision, registry.ledger.read(registry.project)))


def find_version(registry: Registry, what: str) -> str:
    """The number of a registered version, asked for by number (`v3`) or by alias."""
    aliases = registry.aliases()
    version = aliases[what] if what in aliases else what.removeprefix("v")
    if version is None or not version.isdigit():
        known = "v<number>, champion, challenger, previous (and `keel show`: last, a decision's number)"
        raise BadInput(f"{registry.project} has no '{what}'; there are {known}")
    return version


def find_decision(registry: Registry, what: str) -> Entry:
    """A decision of the project, by number or as `last`."""
    decisions = registry.ledger.read(registry.project, "decision")
    found = decisions[-1:] if what == "last" else [d for d in decisions if str(d.number) == what]
    if not found:
        numbers = ", ".join(str(d.number) for d in decisions) or "none yet"
        raise BadInput(f"{registry.project} has no decision '{what}'; its decisions: {numbers}")
    return found[0]


def _rollout(registry: Registry) -> list[str]:
    """One line while a rollout is on."""
    try:
        on = standing(registry)
    except RegistryTrouble as error:  # the tag was changed by hand: the other lines are still true
        return [f"{'rollout':12}{error}"]
    if on is None:
        return []
    return [f"{'rollout':12}version {on.version} is at step {on.step} since {on.since}; `keel rollout` says why"]


def _log(project: str) -> list[str]:
    """One line where the service has answered."""
    try:
        written = last_written(log_place(), project)
    except OSError as error:
        return [f"{'log':12}cannot be read: {error}"]
    return [f"{'log':12}answers were last written at {written:%Y-%m-%d %H:%M:%S} UTC"] if written else []


def _about_version(registry: Registry, version: str | None) -> str:
    if version is None:
        return "none"
    tags = registry.version_tags(version)
    if not _is_ours(tags):
        return f"version {version}, {UNKNOWN}"
    said = f"version {version}, {tags['verdict']} in decision {tags['decision']}, data {tags['data_version'][:16]}"
    return f"{said}{_withdrawn(registry, version)}"


def _withdrawn(registry: Registry, version: str) -> str:
    entries = registry.ledger.read(registry.project)
    taken = withdrawal_of(version, entries) if version in registrations(entries) else None
    return f"; withdrawn by the {how_withdrawn(taken)} of entry {taken.number}" if taken else ""


def _is_ours(tags: dict[str, str]) -> bool:
    """Whether a release made the version: MLflow lets anybody register one."""
    return {"verdict", "decision", "data_version"} <= tags.keys()


def _missing(registry: Registry, decision: Entry) -> list[str]:
    """The approvals that a decision still waits for."""
    champion, entries = registry.aliases()["champion"], registry.ledger.read(registry.project)
    live = champion is not None and registry.version_tags(champion).get("decision") == str(decision.number)
    if decision.body["verdict"] != PASS or not asked_of(decision) or live:
        return []
    return missing_approvals(decision, entries, load_roles(), bound_by(decision), dt.datetime.now(dt.UTC))


def _data(about: Project) -> str:
    from tasks.data_version import data_version

    try:
        return data_version(about.data, allow_dirty=True).sentence()
    except (KeelError, OSError) as error:
        return f"cannot be read: {error}"
