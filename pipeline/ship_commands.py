"""The commands of publishing: ship, and roll back."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from features.errors import StorageError
from pipeline.console import AS_JSON, FILE, steps

if TYPE_CHECKING:
    from pipeline.recorder import Recorder
    from pipeline.ship import Shipped

NO_ALIAS = click.option("--no-alias", is_flag=True, help="Leave the alias `champion` in MLflow where it is.")
PRACTICE = "TRAINED ON ANSWERS OF SIMULATED MODELS: practice, and nothing to decide real requests with"


@click.command()
@click.argument("version", type=FILE)
@click.argument("dest", type=FILE)
@click.option(
    "--keep",
    type=click.IntRange(2),
    default=5,
    show_default=True,
    help="Versions to leave in DEST, with the served one.",
)
@NO_ALIAS
@AS_JSON
def ship(version: Path, dest: Path, keep: int, no_alias: bool, as_json: bool) -> None:
    """Serve a VERSION, or the newest in a folder of versions, from DEST: a folder, volume or mount that services read.

    It is verified, copied, verified again, and only then pointed at. The alias `champion` goes with it, in the MLflow
    store at MLFLOW_TRACKING_URI or beside the version.
    """
    from pipeline import ship as shipping
    from pipeline.verified import newest, verify

    folder = newest(version)
    verify(folder)  # complains before anything is started
    with steps() as step, store_of(folder.resolve().parent, no_alias) as store:
        shipped = shipping.ship(folder, dest, keep, store, step)
    _show(shipped, dest, as_json)


@click.command()
@click.argument("dest", type=FILE)
@click.option("--to", metavar="NAME", help="One of the earlier versions. [default: the latest of them]")
@click.option(
    "--store",
    type=FILE,
    default=Path("models"),
    show_default=True,
    help="Folder of versions, with HISTORY.md, and of MLflow's store where no server is set.",
)
@NO_ALIAS
@AS_JSON
def rollback(dest: Path, to: str | None, store: Path, no_alias: bool, as_json: bool) -> None:
    """Serve again from DEST what was served there before. What is served now can be shipped again."""
    from pipeline import ship as shipping
    from pipeline.history import HISTORY

    shipping.served_at(dest)  # complains before anything is started
    with steps() as step, store_of(store, no_alias) as opened:
        shipped = shipping.rollback(dest, to, opened, step)
    if (store / HISTORY).exists():
        noted(shipped, dest, store, "by hand")
    _show(shipped, dest, as_json)


def noted(back: Shipped, dest: Path, store: Path, why: str) -> None:
    """Have the history of a store say that somebody went back; it is a note where that fails, for it is done."""
    from pipeline.history import Line, append

    try:
        append(store, Line("rolled back", back.before or "", back.name, why))
    except StorageError as error:
        note(f"{dest} serves {back.name} again, which the history does not say: {error}")


@contextmanager
def store_of(folder: Path, no_alias: bool) -> Iterator[Recorder | None]:
    """MLflow's store, if there is one and the alias is to be moved."""
    from pipeline.recorder import ADDRESS, CHAMPION, has_store, recorder

    if no_alias:
        yield None
    elif not has_store(folder):
        note(f"no MLflow store in {folder} and no {ADDRESS}: the alias {CHAMPION} is not moved")
        yield None
    else:
        with recorder(folder) as store:
            yield store
            store.leave()


def _show(shipped: Shipped, dest: Path, as_json: bool) -> None:
    manifest = shipped.manifest
    if _simulated(manifest):
        note(PRACTICE)
    for said in shipped.notes:
        note(said)
    if as_json:
        click.echo(json.dumps(_summary(shipped), indent=2))
        return
    click.echo(f"{dest} serves {shipped.name}, {_past(shipped)}")
    if shipped.model_version:
        click.echo(f"MLflow: model version {shipped.model_version}, alias champion")
    certificate = manifest["certificate"]
    claim = "" if certificate["certified"] else f". What is not certified: {certificate['claim']}"
    click.echo(f"certificate: {certificate['verdict']}{claim}")
    where = shlex.quote(str(dest))
    click.echo(
        f"to go back: tier-router rollback {where}" if shipped.earlier else "to go back: there is nothing before it"
    )


def _past(shipped: Shipped) -> str:
    if shipped.before is None:
        return "and nothing before"
    return "as before" if shipped.before == shipped.name else f"before it was {shipped.before}"


def _simulated(manifest: Mapping[str, Any]) -> bool:
    return any(manifest.get(data, {}).get("simulated", False) for data in ("data", "retuned_on"))


def _summary(shipped: Shipped) -> dict[str, Any]:
    return {
        "served": shipped.name, "folder": str(shipped.folder), "before": shipped.before,
        "earlier": list(shipped.earlier), "copied": shipped.copied, "model_version": shipped.model_version,
        "certified": shipped.manifest["certificate"]["certified"], "simulated": _simulated(shipped.manifest),
        "notes": list(shipped.notes),
    }  # fmt: skip


def note(text: str) -> None:
    """What must not be missed, on standard error."""
    click.echo(f"note: {text}", err=True)
