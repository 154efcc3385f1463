"""Do users complain more than they used to? A share of few reports, drawn towards the long run before it is believed.

The complaints of a day are a beta-binomial count: the day has a rate of its own, which scatters around the long run's.
How far it scatters is estimated from the days before by moments (Kleinman 1973, section 3), and the rate of the last
days is its posterior under that prior: empirical Bayes (Casella 1985). Two angry reports on a quiet day then move it
little, two hundred a lot. People who report are no sample of those who do not: the trend says whether reports changed,
not how often the model errs.
"""

import datetime as dt
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from scipy.stats import beta, chi2

from tasks.feedback import Filed
from tasks.feedback_rules import TrendRules
from tasks.intervals import Interval
from tasks.ledger import Entry
from tasks.night import HARM, HEALTHY, WATCH
from tasks.nights import nights_on_record

WORSE, BETTER, USUAL, NOTHING = "worse", "better", "as usual", "nothing to compare"
LEAST_DAYS = 5  # with reports, before the long run is called one
DOUBT = 0.1  # how likely it is that the days are even less alike than they are taken to be
WEAK = 2.0  # the prior's strength, in reports, where the days before tell nothing of their scatter


@dataclass(frozen=True)
class Prior:
    """What a day's rate is expected to be: beta with this mean, worth `strength` reports, from `days` days."""

    mean: float
    strength: float
    days: int


@dataclass(frozen=True)
class Trend:
    """The last days' rate of complaints among `reports`, after shrinkage, with its interval."""

    prior: Prior
    reports: int
    complaints: int
    rate: float
    interval: Interval

    @property
    def direction(self) -> str:
        """Whether the rate has left the long run's."""
        if not self.reports or self.prior.days < LEAST_DAYS:
            return NOTHING
        return (
            WORSE if self.interval.low > self.prior.mean else BETTER if self.interval.high < self.prior.mean else USUAL
        )

    def sentence(self) -> str:
        """The figures in words."""
        if self.direction == NOTHING:
            return (
                f"the trend of the reports cannot be told: {self.reports} that say good or bad in the last days, "
                f"{self.prior.days} days with such reports before them, and {LEAST_DAYS} are needed"
            )
        low, high = (100 * end for end in self.interval)
        return (
            f"the reports are {self.direction}: {self.complaints} of the last {self.reports} complain, a rate of "
            f"{100 * self.rate:.0f} % [{low:.0f}, {high:.0f}] against {100 * self.prior.mean:.0f} % in the long run, "
            f"which weighs as much as {self.prior.strength:.0f} reports"
        )


def prior_of(days: Iterable[tuple[int, int]]) -> Prior:
    """The prior from (reports, complaints) of each day. Never stronger than the reports that it is made from.

    With E[sum n_i (p_i - p)^2] = p (1 - p) (k - 1 + rho (N - k + 1 - sum n_i^2 / N)) over k days of N reports in all,
    rho is the correlation of two reports of one day, and the strength is 1 / rho - 1. Days are taken to be as little
    alike as their scatter, a chi-square of k - 1 degrees, allows in one case of ten: with the estimate itself, 95 %
    intervals covered 90 % after 40 days, with this one 92 to 97 % after 10 to 150 days (tests/test_feedback_trend.py).
    """
    held = [(n, x) for n, x in days if n]
    total = sum(n for n, _ in held)
    mean = (sum(x for _, x in held) + 0.5) / (total + 1)
    room = total - len(held) + 1 - sum(n * n for n, _ in held) / total if held else 0.0
    if len(held) < 2 or room <= 0:
        return Prior(mean, WEAK, len(held))
    scatter = sum(n * (x / n - mean) ** 2 for n, x in held) / (mean * (1 - mean))
    degrees = len(held) - 1
    rho = (scatter * degrees / chi2.ppf(DOUBT, degrees) - degrees) / room
    strength = total if rho <= 0 else min(total, 1 / min(rho, 1.0) - 1)
    return Prior(mean, max(WEAK, float(strength)), len(held))


def trend_of(before: Iterable[tuple[int, int]], reports: int, complaints: int, level: float) -> Trend:
    """The posterior of the last days' rate, and its equal-tailed interval."""
    prior = prior_of(before)
    a = prior.mean * prior.strength + complaints
    b = (1 - prior.mean) * prior.strength + reports - complaints
    tail = (1 - level) / 2
    interval = Interval(float(beta.ppf(tail, a, b)), float(beta.ppf(1 - tail, a, b)))
    return Trend(prior, reports, complaints, a / (a + b), interval)


def trend(filed: Iterable[Filed], today: dt.date, rules: TrendRules) -> Trend:
    """The trend of the reports: the last `nights` days up to `today` against all days before."""
    days: dict[dt.date, list[bool]] = {}
    for f in filed:
        if f.complains is not None and f.at is not None:
            days.setdefault(f.at.date(), []).append(f.complains)
    first = today - dt.timedelta(days=rules.nights - 1)
    recent = [said for day, values in days.items() if day >= first for said in values]
    before = [(len(values), sum(values)) for day, values in sorted(days.items()) if day < first]
    return trend_of(before, len(recent), sum(recent), rules.level)


AGREE: Mapping[str, tuple[str, ...]] = {HEALTHY: (USUAL, BETTER), WATCH: (USUAL, BETTER, WORSE), HARM: (WORSE,)}


def opinion_of(filed: Iterable[Filed], entries: Iterable[Entry], rules: TrendRules, today: dt.date) -> str:
    """What the project's last night on record, among the ledger's entries, and its reports say together."""
    nights = list(nights_on_record(entries).values())
    return opinion(nights[-1].verdict if nights else None, trend(filed, today, rules))


def opinion(night: str | None, found: Trend) -> str:
    """What the nights and the reports say together; where they disagree, that is the news."""
    if night is None or night not in AGREE or found.direction == NOTHING:
        return f"the last night is {night or 'not judged'}; {found.sentence()}"
    if found.direction in AGREE[night]:
        return f"the last night is {night}, and {found.sentence()}"
    way_out = "read the queue (`keel feedback review`)" if found.direction == WORSE else "read the night's page"
    return f"DISAGREEMENT: the last night is {night}, but {found.sentence()}; {way_out}"
