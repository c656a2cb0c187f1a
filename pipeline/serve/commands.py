"""The command that serves decisions over HTTP."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pipeline.console import FILE

if TYPE_CHECKING:
    from pipeline.runtime.decider import Decider
    from pipeline.settings import Settings


@click.command()
@click.argument("source")
@click.option(
    "--config", "config_file", type=FILE, help="TOML file with [serving], and the tiers to forward to and their limits."
)
@click.option("--host", default="127.0.0.1", show_default=True, help="To listen on; others than loopback take a token.")
@click.option("--port", type=int, default=8080, show_default=True, help="To listen on; 0 takes a free one.")
@click.option("--json", "as_json", is_flag=True, help="Print a line of JSON once it listens, for programs.")
def serve(source: str, config_file: Path | None, host: str, port: int, as_json: bool) -> None:
    """Serve decisions over HTTP until SIGTERM or Ctrl-C: POST /route, GET /healthz, GET /metrics.

    SOURCE is a version folder, a folder that `tier-router ship` fills, or an address such as
    models:/tier-router@champion. With the address and the model of both tiers in --config OpenAI's clients can ask it
    too: POST /v1/chat/completions with model "auto".
    """
    import logging

    from pipeline import settings
    from pipeline.runtime.decider import Decider
    from pipeline.serve import server

    logging.basicConfig(format="%(message)s", level=logging.WARNING)  # what changes, and what goes wrong
    chosen = settings.read(config_file)
    with Decider.open(source, server.options(chosen)) as decider:

        def ready(address: str) -> None:
            if as_json:
                click.echo(json.dumps({"address": address, "version": decider.version}))
            for line in _said(address, decider, chosen):
                click.echo(line, err=True)

        service = server.serve(decider, chosen, host, port, ready)
    click.echo(f"stopped after {service.decisions:,} decisions{_logged(decider)}", err=True)


def _said(address: str, decider: Decider, settings: Settings) -> list[str]:
    models = {tier: found["model"] or "unknown" for tier, found in decider.manifest["tiers"].items()}
    return [
        f"{address}: {decider.version} decides between {' and '.join(f'{t} ({models[t]})' for t in models)}",
        "POST /v1/chat/completions forwards to them"
        if settings.tiers.flash.base_url
        else "POST /v1/chat/completions is off: --config names no model and base_url of both tiers",
        f"decisions are logged in {settings.serving.log}"
        if settings.serving.log
        else "decisions are not logged: serving.log of --config names no folder",
    ]


def _logged(decider: Decider) -> str:
    log = decider.log
    return "" if log is None else f", {log.written:,} logged, {log.dropped:,} dropped"
