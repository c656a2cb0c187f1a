"""The command that prints or writes schedules."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pipeline.console import FILE

if TYPE_CHECKING:
    from pipeline.schedule import Installation


@click.command()
@click.argument("kind", metavar="KIND", type=click.Choice(["systemd", "crontab", "github", "kubernetes"]))
@click.option(
    "--config",
    type=FILE,
    default=Path("retune.toml"),
    show_default=True,
    help="What `tier-router retune` reads; the schedule runs in its folder.",
)
@click.option("--out", type=FILE, help="Folder to write the files into. [default: they are printed]")
@click.option(
    "--command",
    help="The tier-router to run. [default: this one; kubernetes: the one on the image's PATH]",
)
@click.option(
    "--when",
    help="Day of the month and time (UTC; crontab: the machine's), as '1 04:30'. [default: the 1st, after 04:00, at a "
    "minute of this machine's own]",
)
@click.option(
    "--watch",
    type=click.Choice(["daily", "no"]),
    default="daily",
    show_default=True,
    help="Have `tier-router watch` look at fresh outcomes too, twelve hours off the retune.",
)
def schedule(kind: str, config: Path, out: Path | None, command: str | None, when: str | None, watch: str) -> None:
    """Print, or write, what has this installation retune every month and watch every day.

    \b
    systemd     services and timers; missed runs are made up for, and little can be written
    crontab     lines for cron, with a lock; good ends print nothing, so that cron mails only others
    github      workflows for a runner of your own; the page of the decision is kept as an artifact
    kubernetes  CronJobs; set the image and the volume

    Nothing is installed: each file says how to. Exit codes 0 (promoted), 10 (champion kept) and 11 (not enough
    evidence) of `tier-router retune` count as good ends; of `tier-router watch`, 12 is an alarm.
    """
    from pipeline import schedule as scheduling

    config = config.absolute()
    at = scheduling.Installation(
        config,
        _command(command, kind),
        _user(),
        scheduling.read(config),
        scheduling.Moment.of(when) if when else scheduling.Moment.usual(f"{_machine()} {config}"),
    )
    made = scheduling.files(kind, at, watch=watch == "daily")
    _write(out, made) if out else _print(made)
    for note in _notes(kind, at):
        click.echo(f"note: {note}", err=True)


def _command(given: str | None, kind: str) -> str:
    """A command that is found without a PATH; in a container, the name is enough."""
    if kind == "kubernetes":
        return given or "tier-router"
    found = shutil.which(given or str(Path(sys.executable).with_name("tier-router")))
    if found is None:
        raise click.UsageError(f"{given or 'tier-router'} is no command here: name it with --command PATH")
    return str(Path(found).absolute())


def _user() -> str:
    import os
    import pwd

    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:  # a number without a name, as in containers
        return str(os.getuid())


def _machine() -> str:
    import platform

    return platform.node()


def _write(out: Path, made: dict[str, str]) -> None:
    from pipeline.beside import replacing

    for name, text in made.items():
        with replacing(out / name) as partial:
            partial.write_text(text, encoding="utf-8")
        click.echo(str(out / name))


def _print(made: dict[str, str]) -> None:
    for at, (name, text) in enumerate(made.items()):
        if len(made) > 1:
            click.echo(("\n" if at else "") + f"# ---- {name}")
        click.echo(text, nl=False)


def _notes(kind: str, at: Installation) -> Iterator[str]:
    from pipeline.schedule import MOUNTED

    if kind == "kubernetes":
        for name in at.named:
            if name.startswith("/") and not Path(name).is_relative_to(MOUNTED):
                yield f"{at.config.name} names {name}, not in {MOUNTED}: mount it there, or give relative paths"
    elif kind == "systemd":
        for folder in at.written:
            if not folder.is_dir():
                yield f"{folder} is missing: make it first, or systemd does not start what would write to it"
