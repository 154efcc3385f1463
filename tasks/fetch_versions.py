"""Fetch the models that a night asks: registered versions, each checked against what was decided."""

from pathlib import Path

from prefect import task
from prefect.cache_policies import NO_CACHE

from tasks.registry import Registry
from tasks.versions import Served, fetch_version


@task(cache_policy=NO_CACHE)
def fetch_versions(registry: Registry, versions: list[str], out: Path) -> dict[str, Served]:
    """The versions below `out`, by version; DigestMismatch where one is not what was registered and decided."""
    return {version: fetch_version(registry, version, out / f"v{version}") for version in versions}
