"""The command line: the one place that prints and exits. Heavy modules are loaded by the command that needs them."""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

import click

from features.errors import InputError, RequestError, TierRouterError

if TYPE_CHECKING:
    from pipeline.train import Trained

BAD_INPUT, FAILURE, INTERRUPTED = 2, 1, 130
FILE = click.Path(path_type=Path)
AS_JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON on standard output, for programs.")


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="tier-router")
def commands() -> None:
    """Decide, per request, whether a cheap language model is enough.

    Learned from your own traces, shipped as one ONNX file.
    """


@commands.command()
@click.option(
    "--traces",
    type=FILE,
    multiple=True,
    help="Parquet, JSONL or CSV; give it again for more shards. [default: the bundle]",
)
@click.option(
    "--out", type=FILE, default=Path("models"), show_default=True, help="Parent of versions and of the MLflow store."
)
@click.option("--seed", type=int, default=0, show_default=True, help="Of parts, folds and resampling.")
@click.option(
    "--min-quality", type=float, default=0.98, show_default=True, help="Share of always-pro's accuracy to keep."
)
@click.option(
    "--split", type=click.Choice(["group", "time"]), default="group", show_default=True, help="How parts are made."
)
@AS_JSON
def train(traces: tuple[Path, ...], out: Path, seed: int, min_quality: float, split: str, as_json: bool) -> None:
    """Train a router, and write, track and register it as a new version."""
    from pipeline.config import BUNDLE, Config

    config = Config(traces=traces or (BUNDLE,), out=out, seed=seed, min_quality=min_quality, split=split)
    with _steps() as step:
        from threadpoolctl import threadpool_limits

        from pipeline.train import train as run

        with threadpool_limits(1):  # the work is split over threads already
            trained = run(config, step)
    if as_json:
        click.echo(json.dumps(_summary(trained), indent=2))
    else:
        _show_trained(trained)


@commands.command()
@click.argument("artifact", type=FILE)
@click.option(
    "--traces", type=FILE, multiple=True, required=True, help="Parquet, JSONL or CSV; give it again for more shards."
)
@AS_JSON
def evaluate(artifact: Path, traces: tuple[Path, ...], as_json: bool) -> None:
    """Measure a version on the test part of some traces, by the split that its manifest states."""
    with _steps() as step:
        from pipeline.assess import assess

        policies, manifest = assess(artifact, traces, step)
    if as_json:
        from pipeline.manifest import metrics

        click.echo(json.dumps({policy.name: metrics(policy) for policy in policies}, indent=2))
    else:
        _show_table(policies, manifest["cost_unit"])


@commands.command()
@click.argument("artifact", type=FILE)
@click.argument("prompt", required=False)
@AS_JSON
def route(artifact: Path, prompt: str | None, as_json: bool) -> None:
    """Decide on one request: a PROMPT, or a chat-completions request as JSON on standard input."""
    from pipeline.route import explain

    request = _request_from_stdin() if prompt is None else _bare(prompt)
    decision = explain(artifact, request)
    click.echo(json.dumps(decision, indent=2, ensure_ascii=False) if as_json else _spoken(decision))


@commands.command()
@click.argument("sources", type=FILE, nargs=-1, required=True, metavar="IN...")
@click.argument("target", type=FILE, metavar="OUT")
@AS_JSON
def anonymise(sources: tuple[Path, ...], target: Path, as_json: bool) -> None:
    """Write the traces of some files as one Parquet file of figures, without a prompt in it."""
    with _steps() as step:
        from pipeline.anonymise import anonymise as run

        step("counting words")
        written = run(sources, target)
    if as_json:
        click.echo(json.dumps({"path": str(target), **written}))
    else:
        click.echo(
            f"{target}: {written['rows']:,} traces, {written['kept']:,} words kept, {written['replaced']:,} replaced"
        )


def main() -> None:
    """Run the command line. Exit codes: 0 done, 2 bad input, 1 failure, 130 interrupted."""
    signal.signal(signal.SIGTERM, _terminate)
    try:
        sys.exit(commands.main(standalone_mode=False))
    except click.ClickException as error:
        error.show()
        sys.exit(BAD_INPUT)
    except (click.Abort, KeyboardInterrupt):
        click.echo("interrupted: nothing half-written was left", err=True)
        sys.exit(INTERRUPTED)
    except InputError as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(BAD_INPUT)
    except TierRouterError as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(FAILURE)


def _terminate(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


@contextmanager
def _steps() -> Iterator[Any]:
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


def _show_trained(trained: Trained) -> None:
    manifest = trained.manifest
    _show_table(
        trained.findings.policies, manifest["cost_unit"], ("always_flash", "always_pro", "random", "router", "oracle")
    )
    point, test = manifest["operating_point"], trained.findings.policy("router").metrics
    click.echo(_headline(point["policy"], test))
    for warning in manifest["warnings"]:
        click.echo(f"note: {warning}")
    click.echo(f"\nMLflow: model version {trained.tracked.model_version}, alias {trained.tracked.alias}")
    for name in ("router.onnx", "report.html"):
        click.echo(str(trained.folder / name))


def _headline(policy: str, test: Mapping[str, Any]) -> str:
    if policy != "router":
        return f"\nThe cheapest choice that keeps the quality asked for is: {policy}."
    rate, quality = (
        f"{each.value:.1%} [{each.low:.1%}, {each.high:.1%}]" for each in (test["pro_rate"], test["quality"])
    )
    return f"\nSends {rate} to pro and keeps {quality} of its accuracy."


def _show_table(policies: Any, cost_unit: str, names: tuple[str, ...] = ()) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table

    table = Table(box=SIMPLE_HEAD, caption=f"test part, 95 % intervals; cost in {cost_unit}", caption_justify="left")
    table.add_column("policy", min_width=12)
    for heading in ("accuracy", "pro rate", "cost", "APGR"):
        table.add_column(heading, justify="right")
    for policy in policies:
        if not names or policy.name in names:
            cells = [_cell(policy.metrics.get(name)) for name in ("accuracy", "pro_rate", "cost", "apgr")]
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


def _summary(trained: Trained) -> dict[str, Any]:
    paths = {
        name: str(trained.folder / name) for name in ("router.onnx", "scorer.onnx", "report.html", "manifest.json")
    }
    metrics = trained.manifest["metrics"]["test"]
    point, tracked = trained.manifest["operating_point"], trained.tracked
    return {
        "version": trained.manifest["version"], "paths": paths, "operating_point": point, "test": metrics,
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
        f"  gain        {decision['gain']:+.3f}, threshold {decision['threshold']:+.3f}",
        f"  evidence    {decision['evidence']:.2f} of the words are known, floor {decision['evidence_floor']:.2f}",
        "  features    " + ", ".join(f"{name} {value:.3f}" for name, value in decision["features"].items()),
    ]
    words = [f"{word!r} {gain:+.4f}" for word, gain in decision["words"].items()]
    return "\n".join(
        [*lines, "  words       " + (", ".join(words) or "none is known") + "  (share of the gain, + towards pro)"]
    )
