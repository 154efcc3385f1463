"""Champion and challenger compared by what they answered to clients: on the same request, or between the arms.

Where both answered a request, one of them off its path, the two are compared on it: that tells most. Where each has
answered only its own clients, each unit of the challenger's is set against units of the champion's that no other one
is set against, so that the differences are independent of each other and tasks/shadow.py may bet on one after the
other. One mean of the champion's for all of them would be an error that they share, and the capital no martingale.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from tasks.errors import EvidenceMissing
from tasks.routing import CHALLENGER, CHAMPION

SIDES = (CHAMPION, CHALLENGER)
FACTS = ("predicted", "label", "error", "latency_ms")  # of each side, as <fact>_<side>
SLOWEST = 0.01  # the share of answers that take longer than the 99th percentile


@dataclass(frozen=True)
class Compared:
    """Losses (n,) of both on n comparisons with the unit of each; `used` (requests,) says whose answers they rest on.

    `paired` of the comparisons are on one request; the others are between the arms.
    """

    champion: np.ndarray
    challenger: np.ndarray
    units: np.ndarray
    used: np.ndarray
    paired: int


def side_by_side(answers: pd.DataFrame, champion: str, challenger: str, unit: str | None) -> pd.DataFrame:
    """One row a request, in the order in which they came, with what each of the two models said of it.

    `answers` has the columns of tasks/logged_answer.py; `champion` and `challenger` are the digests of the models;
    `unit` is the project's column of the thing photographed. The columns are request_id, at, key, unit ("" where it is
    not known), arm (whose answer the client got), and `<fact>_<side>`, which are missing where a side did not answer.
    """
    ours = answers[answers["model"].isin([champion, challenger]) & (answers["arm"] != "")]
    ours = ours.assign(side=np.where(ours["model"] == champion, CHAMPION, CHALLENGER))
    ours = ours.sort_values(["at", "request_id"], kind="stable").drop_duplicates(["request_id", "side"])
    about = ours.drop_duplicates("request_id")
    known = [facts.get(unit, "") if unit and isinstance(facts, dict) else "" for facts in about["about"]]
    table = about[["request_id", "at", "key", "arm"]].assign(unit=np.array(known, dtype=object))
    for side in SIDES:
        theirs = ours[ours["side"] == side].set_index("request_id")
        for fact in FACTS:
            table[f"{fact}_{side}"] = table["request_id"].map(theirs[fact])
    return table.reset_index(drop=True)


def as_answered(table: pd.DataFrame) -> pd.DataFrame:
    """The same without what was answered off the path: what the clients of each arm got."""
    return table.assign(
        **{f"{fact}_{s}": table[f"{fact}_{s}"].where(table["arm"] == s) for s in SIDES for fact in FACTS}
    )


def compare(table: pd.DataFrame, losses: dict[str, np.ndarray]) -> Compared:
    """All comparisons that the requests allow, by the losses (requests,) in [0, 1] of each side; nan: no answer.

    A unit of the paired is the project's, or the request; between the arms it is the project's, or the client, since
    clients are what is divided between the arms.
    """
    ours, theirs = losses[CHAMPION], losses[CHALLENGER]
    both = ~np.isnan(ours) & ~np.isnan(theirs)
    arm, named = table["arm"].to_numpy(), (table["unit"] != "").to_numpy()
    units = np.where(named, table["unit"], table["request_id"])
    clients = np.where(named, table["unit"], table["key"])
    alone = {side: ~both & ~np.isnan(losses[side]) & (arm == side) for side in SIDES}
    means = {side: _by_client(losses[side], clients, alone[side]) for side in SIDES}
    matched = min(len(means[CHAMPION]), len(means[CHALLENGER]))
    groups = np.array_split(means[CHAMPION].to_numpy(), matched) if matched else []
    between = means[CHALLENGER].iloc[:matched]
    used = both.copy()
    if matched:
        used |= alone[CHAMPION] | (alone[CHALLENGER] & np.isin(clients, between.index))
    return Compared(
        np.concatenate([ours[both], [group.mean() for group in groups]]),
        np.concatenate([theirs[both], between.to_numpy()]),
        np.concatenate([units[both], [f"between the arms {client}" for client in between.index]]).astype(object),
        used,
        int(both.sum()),
    )


def agreements_due(table: pd.DataFrame, labelled: np.ndarray) -> int:
    """How many units without a label on which both models agree stand beside the labelled ones on which they differ.

    Where a share of the units on which they differ has labels, the same share of those on which they agree counts, less
    those that have labels themselves: so labels that were asked for where the two differ stand for all requests. A unit
    is the project's or the request; only requests that both have answered are looked at.
    """
    both = (table["predicted_champion"].notna() & table["predicted_challenger"].notna()).to_numpy()
    sound = both & ~(table["error_champion"].fillna("").ne("") | table["error_challenger"].fillna("").ne("")).to_numpy()
    rows = table[sound]
    differ = (rows["predicted_champion"] != rows["predicted_challenger"]).to_numpy()
    unit = np.where(rows["unit"] != "", rows["unit"], rows["request_id"])
    units = pd.DataFrame({"differ": differ, "told": labelled[sound]}).groupby(unit).any()
    apart, told = units["differ"].to_numpy(bool), units["told"].to_numpy(bool)
    if not apart.any():
        return 0
    share = (apart & told).sum() / apart.sum()
    return max(0, int(share * (~apart).sum()) - int((~apart & told).sum()))


def errors_of(table: pd.DataFrame, labels: pd.Series) -> dict[str, np.ndarray]:
    """For each side 1 where its most probable class is not the label (requests,), 0 where it is, nan without answer.

    A failure is an error, but for the champion's off the path: no client met it, and a control that is starved there
    must not make the challenger look better.
    """
    losses = {s: _as_loss(table[f"predicted_{s}"].ne(labels.to_numpy()), table[f"predicted_{s}"]) for s in SIDES}
    starved = table[f"error_{CHAMPION}"].fillna("").ne("") & table["arm"].ne(CHAMPION)
    losses[CHAMPION] = np.where(starved, np.nan, losses[CHAMPION])
    return losses


def failures_of(table: pd.DataFrame) -> dict[str, np.ndarray]:
    """For each side 1 where the model raised."""
    return {s: _as_loss(table[f"error_{s}"].ne(""), table[f"error_{s}"]) for s in SIDES}


def abstentions_of(table: pd.DataFrame) -> dict[str, np.ndarray]:
    """For each side 1 where the model answered and withheld the label."""
    withheld = {s: table[f"label_{s}"].eq("") & table[f"error_{s}"].eq("") for s in SIDES}
    return {s: _as_loss(withheld[s], table[f"label_{s}"]) for s in SIDES}


def slow_clients(table: pd.DataFrame, champion: np.ndarray, ratio: float) -> pd.Series:
    """By client of the challenger's the share of its answers that took over `ratio` times the champion's p99.

    `champion` are latencies in milliseconds, of 100 answers or more: EvidenceMissing with fewer. Where
    the challenger's p99 keeps to the ratio, such an answer has a chance of at most 1 %.
    """
    if len(champion) < 1 / SLOWEST:
        raise EvidenceMissing(f"{len(champion)} answers of the champion's tell no 99th percentile; it takes 100")
    theirs = table[f"latency_ms_{CHALLENGER}"].to_numpy(float)
    there = ~np.isnan(theirs)
    slow = (theirs > ratio * np.quantile(champion, 1 - SLOWEST)).astype(float)
    return _by_client(slow, table["key"].to_numpy(), there)


def _as_loss(bad: pd.Series, answer: pd.Series) -> np.ndarray:
    return np.where(answer.notna(), bad.to_numpy(float), np.nan)


def _by_client(losses: np.ndarray, clients: np.ndarray, chosen: np.ndarray) -> pd.Series:
    """The mean loss of each client, the one who came first first."""
    return pd.Series(losses[chosen], dtype=float).groupby(clients[chosen], sort=False).mean()
