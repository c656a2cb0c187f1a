"""The commands of collecting: ask, grade, write traces."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from features.errors import EndpointError
from pipeline.console import AS_JSON, FILE, INCOMPLETE, INTERRUPTED, steps

if TYPE_CHECKING:
    from pipeline.collect.board import Board
    from pipeline.collect.forecast import Forecast
    from pipeline.collect.lines import Way
    from pipeline.collect.marks import Marks
    from pipeline.settings import Settings

BUDGET = click.option("--budget", "budget_usd", type=float, help="USD that the journal may come to, over all runs.")
ENDPOINTS = click.option(
    "--config", "config_file", type=FILE, help="TOML file with the tiers' models, addresses, limits and prices."
)
THERE = click.Path(path_type=Path, exists=True, dir_okay=False)  # a slip must not make a journal of that name
ALLOW_CODE = click.option("--allow-code", is_flag=True, help="Run the code of answers against their tests, isolated.")


@click.command()
@click.argument("tasks", type=THERE, nargs=-1, required=True, metavar="TASKS...")
@ENDPOINTS
@BUDGET
@click.option("--journal", type=FILE, help="Where answers are kept. [default: beside TASKS, ending in .journal]")
@click.option("--dry-run", is_flag=True, help="Only say what it takes: calls, tokens and cost of each tier.")
@ALLOW_CODE
@AS_JSON
def collect(
    tasks: tuple[Path, ...],
    config_file: Path | None,
    budget_usd: float | None,
    journal: Path | None,
    dry_run: bool,
    allow_code: bool,
    as_json: bool,
) -> None:
    """Ask both tiers the tasks of some JSONL files, and grade the answers.

    What was answered before is never asked again: after an interruption, or with a larger budget, give the same
    command again. Without --config the tiers are DeepSeek's, with the key in DEEPSEEK_API_KEY. Exit code 3: not all is
    answered.
    """
    from pipeline import settings
    from pipeline.collect import collection, lines
    from pipeline.collect.progress import shown

    path = journal or tasks[0].with_suffix(".journal")
    chosen = settings.read(config_file)
    if dry_run:
        with steps() as step:
            step("reading tasks")
            found = collection.plan(tasks, lines.ways(chosen, with_keys=False), path, _judge(chosen, with_key=False))
        _show_forecast(found, as_json)
        return
    budget, ways = _checked(budget_usd), lines.ways(chosen)
    _judge(chosen)  # complains before anything is asked
    click.echo("reading tasks", err=True)
    try:
        board = collection.collect(tasks, ways, path, budget, shown)
    except EndpointError:
        for line in _said(_marks(path, allow_code)):
            click.echo(line, err=True)
        raise
    # What ended before its end, perhaps because it was told to, asks no judge.
    marks, judged = _graded(path, chosen, None if board.ending else budget, allow_code)
    _show(path, marks, [board, judged], as_json)
    _leave(board, judged)


def _checked(budget_usd: float | None) -> float:
    if budget_usd is None:
        raise click.UsageError(
            "--budget is missing: give the most USD that may be spent; --dry-run says what to expect"
        )
    if not 0 <= budget_usd < float("inf"):
        raise click.UsageError(f"--budget {budget_usd}: expected USD, 0 or more")
    return budget_usd


@click.command()
@click.argument("journal", type=FILE)
@ENDPOINTS
@BUDGET
@ALLOW_CODE
@click.option("--labels", type=FILE, help="CSV of people's labels: task_id, tier, correct, note.")
@click.option("--for-people", type=FILE, help="CSV to write answers to that could not be graded.")
@AS_JSON
def grade(
    journal: Path,
    config_file: Path | None,
    budget_usd: float | None,
    allow_code: bool,
    labels: Path | None,
    for_people: Path | None,
    as_json: bool,
) -> None:
    """Grade the answers in a JOURNAL, as often as you like: nothing is asked again, and only a judge costs something.

    The judge is asked where --config has a table [judge] and --budget is given.
    """
    from pipeline import settings
    from pipeline.collect import grading, human
    from pipeline.collect import marks as marks_of
    from pipeline.collect.journal import existing, opened

    with existing(journal):  # complains before anything is made
        pass
    if budget_usd is not None:
        _checked(budget_usd)
    if labels:
        with opened(journal, ballast=False) as open_journal:
            taken = grading.take_in(open_journal, human.read(labels))
        click.echo(f"{labels}: {taken:,} labels", err=True)
    marks, judged = _graded(journal, settings.read(config_file), budget_usd, allow_code)
    if for_people:
        with existing(journal) as open_journal:
            written = human.write(for_people, marks_of.ungraded(open_journal))
        click.echo(f"{for_people}: {written:,} answers to label", err=True)
    _show(journal, marks, [judged], as_json)
    _leave(judged)


def _graded(
    path: Path, chosen: Settings, budget_usd: float | None, allow_code: bool
) -> tuple[dict[str, Marks], Board | None]:
    """Grade what is free; then, if there is a judge and a budget for it, ask it and grade by what it says."""
    from pipeline.collect import collection
    from pipeline.collect.progress import shown

    marks = _marks(path, allow_code)
    way = _judge(chosen)
    if way is None or budget_usd is None:
        return marks, None
    judged = collection.consult(way, path, budget_usd, shown)
    return (_marks(path, allow_code) if judged.asked else marks), judged


def _judge(chosen: Settings, *, with_key: bool = True) -> Way | None:
    """The way to the judge, if there is one."""
    from pipeline.collect import lines

    return lines.ways(chosen, (lines.JUDGE,), with_keys=with_key)[lines.JUDGE] if chosen.judge.model else None


def _marks(path: Path, allow_code: bool) -> dict[str, Marks]:
    from pipeline.collect import grading
    from pipeline.collect.journal import opened
    from pipeline.collect.marks import count

    with opened(path, ballast=False) as journal, steps() as step:
        step("grading")
        grading.grade(journal, allow_code=allow_code)
        return count(journal)


@click.command()
@click.argument("journal", type=FILE)
@click.argument("target", type=FILE, metavar="TRACES")
@click.option(
    "--no-text",
    is_flag=True,
    help="Write word counts only, and remove prompts and answers from the journal, for good.",
)
@click.option("--yes", is_flag=True, help="With --no-text: do not ask.")
@AS_JSON
def label(journal: Path, target: Path, no_text: bool, yes: bool, as_json: bool) -> None:
    """Write the graded answers of a JOURNAL as TRACES (.parquet or .jsonl) to train from."""
    from pipeline.collect import label as labelling
    from pipeline.collect.journal import existing, opened
    from pipeline.collect.marks import count, left_out

    with existing(journal) as open_journal, steps() as step:
        step("reading the journal")
        marks, others = count(open_journal), left_out(open_journal)
    if others:
        click.echo(
            f"note: {others:,} tasks of earlier runs are left out; to have them too, give collect all files together",
            err=True,
        )
    if no_text and not yes:
        ungraded = sum(sum(each.ungraded.values()) for each in marks.values())
        click.confirm(
            f"Remove all prompts and answers from {journal}? {ungraded:,} answers are ungraded, and will stay so",
            abort=True,
            err=True,
        )
    with (opened if no_text else existing)(journal) as open_journal, steps() as step:
        step("writing traces")
        written = (labelling.without_text if no_text else labelling.label)(open_journal, target)
    if as_json:
        click.echo(json.dumps({"path": str(target), "traces": written, "grades": _printed(marks)}))
        return
    for told in _said(marks):
        click.echo(told)
    click.echo(f"{target}: {written:,} traces; next: make train TRACES={target}")


def _show_forecast(found: Mapping[str, Forecast], as_json: bool) -> None:
    from dataclasses import asdict

    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table

    from pipeline.collect.lines import JUDGE
    from pipeline.collect.progress import usd

    if as_json:
        click.echo(json.dumps({tier: asdict(each) for tier, each in found.items()}, indent=2))
        return
    table = Table(box=SIMPLE_HEAD)
    for at, heading in enumerate(("", "calls", "input tokens", "output tokens", "about", "at most")):
        table.add_column(heading, justify="right" if at else "left")
    for tier, each in found.items():
        if not each.calls and tier == JUDGE:
            continue
        tokens = f"{each.input_tokens:,.0f}", f"{each.output_tokens:,.0f}"
        table.add_row(tier, f"{each.calls:,}", *tokens, usd(each.cost_usd), usd(each.worst_usd))
    console = Console()
    (console if console.is_terminal else Console(width=120)).print(table)
    total, worst = (sum(getattr(each, name) for each in found.values()) for name in ("cost_usd", "worst_usd"))
    click.echo(f"about {usd(total)} at this hour's prices, at most {usd(worst)} without retries; nothing was asked")
    click.echo("input tokens: a fourth of the bytes; output tokens: " + _known(found))


def _known(found: Mapping[str, Forecast]) -> str:
    words = {
        "config": "the config's output_tokens", "journal": "the mean of the journal's answers",
        "assumed": "assumed, for want of answers",
    }  # fmt: skip
    return "; ".join(f"{tier} {words[each.output_known]}" for tier, each in found.items())


def _show(path: Path, marks: Mapping[str, Marks], asked: Iterable[Board | None], as_json: bool) -> None:
    """Print what came of it: of those asked, and of all answers."""
    from pipeline.collect.progress import summary

    boards = [board for board in asked if board and board.asked]
    if as_json:
        found: dict[str, Any] = {"journal": str(path), "grades": _printed(marks), "asked": {}}
        for board in boards:
            found |= {"ending": board.ending, "charged_usd": board.charged_usd}
            found["asked"] |= _numbers(board)
        click.echo(json.dumps(found, indent=2))
        return
    for board in boards:
        for line in summary(board):
            click.echo(line)
    for line in _said(marks):
        click.echo(line)
    if not all(board.complete for board in boards):
        click.echo("not all is answered: the same command goes on")
    elif any(each.right + each.wrong for each in marks.values()):
        click.echo(f"next: tier-router label {path} {path.with_suffix('.parquet')}")


def _numbers(board: Board) -> dict[str, Any]:
    return {
        tier: {
            "total": score.total, "answered": score.before + score.done, "now": score.done, "retried": score.retried,
            "given_up": score.failed, "not_asked": score.left, "spent_usd": score.spent_usd,
            "failures": dict(score.causes), "doubts": dict(score.doubts), "models": dict(score.models),
        }
        for tier, score in board.scores.items()
    }  # fmt: skip


def _printed(marks: Mapping[str, Marks]) -> dict[str, Any]:
    return {
        tier: {
            "right": each.right, "wrong": each.wrong, "missing": each.missing, "people": each.people,
            "ungraded": dict(each.ungraded),
        }
        for tier, each in marks.items()
    }  # fmt: skip


def _said(marks: Mapping[str, Marks]) -> Iterable[str]:
    for tier, each in marks.items():
        ungraded, graded = sum(each.ungraded.values()), each.right + each.wrong
        share = f" ({each.right / graded:.1%})" if graded else ""
        people = f", {each.people:,} labelled by people" if each.people else ""
        yield f"{tier}: {each.right:,} right of {graded:,}{share}, {ungraded:,} could not be graded{people}"
        for reason, times in each.ungraded.most_common(5):
            yield f"  {times:,}: {reason}"


def _leave(*boards: Board | None) -> None:
    from pipeline.collect.asking import INTERRUPTED as STOPPED

    unfinished = [board for board in boards if board and not board.complete]
    if unfinished:
        raise click.exceptions.Exit(INTERRUPTED if unfinished[0].ending == STOPPED else INCOMPLETE)
