"""A prediction log of a rollout: answers of champion and challenger, as the service writes them."""
import datetime as dt
import sys
import types

import pandas as pd

from tasks.logged_answer import LoggedAnswer

ANSWERS: list = []
LABELS: list = []

def read_log(place, project, date, time_zone):
    rows = [vars(r) for r in ANSWERS if r.at.date() == date]
    return pd.DataFrame(rows, columns=list(LoggedAnswer.__dataclass_fields__))

def read_labels_of(place, project, **_):
    return pd.DataFrame(LABELS, columns=["request_id", "label", "labelled_at", "source"])

m = types.ModuleType("tasks.prediction_log")
m.read_log, m.read_labels_of = read_log, read_labels_of
sys.modules.setdefault("tasks.prediction_log", m)




def write_answers(rows):
    ANSWERS.extend(rows)


def write_labels(requests, label, at):
    LABELS.extend({"request_id": r, "label": label, "labelled_at": at.isoformat(), "source": "clerk"} for r in requests)


def empty_log():
    ANSWERS.clear()
    LABELS.clear()
