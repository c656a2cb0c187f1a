"""What a retune finds out: whether anything drifted, what should serve, and whether it may."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

from features.errors import LearningError, TargetError
from pipeline import chosen_on
from pipeline.certificate import tested
from pipeline.challenger import Proposal, Sees, propose, seen
from pipeline.config import Aim
from pipeline.costs import Tariff
from pipeline.drift.facts import Deployed
from pipeline.drift.finding import Drift
from pipeline.drift.measure import measure
from pipeline.evidence import Evidence
from pipeline.frontier import Rules
from pipeline.gate import Verdict
from pipeline.ingest import clocks
from pipeline.observed import Observed, observed
from pipeline.parts import drawn
from pipeline.retune import material, record, version
from pipeline.retune.certified import Guarantee, retested
from pipeline.retune.division import Division, divide
from pipeline.retune.found import Found, Learned
from pipeline.retune.judging import contest
from pipeline.retune.material import Material
from pipeline.retune.standing import Champion
from pipeline.router import FEWEST_ROWS
from pipeline.schema import TIERS
from pipeline.settings import Settings
from pipeline.traces import Traces

MOST_FOR_DRIFT = 200_000
SOON_DAYS = 31
REMEDY = (
    "draw about 500 requests at random, ask both tiers (tier-router collect, label), and name the file under [retune] "
    "audit"
)
DAY = np.timedelta64(1, "D")

Step = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Answer:
    """What a retune came to.

    Attributes:
        found: all that was found out.
        verdict: on it.
        why: in one sentence.
        version: folder name of the version that was made, if one is to serve; else "".
        audited: newest time of the audit that the guarantee was tested by, ISO 8601; "" where it was not.
    """

    found: Found
    verdict: Verdict
    why: str
    version: str = ""
    audited: str = ""


def inquire(
    settings: Settings, champion: Champion, aim: Aim, tariff: Tariff, about: Found, key: str, step: Step
) -> Answer:
    """Find out everything, and write the version that is to serve, if one is.

    Args:
        settings: that the retune was called with.
        champion: that serves.
        aim: it was tuned for.
        tariff: whose prices apply.
        about: what is known so far, the evidence included.
        key: digest of the question.
        step: called with the name of each step as it begins.
    """
    assert about.ingested is not None
    options = settings.retune
    try:
        gathered = material.read(options, about.ingested, step)
        rule = champion.manifest["data"]["split"]
        division = divide(gathered.traces, gathered.audit, rule, options.newest_days, hold_out=aim.certify)
        step("looking for drift")
        drift = _drift(champion, gathered, division, tariff)
        about = replace(about, drift=drift)
        left = _days_to_audit(champion, gathered, options.audit_days)
        if left < 0:
            due = f"an audit has been due for {_days(-left)} ('audit_days'): {REMEDY}"
            return Answer(about, Verdict.NOT_ENOUGH, due)
        if left < SOON_DAYS:
            about = replace(about, notes=(*about.notes, f"an audit is due in {_days(left)}: {REMEDY}"))
        if unasked := _unasked(gathered.traces, division):
            return Answer(about, Verdict.NOT_ENOUGH, unasked)
        step("learning")
        proposal = _proposal(champion, gathered.traces, division, tariff, aim, options.half_life_days)
        about = replace(about, learned=_learned(champion, proposal))
        step("judging")
        seed, judged_on = _seed(champion), gathered.traces.take(division.judged)
        held = contest(
            judged_on, champion.contender, proposal.contender, tariff, options.margin, seed,
            promote_unsure=options.unsure == "promote",
        )  # fmt: skip
    except LearningError as error:
        return Answer(about, Verdict.NOT_ENOUGH, str(error))
    except TargetError as error:
        return Answer(about, Verdict.KEEP, str(error))
    judged, promoted = held.judged, held.judged.verdict is Verdict.PROMOTE
    serves = held.challenger if promoted else held.champion
    audited = "" if np.isnat(gathered.audited) else str(gathered.audited)
    looks = record.tested_by(champion.folder.parent, audited, key) if audited else 0
    guarantee = retested(aim.claim, held.evidence, serves, moved=promoted, drifted=drift.alarm, looks=looks)
    tested_by = audited if guarantee.p_value is not None else ""
    about = replace(about, judged=judged, policies=held.policies, guarantee=guarantee)
    if not promoted:
        return Answer(about, judged.verdict, judged.why, audited=tested_by)
    step("writing the version")
    made = _version(settings, champion, proposal, gathered, division, tariff, aim, about, key, guarantee)
    return Answer(about, judged.verdict, judged.why, made.name, tested_by)


def _drift(champion: Champion, gathered: Material, division: Division, tariff: Tariff) -> Drift:
    seed = _seed(champion)
    rows = division.newest[drawn(len(division.newest), seed, MOST_FOR_DRIFT)]
    newest = seen(champion.contender.seer, gathered.traces.take(rows), seed)
    names = {tier: (_answered(champion, tier), gathered.deployed[tier]) for tier in TIERS}
    tariffs = champion.manifest["tariff"], tariff.printed()
    reference, graded = _references(champion)
    return measure(reference, newest, names, tariffs, seed, graded=graded)


def _references(champion: Champion) -> tuple[Evidence, Evidence]:
    """What a month's requests are held against, and its answers.

    Both are the decisions that the champion was chosen on, or its labelled rows where these are few, or few of their
    outcomes are known.
    """
    labelled = Evidence.labelled(Observed.concatenate([champion.held.tune, champion.held.test]))
    kept = champion.chosen_on
    if kept is None or _groups(kept) < chosen_on.FEWEST_GROUPS:
        return labelled, labelled
    arrived = kept.take(np.flatnonzero(kept.usable & ~np.isnan(kept.rows.outcomes).all(1)))
    return kept, kept if _groups(arrived) >= chosen_on.FEWEST_ARRIVED else labelled


def _groups(known: Evidence) -> int:
    return len(np.unique(known.rows.groups))


def _answered(champion: Champion, tier: str) -> Deployed:
    """What answered for a tier when the champion was chosen, as far as its manifest says."""
    known = champion.manifest.get("retuned_on", champion.manifest["data"])
    answered = champion.manifest.get("chosen_on", {}).get("answered", {}).get(tier, {})
    return Deployed(*(
        frozenset(answered.get(name) or filter(None, [known.get(name, {}).get(tier)]))
        for name in ("models", "fingerprints")
    ))  # fmt: skip


def _days_to_audit(champion: Champion, gathered: Material, days: int | None) -> float:
    """Days of traffic until both tiers have to be asked a sample again; below 0 where that is due."""
    times = gathered.traces.time[gathered.traces.chosen >= 0]
    times = times[~np.isnat(times)]
    if days is None or not len(times):
        return float("inf")
    last = gathered.audited
    if np.isnat(last):
        last = clocks.utc(datetime.fromisoformat(audited_at(champion)))
    return float(days - (times.max() - last) / DAY)


def _unasked(traces: Traces, division: Division) -> str:
    """What to do where one tier answered none of the newest decisions; "" where both did.

    An audit would tell of both, but not of what such a service is asked from now on; and without logs of both tiers no
    watch would see it.
    """
    served = set(traces.served[division.newest].tolist())
    missing = " and ".join(name for tier, name in enumerate(TIERS) if tier not in served)
    remedy = "explore (explore above 0 under [serving]), so that logs tell of both tiers, or raise 'newest_days'"
    return f"{missing} answered none of the newest decisions: {remedy}" if missing else ""


def _days(days: float) -> str:
    return f"{days:.0f} day" + "s" * (round(days) != 1)


def audited_at(champion: Champion) -> str:
    """When both tiers were last asked the same tasks, as far as the champion knows, ISO 8601."""
    known = champion.manifest.get("retune", {})
    return str(known.get("audited_at", champion.manifest["created_at"]))


def _proposal(
    champion: Champion, traces: Traces, division: Division, tariff: Tariff, aim: Aim, half_life_days: float
) -> Proposal:  # fmt: skip
    seed = _seed(champion)
    refit = min(len(division.tune), len(division.test)) >= FEWEST_ROWS

    def last(seer: Sees, rules: Rules) -> int:
        if not aim.certify:
            return len(rules) - 1
        own = seer is champion.contender.seer
        tune = traces.take(division.tune)
        rows = champion.held.tune if own else observed(tune, *seer.see(tune), seed)
        return tested(aim.claim, rows, rules)[0]

    return propose(
        traces.take(division.fit), traces.take(division.asked), champion.contender, tariff, aim.objective, seed,
        half_life_days=half_life_days, refit=refit, last=last,
    )  # fmt: skip


def _learned(champion: Champion, proposal: Proposal) -> Learned:
    fitted = proposal.fitted
    return Learned(
        "kept" if fitted is None else "new",
        None if fitted is None else fitted.half_life_days,
        (0, 0) if fitted is None else fitted.weights.seen,
        (0.0, 0.0) if fitted is None else fitted.weights.effective,
        champion.contender.point.threshold,
        proposal.contender.point.threshold,
    )


def _version(
    settings: Settings, champion: Champion, proposal: Proposal, gathered: Material, division: Division,
    tariff: Tariff, aim: Aim, about: Found, key: str, guarantee: Guarantee,
) -> Path:  # fmt: skip
    """Write the version that is to serve, unless a run that was killed has done so."""
    out = champion.folder.parent
    made = version.made_for(out, key)
    if made is None:
        last = str(gathered.audited) + "+00:00" if not np.isnat(gathered.audited) else audited_at(champion)
        said = {"key": key, "champion": champion.name, "audited_at": last, **_kept(about)}
        warnings = [f"the guarantee has lapsed: {guarantee.why}"] if guarantee.state == "lapsed" else []
        made = version.write(
            champion, proposal, gathered.traces, division, gathered.deployed, tariff, aim, settings, said, warnings
        )  # fmt: skip
    return made


def _kept(about: Found) -> dict[str, Any]:
    """What the manifest keeps of it."""
    printed = about.printed()
    return {name: printed[name] for name in ("learned", "judged", "guarantee")}


def _seed(champion: Champion) -> int:
    return int(champion.manifest["config"]["seed"])
