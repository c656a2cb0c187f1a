"""The command that serves a pair to practise on."""

from __future__ import annotations

from pathlib import Path

import click

from pipeline.console import FILE, steps


@click.command()
@click.argument("folder", type=FILE)
@click.option("--tasks", "count", type=int, help="Tasks to make. [default: those in FOLDER, else 2,000]")
@click.option("--seed", type=int, help="Of the tasks. [default: that of FOLDER, else 0]")
@click.option("--port", type=int, default=0, help="To listen on. [default: a free one]")
@click.option("--faults", "fault_share", type=float, default=0.0, help="Share of the calls that go wrong, as 0.2.")
@click.option("--fault", "faults", multiple=True, help="A kind of fault; again for more. [default: all kinds]")
@click.option("--flash-latency", "flash_latency_s", type=float, default=0.02, help="Mean seconds of an answer.")
@click.option("--pro-latency", "pro_latency_s", type=float, default=0.05, help="Mean seconds of an answer.")
@click.option("--requests-per-minute", type=int, help="Limit of each tier, above which it answers 429.")
@click.option("--balance", "balance_usd", type=float, help="USD that may be spent before it answers 402.")
@click.option("--key-env", help="Environment variable with the key that calls have to bear. [default: none]")
def simulate(
    folder: Path, count: int | None, seed: int | None, port: int, key_env: str | None, **given: object
) -> None:
    """Serve two simulated tiers on loopback, with tasks whose answers are known, until Ctrl-C.

    FOLDER gets the tasks (tasks.jsonl), a --config file that leads to the pair (pair.toml), what the best router could
    reach (truth.json) and what was billed (ledger.jsonl).
    """
    import os

    from pipeline.simulate import prepare
    from pipeline.simulate.options import Options
    from pipeline.simulate.server import serve

    with steps() as step:
        step("making tasks")
        truth = prepare.found_or_made(folder, count, seed)
    chosen = {name: value for name, value in given.items() if value not in (None, ())}
    key = None if key_env is None else os.environ.get(key_env)
    if key_env and not key:
        raise click.UsageError(f"--key-env {key_env}: this environment variable is not set: export it")
    options = Options(count=truth.count, seed=truth.seed, key=key, **chosen)  # type: ignore[arg-type]  # by name, from click

    def ready(address: str) -> None:
        prepare.write_config(folder, address, key_env)
        best = truth.best_apgr
        click.echo(
            f"{address}: {truth.count:,} simulated tasks in {folder}; best APGR {best.value:.3f} ± {best.error:.3f}"
        )
        click.echo(f"next: tier-router collect {folder}/tasks.jsonl --config {folder}/pair.toml --budget 5")
        click.echo("Ctrl-C ends it", err=True)

    serve(folder, options, port, ready)
