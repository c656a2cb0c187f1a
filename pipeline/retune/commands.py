"""The command of the monthly retune."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pipeline.console import AS_JSON, FILE, KEPT, NOT_ENOUGH, steps

if TYPE_CHECKING:
    from pipeline.retune.monthly import Ended


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

    Joins logs and outcomes, looks for drift, fits or only re-tunes a challenger, judges it beside the champion, promotes
    it or keeps the champion, and leaves a page that says why. The same evidence is decided on once.

    Exit codes: 0 promoted, 10 champion kept, 11 not enough evidence, 2 bad input, 1 failure.
    """
    with steps() as step:
        from threadpoolctl import threadpool_limits

        from pipeline import settings
        from pipeline.retune.monthly import retune as run

        chosen = settings.read(config_file)
        with threadpool_limits(1):  # the work is split over threads already
            ended = run(chosen, step)
    click.echo(json.dumps(_summary(ended), indent=2)) if as_json else _show(ended)
    raise click.exceptions.Exit({"promote": 0, "keep": KEPT}.get(ended.decision.verdict, NOT_ENOUGH))


def _show(ended: Ended) -> None:
    decision = ended.decision
    if ended.found is not None:
        for note in ended.found.notes:
            click.echo(f"note: {note}", err=True)
    told = {"promote": "promoted", "keep": "champion kept"}.get(decision.verdict, decision.verdict)
    click.echo(f"{told}: {decision.why}" + (" (decided before, on the same evidence)" if ended.again else ""))
    click.echo(f"serves: {ended.served}" + ("" if ended.served == decision.champion else f", was {decision.champion}"))
    click.echo(str(ended.page))


def _summary(ended: Ended) -> dict[str, Any]:
    decision = ended.decision
    return {
        "verdict": decision.verdict, "why": decision.why, "champion": decision.champion, "served": ended.served,
        "version": decision.version or None, "page": str(ended.page), "again": ended.again,
        "found": None if ended.found is None else ended.found.printed(),
    }  # fmt: skip
