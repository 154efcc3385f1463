"""Nightly: is the champion still right about what production sees, and what follows if not.

pull -> read the window and hold it against its contract -> ask champion, previous and challenger -> count the labels
that have arrived -> compare with the reference -> decide -> record -> act -> tell -> report. Each night has one
verdict: HEALTHY, WATCH, HARM, NO DATA or CANNOT JUDGE. The same night of the same model on the same images is judged
once; run again, it only finishes what a kill left open. HARM puts an earlier version back where that is proved better
on these very images, and moves nothing where it is not.
"""

import datetime as dt
import logging
from pathlib import Path
from typing import Any

import pandas as pd
from prefect import flow

from flows.common import PROJECTS, RUNS, knobs, reach_registry
from flows.rollback import Answer as Acted
from flows.rollback import roll_back_if_proved
from flows.telling import tell
from tasks.counted import counted_images
from tasks.digests import sha256_file
from tasks.errors import BadInput, DataRejected, NoImages
from tasks.fetch_versions import fetch_versions
from tasks.fetch_windows import fetch_windows
from tasks.folders import PRODUCTION
from tasks.incident import answer_of, enter_comparison, incident_of, open_incident
from tasks.lease import hold
from tasks.ledger import Ledger
from tasks.logged_window import say_traffic, traffic_of
from tasks.memory import give_memory_back
from tasks.night import CANNOT_JUDGE, NO_DATA, Answer, Night, sentence_of, together
from tasks.night_tables import ScoredWindow, labelled_images
from tasks.nights import (
    KIND,
    copy_of,
    counted_before,
    due,
    is_late,
    is_mended,
    last_before,
    night_of,
    nights_on_record,
    recorded,
    reference_nights,
    refused,
    remembered,
    requests,
    rollback_for,
    shadow_so_far,
)
from tasks.params import CheckDataParams
from tasks.places import log_place
from tasks.project import Project, load_project
from tasks.pull_windows import pull_windows
from tasks.record_night import record_night
from tasks.registry import Registry
from tasks.report_drift import report_drift
from tasks.report_night import is_shown, report_night
from tasks.score_logged import is_current, is_logged, score_logged
from tasks.score_window import score_window
from tasks.settings import prepare_environment
from tasks.versions import Served
from tasks.watch import Watch, load_watch
from tasks.watch_drift import watch_drift
from tasks.watch_harm import watch_harm
from tasks.watch_shadow import watch_shadow
from tasks.window_of_log import window_of_log
from tasks.windows import Window, find_windows, nights_between, parse_date

NIGHTS, SERVED, EVIDENTLY, LOG = "nights", "served", "evidently", "log"
NEVER = Answer(False, "", ())
logger = logging.getLogger("flows.nightly")


@flow(name="nightly", validate_parameters=False)
def nightly(
    project: str = "digits",
    date: str | None = None,
    until: str | None = None,
    windows: str | None = None,
    pull: bool = False,
) -> list[Night]:
    """Judge the nights that are due, and act on what they say.

    `date` is a day such as 2026-06-01, `yesterday` or `today`; with `until`, every night from it to that one. Without,
    every window after the last night on record. `windows` is another folder of windows than the project's own, a URL of
    one, or `log` for what the service answered; `pull` fetches what git and DVC have first.
    """
    chosen = prepare_environment()
    for name in ("tasks", "flows"):
        logging.getLogger(name).setLevel(logging.INFO)
    about = load_project(PROJECTS / f"{project}.yaml")
    watch = load_watch(about.watch)
    with hold(Ledger(chosen.ledger_url), f"{about.name}.nightly", chosen.state, wait=1):
        if pull:
            pull_windows(about.data)
        root = place_of_windows(about, watch, windows or about.windows, until or date)
        registry = reach_registry(about.name, chosen)
        registry.repair_if_free()
        finish(registry, about, watch)
        chosen_nights = nights_to_judge(registry, watch, root, date, until)
        if not chosen_nights:
            logger.info("no window lies after the last night on record; --date judges one again")
        judged = [revalidate(registry, about, watch, window) for window in chosen_nights]
    return judged


def finish(registry: Registry, about: Project, watch: Watch) -> None:
    """Act on the night recorded last and tell of it, where the run that recorded it was killed before it did."""
    nights = registry.ledger.read(registry.project, KIND)
    if nights:
        night = night_of(nights[-1])
        act(registry, about, watch, night)
        tell(registry, watch, night)


def place_of_windows(about: Project, watch: Watch, windows: str | None, last: str | None) -> Path:
    """The folder of the windows; those behind a URL are fetched first, those of the log written.

    Of the log, the days that are over are windows, and today only where it is the `last` that is asked for.
    """
    if windows == LOG:
        day = the_day(last or "yesterday", watch)
        return window_of_log(log_place(), about.name, watch.time_zone, day, RUNS / about.name / LOG)
    if windows and "://" in windows:
        return fetch_windows(windows, RUNS / about.name / "fetched")
    return Path(windows) if windows else about.data / PRODUCTION


def nights_to_judge(registry: Registry, watch: Watch, root: Path, date: str | None, until: str | None) -> list[Window]:
    """The windows, oldest first, there or not; BadInput for a night to come, which would make all until then late."""
    entries, today = registry.ledger.sound(registry.project), the_day("today", watch)
    if date is None and until is None:
        nights = due(entries, there(root), None, watch.catch_up)
        for day in (night for night in nights if night > today):
            logger.warning("%s is to come and is left for then; correct its date if that is wrong", root / f"{day}")
        return [Window(day, root / day.isoformat()) for day in nights if day <= today]
    day = the_day(date or until or "", watch)
    last = the_day(until, watch) if until is not None else day
    if last > today:
        raise BadInput(f"the night {last} is to come: today is {today} in {watch.time_zone}; correct the date")
    if until is not None:
        return nights_between(root, day, last)
    asked = due(entries, (), day, watch.catch_up) if date in ("yesterday", "today") else [day]
    return [Window(one, root / one.isoformat()) for one in asked]


def there(root: Path) -> list[dt.date]:
    """The nights that have a window."""
    return [window.date for window in find_windows(root)]


def the_day(text: str, watch: Watch) -> dt.date:
    """A date, or yesterday or today in the time zone of the rules."""
    today = watch.today(dt.datetime.now(dt.UTC))
    named = {"today": today, "yesterday": today - dt.timedelta(days=1)}
    return named[text] if text in named else parse_date(text)


def revalidate(registry: Registry, about: Project, watch: Watch, window: Window) -> Night:
    """One night, from its window to its record and what follows from it."""
    entries = registry.ledger.sound(registry.project)
    served = serving(registry, RUNS / about.name / SERVED)
    place = RUNS / about.name / NIGHTS
    found = look_at(window, about, [one.model for one in served.values()], place / window.name)
    scored = found if isinstance(found, ScoredWindow) else None
    night = recorded(entries, window.name, scored.digest() if scored else "", served["champion"].digest)
    if night is not None and not is_mended(night, scored.broken() if scored else ()):
        logger.info("on record: %s", night.sentence)
    else:
        data = ask_data(found, watch, copy_of(entries, window.name, scored.digest()) if scored else None)
        body, rows = judge(registry, about, watch, window, scored, data, served)
        night = record_night(registry, body, rows, place / window.name)
    act(registry, about, watch, night)
    tell(registry, watch, night)
    if not is_shown(night, place):
        give_memory_back()
        show(registry, about, watch, window, night, scored)
    return night


def serving(registry: Registry, out: Path) -> dict[str, Served]:
    """The versions behind the aliases, on disk, the champion first; BadInput where there is none."""
    aliases = {alias: version for alias, version in registry.aliases().items() if version is not None}
    if "champion" not in aliases:
        raise BadInput(f"{registry.project} has no champion to revalidate; `keel release` makes one")
    found = fetch_versions(registry, sorted(set(aliases.values())), out)
    return {alias: found[version] for alias, version in aliases.items()}


def look_at(window: Window, about: Project, models: list[Path], out: Path) -> ScoredWindow | Answer:
    """The window measured and scored, the champion being the first of the models; or why there is nothing to judge."""
    score = score_logged if is_logged(window) else score_window
    try:
        return score(window, about, knobs(CheckDataParams, about), models, out)
    except NoImages as error:
        return Answer(True, NO_DATA, (str(error),))
    except DataRejected as error:
        return Answer(True, CANNOT_JUDGE, (f"the window cannot be read: {error}",))


def judge(
    registry: Registry,
    about: Project,
    watch: Watch,
    window: Window,
    scored: ScoredWindow | None,
    data: Answer,
    served: dict[str, Served],
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The body of the night's record, and the rows of the labels that count from it on."""
    entries, champion = registry.ledger.read(registry.project), served["champion"]
    own = nights_on_record(entries).get(window.name)
    before = own or last_before(entries, window.name)
    harm, drift = Answer(False, "", (), remembered(before)), NEVER
    if scored is not None and not data.against:
        if is_late(entries, window.name):
            harm = counted_before(own, champion.digest, harm.facts)
        else:
            pairs = answered(about, served, window, watch, refused(entries))
            harm = watch_harm(
                registry.ledger, about.name, watch, champion, window, pairs, harm.facts, requests(entries)
            )
        give_memory_back()
        nights = reference_nights(entries, watch.reference.first, watch.reference.nights)
        on_record = nights_on_record(entries)
        reference = rescored(about, champion, [on_record[name] for name in nights if name != window.name])
        drift = watch_drift(window, scored, reference, champion, watch, harm, seed=window.date.toordinal())
        give_memory_back()
    shadow, more = tried(registry, about, watch, window, served, before, bool(scored and not data.against))
    verdict, said = together({"data": data, "harm": harm, "drift": drift})
    came = traffic_of(window)
    body = {
        "night": window.name,
        "verdict": verdict,
        "sentence": sentence_of(window.name, verdict, said),
        "sentences": [*said, *([say_traffic(came)] if came else [])],
        "model": champion.digest,
        "version": champion.version,
        "versions": {alias: one.version for alias, one in served.items()},
        "window": scored.digest() if scored else "",
        "folder": window.folder.as_posix(),
        "images": len(scored.table()) if scored else 0,
        "broken": list(data.said) if data.against == CANNOT_JUDGE else [],
        "watch": sha256_file(about.watch),
        "harm": {key: value for key, value in harm.facts.items() if key != "count"},
        "drift": drift.facts,
        "shadow": shadow,
        **({"traffic": came} if came else {}),
    }
    return body, harm.facts.get("count", []) + more


def tried(
    registry: Registry,
    about: Project,
    watch: Watch,
    window: Window,
    served: dict[str, Served],
    before: Night | None,
    sound: bool,
) -> tuple[dict[str, Any] | None, list[dict[str, Any]]]:
    """What the night says of a challenger beside the champion, where the rules have steps and the window is sound."""
    known = before.body["shadow"] if before else None
    if not watch.rollout.steps or "challenger" not in served or not sound:
        return known, []
    entries = registry.ledger.read(registry.project)
    if is_late(entries, window.name):
        return known, []
    champion, challenger = served["champion"], served["challenger"]
    pairs = answered(about, served, window, watch, refused(entries))
    pairs = [pair for pair in pairs if pair[1].has(challenger.digest)]
    asked = requests(entries)
    bets = shadow_so_far(before, last_before(entries, window.name), window.name)
    return watch_shadow(registry.ledger, about.name, watch.rollout, champion, challenger, window, pairs, bets, asked)


def ask_data(found: ScoredWindow | Answer, watch: Watch, copied: str | None) -> Answer:
    """Whether there is anything to judge: enough images, which keep their contract and were not `copied` of a night."""
    if isinstance(found, Answer):
        return found
    images = len(found.table())
    if images < watch.least_images:
        return Answer(True, NO_DATA, (f"{images} images came, and a night takes {watch.least_images}",))
    if copied is not None:
        return Answer(True, CANNOT_JUDGE, (f"the images are those of the night {copied}, sent again",))
    broken = found.broken()
    if broken:
        return Answer(True, CANNOT_JUDGE, tuple(f"the window breaks its contract: {rule}" for rule in broken))
    return Answer(True, "", ())


def answered(
    about: Project, served: dict[str, Served], tonight: Window, watch: Watch, without: set[str]
) -> list[tuple[Window, ScoredWindow]]:
    """The windows of the last days that the champion has answered, tonight's last, `without` nights that were refused.

    Late labels are looked for there. A window of the log whose rows changed since is scored again.
    """
    champion, models = served["champion"], [one.model for one in served.values()]
    first = tonight.date - dt.timedelta(days=watch.late_labels_days)
    windows = [
        window
        for window in nights_between(tonight.folder.parent, first, tonight.date)
        if window.folder.is_dir() and (window == tonight or window.name not in without)
    ]
    pairs = [(window, at(about, window.name)) for window in windows]
    for window, scored in pairs:
        if not is_current(window, scored):
            look_at(window, about, models, scored.folder)
    return [(window, scored) for window, scored in pairs if scored.has(champion.digest) and not scored.broken()]


def rescored(about: Project, champion: Served, nights: list[Night]) -> list[ScoredWindow]:
    """The reference windows as this champion sees them: one that it has not answered yet, it answers now.

    Each lies where it was judged from, wherever tonight's lies.
    """
    found = []
    for night in nights:
        window = Window(dt.date.fromisoformat(night.night), Path(night.body["folder"]))
        scored = at(about, night.night)
        there = scored.has(champion.digest) and is_current(window, scored)
        again = scored if there else look_at(window, about, [champion.model], scored.folder)
        found += [again] if isinstance(again, ScoredWindow) else []
    return found


def at(about: Project, night: str) -> ScoredWindow:
    """Where a night's window is kept once it was scored."""
    return ScoredWindow(night, RUNS / about.name / NIGHTS / night)


def act(registry: Registry, about: Project, watch: Watch, night: Night) -> None:
    """What an open alarm asks for, once a night: the version put back that is proved better, or why none is.

    The night that raised it opens an incident; each later one whose labels count compares the versions again. A night
    that was killed in between finds the move that it made, and goes on from there.
    """
    entries, harm = registry.ledger.sound(registry.project), night.body["harm"]
    if "open" not in harm or answer_of(entries, night.night) is not None:
        return
    incident = incident_of(entries, harm["open"]["night"])
    if incident is not None and not harm.get("counted"):
        return
    cause = incident.body["cause"] if incident is not None else night.body["sentences"][0]
    date, version = dt.date.fromisoformat(night.night), night.body["version"]
    moved = rollback_for(entries, night.night)
    if moved is not None:
        answer = Acted(moved, None, f"version {moved.body['version']} was put back")
    elif registry.aliases()["champion"] != version:
        answer = Acted(None, None, f"no move: version {version} was in use no more when the night was acted upon")
    else:
        root = Path(night.body["folder"]).parent
        images = harmed_images(registry.ledger, root, about, night)
        answer = roll_back_if_proved(registry, images, root, watch.rollback, date, cause, about.cases)
    if incident is None:
        evidence = {"harm": harm["harm"], **answer.as_evidence()}
        open_incident(registry, date, cause, evidence, answer.sentence, version)
    else:
        enter_comparison(registry, incident, date, answer.as_evidence(), answer.sentence)


def harmed_images(ledger: Ledger, root: Path, about: Project, night: Night) -> pd.DataFrame:
    """The images whose labels count since the harm of the open alarm most likely began, nights refused left out.

    Labels come late: those that show the harm may be of windows from before the night that counted them.
    """
    entries = ledger.read(about.name)
    counted = counted_images(ledger, about.name, night.body["model"], night.body["harm"]["open"]["began"])
    windows = [Window(dt.date.fromisoformat(name), root / name) for name in sorted({name for name, _ in counted})]
    pairs = [(window, at(about, window.name)) for window in windows if window.name not in refused(entries)]
    images = labelled_images(pairs, dt.date.fromisoformat(night.night), requests(entries))
    return images[images["image_id"].isin([f"{name}/{image}" for name, image in counted])].reset_index(drop=True)


def show(
    registry: Registry,
    about: Project,
    watch: Watch,
    window: Window,
    night: Night,
    scored: ScoredWindow | None,
) -> None:
    """The pages of the night and of all nights, with Evidently's reports beside them."""
    pages: dict[str, Path] = {}
    names = night.body["drift"].get("reference")
    if scored is not None and names:
        reference = [at(about, name) for name in names if at(about, name).has(night.body["model"])]
        pages = report_drift(scored, reference, night.body["model"], about.name, RUNS / about.name / EVIDENTLY, seed=0)
    report_night(registry, watch, night, scored, window.folder, pages, RUNS / about.name / NIGHTS)
