"""The monthly retune: evidence, drift, challenger, gate, promotion, page.

One at a time. What it decides is written down before anything is changed, so that a run which is killed is finished by
the next one, and the same evidence is decided on once.
"""

from __future__ import annotations

import hashlib
import html
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from features.errors import ArtifactError, EvidenceError, InputError
from pipeline import artifact, costs, history, ship, sibling
from pipeline.alone import alone
from pipeline.beside import replacing
from pipeline.costs import Tariff
from pipeline.gate import Verdict
from pipeline.pointer import name_of
from pipeline.recorder import CHAMPION, Recorder, recorder
from pipeline.retune import material, page, record
from pipeline.retune.cut_short import Known, noted
from pipeline.retune.found import Found
from pipeline.retune.inquiry import inquire
from pipeline.retune.record import Decision
from pipeline.retune.standing import Champion, opened, reigning
from pipeline.settings import Settings
from pipeline.ship import OvertakenError

TOLD = {Verdict.PROMOTE.value: "promoted", Verdict.KEEP.value: "kept", Verdict.NOT_ENOUGH.value: "not enough evidence"}
SUPERSEDED = "superseded"

Step = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Ended:
    """How a retune ended.

    Attributes:
        decision: that was made.
        page: that says why.
        served: name of the version that serves now.
        promoted: whether that is the version which the decision was to promote.
        again: whether the same evidence had been decided on before.
        found: what was found out; None where it was decided before.
    """

    decision: Decision
    page: Path
    served: str
    promoted: bool
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
        StoppedError: somebody stopped it: says what stands.
    """
    out, dest = _folder(settings.retune.out), Path(settings.retune.dest) if settings.retune.dest else None
    busy = f"another retune is at work in {out}: wait for it, or stop it"
    with (
        alone(out / record.FOLDER / "retune", 0, busy=busy), noted(out, dest) as known, recorder(out) as store
    ):  # fmt: skip
        return _retuned(settings, out, dest, store, step, known)


def _folder(name: str) -> Path:
    """The folder of versions, which a retune does not make: a slip would be a folder, a store and a history."""
    out = Path(name)
    try:
        if artifact.versions(out):
            return out
        missing = "there is no version in it" if out.is_dir() else "there is no such folder"
    except OSError as error:  # a folder on the way has no permission
        missing = f"it cannot be read ({error.strerror})"
    raise InputError(
        f"[retune] out = {name!r}: {missing}: train first (tier-router train --out {name}), or correct 'out'"
    )


def _retuned(
    settings: Settings, out: Path, dest: Path | None, store: Recorder, step: Step, known: Known
) -> Ended:  # fmt: skip
    step("looking at what serves")
    for left in record.unfinished(out):
        _carry_out(left, out, dest, store, step)
    since = ship.served_at(dest).at if dest else ""
    champion = reigning(out, dest, store)
    known.champion = champion.name
    aim, standing = sibling.standing(champion.folder)
    if not _says_more(settings):  # than [retune], so nothing of prices: those of the champion's hold
        settings = standing.model_copy(update={"retune": settings.retune})
    models = champion.manifest["data"]["models"]
    tariff = costs.learn(settings, models, champion.held.tune, aim.priced_at)
    about = Found(champion.name, aim.objective.told, _unit(tariff))
    try:
        ingested = material.gather(settings.retune, step)
    except EvidenceError as error:
        key = hashlib.sha256(f"{champion.name}: {error}".encode()).hexdigest()
        early = _decision(key, Verdict.NOT_ENOUGH, str(error), champion)
        return _ended(_leave(out, early, about), out, dest, store, step, about)
    # Who answers now is paid for, whoever did when the champion was trained.
    priced, now = _in_force(settings, aim.priced_at), material.answering(ingested.path, settings.retune.newest_days)
    models = models | {tier: name for tier, name in now.items() if name in priced}
    tariff = costs.learn(settings, models, champion.held.tune, aim.priced_at)
    key = material.key(settings.retune, settings, priced, ingested)
    if (before := record.read(out, key)) is not None:
        serves = before.promotes and _made_for(champion.manifest, before)
        return Ended(before, record.folder_of(out, key) / record.PAGE, champion.name, serves, True, None)
    known.found = about = replace(about, unit=_unit(tariff), ingested=ingested, notes=tuple(ingested.notes()))
    answer = inquire(settings, champion, aim, tariff, about, key, step)
    plain = _decision(key, answer.verdict, answer.why, champion)
    decision = replace(plain, version=answer.version, since=since, audited=answer.audited)
    return _ended(_leave(out, decision, answer.found), out, dest, store, step, answer.found)


def _unit(tariff: Tariff) -> str:
    return costs.USD_UNIT if tariff.in_usd else costs.RELATIVE_UNIT


def _says_more(settings: Settings) -> bool:
    """Whether a file has more than [retune]; of entries of the price table it always says which, even if none."""
    return bool(settings.price or settings.model_fields_set - {"retune", "price"})


def _in_force(settings: Settings, at: datetime) -> dict[str, Any]:
    """Every price that is in force, by name: what the tiers cost by them is learned from the champion's rows."""
    found = {}
    for name in settings.prices.names:
        with suppress(InputError):  # it begins later
            found[name] = settings.prices.at(name, at).model_dump(mode="json", exclude={"source"})
    return found


def _made_for(manifest: Mapping[str, Any], decision: Decision) -> bool:
    """Whether a version was made for a decision; one that was tuned from it keeps the key, under another number."""
    return (manifest["version"], manifest.get("retune", {}).get("key")) == (decision.version, decision.key)


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
    promoted = done.promotes and not done.superseded
    return Ended(done, record.folder_of(out, decision.key) / record.PAGE, served, promoted, False, found)


def _carry_out(
    decision: Decision, out: Path, dest: Path | None, store: Recorder, step: Step
) -> tuple[Decision, str]:  # fmt: skip
    """Do what follows from a decision, as far as it is not done yet; returns it and what serves then."""
    served, told, why = decision.champion, TOLD[decision.verdict], decision.why
    if decision.promotes:
        step("promoting")
        try:
            served = _promote(decision, out, dest, store, step)
        except OvertakenError as error:
            served, told, why = error.served, SUPERSEDED, f"{decision.version} was to serve, but {error}"
            decision = replace(decision, superseded=why)
            _amend(out, decision)
    where = Path(record.FOLDER) / decision.key[:12] / record.PAGE
    line = history.Line(told, decision.champion, served, why, where.as_posix(), decision.at)
    if not history.holds(out, line):
        history.append(out, line, once=True)
    return record.finish(out, decision), served


def _promote(decision: Decision, out: Path, dest: Path | None, store: Recorder, step: Step) -> str:
    """Move alias and pointer to the version of a decision, both or neither; returns its name.

    Raises:
        OvertakenError: the judged champion serves no more, or again: nothing has changed.
        ArtifactError: the version is not there, or not whole.
    """
    folder = out / decision.version
    _check(decision, folder, dest, store)
    try:
        made = opened(folder)
        if not (number := store.find(made.manifest["onnx"]["router"]["sha256"])):
            with recorder(out) as second:
                number = second.record(folder).model_version
        if dest is not None:
            return ship.ship(folder, dest, recorder=store, step=step, expected=decision.champion).name
    except ArtifactError as error:
        decided = record.folder_of(out, decision.key)
        raise ArtifactError(
            f"{error}; {decided} says that it is to serve: restore {folder}, or remove {decided}, and the evidence is "
            "decided on anew"
        ) from error
    _check(decision, folder, dest, store)  # once more, for opening and recording take their time
    store.crown(number)
    return made.name


def _check(decision: Decision, folder: Path, dest: Path | None, store: Recorder) -> None:
    """Raise OvertakenError unless the judged champion serves and was not gone back to, or the new version does."""
    if dest is None:
        # Of the alias nobody knows since when: who gave it back to the champion between a kill and now is overruled.
        served, since, where = _named(folder.parent, store.reigning()), "", f"the alias {CHAMPION}"
    else:
        pointer = ship.served_at(dest)
        served, since, where = pointer.current, pointer.at, str(dest)
    with suppress(ArtifactError):
        if name_of(artifact.read_manifest(folder)) == served:
            return
    if served != decision.champion:
        raise OvertakenError(where, served, decision.champion)
    if since and decision.since and since != decision.since:
        raise OvertakenError(where, served, folder.name)


def _named(out: Path, digest: str) -> str:
    """The name of the version with a router of this SHA-256; the digest where its folder is not there."""
    for folder in reversed(artifact.versions(out)):
        with suppress(ArtifactError):
            manifest = artifact.read_manifest(folder)
            if digest == manifest["onnx"]["router"]["sha256"]:
                return name_of(manifest)
    return digest


def _amend(out: Path, decision: Decision) -> None:
    """Have the page say that its promotion did not come to be."""
    path = record.folder_of(out, decision.key) / record.PAGE
    said = html.escape(f"Superseded: {decision.superseded}.")
    if path.exists():
        with replacing(path) as partial:
            text = path.read_text(encoding="utf-8").replace(html.escape(page.headline(decision)), said)
            partial.write_text(text, encoding="utf-8")
