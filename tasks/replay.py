"""Replay a decision: recompute findings and verdict from the bundle in MLflow, and compare bit for bit.

Neither images nor weights, nor anything of the checkout but its code, is needed. What must come out stands in the
ledger: the digests of every file that the verdict rests on, of the report and of the verdict itself, so that a replaced
artifact is named as well as a figure that comes out differently.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from tasks.bundle import BUNDLE, NEEDED, Artifacts, judging_code, recorded_digests
from tasks.comparison import write_comparison
from tasks.digests import digest_of_environment, installed_versions, sha256_file
from tasks.errors import EvidenceMissing, KeelError
from tasks.findings import REPORT, TABLES, Finding, read_findings
from tasks.gate import judge_folder
from tasks.latency import write_latency
from tasks.ledger import Entry
from tasks.params import EvaluateParams
from tasks.registry import Registry
from tasks.report import write_report
from tasks.verdict import VERDICT, Verdict, read_verdict, write_verdict

COMPARISON, LATENCY = "comparison", "latency"
SHOWN = 5  # library versions that differ, by name


@dataclass(frozen=True)
class Replay:
    """What came of it: the differences, none when all is identical, and what else a reader must know."""

    decision: Entry
    differences: list[str]
    notes: list[str]

    @property
    def identical(self) -> bool:
        """Whether every artifact is the recorded one, and report and verdict came out the same, bit for bit."""
        return not self.differences

    def text(self) -> str:
        """The outcome in plain lines."""
        head = f"decision {self.decision.number} of {self.decision.project}, {self.decision.at}"
        outcome = f"identical: {self.decision.body['sentence']}"
        said = [f"DIFFERENT {line}" for line in self.differences] or [outcome]
        return "\n".join([head, *said, *(f"note: {note}" for note in self.notes)])


def replay(registry: Registry, decision: Entry) -> Replay:
    """Recompute the decision's report and verdict in a folder of their own."""
    wanted = recorded_digests(decision)
    with TemporaryDirectory() as folder:
        there, here = Path(folder, "recorded"), Path(folder, "recomputed")
        there.mkdir()
        here.mkdir()
        differences = [f"the ledger's {fault}, so its digests prove nothing" for fault in registry.ledger.faults()]
        differences += _fetch_all(registry, decision, wanted, there)
        notes: list[str] = []
        try:
            bundle = json.loads((there / BUNDLE).read_text(encoding="utf-8"))
            notes += _notes(bundle)
            recompute(there, bundle, here)
            differences += _compare(wanted, there, here)
        except (KeelError, OSError, ValueError, KeyError, TypeError) as error:  # of artifacts named above
            differences.append(f"nothing can be recomputed from these artifacts: {type(error).__name__}: {error}")
        return Replay(decision, differences, notes)


def recompute(bundled: Path, bundle: dict[str, Any], out: Path) -> None:
    """Make report and verdict from the artifacts in the folder `bundled` (laid out as in MLflow), into `out`."""
    files = {key: bundled / artifact for key, artifact in NEEDED.items()}
    params = EvaluateParams.model_validate(bundle["params"][EvaluateParams.section])
    write_report({name: files[name] for name in TABLES}, files["plan"], params, out)
    write_verdict(judge_folder(out, files["plan"], bundle["not_applicable"]), out / VERDICT)
    for name in (COMPARISON, LATENCY):
        (out / name).mkdir()
    predictions, champion = files["predictions"], files["champion"].parent
    reasons, plan = bundle["not_applicable"], files["plan"]
    write_comparison(predictions, files["cases"], champion, files["manifest"], plan, params, reasons, out / COMPARISON)
    write_latency(files["timings"].parent, plan, params, reasons, out / LATENCY)


def _fetch_all(registry: Registry, decision: Entry, wanted: dict[str, str], folder: Path) -> Iterator[str]:
    """Download what the replay needs; a sentence for each artifact that is gone or is not the recorded one."""
    try:
        artifacts = Artifacts(registry, decision.body["run"])
    except EvidenceMissing as error:
        yield str(error)
        return
    for artifact, digest in wanted.items():
        try:
            found = sha256_file(artifacts.fetch(artifact, folder))
        except EvidenceMissing as error:
            yield str(error)
            continue
        if found != digest:
            yield f"{artifact} in MLflow is not the recorded one: its sha256 is {found}, the ledger says {digest}"


def _compare(wanted: dict[str, str], there: Path, here: Path) -> Iterator[str]:
    """The figures and sentences, of the report, of the comparison with the champion, and of the timings."""
    parts = (
        ("", "report", "verdict"),
        (COMPARISON, COMPARISON, "comparison_verdict"),
        (LATENCY, LATENCY, "latency_verdict"),
    )
    for folder, report, verdict in parts:
        for key, name, first in ((report, REPORT, _first_finding), (verdict, VERDICT, _first_judgement)):
            recorded, again = NEEDED[key], here / folder / name
            if (digest := sha256_file(again)) != wanted[recorded]:
                what = first(there / recorded, again)
                told = f"{folder}/{name}" if folder else name
                yield f"{told} comes out with sha256 {digest}, the ledger says {wanted[recorded]}: {what}"


def _first_finding(recorded: Path, recomputed: Path) -> str:
    """The first finding that differs, with both values."""
    try:
        before = {(f.metric, f.slice): f for f in read_findings(recorded)}
    except KeelError as error:
        return f"the recorded one cannot be read ({error})"
    after = {(f.metric, f.slice): f for f in read_findings(recomputed)}
    for key in {**before, **after}:
        old, new = before.get(key), after.get(key)
        if repr(old) != repr(new):  # NaN equals NaN here
            return f"first {key[0]} on {key[1]}, recorded {_figures(old)}, recomputed {_figures(new, old)}"
    return "every finding is the same, their order or spelling is not"


def _figures(finding: Finding | None, other: Finding | None = None) -> str:
    if finding is None:
        return "nowhere"
    said = f"{finding.value:.10g} [{finding.low:.10g}, {finding.high:.10g}] (n = {finding.n})"
    if other is not None:
        odd = [f.name for f in fields(Finding) if repr(getattr(finding, f.name)) != repr(getattr(other, f.name))]
        said += f"; {', '.join(odd)} differ"
    return said


def _first_judgement(recorded: Path, recomputed: Path) -> str:
    """The first sentence that differs, or the digests."""
    try:
        before = read_verdict(recorded)
    except KeelError as error:
        return f"the recorded one cannot be read ({error})"
    after = read_verdict(recomputed)
    for old, new in zip(_sentences(before), _sentences(after), strict=False):
        if old != new:
            return f"first recorded '{old}', recomputed '{new}'"
    odd = sorted(k for k in before.digests if before.digests[k] != after.digests.get(k))
    return f"every sentence is the same; what it rests on differs: {', '.join(odd) or 'in spelling alone'}"


def _sentences(verdict: Verdict) -> list[str]:
    return [verdict.sentence, *(judgement.sentence for judgement in verdict.judgements)]


def _notes(bundle: dict[str, Any]) -> Iterator[str]:
    """Where today's code and environment are not those of the record."""
    for module, digest in judging_code().items():
        if (recorded := bundle["code"].get(module)) != digest:
            yield f"today's code of tasks/{module}.py and what it imports is {digest}, the record's was {recorded}"
    environment = bundle["environment"]
    if environment["digest"] != digest_of_environment():
        now, then = set(installed_versions()), set(environment["installed"])
        odd = sorted(then - now) + [f"{line} (new)" for line in sorted(now - then)]
        more = f" and {len(odd) - SHOWN} more" if len(odd) > SHOWN else ""
        yield f"the libraries are not those of the record, which had {', '.join(odd[:SHOWN])}{more}"
