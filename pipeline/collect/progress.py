"""Showing a collection: a live table on a terminal, else a line every ten seconds; a summary at the end."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from features.errors import TierRouterError
from pipeline.collect.board import Board, Score

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

PLAIN_SECONDS = 10.0
REFRESHED_A_SECOND = 4
HEADINGS = ("", "done", "in flight", "retried", "failed", "a minute", "spent", "time left")


@contextmanager
def shown(board: Board) -> Iterator[Callable[[str], None]]:
    """Show the numbers on standard error while this is open; yields what says a line in between."""
    from rich.console import Console

    console = Console(stderr=True, highlight=False)
    try:
        with (_live if console.is_terminal else _plain)(board, console):
            yield lambda line: console.print(line, markup=False, soft_wrap=True)
    except (TierRouterError, KeyboardInterrupt):
        # Who catches it has no numbers to show any more.
        for line in summary(board):
            console.print(line, markup=False, soft_wrap=True)
        raise


@contextmanager
def _live(board: Board, console: Console) -> Iterator[None]:
    from rich.live import Live

    with Live(
        get_renderable=lambda: table(board), console=console, refresh_per_second=REFRESHED_A_SECOND, transient=True
    ):
        yield


@contextmanager
def _plain(board: Board, console: Console) -> Iterator[None]:
    ended = threading.Event()

    def run() -> None:
        while not ended.wait(PLAIN_SECONDS):
            console.print(line(board), markup=False, soft_wrap=True)

    thread = threading.Thread(target=run, name="progress", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def table(board: Board) -> Table:
    """The numbers of all tiers as a table."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    found = Table(box=SIMPLE_HEAD, caption=standing(board), caption_justify="left")
    for at, heading in enumerate(HEADINGS):
        found.add_column(heading, justify="right" if at else "left")
    for tier, score in board.scores.items():
        found.add_row(tier, *cells(score))
    return found


def cells(score: Score) -> tuple[str, ...]:
    """A tier's numbers, in the order of the headings."""
    left = score.seconds_left() if score.left else None
    return (
        f"{score.before + score.done:,} of {score.total:,}", f"{score.in_flight:,}", f"{score.retried:,}",
        f"{score.failed:,}", f"{score.per_minute():,.0f}", usd(score.spent_usd), "-" if left is None else clock(left),
    )  # fmt: skip


def line(board: Board) -> str:
    """The numbers of all tiers in a line."""
    named = [
        f"{tier}: "
        + ", ".join(f"{cell} {heading}".strip() for heading, cell in zip(HEADINGS[1:], cells(score), strict=True))
        for tier, score in board.scores.items()
    ]
    return f"{time.strftime('%H:%M:%S')}  " + "; ".join([*named, standing(board)])


def standing(board: Board) -> str:
    """What is spent, and what goes wrong at present."""
    failing = [f"{tier} last failed with {score.latest}" for tier, score in board.scores.items() if score.latest]
    return "; ".join([budget(board), *failing])


def budget(board: Board) -> str:
    """What is spent, and why no more is asked."""
    ending = f"; {board.ending}" if board.ending else ""
    if board.needed_usd:
        ending += f" for a task that may cost up to {usd(board.needed_usd)}"
    return f"{usd(board.charged_usd)} of {usd(board.budget_usd)} spent{ending}"


def usd(amount: float) -> str:
    """USD with as many digits as it takes to see something.

    >>> usd(12.3456), usd(0.0123456), usd(0.0)
    ('12.35 USD', '0.0123 USD', '0.00 USD')
    """
    digits = 4 if 0 < amount < 1 else 2
    return f"{amount:,.{digits}f} USD"


def clock(seconds: float) -> str:
    """Hours, minutes and seconds.

    >>> clock(75), clock(7325)
    ('1:15', '2:02:05')
    """
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def summary(board: Board) -> Iterator[str]:
    """What came of it, with every failure by cause."""
    for tier, score in board.scores.items():
        answered = score.before + score.done
        yield (
            f"{tier}: {answered:,} of {score.total:,} answered ({score.done:,} now), {score.failed:,} given up, "
            f"{score.left:,} not asked; {usd(score.spent_usd)} now"
        )
        for cause, times in score.causes.most_common():
            given_up = f", {score.gave_up[cause]:,} given up after it" if score.gave_up[cause] else ""
            example = f" ({score.examples[cause]})" if score.examples.get(cause) else ""
            yield f"  {times:,} {'try' if times == 1 else 'tries'} failed: {cause}{given_up}{example}"
        for reason, times in score.doubts.most_common():
            yield f"  {times:,} answered with doubtful usage, charged as the most it may have cost or in full: {reason}"
        if score.cut:
            yield f"  {score.cut:,} answers ended at output_limit and cannot be graded: raise it, in another journal"
        if len(score.models) > 1:
            found = ", ".join(f"{model or 'not said'} ({times:,})" for model, times in score.models.most_common())
            yield f"  answered by more than one model: {found}"
    yield f"{budget(board)}, {usd(max(0.0, board.budget_usd - board.charged_usd))} left"
    if board.unsure_usd:
        yield f"  {usd(board.unsure_usd)} of it is the most that calls may have cost whose bill is not known"
