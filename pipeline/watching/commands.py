"""The command of the watch on fresh outcomes."""

from __future__ import annotations

import json
import math
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pipeline.console import ALARM, AS_JSON, FILE, steps
from pipeline.ship_commands import note, noted, store_of

if TYPE_CHECKING:
    from pipeline.ship import Shipped
    from pipeline.watching.look import Look


@click.command()
@click.argument("dest", type=FILE)
@click.option(
    "--evidence", type=FILE, multiple=True, help="Decisions with outcomes, from `ingest`; give it again for more."
)
@click.option("--audit", type=FILE, multiple=True, help="Tasks that both tiers were asked; give it again for more.")
@click.option(
    "--store", type=FILE, default=Path("models"), show_default=True, help="Folder of versions, and of HISTORY.md."
)
@click.option("--rollback/--no-rollback", default=False, show_default=True, help="Go back at an alarm.")
@click.option(
    "--level",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    help="Probability of a false alarm, over all looks at a version. [default: 0.05]",
)
@click.option("--state", type=FILE, help="What was counted so far. [default: watch/VERSION.json in the store]")
@AS_JSON
def watch(
    dest: Path, evidence: tuple[Path, ...], audit: tuple[Path, ...], store: Path, rollback: bool, level: float | None,
    state: Path | None, as_json: bool,
) -> None:  # fmt: skip
    """Whether the version that DEST serves still keeps its claim, by outcomes that have arrived since it is served.

    Look as often as you like, with the same files or with new ones: no request counts twice, and the level holds over
    all looks together. Exit codes: 0 nothing to say, 12 the claim is broken, 2 bad input, 1 failure.
    """
    with steps() as step:
        from pipeline.sequential import LEVEL
        from pipeline.watching.look import look

        found = look(dest, evidence, audit, state, store, LEVEL if level is None else level, step)
        back = _back(found, dest, store, step) if found.alarm and rollback and found.pointer.earlier else None
    for said in (*found.notes, *(back.notes if back else ())):
        note(said)
    click.echo(json.dumps(_summary(found, back), indent=2) if as_json else _told(found, back, rollback))
    if found.alarm:
        raise click.exceptions.Exit(ALARM)


def _back(found: Look, dest: Path, store: Path, step: Any) -> Shipped:
    """Go back from the version that was looked at, and note it in the history."""
    from pipeline import ship

    left = found.pointer.current
    with store_of(store, no_alias=False) as recorder:
        back = ship.rollback(dest, None, recorder, step, expected=left)
    noted(back, dest, store, f"the watch: {_wealth(found, found.alarm)}")
    return back


def _told(found: Look, back: Shipped | None, rollback: bool) -> str:
    evidence, audits = (account.bets.rows for account, _ in found.accounts.values())
    lines = [
        f"{found.pointer.current}: {found.new:,} requests are new; {evidence:,} count so far, {audits:,} audited",
        *(f"  {count:,} left out: {why}" for why, count in found.left_out.items()),
        f"claim: {found.manifest['certificate']['claim']}",
        *([] if found.manifest["certificate"]["certified"] else ["  it was never certified, and is watched anyway"]),
        _standing(found),
        *(f"{name}: {_wealth(found, name)}" for name in found.accounts),
    ]
    return "\n".join([*lines, f"verdict: {_verdict(found, back, rollback)}"])


def _standing(found: Look) -> str:
    known = found.standing
    if known is None:
        return "accuracy above the claim: not enough requests to say"
    value, low, high = (100 * number for number in (known.value, known.low, known.high))
    return f"accuracy above the claim: {value:+.1f} points [{low:+.1f}, {high:+.1f}], whenever one looks"


def _wealth(found: Look, name: str) -> str:
    account, level = found.accounts[name]
    now, most = (math.exp(min(each, 700.0)) for each in (account.bets.wealth, account.bets.highest))
    return f"a bet against the claim stands at {now:.3g}, at most it stood at {most:.3g}; {1 / level:.3g} is an alarm"


def _verdict(found: Look, back: Shipped | None, rollback: bool) -> str:
    if not found.alarm:
        return "nothing speaks against the claim" if found.ledger.evidence.bets.rows else "nothing to judge by yet"
    if back:
        return f"THE CLAIM IS BROKEN: rolled back to {back.name}"
    if not found.pointer.earlier:
        return "THE CLAIM IS BROKEN: not rolled back, for there is no version before it: ship another one"
    return "THE CLAIM IS BROKEN: not rolled back" + ("" if rollback else "; --rollback does, or tier-router rollback")


def _summary(found: Look, back: Shipped | None) -> dict[str, Any]:
    certificate = found.manifest["certificate"]
    return {
        "version": found.pointer.current, "alarm": bool(found.alarm), "alarm_from": found.alarm or None,
        "rolled_back_to": back.name if back else None, "new": found.new, "left_out": dict(found.left_out),
        "claim": certificate["claim"], "certified": certificate["certified"],
        "above_claim": asdict(found.standing) if found.standing else None, "level": found.level,
        **{
            name: {
                "rows": account.bets.rows, "log_wealth": account.bets.wealth,
                "highest_log_wealth": account.bets.highest, "log_alarm": -math.log(level),
            }
            for name, (account, level) in found.accounts.items()
        },
        "notes": [*found.notes, *(back.notes if back else ())],
    }  # fmt: skip
