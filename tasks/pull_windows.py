"""Fetch what git and DVC have: the newest recorded version of the data, production windows included."""

import logging
import subprocess
import time
from pathlib import Path

from filelock import FileLock
from prefect import task
from prefect.cache_policies import NO_CACHE

from tasks.errors import DataRejected
from tasks.settings import settings

TRIES, PAUSE = 3, 5.0  # of `dvc pull`, seconds: another process in the checkout may hold DVC's lock
logger = logging.getLogger("tasks.pull_windows")


@task(cache_policy=NO_CACHE)
def pull_windows(data: Path) -> None:
    """`git pull` where a branch is followed, then `dvc pull` of the data folder; DataRejected says what failed."""
    with FileLock(settings().state / "pull.lock"):
        if follows_a_branch():
            git("pull", "--ff-only", "--quiet")
        else:
            logger.info("the checkout follows no branch: git pulls nothing")
        pull_data(data)


def follows_a_branch() -> bool:
    """Whether the branch that is checked out has one to pull from."""
    done = subprocess.run(["git", "rev-parse", "--abbrev-ref", "@{upstream}"], capture_output=True, check=False)
    return done.returncode == 0


def git(*arguments: str) -> None:
    """Run git; DataRejected with what it says where it fails."""
    done = subprocess.run(["git", *arguments], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        said = (done.stderr or done.stdout).strip().splitlines()
        raise DataRejected(
            f"git {' '.join(arguments)} failed: {said[-1] if said else done.returncode}; mend it by hand"
        )


def pull_data(data: Path) -> None:
    """`dvc pull` of the one pointer; a folder that DVC does not track is left as it is."""
    from dvc.exceptions import DvcException
    from dvc.lock import LockError
    from dvc.repo import Repo

    pointer = data.with_name(data.name + ".dvc")
    if not pointer.is_file():
        logger.info("%s is not under DVC: nothing is pulled", data)
        return
    for left in reversed(range(TRIES)):
        try:
            with Repo(str(pointer.parent)) as repo:
                changes = repo.pull([str(pointer)])
            logger.info("dvc pull %s: %s", pointer, changes)
            return
        except LockError:
            if not left:
                raise DataRejected("another DVC command holds the lock of this checkout; run it again later") from None
            time.sleep(PAUSE)
        except DvcException as error:
            raise DataRejected(f"dvc pull {pointer} failed: {error}; `keel doctor` looks at the remote") from error
