"""The audit of a project: does everything that was published still say what the ledger says?

The ledger's chain of hashes comes first, for all else is compared with the ledger; where the chain does not hold,
nothing else is looked at. Then come the changes left open, the decision records, the aliases, the registered versions
(their tags, and all that MLflow serves as them), the MLflow runs on record, and every artifact of those runs.
What people signed (approvals, waivers, accepted risks, emergencies) is checked by governance/roles.yaml as it is now,
and every promotion once more for the approvals that it needed. Nothing is repaired: a fault is named with its place and
the way out, and a person decides.
"""

import json
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory

from mlflow.entities import Run
from mlflow.exceptions import MlflowException

from tasks.approvals import APPROVAL, approval_fault, asked_of, bound_by, missing_approvals
from tasks.bundle import BUNDLE, Artifacts, recorded_digests
from tasks.decision import FOLDER as RECORDS
from tasks.decision import record_files, version_tags, what_was_done
from tasks.digests import digest_of, identity, sha256_file
from tasks.emergency import EMERGENCY, emergency_fault, unsigned_skips
from tasks.errors import DigestMismatch, EvidenceMissing, KeelError, RegistryTrouble
from tasks.history import aliases_after, finished, moment, newest_decision, registrations
from tasks.ledger import Entry, Ledger
from tasks.nights import KIND as NIGHT
from tasks.registry import INTENT, META, Registry, trouble
from tasks.risks import ACCEPTANCE
from tasks.roles import ROLES, Roles, load_roles, signer_fault
from tasks.rollout import refuse_hand_set, standing
from tasks.settings import without_password
from tasks.waivers import WAIVER, waiver_fault

WEIGHTS = "model.safetensors"  # as in tasks/scorer.py, which takes seconds to import
FORGED = "find out who wrote it; governance/roles.yaml says whose signature counts"
Line = tuple[str, bool, str]  # what was looked at, whether something is wrong, the sentence


def audit(registry: Registry, records: Path = RECORDS, roles: Path = ROLES) -> Iterator[Line]:
    """One line for each fault, and one for everything that is in order."""
    broken = [*_lines("ledger", lambda: ledger_faults(registry.ledger), "the chain of hashes holds")]
    yield from broken
    if any(at_fault for _, at_fault, _ in broken):
        return
    entries = registry.ledger.read(registry.project)
    decided, runs = sum(e.kind == "decision" for e in entries), len(recorded_runs(entries))
    yield from _lines("changes", lambda: open_changes(registry), "none was left open")
    yield from _lines(
        "records", lambda: record_faults(registry.project, entries, records), f"{2 * decided} files as rendered"
    )
    signed = sum(e.kind in (APPROVAL, WAIVER, ACCEPTANCE, EMERGENCY) for e in entries)
    yield from _lines("signatures", lambda: sign_off_faults(entries, load_roles(roles)), f"{signed} entries, all sound")
    yield from _lines("rollout", lambda: rollout_faults(registry, entries), "its tag says the step of the ledger")
    yield from _lines("aliases", lambda: alias_faults(registry), "where the ledger's finished changes left them")
    known = len(registrations(entries))
    yield from _lines("versions", lambda: version_faults(registry, entries), f"{known} as they were registered")
    yield from _lines("runs", lambda: run_faults(registry, entries), f"{runs} on record, none besides")
    yield from _lines("artifacts", lambda: artifact_faults(registry, entries), "every one as it was recorded")


def ledger_faults(ledger: Ledger) -> Iterator[str]:
    """Where the chain does not hold."""
    for fault in ledger.faults():
        yield (
            f"{fault}; restore {without_password(ledger.url)} from a backup (nothing else was looked at: all else is "
            "compared with the ledger)"
        )


def open_changes(registry: Registry) -> Iterator[str]:
    """Changes that were begun and neither finished nor undone."""
    for intent in registry.ledger.open_intents(registry.project):
        yield (
            f"the {intent.body['action']} of entry {intent.number}, begun {intent.at}, was neither finished nor "
            "undone: wait when a release is running, else `keel status` puts it back"
        )


def record_faults(project: str, entries: list[Entry], records: Path = RECORDS) -> Iterator[str]:
    """Decision records that are missing, differ from what the ledger renders, or belong to no entry."""
    expected: dict[Path, str] = {}
    for decision in (e for e in entries if e.kind == "decision"):
        expected |= record_files(decision, what_was_done(decision, entries), records)
    for file, text in expected.items():
        number = int(file.stem.split("-")[0])
        if not file.is_file():
            yield f"{file} is missing; bring it back from git (`keel show {number}` prints what it says)"
        elif file.read_bytes() != text.encode():
            yield (
                f"{file} is not what entry {number} of the ledger says{_first_difference(file, text)}; bring it back "
                "from git, or run a release that was killed again"
            )
    for file in sorted(p for p in (records / project).rglob("*") if p.is_file()):
        if file not in expected:
            yield f"{file} is the record of no decision in the ledger; find out who wrote it, and remove it"


def sign_off_faults(entries: list[Entry], roles: Roles) -> Iterator[str]:
    """Approvals, waivers and acceptances whose signature or binding does not hold, and what was done without them."""
    decisions = [e for e in entries if e.kind == "decision"]
    for entry in entries:
        if fault := sign_off_fault(entry, decisions, roles):
            yield f"the {entry.kind} of entry {entry.number} by {entry.body.get('by')}: {fault}; {FORGED}"
    yield from (f"{fault}; {FORGED}" for fault in unsigned_skips(entries))
    for decision in decisions:
        waived = {
            (e.number, e.body.get("criterion")) for e in entries if e.kind == WAIVER and e.number < decision.number
        }
        for name, number in decision.body.get("waivers", {}).items():  # decisions of before there were any have none
            if (number, name) not in waived:
                yield f"decision {decision.number} waived {name} by entry {number}, which is no waiver of it; {FORGED}"
    for intent, end in finished(entries):
        decided = _decision_of(intent, decisions)
        if intent.body["action"] != "promote" or decided is None or not asked_of(decided):
            continue
        before = [e for e in entries if e.number < intent.number]
        for line in missing_approvals(decided, before, roles, bound_by(decided), moment(intent)):
            yield f"the promotion of entry {end.number} was made without an approval that counts: {line}"


def sign_off_fault(entry: Entry, decisions: list[Entry], roles: Roles) -> str | None:
    """What is wrong with one entry that people sign, or None."""
    if entry.kind == WAIVER:
        return waiver_fault(entry, roles)
    if entry.kind == ACCEPTANCE:
        return signer_fault(entry, "accept_risk", roles)
    if entry.kind == EMERGENCY:
        return emergency_fault(entry, roles)
    if entry.kind != APPROVAL:
        return None
    decision = _decision_of(entry, decisions)
    return "it is of no decision on record" if decision is None else approval_fault(entry, decision, roles)


def _decision_of(entry: Entry, decisions: list[Entry]) -> Entry | None:
    return next((decision for decision in decisions if decision.number == entry.body.get("decision")), None)


def alias_faults(registry: Registry) -> Iterator[str]:
    """Aliases that are not where the ledger's finished changes left them; an open change is another matter."""
    if registry.ledger.open_intents(registry.project):
        return
    recorded = aliases_after(registry.ledger.read(registry.project))
    for alias, version in registry.aliases().items():
        if version != recorded[alias]:
            yield (
                f"{alias} is version {version or 'none'}, the ledger says {recorded[alias] or 'none'}: an alias was "
                "moved by hand; move it back in MLflow"
            )


def rollout_faults(registry: Registry, entries: list[Entry]) -> Iterator[str]:
    """A tag that says another step of a rollout than the ledger; an open change is another matter."""
    if registry.ledger.open_intents(registry.project) or registry.aliases()["challenger"] is None:
        return
    try:
        refuse_hand_set(registry, standing(registry), entries)
    except (DigestMismatch, RegistryTrouble) as error:
        yield str(error)


def version_faults(registry: Registry, entries: list[Entry]) -> Iterator[str]:
    """Registered versions that are gone, unknown to the ledger, or not as they were registered."""
    with trouble(registry.chosen):
        found = {str(v.version): v for v in registry.client.search_model_versions(f"name='{registry.project}'")}
    registered = registrations(entries)
    for version in sorted(found.keys() - registered.keys(), key=int):
        yield (
            f"version {version} of {registry.project} is in MLflow and not in the ledger: no release registered it; "
            "delete it there, or find out who serves it"
        )
    for version, (intent, end) in registered.items():
        if version not in found:
            yield (
                f"version {version} of {registry.project}, registered in entry {end.number}, is gone from MLflow; "
                "restore MLflow's database from a backup"
            )
            continue
        wanted = {
            **version_tags(newest_decision(version, entries)),
            "model_digest": intent.body["model_digest"],
            INTENT: str(intent.number),
        }
        tags = found[version].tags
        for key in (k for k in wanted if tags.get(k) != wanted[k]):
            yield (
                f"version {version} of {registry.project}: its tag {key} is {tags.get(key)!r}, the ledger says "
                f"{wanted[key]!r}; set it back in MLflow"
            )
        yield from _model_faults(registry, version, intent, end, entries)


def run_faults(registry: Registry, entries: list[Entry]) -> Iterator[str]:
    """MLflow runs on record that are gone or say something else, and runs of Keel that the ledger does not know."""
    known, mine = {str(e.number) for e in entries if e.kind == "intent"}, set()
    for entry in recorded_runs(entries):
        run, about = _run(registry, entry), f"MLflow run {entry.body['run']} of {entry.kind} {entry.number}"
        mine.add(entry.body["run"])
        if run is None:
            yield f"{about} is gone; restore MLflow's database from a backup"
        elif run.info.lifecycle_stage == "deleted":
            yield f"{about} was deleted; `mlflow runs restore --run-id {run.info.run_id}` brings it back"
        else:
            wanted = _tags_of(entry)
            for key in (k for k in wanted if run.data.tags.get(k) != wanted[k]):
                yield (
                    f"{about}: its tag {key} is {run.data.tags.get(key)!r}, the ledger says {wanted[key]!r}; set it "
                    "back in MLflow"
                )
    for run in _runs_of_the_project(registry):
        if run.info.run_id not in mine and run.data.tags[INTENT] not in known:
            yield (
                f"MLflow run {run.info.run_id} says that entry {run.data.tags[INTENT]} of the ledger made it, and "
                f"{registry.project} has no such change: restore the ledger from a backup, or delete the run"
            )


def _tags_of(entry: Entry) -> dict[str, str]:
    """What the tags of an entry's run must say."""
    made = {INTENT: str(entry.body["intent"])}
    if entry.kind == NIGHT:
        return made | {key: entry.body[key] for key in ("night", "verdict")}
    made |= {"data_version": entry.body["data"]["digest"]}
    return made | ({"verdict": entry.body["verdict"]} if entry.kind == "decision" else {})


def recorded_runs(entries: list[Entry]) -> list[Entry]:
    """The entries with an MLflow run of their own: decisions, certificates, ablations, nights."""
    return [e for e in entries if e.kind != "intent" and "run" in e.body]


def artifact_faults(registry: Registry, entries: list[Entry]) -> Iterator[str]:
    """Artifacts of the runs on record that are gone or are not the ones that were recorded."""
    for entry in recorded_runs(entries):
        run = _run(registry, entry)
        if run is None or run.info.lifecycle_stage == "deleted":
            continue  # named among the runs
        with TemporaryDirectory() as folder:
            yield from _artifacts_of(entry, Artifacts(registry, entry.body["run"]), Path(folder))


def _artifacts_of(entry: Entry, artifacts: Artifacts, folder: Path) -> Iterator[str]:
    for artifact, digest in _recorded_artifacts(entry, artifacts, folder).items():
        try:
            found = sha256_file(artifacts.fetch(artifact, folder))
        except EvidenceMissing as error:
            yield f"{entry.kind} {entry.number}: {error}"
            continue
        if found != digest:
            yield (
                f"{artifact} of MLflow run {artifacts.run_id} is not the one of {entry.kind} {entry.number}: its "
                f"sha256 is {found[:16]}, the ledger says {digest[:16]}; restore it from a backup of MLflow's artifacts"
            )


def _recorded_artifacts(entry: Entry, artifacts: Artifacts, folder: Path) -> dict[str, str]:
    """Artifact -> sha256: from the ledger's entry, and from the list in the bundle where that is the recorded one."""
    if entry.kind == NIGHT:
        return dict(entry.body["evidence"])
    if entry.kind != "decision":
        return {f"{entry.kind}.json": entry.body["document"], f"{entry.kind}.html": entry.body["page"]}
    wanted = recorded_digests(entry)
    with suppress(EvidenceMissing):  # then it is named with the other artifacts
        listed = artifacts.fetch(BUNDLE, folder)
        if sha256_file(listed) == wanted[BUNDLE]:
            wanted |= json.loads(listed.read_text(encoding="utf-8"))["files"]
    return wanted


def _model_faults(registry: Registry, version: str, intent: Entry, end: Entry, entries: list[Entry]) -> Iterator[str]:
    about = f"version {version} of {registry.project}"
    remedy = "do not serve it: restore it from a backup of MLflow's artifact store, or release again"
    try:
        with registry.logged(version) as folder:
            weights = next(folder.rglob(WEIGHTS), None)
            if weights is None:
                yield f"{about} has no {WEIGHTS} any more in MLflow's store; {remedy}"
            elif sha256_file(weights) != (judged := _weights_of(intent, entries)):
                yield (
                    f"{about}: the weights that MLflow serves have sha256 {sha256_file(weights)[:16]}, decision "
                    f"{intent.body['decision']} judged {judged[:16]}; {remedy}"
                )
            elif identity(weights.parent) != intent.body["model_digest"]:
                yield f"{about}: a file of its model folder is not as it was registered in entry {end.number}; {remedy}"
            elif digest_of(folder, {META}) != end.body["logged"]:
                yield (
                    f"{about}: what MLflow serves beside the model (its code, requirements or MLmodel) is not as it "
                    f"was registered in entry {end.number}; {remedy}"
                )
    except KeelError as error:
        yield f"{about}: {error}"


def _weights_of(intent: Entry, entries: list[Entry]) -> str:
    return str(next(e for e in entries if e.number == intent.body["decision"]).body["evidence"]["model"])


def _run(registry: Registry, entry: Entry) -> Run | None:
    with trouble(registry.chosen):
        try:
            return registry.client.get_run(entry.body["run"])
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            return None


def _runs_of_the_project(registry: Registry) -> list[Run]:
    """The runs that changes of this project made, as MLflow has them."""
    with trouble(registry.chosen):
        experiment = registry.client.get_experiment_by_name(registry.experiment)
        if experiment is None:
            return []
        made_by_keel = f"tags.`{INTENT}` != ''"
        return list(registry.client.search_runs([experiment.experiment_id], made_by_keel, max_results=50_000))


def _first_difference(file: Path, text: str) -> str:
    """` (line 3: '...' instead of '...')`."""
    found = file.read_text(encoding="utf-8", errors="replace").splitlines()
    for number, (have, want) in enumerate(zip(found, text.splitlines(), strict=False), start=1):
        if have != want:
            return f" (line {number}: {have.strip()[:80]!r} instead of {want.strip()[:80]!r})"
    return f" ({len(found)} lines instead of {len(text.splitlines())})"


def _lines(name: str, check: Callable[[], Iterator[str]], sound: str) -> Iterator[Line]:
    """The faults that a check finds, or that all is sound; a check that cannot be made is a fault itself."""
    clean = True
    try:
        for sentence in check():
            clean = False
            yield name, True, sentence
    except KeelError as error:
        clean = False
        yield name, True, str(error)
    except (KeyError, TypeError, ValueError) as error:  # of an entry that nothing here wrote
        clean = False
        yield name, True, f"an entry or a file lacks what it must say: {type(error).__name__}: {error}"
    if clean:
        yield name, False, sound
