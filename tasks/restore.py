"""Put an earlier version back as champion, verified before and after, wholly or not at all; or only rehearse it.

Before anything moves, the version is fetched as MLflow serves it, held to the digest that it was registered with, asked
its golden answers, and asked every must-pass case that it was accepted with. Then: intent in the ledger -> `previous`
takes the version that is left, `champion` the one put back -> the alias is loaded as a client would and asked once more
-> the closing entry. Any failure moves the aliases back; a kill is undone at the next start (tasks/registry.py).
"""

import dataclasses
import logging
import time
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import mlflow
import pandas as pd
from prefect import task
from prefect.cache_policies import NO_CACHE

from tasks.bundle import fetch_recorded
from tasks.cases import passed, read_cases
from tasks.decision import decided_by
from tasks.digests import digest_of
from tasks.errors import DigestMismatch, EvidenceMissing, KeelError, RegistryTrouble
from tasks.fallbacks import DRILL, refuse_target
from tasks.golden import ask_champion, check_answers, read_golden
from tasks.history import RESTORE, aliases_after, registrations
from tasks.ledger import Entry
from tasks.packaging import IMAGE
from tasks.registry import META, Registry, trouble

logger = logging.getLogger("tasks.restore")


@dataclass(frozen=True)
class Smoke:
    """What a version answered before it was put back: the largest difference from its golden answers, and its cases.

    `cases` counts those that it had to get right, `new_cases_missed` names cases of today that it was never accepted
    with and reads wrong; `seconds` is the time from asking MLflow for it to its last answer.
    """

    version: str
    golden: int
    apart: float
    cases: int
    new_cases_missed: tuple[str, ...]
    seconds: float


@task(cache_policy=NO_CACHE)
def restore(
    registry: Registry,
    target_version: str,
    why: str,
    evidence: dict[str, Any],
    cases: Path | None = None,
    by: str | None = None,
) -> Entry:
    """Make the version champion again and return the entry that closed the move.

    `evidence` goes into the ledger as it is; `cases` is the project's folder of must-pass cases; `by` names a person,
    None the nightly rules. The version that is left becomes `previous` and is withdrawn (tasks/fallbacks.py). Raises
    BadInput for a version that cannot be put back, DigestMismatch, EvidenceMissing or RegistryTrouble for one that does
    not check out, Busy while another process moves the registry.
    """
    with registry.alone():
        entries, before, began = registry.ledger.sound(registry.project), registry.aliases(), time.perf_counter()
        decision = refuse_target(target_version, registry.project, entries)
        refuse_hand_moved(registry, entries)
        smoke, golden = check_version(registry, target_version, entries, decision, cases)
        said = {"version": target_version, "accepted_in": decision.number, "left": before["champion"], "why": why}
        said |= {"by": by or decided_by(), "by_a_person": by is not None}
        with registry.change(RESTORE, {**said, "evidence": evidence}) as change:
            challenger = None if before["challenger"] == target_version else before["challenger"]
            registry.set_aliases({"champion": target_version, "previous": before["champion"], "challenger": challenger})
            ask_champion(registry, target_version, golden)
            seconds = round(time.perf_counter() - began, 3)
            checks = {"smoke": dataclasses.asdict(smoke), "seconds": seconds}
            closing = change.close("done", {"action": RESTORE, **said, **checks})
    logger.info("version %s of %s is champion again, in place of %s", target_version, registry.project, said["left"])
    return closing


@task(cache_policy=NO_CACHE)
def rehearse(registry: Registry, target_version: str | None, cases: Path | None = None) -> Entry:
    """All of `restore` but the move, entered as a drill: whether it would hold, in how many seconds, or why not.

    None for the version enters a drill that found nothing to fall back on.
    """
    entries, before = registry.ledger.sound(registry.project), registry.aliases()
    body: dict[str, Any] = {"version": target_version, "champion": before["champion"], "by": decided_by()}
    try:
        if target_version is None:
            raise EvidenceMissing("there is no earlier accepted version to fall back on")
        decision = refuse_target(target_version, registry.project, entries)
        smoke, _ = check_version(registry, target_version, entries, decision, cases)
        body |= {"held": True, "smoke": dataclasses.asdict(smoke), "why_not": None}
    except KeelError as error:
        body |= {"held": False, "smoke": None, "why_not": str(error)}
    return registry.ledger.append(DRILL, registry.project, body)


def refuse_hand_moved(registry: Registry, entries: list[Entry]) -> None:
    """RegistryTrouble when MLflow's champion is not the one that the ledger's finished changes lead to."""
    served, recorded = registry.aliases()["champion"], aliases_after(entries)["champion"]
    if served != recorded:
        raise RegistryTrouble(
            f"champion of {registry.project} is version {served or 'none'} in MLflow, the ledger says "
            f"{recorded or 'none'}: an alias was moved by hand; move it back in MLflow, then roll back"
        )


def check_version(
    registry: Registry, version: str, entries: list[Entry], decision: Entry, cases: Path | None
) -> tuple[Smoke, pd.DataFrame]:
    """Fetch a version as MLflow serves it and ask it what it was accepted with; its golden answers come along.

    Raises where it does not hold.
    """
    began, about = time.perf_counter(), f"version {version} of {registry.project}"
    if version not in registrations(entries):
        raise EvidenceMissing(f"the ledger has no registration of {about}; `keel audit` says more")
    _, registered = registrations(entries)[version]
    with registry.logged(version) as folder:
        if digest_of(folder, {META}) != registered.body["logged"]:
            raise DigestMismatch(
                f"what MLflow serves as {about} is not what was registered in entry {registered.number}; `keel audit` "
                "says what was changed; restore it from a backup of MLflow's artifact store"
            )
        golden = read_golden(folder, about)
        with trouble(registry.chosen):
            model = mlflow.pyfunc.load_model(str(folder))
        apart = check_answers(model, golden, about)
        required, missed = ask_cases(registry, decision, model, cases, about)
    seconds = round(time.perf_counter() - began, 3)
    return Smoke(version, len(golden), apart, required, tuple(missed), seconds), golden


def ask_cases(registry: Registry, decision: Entry, model: Any, cases: Path | None, about: str) -> tuple[int, list[str]]:
    """How many must-pass cases it was accepted with and must still read right, and which later ones it reads wrong.

    Cases are told by their image's sha256; one that the project has dropped since is no longer asked. Raises
    RegistryTrouble when one that it read right then is read wrong now.
    """
    today = read_cases(cases)
    if today.empty or cases is None:
        return 0, []
    with TemporaryDirectory() as folder:
        then = pd.read_parquet(fetch_recorded(registry, decision, ("cases",), Path(folder))["cases"])
    held = set(then["sha256"][passed(then)]) if len(then) else set()
    answer = model.predict(pd.DataFrame({IMAGE: [(cases / path).read_bytes() for path in today["path"]]}))
    answered = pd.concat([today, answer.rename(columns={"label": "predicted"})], axis=1)
    wrong, required = answered[~passed(answered)], today["sha256"].isin(held)
    broken = wrong[wrong["sha256"].isin(held)]
    if len(broken):
        raise RegistryTrouble(
            f"{about} was accepted with {int(required.sum())} of today's must-pass cases and reads "
            f"{', '.join(broken['case'])} wrong now; it must not be served"
        )
    return int(required.sum()), list(wrong["case"])
