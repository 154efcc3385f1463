"""Where state lives and which servers are used: read from the environment when asked, never at import.

Everything local lies under one folder, `state/`: the MLflow database and artifacts, the ledger, Prefect's own files.
"""

import os
import re
from dataclasses import dataclass
from pathlib import Path

from tasks.errors import BadInput

# Telemetry of every library is off unless the environment says otherwise; MLflow wants exactly "true".
QUIET = {
    "DO_NOT_TRACK": "true",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "GX_ANALYTICS_ENABLED": "false",
    "DVC_NO_ANALYTICS": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
}
# An unreachable server is reported within seconds, Prefect's own temporary server gets time to start, bars are ours.
PATIENCE = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
    "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120",
    "GIT_PYTHON_REFRESH": "quiet",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
}


@dataclass(frozen=True)
class Settings:
    """The servers and folders in force."""

    state: Path
    tracking_uri: str
    ledger_url: str
    artifacts: str | None  # None: the tracking server decides


def find_root(start: Path) -> Path:
    """The checkout that `start` lies in: the nearest folder upwards that holds params.yaml and governance/."""
    for folder in (start, *start.parents):
        if (folder / "params.yaml").is_file() and (folder / "governance").is_dir():
            return folder
    raise BadInput(f"{start} is not inside a Keel checkout: no params.yaml and governance/ here or above; cd into one")


def settings() -> Settings:
    """What the environment asks for, with the local defaults; a variable that is set to nothing asks for nothing."""
    state = Path(os.environ.get("KEEL_STATE") or "state").absolute()
    given = os.environ.get("MLFLOW_TRACKING_URI")
    return Settings(
        state=state,
        tracking_uri=given or f"sqlite:///{state}/mlflow.db",
        ledger_url=os.environ.get("KEEL_LEDGER_URL") or f"sqlite:///{state}/ledger.db",
        artifacts=None if given and not given.startswith("sqlite") else (state / "mlartifacts").as_uri(),
    )


def without_password(text: str) -> str:
    """The text with the names and passwords of its URLs taken out, so that it may be shown."""
    return re.sub(r"(?<=://)[^/\s]*@", "", text)


def prepare_environment() -> Settings:
    """Switch telemetry off and point the libraries at this checkout; call it before they are imported."""
    chosen = settings()
    chosen.state.mkdir(parents=True, exist_ok=True)
    for key, value in {**QUIET, **PATIENCE, "PREFECT_HOME": str(chosen.state / "prefect")}.items():
        os.environ.setdefault(key, value)
    os.environ.setdefault("MLFLOW_TRACKING_URI", chosen.tracking_uri)
    return settings() if chosen.artifacts is None else chosen
