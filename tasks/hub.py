"""Files from a Hugging Face hub, or a mirror of it: one commit, one file, within seconds or not at all.

timm's own loader asks the hub for whatever revision is newest and retries for most of a minute without a network.
Here the client is called with a pinned commit; one short question comes before the download, so that a missing
network, commit or file is told at once. Telemetry and the Xet protocol (whose traffic goes to other hosts than
HF_ENDPOINT) are off for the length of the call.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from huggingface_hub import HfApi, constants, get_hf_file_metadata, hf_hub_download, hf_hub_url, try_to_load_from_cache
from huggingface_hub.errors import HfHubHTTPError

from tasks.errors import BackboneRefused

WAY_OUT = (
    "fetch it on a connected machine and name its folder with `folder:` in the catalogue, or set HF_ENDPOINT to a "
    "mirror that can be reached"
)


def fetch(repository: str, revision: str, file: str, cache: Path, timeout: float) -> Path:
    """The local path of one file at one commit, from the cache or else from the hub; its content is not yet judged."""
    wanted = f"{repository}/{file} at commit {revision}"
    kept = cached(repository, revision, file, cache)
    if kept is not None:
        return kept
    if is_offline():
        raise BackboneRefused(f"{wanted} is not in the cache {cache} and HF_HUB_OFFLINE is set; unset it, or {WAY_OUT}")
    with refusing(wanted), bounded(timeout):
        url = hf_hub_url(repository, file, revision=revision, endpoint=endpoint())
        get_hf_file_metadata(url, timeout=timeout, endpoint=endpoint())
        path = hf_hub_download(
            repository, file, revision=revision, cache_dir=cache, endpoint=endpoint(), etag_timeout=timeout
        )
    return Path(path)


def cached(repository: str, revision: str, file: str, cache: Path) -> Path | None:
    """The local path of one file at one commit when it was fetched before; nobody is asked."""
    found = try_to_load_from_cache(repository, file, cache_dir=cache, revision=revision)
    return Path(found) if isinstance(found, str) else None


def resolve(repository: str, reference: str, timeout: float) -> str:
    """The full commit hash that a branch, tag or short hash of a repository names now."""
    wanted = f"{repository} at '{reference}'"
    if is_offline():
        raise BackboneRefused(f"{wanted} cannot be resolved while HF_HUB_OFFLINE is set; unset it")
    with refusing(wanted), bounded(timeout):
        commit = HfApi(endpoint=endpoint()).model_info(repository, revision=reference, timeout=timeout).sha
    if not commit:
        raise BackboneRefused(f"{endpoint()} did not say which commit {wanted} is; look it up on its web page")
    return commit


def endpoint() -> str:
    """The hub to ask: HF_ENDPOINT as it stands now, not as it stood when the client was imported."""
    return os.environ.get("HF_ENDPOINT", "https://huggingface.co").rstrip("/")


def is_offline() -> bool:
    """Whether HF_HUB_OFFLINE forbids asking, now or when the client was imported."""
    return constants.is_offline_mode() or os.environ.get("HF_HUB_OFFLINE", "").upper() in {"1", "ON", "YES", "TRUE"}


@contextmanager
def bounded(timeout: float) -> Iterator[None]:
    """Hold the client's own settings at ours for a moment; it has no arguments for these."""
    ours: dict[str, Any] = {
        "HF_HUB_DISABLE_TELEMETRY": True,
        "HF_HUB_DISABLE_XET": True,
        "HF_HUB_DOWNLOAD_TIMEOUT": timeout,
    }
    theirs = {name: getattr(constants, name) for name in ours}
    for name, value in ours.items():
        setattr(constants, name, value)
    try:
        yield
    finally:
        for name, value in theirs.items():
            setattr(constants, name, value)


@contextmanager
def refusing(wanted: str) -> Iterator[None]:
    """Turn whatever the client raises into one sentence; its exception types change with its HTTP library."""
    try:
        yield
    except HfHubHTTPError as error:
        status = error.response.status_code
        hint = "check the name, the revision and your access" if status in {401, 403, 404} else "try later"
        raise BackboneRefused(f"{endpoint()} answered {status} for {wanted}; {hint}, or {WAY_OUT}") from error
    except Exception as error:
        cause = type(error).__name__
        raise BackboneRefused(f"cannot get {wanted} from {endpoint()} ({cause}: {error}); {WAY_OUT}") from error
