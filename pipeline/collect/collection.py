"""The story of a collection: tasks in, answers in the journal."""

from __future__ import annotations

import asyncio
import json
import signal
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

from features.errors import InputError
from pipeline.collect import judging, lines
from pipeline.collect.asking import INTERRUPTED, Ask, Asking
from pipeline.collect.board import Board, Score
from pipeline.collect.budget import Budget
from pipeline.collect.forecast import Forecast, forecast
from pipeline.collect.journal import Journal, existing, opened
from pipeline.collect.lines import JUDGE, Way
from pipeline.collect.tasks import Task, read
from pipeline.schema import TIERS

Display = Callable[[Board], AbstractContextManager[Callable[[str], None]]]


def plan(
    paths: Sequence[Path], ways: Mapping[str, Way], journal: Path, judge: Way | None = None
) -> dict[str, Forecast]:
    """What collecting would take; asks nothing and writes nothing.

    Args:
        paths: task files.
        ways: to the tiers.
        journal: what it holds is not asked again.
        judge: the way to it, if there is one; all its comparisons are counted.

    Raises:
        InputError: a task file or the journal cannot be used.
    """
    everyone = {**ways, JUDGE: judge} if judge else ways
    if not journal.exists():
        return forecast(everyone, _sizes(paths, everyone, lambda _: TIERS), dict.fromkeys(everyone))
    with existing(journal) as known:
        _check_identity(known, ways)
        mean = "SELECT avg(output_tokens) FROM calls WHERE tier = ?"
        seen = {name: known.one(mean, name) for name in everyone}
        return forecast(everyone, _sizes(paths, everyone, lambda digest: known.unanswered(digest, TIERS)), seen)


def _sizes(
    paths: Sequence[Path], ways: Mapping[str, Way], missing: Callable[[str], Any]
) -> Iterator[tuple[str, int, int]]:
    seen: set[str] = set()
    for task in _askable(paths, ways):
        if task.digest not in seen:
            seen.add(task.digest)
            asked = json.loads(task.asked)
            for tier in missing(task.digest):
                yield tier, len(task.asked.encode()), ways[tier].most_input(task.asked, asked)
            if JUDGE in ways:
                yield from _questions(task, asked, ways)


def _questions(task: Task, asked: Mapping[str, Any], ways: Mapping[str, Way]) -> Iterator[tuple[str, int, int]]:
    """What the judge will be asked of a task's answers, which may be as long as the tiers allow."""
    grader = json.loads(task.grader)
    if grader["kind"] == JUDGE:
        most = ways[JUDGE].most_input(task.asked, asked) + sum(ways[tier].endpoint.output_limit for tier in TIERS)
        size = len(task.asked.encode()) + len(task.grader.encode())
        for _ in range(judging.ORDERS * (len(TIERS) if "reference" in grader else 1)):
            yield JUDGE, size, most + len(task.grader.encode())


def _askable(paths: Sequence[Path], ways: Mapping[str, Way]) -> Iterator[Task]:
    """The tasks, each with a worst case at every tier."""
    for task in read(paths):
        asked = json.loads(task.asked)
        for tier in TIERS:
            try:
                ways[tier].most_input(task.asked, asked)
            except InputError as error:
                raise InputError(f"{task.place}: {error}") from None
        yield task


def collect(paths: Sequence[Path], ways: Mapping[str, Way], path: Path, budget_usd: float, display: Display) -> Board:
    """Ask both tiers all tasks that they have not answered yet.

    Args:
        paths: task files.
        ways: to the tiers.
        path: of the journal; made where there is none.
        budget_usd: the most that the journal may come to, over all runs.
        display: shows the numbers while it is open, and what it is told.

    Returns:
        The numbers, and why it ended before the end if it did.

    Raises:
        InputError: a task file or the journal cannot be used; nothing was asked.
        EndpointError: no call of a tier can succeed. What was answered is in the journal.
        StorageError: the journal cannot be written.
    """
    with opened(path) as journal:
        _check_identity(journal, ways)
        run = journal.take_up(_askable(paths, ways))
        journal.state("identity", {tier: way.endpoint.identity for tier, way in ways.items()})
        board = Board(_scores(journal, run), budget_usd, *journal.charged)
        _run(journal, ways, board, _asks(journal, run, ways), display)
        return board


def consult(way: Way, path: Path, budget_usd: float, display: Display) -> Board:
    """Ask the judge all comparisons that it was not asked yet; see `collect`."""
    with opened(path) as journal:
        journal.state(JUDGE, way.endpoint.identity)
        total = sum(map(len, judging.asks(journal, way)))
        board = Board({JUDGE: Score(total=total)}, budget_usd, *journal.charged)
        _run(journal, {JUDGE: way}, board, judging.asks(journal, way), display)
        return board


def _run(journal: Journal, ways: Mapping[str, Way], board: Board, asks: Iterable[list[Ask]], display: Display) -> None:
    async def run(tell: Callable[[str], None]) -> None:
        async with lines.opened(ways, board.scores) as found:
            asking = Asking(journal, found, Budget(board.budget_usd, board), board)
            with interruptible(asking, board, tell):
                await asking.everything(asks)

    with display(board) as tell, journal.writer.working():
        try:
            asyncio.run(run(tell))
        except asyncio.CancelledError:
            raise KeyboardInterrupt from None


def _asks(journal: Journal, run: int, ways: Mapping[str, Way]) -> Iterator[list[Ask]]:
    """What is pending; what was refused in earlier runs comes last, for it may well be refused again."""
    before = time.time()
    for refused in (False, True):
        for pending in journal.pending(run, tuple(ways), before):
            if pending.refused == refused:
                asked = json.loads(pending.asked)
                most = {tier: ways[tier].most_input(pending.asked, asked) for tier in pending.attempts}
                yield [
                    Ask(pending.digest, tier, asked, most[tier], ways[tier].worst_usd(most[tier]), attempts)
                    for tier, attempts in pending.attempts.items()
                ]


def _scores(journal: Journal, run: int) -> dict[str, Score]:
    total = journal.one("SELECT count(*) FROM requests WHERE run = ?", run)
    answered = (
        "SELECT count(*) FROM calls JOIN requests USING (digest) WHERE run = ? AND state = 'answered' AND tier = ?"
    )
    return {tier: Score(total=total, before=journal.one(answered, run, tier)) for tier in TIERS}


def _check_identity(journal: Journal, ways: Mapping[str, Way]) -> None:
    """Answers of another model, or of the same with another effort, are another tier's."""
    for tier, before in (journal.fact("identity") or {}).items():
        if not journal.one("SELECT count(*) FROM calls WHERE tier = ? AND state = 'answered'", tier):
            continue
        now = ways[tier].endpoint.identity
        changed = [name for name in now if now[name] != before.get(name)]
        if changed:
            name = changed[0]
            raise InputError(
                f"{journal.path}: collected with tiers.{tier}.{name} = {before.get(name)!r}, which is {now[name]!r} "
                "now: set it back, or give --journal another path"
            )


@contextmanager
def interruptible(asking: Asking, board: Board, tell: Callable[[str], None]) -> Iterator[None]:
    """While this is open, a first SIGINT, SIGTERM or SIGHUP waits for calls in flight, and a second gives them up."""
    task, loop = asyncio.current_task(), asyncio.get_running_loop()
    assert task

    def interrupt() -> None:
        if board.ending == INTERRUPTED:
            task.cancel()
            return
        flying = sum(score.in_flight for score in board.scores.values())
        tell(f"stopping: waiting for {flying} calls in flight, which are paid for; once more gives them up")
        board.ending = INTERRUPTED
        asking.end(INTERRUPTED)

    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    before = {number: handler for number, handler in before.items() if handler is not signal.SIG_IGN}  # nohup
    for number in before:
        loop.add_signal_handler(number, interrupt)
    try:
        yield
    finally:
        for number, handler in before.items():
            loop.remove_signal_handler(number)
            signal.signal(number, handler)
