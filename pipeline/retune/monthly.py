"""The monthly retune: evidence, drift, challenger, gate, promotion, page.

One at a time. What it decides is written down before anything is changed, so that a run which is killed is finished by
the next one, and the same evidence is decided on once.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from features.errors import EvidenceError, StorageError, TierRouterError
from pipeline import costs, history, ship, sibling
from pipeline.alone import alone
from pipeline.beside import replacing
from pipeline.gate import Verdict
from pipeline.recorder import Recorder, recorder
from pipeline.retune import material, page, record
from pipeline.retune.found import Found
from pipeline.retune.inquiry import inquire
from pipeline.retune.record import Decision
from pipeline.retune.standing import Champion, opened, reigning
from pipeline.settings import Settings

TOLD = {Verdict.PROMOTE.value: "promoted", Verdict.KEEP.value: "kept", Verdict.NOT_ENOUGH.value: "not enough evidence"}

Step = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Ended:
    """How a retune ended.

    Attributes:
        decision: that was made.
        page: that says why.
        served: name of the version that serves now.
        again: whether the same evidence had been decided on before.
        found: what was found out; None where it was decided before.
    """

    decision: Decision
    page: Path
    served: str
    again: bool
    found: Found | None


def retune(settings: Settings, step: Step = lambda _: None) -> Ended:
    """Retune once.

    Args:
        settings: `settings.retune` says what is read, and whom it serves.
        step: called with the name of each step as it begins.

    Raises:
        InputError: a file or an option cannot be used: the champion serves on.
        StorageError: another retune is at work, or something cannot be written: what serves is whole.
    """
    options = settings.retune
    out = Path(options.out)
    with alone(out / record.FOLDER / "retune", wait_s=0), recorder(out) as store:
        try:
            return _retuned(settings, out, store, step)
        except TierRouterError as error:
            with suppress(StorageError):
                history.append(out, history.Line("failed", "", "", str(error)))
            raise


def _retuned(settings: Settings, out: Path, store: Recorder, step: Step) -> Ended:
    step("looking at what serves")
    dest = Path(settings.retune.dest) if settings.retune.dest else None
    for left in record.unfinished(out):
        _carry_out(left, out, dest, store, step)
    champion = reigning(out, dest, store)
    aim, standing = sibling.standing(champion.folder)
    if not _says_more(settings):  # than [retune], so nothing of prices: those of the champion's hold
        settings = standing.model_copy(update={"retune": settings.retune})
    tariff = costs.learn(settings, champion.manifest["data"]["models"], champion.held.tune, aim.priced_at)
    about = Found(champion.name, aim.objective.told, costs.USD_UNIT if tariff.in_usd else costs.RELATIVE_UNIT)
    try:
        ingested = material.gather(settings.retune, step)
    except EvidenceError as error:
        key = hashlib.sha256(f"{champion.name}: {error}".encode()).hexdigest()
        early = _decision(key, Verdict.NOT_ENOUGH, str(error), champion)
        return _ended(_leave(out, early, about), out, dest, store, step, about)
    key = material.key(settings.retune, settings, tariff.printed(), ingested)
    if (before := record.read(out, key)) is not None:
        return Ended(before, record.folder_of(out, key) / record.PAGE, champion.name, True, None)
    about = replace(about, ingested=ingested, notes=tuple(ingested.notes()))
    found, verdict, why, made = inquire(settings, champion, aim, tariff, about, key, step)
    decision = replace(_decision(key, verdict, why, champion), version=made)
    return _ended(_leave(out, decision, found), out, dest, store, step, found)


def _says_more(settings: Settings) -> bool:
    """Whether a file has more than [retune]; of entries of the price table it always says which, even if none."""
    return bool(settings.price or settings.model_fields_set - {"retune", "price"})


def _decision(key: str, verdict: Verdict, why: str, champion: Champion) -> Decision:
    return Decision(key, verdict.value, why, champion.name, "", datetime.now(UTC).isoformat(timespec="seconds"))


def _leave(out: Path, decision: Decision, found: Found) -> Decision:
    """Keep page and decision, the page first."""
    with replacing(record.folder_of(out, decision.key) / record.PAGE) as partial:
        partial.write_text(page.render(found, decision), encoding="utf-8")
    record.write(out, decision)
    return decision


def _ended(
    decision: Decision, out: Path, dest: Path | None, store: Recorder, step: Step, found: Found
) -> Ended:  # fmt: skip
    done, served = _carry_out(decision, out, dest, store, step)
    return Ended(done, record.folder_of(out, decision.key) / record.PAGE, served, False, found)


def _carry_out(
    decision: Decision, out: Path, dest: Path | None, store: Recorder, step: Step
) -> tuple[Decision, str]:  # fmt: skip
    """Do what follows from a decision, as far as it is not done yet; returns it and what serves then."""
    served = decision.champion
    if decision.promotes:
        step("promoting")
        served = _promote(out / decision.version, out, dest, store, step)
    where = Path(record.FOLDER) / decision.key[:12] / record.PAGE
    line = history.Line(
        TOLD[decision.verdict], decision.champion, served, decision.why, where.as_posix(), decision.at
    )  # fmt: skip
    if not history.holds(out, line):
        history.append(out, line)
    return record.finish(out, decision), served


def _promote(folder: Path, out: Path, dest: Path | None, store: Recorder, step: Step) -> str:
    """Move alias and pointer to a version, both or neither; returns its name."""
    made = opened(folder)
    if not (number := store.find(made.manifest["onnx"]["router"]["sha256"])):
        with recorder(out) as second:
            number = second.record(folder).model_version
    if dest is None:
        store.crown(number)
        return made.name
    return ship.ship(folder, dest, recorder=store, step=step).name
