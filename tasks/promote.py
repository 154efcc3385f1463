"""Make a registered version the champion, and put the old one back when the new one does not answer as it was judged.

The order leaves a champion at every instant: `previous` takes the old version first, then `champion` the new one, and
`challenger` goes last.
"""

import logging
from pathlib import Path

from prefect import task
from prefect.cache_policies import NO_CACHE

from tasks.golden import ask_champion, golden_answers
from tasks.registry import Registry

logger = logging.getLogger("tasks.promote")


@task(cache_policy=NO_CACHE)
def promote(registry: Registry, version: str, data: Path, manifest: Path, predictions: Path) -> None:
    """Move the aliases, then score a few test images through the registry; any failure moves the aliases back.

    A version that is champion already is asked all the same.
    """
    golden = golden_answers(data, manifest, predictions)
    with registry.alone():
        before = registry.aliases()
        if before["champion"] == version:
            ask_champion(registry, version, golden)
            logger.info("version %s of %s is champion already, and answers as judged", version, registry.project)
            return
        decision = int(registry.version_tags(version)["decision"])
        with registry.change("promote", {"version": version, "decision": decision}):
            registry.set_aliases({"champion": version, "previous": before["champion"], "challenger": None})
            ask_champion(registry, version, golden)
    logger.info("version %s of %s is champion; previous is %s", version, registry.project, before["champion"] or "none")
