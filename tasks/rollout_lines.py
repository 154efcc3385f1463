"""Where a rollout stands and why, in the lines of `keel rollout`."""

from tasks.registry import Registry
from tasks.rollout import ABORT, PROMOTE, Standing, last_of, rollout_entries, standing
from tasks.rollout_rules import CANARY, PROMOTION, RolloutRules


def rollout_lines(registry: Registry, rules: RolloutRules) -> list[str]:
    """The step, the evidence of the last run, the labels that would tell most; first repairs what a kill left."""
    registry.repair_if_free()
    entries, found = registry.ledger.read(registry.project), standing(registry)
    if found is None:
        return [_idle(registry, rules), *_last_end(registry)]
    lines = [
        f"{'rollout':12}version {found.version} of {registry.project}, beside version {found.champion}",
        f"{'steps':12}{_way(found, rules)}",
        f"{'since':12}{found.since} (entry {found.entry})",
    ]
    last = last_of(entries, found)
    if last is None:
        return lines
    lines += [f"{'last run':12}{last.at[:16].replace('T', ' ')}, {last.body['move']} (entry {last.number})"]
    lines += [f"{'':12}{sentence}" for sentence in last.body["sentences"]]
    wanted = (last.body["evidence"] or {}).get("to_label", [])
    return lines + ([f"{'to label':12}{', '.join(wanted)}"] if wanted else [])


def _way(found: Standing, rules: RolloutRules) -> str:
    told = [f"{s.name} ({100 * s.share:g} % of the clients)" if s.kind == CANARY else s.name for s in rules.steps]
    marked = [f"[{t}]" if s.name == found.step else t for s, t in zip(rules.steps, told, strict=True)]
    return " -> ".join([*marked, PROMOTION])


def _idle(registry: Registry, rules: RolloutRules) -> str:
    if not rules.steps:
        return "the rules have no steps: a release that passes is promoted at once"
    version = registry.aliases()["challenger"]
    if version is None:
        return f"no rollout of {registry.project} is on: there is no challenger"
    return f"version {version} of {registry.project} waits: `keel rollout run` begins, or says what is in its way"


def _last_end(registry: Registry) -> list[str]:
    """What the newest run decided, whichever version it was of."""
    known = rollout_entries(registry.ledger.read(registry.project))
    if not known:
        return []
    last = known[-1]
    lines = [f"last: {last.body['sentence']} (entry {last.number}, {last.at[:16].replace('T', ' ')})"]
    lines += [f"      {sentence}" for sentence in last.body["sentences"][1:]]
    answers = {ABORT: "champion", PROMOTE: "version"}.get(last.body["move"])
    return lines + ([f"      all traffic is version {last.body[answers]}'s"] if answers else [])
