"""The command line: the one place that prints and exits. Heavy modules are loaded by the command that needs them."""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

import click

from features.errors import InputError, RequestError, TierRouterError
from pipeline import schedule_commands as scheduling
from pipeline import ship_commands as publishing
from pipeline.collect import commands as collecting
from pipeline.console import AS_JSON, BAD_INPUT, FAILURE, FILE, INTERRUPTED, steps
from pipeline.ingest import commands as ingesting
from pipeline.retune import commands as retuning
from pipeline.serve import commands as serving
from pipeline.simulate import commands as practising
from pipeline.watching import commands as watching
from pipeline.year import commands as replaying

if TYPE_CHECKING:
    from pipeline.recorder import Made


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="tier-router")
def commands() -> None:
    """Decide, per request, whether a cheap language model is enough.

    Learned from your own traces, shipped as one ONNX file.
    """


TRACES = click.option(
    "--traces", type=FILE, multiple=True, help="Parquet, JSONL or CSV; give it again for more shards."
)
SETTINGS = click.option(
    "--config", "config_file", type=FILE, help="TOML file with prices of the tiers and what a wrong answer costs."
)
AT = click.option(
    "--at", type=click.DateTime(["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S"]), help="Day (UTC) whose prices apply. [default: now]"
)
OBJECTIVES = (
    click.option("--min-quality", type=float, help="Share of always-pro's accuracy to keep at least cost, as 0.98."),
    click.option("--max-cost", type=float, help="USD per 1,000 requests to stay within at best accuracy."),
    click.option("--total-cost", is_flag=True, help="Least total delivery cost: calls, retries, people, waiting."),
    click.option("--pro-rate", type=float, help="Share of the requests that may go to pro, at best accuracy."),
)
GUARANTEES = (
    click.option(
        "--certify/--no-certify",
        default=None,
        help="Serve only what is certified: always-pro where nothing is, if the objective allows it.",
    ),
    click.option(
        "--max-loss", type=float, help="Claim to certify: accuracy lost to always-pro, as 0.016. [default: the quality]"
    ),
    click.option("--confidence-level", type=float, help="Of the certificate. [default: 0.95]"),
)


def _aim_options(command: Any) -> Any:
    for option in reversed((*OBJECTIVES, *GUARANTEES, SETTINGS, AT)):
        command = option(command)
    return command


@commands.command()
@TRACES
@click.option(
    "--out", type=FILE, default=Path("models"), show_default=True, help="Parent of versions and of the MLflow store."
)
@click.option("--seed", type=int, default=0, show_default=True, help="Of parts, folds and resampling.")
@click.option(
    "--split", type=click.Choice(["group", "time"]), default="group", show_default=True, help="How parts are made."
)
@_aim_options
@AS_JSON
def train(
    traces: tuple[Path, ...], out: Path, seed: int, split: str, config_file: Path | None, as_json: bool, **given: Any
) -> None:
    """Train a router on --traces (default: the bundle), and write, track and register it as a new version.

    The threshold is for one objective; --min-quality 0.98 where none is given.
    """
    from pipeline import settings
    from pipeline.config import BUNDLE, Config

    aim = _aim(given)
    config = Config(traces or (BUNDLE,), out, seed, split, aim, settings.read(config_file))
    with steps() as step:
        from threadpoolctl import threadpool_limits

        from pipeline.train import train as run

        with threadpool_limits(1):  # the work is split over threads already
            trained = run(config, step)
    _show_version(trained, as_json)


@commands.command()
@click.argument("artifact", type=FILE)
@TRACES
@_aim_options
@AS_JSON
def tune(artifact: Path, traces: tuple[Path, ...], config_file: Path | None, as_json: bool, **given: Any) -> None:
    """Choose the threshold of a version anew, and write the version's sibling with it: no coefficient changes.

    On the rows that the version was tuned on, or on the tune part of --traces. What is not given is as the version was
    tuned before, so without options today's prices are applied.
    """
    from pipeline.artifact import read_whole
    from pipeline.recorder import recorder

    read_whole(artifact)  # complains before anything is started
    with steps() as step, recorder(artifact.resolve().parent) as tracked:
        from threadpoolctl import threadpool_limits

        from pipeline import settings, sibling

        aim, standing = sibling.standing(artifact)
        chosen = standing if config_file is None else settings.read(config_file)
        with threadpool_limits(1):  # another thread would only stand in the way of the recorder
            retuned = sibling.retune(artifact, traces, _aim(given, aim), chosen, tracked, step)
    _show_version(retuned, as_json)


def _aim(given: dict[str, Any], standing: Any = None) -> Any:
    """The options as an aim; what is not given is as it stands. Not more than one objective."""
    from dataclasses import replace
    from datetime import UTC

    from pipeline.config import Aim
    from pipeline.objective import Objective

    asked = {name: value for name, value in given.items() if value is not None and value is not False}
    named = [name for name in ("min_quality", "max_cost", "total_cost", "pro_rate") if name in asked]
    if len(named) > 1:
        flags = " and ".join("--" + name.replace("_", "-") for name in named)
        raise click.UsageError(f"{flags} exclude each other: give one objective")
    changes = {name: given[name] for name in ("max_loss", "confidence_level", "certify") if given.get(name) is not None}
    if named:
        changes.setdefault("max_loss", None)  # a claim of before was for another objective
        changes["objective"] = Objective(named[0], None if named[0] == "total_cost" else asked[named[0]])
    if "at" in asked:
        changes["at"] = asked["at"].replace(tzinfo=UTC)
    return replace(standing or Aim(), **changes)


@commands.command()
@click.argument("artifact", type=FILE)
@TRACES
@SETTINGS
@AT
@AS_JSON
def evaluate(artifact: Path, traces: tuple[Path, ...], config_file: Path | None, at: Any, as_json: bool) -> None:
    """Measure a version on the test part of some --traces, by the split that its manifest states."""
    if not traces:
        raise click.UsageError("--traces is missing: name a file of traces")
    with steps() as step:
        from datetime import UTC, datetime

        from pipeline import settings, sibling
        from pipeline.assess import assess

        chosen = sibling.standing(artifact)[1] if config_file is None else settings.read(config_file)
        moment = at.replace(tzinfo=UTC) if at else datetime.now(UTC)
        policies, costs, warnings = assess(artifact, traces, chosen, moment, step)
    if as_json:
        from pipeline.manifest import metrics

        click.echo(json.dumps({policy.name: metrics(policy, costs.in_usd) for policy in policies}, indent=2))
    else:
        _show_table(policies, costs.told)
    for warning in warnings:
        click.echo(f"note: {warning}", err=True)


@commands.command()
@click.argument("artifact", type=FILE)
@click.argument("prompt", required=False)
@click.option(
    "--wrong-answer",
    "wrong_usd",
    type=float,
    help="USD that a wrong answer to this request costs: decides the threshold.",
)
@AS_JSON
def route(artifact: Path, prompt: str | None, wrong_usd: float | None, as_json: bool) -> None:
    """Decide on one request: a PROMPT, or a chat-completions request as JSON on standard input."""
    from pipeline.route import explain

    request = _request_from_stdin() if prompt is None else _bare(prompt)
    decision = explain(artifact, request, wrong_usd)
    click.echo(json.dumps(decision, indent=2, ensure_ascii=False) if as_json else _spoken(decision))


@commands.command()
@click.option("--traces", type=FILE, multiple=True, help="Pilot traces; give it again for more shards.")
@click.option("--flash-accuracy", type=float, help="Without a pilot: share that flash answers correctly.")
@click.option("--pro-accuracy", type=float, help="Without a pilot: share that pro answers correctly.")
@click.option("--flash-only", type=float, help="Share that flash alone answers correctly. [default: 0.05]")
@click.option("--apgr", type=float, help="Of the router. [default: 0.65]")
@click.option("--min-quality", type=float, help="Share of always-pro's accuracy to keep. [default: 0.98]")
@click.option("--max-loss", type=float, help="Instead: accuracy that may be lost to always-pro, as 0.016.")
@click.option("--confidence-level", type=float, help="Of the certificate. [default: 0.95]")
@AS_JSON
def plan(traces: tuple[Path, ...], min_quality: float | None, as_json: bool, **given: Any) -> None:
    """How many labelled tasks a guarantee takes, from pilot --traces or from what you expect of the tiers."""
    if given["max_loss"] is not None and min_quality is not None:
        raise click.UsageError("--min-quality and --max-loss exclude each other: give one claim")
    assumed = {name: given.pop(name) for name in ("flash_accuracy", "pro_accuracy", "flash_only", "apgr")}
    with steps() as step:
        claim = _aim({"min_quality": min_quality, **given}).claim
        found = _plan(traces, assumed, claim, step)
    if as_json:
        from dataclasses import asdict

        click.echo(json.dumps(asdict(found), indent=2))
        return
    from pipeline.spoken import planned

    for line in planned(found):
        click.echo(line)


def _plan(traces: tuple[Path, ...], assumed: dict[str, float | None], claim: Any, step: Any) -> Any:
    from pipeline import plan

    stated = {name.removesuffix("_accuracy"): value for name, value in assumed.items() if value is not None}
    if traces and stated:
        raise click.UsageError("--traces and assumptions exclude each other: the pilot says what the tiers do")
    if traces:
        from pipeline.traces import load

        step("reading traces")
        pilot = load(traces)
        step("fitting")
        return plan.from_traces(pilot, claim, 0)
    if {"flash", "pro"} - set(stated):
        raise click.UsageError("give pilot --traces, or --flash-accuracy and --pro-accuracy")
    return plan.from_assumptions(plan.Assumptions(**stated), claim)


@commands.command()
@click.argument("sources", type=FILE, nargs=-1, required=True, metavar="IN...")
@click.argument("target", type=FILE, metavar="OUT")
@AS_JSON
def anonymise(sources: tuple[Path, ...], target: Path, as_json: bool) -> None:
    """Write the traces of some files as one Parquet file of figures, without a prompt in it."""
    with steps() as step:
        from pipeline.anonymise import anonymise as run

        step("counting words")
        written = run(sources, target)
    if as_json:
        click.echo(json.dumps({"path": str(target), **written}))
    else:
        click.echo(
            f"{target}: {written['rows']:,} traces, {written['kept']:,} words kept, {written['replaced']:,} replaced"
        )


@commands.command()
@click.option(
    "--tasks", "count", type=click.IntRange(500), default=2_500, show_default=True, help="Simulated tasks to collect."
)
@click.option("--seed", type=int, default=0, show_default=True, help="Of the tasks.")
@click.option("--out", type=FILE, default=Path("models/demo"), show_default=True, help="Folder for all that is made.")
def demo(count: int, seed: int, out: Path) -> None:
    """Run the whole loop on two simulated models: collect, grade, label, train, tune, decide. Needs no key."""
    from pipeline.demo import demo as run

    run(out, count, seed, click.echo)


for command in (
    collecting.collect, collecting.grade, collecting.label, practising.simulate, publishing.ship, publishing.rollback,
    ingesting.ingest, retuning.retune, retuning.estimate, watching.watch, serving.serve, scheduling.schedule,
    replaying.year,
):  # fmt: skip
    commands.add_command(command)


def main() -> None:
    """Run the command line.

    Exit codes: 0 done, 2 bad input, 1 failure, 3 not all answered, 12 the claim is broken, 130 interrupted.
    """
    signal.signal(signal.SIGTERM, _terminate)
    try:
        sys.exit(commands.main(standalone_mode=False))
    except click.ClickException as error:
        error.show()
        sys.exit(BAD_INPUT)
    except (click.Abort, KeyboardInterrupt) as stop:
        said = str(stop.__cause__ or stop)  # click makes an Abort of an interrupt
        click.echo(f"interrupted: {said or 'nothing half-written was left; what exists is complete'}", err=True)
        sys.exit(INTERRUPTED)
    except InputError as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(BAD_INPUT)
    except TierRouterError as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(FAILURE)


def _terminate(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _show_version(made: Made, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(_summary(made), indent=2))
        return
    from pipeline.spoken import summary

    manifest = made.manifest
    _show_table(
        made.findings.policies, manifest["cost_unit"], ("always_flash", "always_pro", "random", "router", "oracle")
    )
    for line in summary(made.findings, manifest):
        click.echo(line)
    click.echo(f"\nMLflow: model version {made.tracked.model_version}, alias {made.tracked.alias}")
    for name in ("router.onnx", "report.html"):
        click.echo(str(made.folder / name))


def _show_table(policies: Any, cost_unit: str, names: tuple[str, ...] = ()) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table

    table = Table(box=SIMPLE_HEAD, caption=f"test part, 95 % intervals; cost in {cost_unit}", caption_justify="left")
    table.add_column("policy", min_width=12)
    more = any(policy.metrics.get("delivery", policy.metrics["cost"]) != policy.metrics["cost"] for policy in policies)
    columns = {"accuracy": "accuracy", "pro_rate": "pro rate", "cost": "cost"} | ({"delivery": "total"} if more else {})
    columns["apgr"] = "APGR"
    for heading in columns.values():
        table.add_column(heading, justify="right")
    for policy in policies:
        if not names or policy.name in names:
            cells = [_cell(policy.metrics.get(name)) for name in columns]
            table.add_row(policy.label, *cells, style="bold" if policy.name == "router" else "")
    console = Console()
    (console if console.is_terminal else Console(width=120)).print(table)


def _cell(estimate: Any) -> str:
    if estimate is None:
        return "-"
    if estimate.value != estimate.value:
        return "not defined"
    value, low, high = (f"{number:.3f}" for number in (estimate.value, estimate.low, estimate.high))
    return value if low == high else f"{value} \\[{low}, {high}]"


def _summary(made: Made) -> dict[str, Any]:
    paths = {name: str(made.folder / name) for name in ("router.onnx", "scorer.onnx", "report.html", "manifest.json")}
    metrics = made.manifest["metrics"]["test"]
    point, tracked = made.manifest["operating_point"], made.tracked
    return {
        "version": made.manifest["version"], "paths": paths, "operating_point": point,
        "certificate": made.manifest["certificate"], "cost_unit": made.manifest["cost_unit"], "test": metrics,
        "mlflow": {"run": tracked.run_id, "model_version": tracked.model_version, "alias": tracked.alias},
    }  # fmt: skip


def _bare(prompt: str) -> Any:
    from features.request import Request

    return Request(prompt)


def _request_from_stdin() -> Any:
    from features.request import Request

    if sys.stdin.isatty():
        raise RequestError("no request: give a PROMPT, or a chat-completions request as JSON on standard input")
    try:
        payload = json.loads(sys.stdin.buffer.read())
    except (ValueError, RecursionError) as error:
        raise RequestError(
            f"standard input is not JSON ({error}): give a chat-completions request, or a PROMPT"
        ) from error
    if not isinstance(payload, dict):
        raise RequestError("standard input is not a chat-completions request: expected an object with messages")
    return Request.from_payload(payload)


def _spoken(decision: Mapping[str, Any]) -> str:
    chance = decision["probabilities"]
    lines = [
        f"{decision['tier']}: {decision['reason']}",
        f"  P(correct)  flash {chance['flash']:.3f}, pro {chance['pro']:.3f}",
        f"  gain        {decision['gain']:+.3f}, threshold {decision['threshold']:+.3f}{_rests_on(decision)}",
        f"  evidence    {decision['evidence']:.2f} of the words are known, floor {decision['evidence_floor']:.2f}",
        "  features    " + ", ".join(f"{name} {value:.3f}" for name, value in decision["features"].items()),
    ]
    words = [f"{word!r} {gain:+.4f}" for word, gain in decision["words"].items()]
    return "\n".join(
        [*lines, "  words       " + (", ".join(words) or "none is known") + "  (share of the gain, + towards pro)"]
    )


def _rests_on(decision: Mapping[str, Any]) -> str:
    return f" (from {decision['threshold_from']})" if "threshold_from" in decision else ""
