"""The command of ingesting."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import click

from features.errors import EvidenceError
from pipeline.console import AS_JSON, FILE, NOT_ENOUGH, steps

MOMENT = click.DateTime(["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S"])


@click.command()
@click.argument("logs", type=FILE, nargs=-1, required=True, metavar="LOGS...")
@click.option("--outcomes", type=FILE, multiple=True, help="CSV, JSONL or Parquet; give it again for more files.")
@click.option("--mlflow", "experiment", metavar="EXPERIMENT", help="Experiment of MLflow whose traces were assessed.")
@click.option(
    "--assessment",
    "names",
    multiple=True,
    metavar="NAME",
    help="Of MLflow, that says whether an answer is correct. [default: correct, correctness]",
)
@click.option(
    "--store",
    type=FILE,
    default=Path("models"),
    show_default=True,
    help="Folder of MLflow's store, where no server is set.",
)
@click.option("--out", type=FILE, default=Path("evidence.parquet"), show_default=True, help="The evidence, as Parquet.")
@click.option("--since", type=MOMENT, help="First day or time (UTC) of decisions to take.")
@click.option("--until", type=MOMENT, help="Day or time (UTC) from which on they are left out.")
@AS_JSON
def ingest(
    logs: tuple[Path, ...],
    outcomes: tuple[Path, ...],
    experiment: str | None,
    names: tuple[str, ...],
    store: Path,
    out: Path,
    since: datetime | None,
    until: datetime | None,
    as_json: bool,
) -> None:
    """Join decision logs with the outcomes that arrived later, and write evidence.

    LOGS are folders that services log decisions to, or files of them. An outcome has a `task_id`, the id of its
    decision, and `correct`: 1, 0, true, false, or null where the answer could not be graded. Of two that disagree, the
    later one counts where both have a `time`.

    Exit codes: 0 written, 11 not enough evidence, which writes nothing, 2 bad input, 1 failure.
    """
    from pipeline.ingest.ingest import ingest as run
    from pipeline.ingest.traced import ASSESSMENTS, Experiment

    asked = Experiment(experiment, store, names or ASSESSMENTS) if experiment else None
    try:
        with steps() as step:
            found = run(logs, outcomes, out, experiment=asked, since=_utc(since), until=_utc(until), step=step)
    except EvidenceError as error:
        click.echo(f"not enough evidence: {error}", err=True)
        raise click.exceptions.Exit(NOT_ENOUGH) from error
    for note in found.notes():
        click.echo(f"note: {note}", err=True)
    if as_json:
        click.echo(json.dumps(found.plain(), indent=2, ensure_ascii=False))
        return
    for line in found.summary():
        click.echo(line)


def _utc(moment: datetime | None) -> datetime | None:
    return moment.replace(tzinfo=UTC) if moment else None
