"""What the commands share: options, exit codes, progress on standard error."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

BAD_INPUT, FAILURE, INCOMPLETE, INTERRUPTED = 2, 1, 3, 130
KEPT, NOT_ENOUGH = 10, 11  # of a retune: the champion is no worse; too little is known
ALARM = 12  # the served version breaks its claim
FILE = click.Path(path_type=Path)
AS_JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON on standard output, for programs.")


@contextmanager
def steps() -> Iterator[Any]:
    """Progress on standard error: one live line on a terminal, else a plain line for each step."""
    from rich.console import Console

    console = Console(stderr=True)
    if console.is_terminal:
        with console.status("starting") as status:
            yield status.update
        return
    seen: set[str] = set()

    def plain(name: str) -> None:
        step = name.split(":", maxsplit=1)[0]
        if step not in seen:
            seen.add(step)
            click.echo(step, err=True)

    yield plain
