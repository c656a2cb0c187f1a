"""The command of the monthly retune."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pipeline.console import AS_JSON, FILE, KEPT, NOT_ENOUGH, steps

if TYPE_CHECKING:
    from pipeline.retune.found import Policy
    from pipeline.retune.monthly import Ended

# Of verdicts that leave the champion; the first where the version that was to be promoted does not serve.
CODES = {"promote": KEPT, "keep": KEPT, "not enough evidence": NOT_ENOUGH}


@click.command()
@click.option(
    "--config",
    "config_file",
    type=FILE,
    default=Path("retune.toml"),
    show_default=True,
    help="TOML file with the table [retune]: logs, outcomes, audit, traces, out, dest.",
)
@AS_JSON
def retune(config_file: Path, as_json: bool) -> None:
    """Learn from a month of logs, and promote what is shown no worse: alias and shipped pointer together.

    Joins logs and outcomes, looks for drift, fits or only re-tunes a challenger, judges it beside the champion, and
    promotes it or keeps the champion. A page says why. The same evidence is decided on once.

    Exit codes: 0 promoted, 10 champion kept (or the promotion overtaken: another version was shipped or gone back to
    meanwhile), 11 not enough evidence, 2 bad input, 1 failure, 130 stopped.
    """
    with steps() as step:
        from threadpoolctl import threadpool_limits

        from pipeline import settings
        from pipeline.retune.monthly import retune as run

        chosen = settings.read(config_file)
        with threadpool_limits(1):  # the work is split over threads already
            ended = run(chosen, step)
    click.echo(json.dumps(_summary(ended), indent=2)) if as_json else _show(ended)
    raise click.exceptions.Exit(0 if ended.promoted else CODES[ended.decision.verdict])


@click.command()
@click.argument("artifact", type=FILE)
@click.option("--traces", type=FILE, multiple=True, required=True, help="Evidence of `ingest`, audited tasks.")
@click.option("--threshold", "thresholds", type=float, multiple=True, help="Ask about this one too; may be repeated.")
@click.option("--other", "others", type=FILE, multiple=True, help="Ask about this version too; may be repeated.")
@AS_JSON
def estimate(
    artifact: Path, traces: tuple[Path, ...], thresholds: tuple[float, ...], others: tuple[Path, ...], as_json: bool
) -> None:
    """Say what thresholds and other versions would have got on logged traffic.

    Doubly robust estimates with 95 % intervals from outcomes of what was served, beside inverse-propensity ones and the
    naive average, which is wrong. Outcomes have to be missing at random, given the features.
    """
    with steps() as step:
        from pipeline.retune.estimate import estimate as run

        found, unit, notes = run(artifact, traces, thresholds, others, step)
    for note in notes:
        click.echo(f"note: {note}", err=True)
    if as_json:
        from dataclasses import asdict

        from pipeline.retune.found import finite

        click.echo(json.dumps(finite([asdict(policy) for policy in found]), indent=2))
    else:
        _show_policies(found, unit)


def _show_policies(found: list[Policy], unit: str) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table

    table = Table(box=SIMPLE_HEAD, caption=f"95 % intervals; cost in {unit}", caption_justify="left")
    for heading in ("policy", "pro rate", "accuracy", "total cost", "IPS", "SNIPS", "naive"):
        table.add_column(heading, justify="left" if heading == "policy" else "right")
    for policy in found:
        rest = (policy.accuracy, policy.cost, policy.inverse, policy.normalised, policy.naive)
        table.add_row(policy.name, f"{policy.pro_rate:.3f}", *map(_cell, rest))
    console = Console()
    (console if console.is_terminal else Console(width=140)).print(table)
    for policy in found:
        if policy.refused:
            click.echo(f"note: {policy.name}: {policy.refused}", err=True)


def _cell(inferred: Any) -> str:
    return "-" if inferred is None else f"{inferred.value:.3f} \\[{inferred.low:.3f}, {inferred.high:.3f}]"


def _show(ended: Ended) -> None:
    decision = ended.decision
    if ended.found is not None:
        for note in ended.found.notes:
            click.echo(f"note: {note}", err=True)
    click.echo(_told(ended) + (" (decided before, on the same evidence)" if ended.again else ""))
    click.echo(f"serves: {ended.served}" + ("" if ended.served == decision.champion else f", was {decision.champion}"))
    click.echo(str(ended.page))


def _told(ended: Ended) -> str:
    """The verdict and why, or what became of the verdict since."""
    decision = ended.decision
    if ended.promoted or not decision.promotes:
        told = "champion kept" if decision.verdict == "keep" else decision.verdict
        return f"{'promoted' if ended.promoted else told}: {decision.why}"
    if decision.superseded:
        return f"superseded: {decision.superseded}"
    since = "rolled back since" if ended.served == decision.champion else f"{ended.served} serves by now"
    return f"promoted then, {since}: {decision.why}"


def _summary(ended: Ended) -> dict[str, Any]:
    decision = ended.decision
    return {
        "verdict": decision.verdict, "why": decision.why, "champion": decision.champion, "served": ended.served,
        "promoted": ended.promoted, "superseded": decision.superseded or None,
        "version": decision.version or None, "page": str(ended.page), "again": ended.again,
        "found": None if ended.found is None else ended.found.printed(),
    }  # fmt: skip
