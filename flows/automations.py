"""What a Prefect server must do by itself: end the runs whose process is gone, or nothing else ever starts.

    python -m flows.automations [--silence 300]

A run that is killed together with its worker stays RUNNING for ever, and one whose worker died while it started stays
PENDING; either holds the place that a deployment's limit of one gives out. Both are ended here, for the runs that carry
the tag `keel` and no others. Run it again at any time: the automations of these names are replaced.

A last sign of life that reaches the server after the run's end makes it try to end a run that is over, which it refuses
with a warning in its log. A server that was away for longer than the silence takes living runs for dead; their nights
and releases go on all the same, and the project's lease (tasks/lease.py) keeps others out.
"""

import argparse
import datetime as dt
import sys
from contextlib import suppress
from typing import cast

from prefect.automations import Automation
from prefect.client.schemas.objects import StateType
from prefect.events.actions import ChangeFlowRunState
from prefect.events.schemas.automations import EventTrigger, Posture

SILENCE = dt.timedelta(minutes=5)  # ten heartbeats at PREFECT_FLOWS_HEARTBEAT_FREQUENCY of prefect.yaml
START = dt.timedelta(minutes=10)  # a process that has not begun by then never will
RUN = "prefect.flow-run."
ENDED = {RUN + state for state in ("Completed", "Failed", "Cancelled", "Crashed", "TimedOut", "Suspended", "Paused")}
OURS = {"prefect.resource.id": "prefect.tag.keel", "prefect.resource.role": "tag"}


def automations(silence: dt.timedelta = SILENCE) -> list[Automation]:
    """The two, as they have to be; `silence` is how long a living run may say nothing."""
    return [
        ends(
            "keel: a run without a heartbeat has crashed",
            f"{silence.seconds} s after its last sign of life the run is Crashed, and its place is free.",
            {RUN + "Running", RUN + "heartbeat"},  # a kill may come before the first heartbeat
            {RUN + "heartbeat", *ENDED},
            silence,
        ),
        ends(
            "keel: a run that never begins has crashed",
            f"{START.seconds // 60} minutes after a worker took it the run is Crashed, and its place is free.",
            {RUN + "Pending"},
            {RUN + "Running", *ENDED},
            START,
        ),
    ]


def ends(name: str, description: str, after: set[str], expect: set[str], within: dt.timedelta) -> Automation:
    """Crash a run of ours where `within` the time `after` one event none of those that are expected has come."""
    trigger = EventTrigger(
        match={"prefect.resource.id": f"{RUN}*"},
        match_related=OURS,  # type: ignore[arg-type]
        for_each={"prefect.resource.id"},
        after=after,
        expect=expect,
        posture=Posture.Proactive,
        threshold=1,
        within=within,
    )
    crash = ChangeFlowRunState(state=StateType.CRASHED, name="Crashed", message=description, force=False)
    return Automation(name=name, description=description, trigger=trigger, actions=[crash])


def replace(wanted: Automation) -> None:
    """Create it in place of the one of that name."""
    with suppress(ValueError):  # which says that there is none
        cast(Automation, Automation.read(name=wanted.name)).delete()
    wanted.create()


def main() -> int:
    """Put the automations on the server that PREFECT_API_URL names."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--silence", type=int, default=SILENCE.seconds, help="seconds without a heartbeat")
    asked = parser.parse_args()
    for wanted in automations(dt.timedelta(seconds=asked.silence)):
        replace(wanted)
        print(f"{wanted.name}: {wanted.description}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
