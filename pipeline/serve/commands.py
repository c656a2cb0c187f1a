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
@click.option("--host", show_default="loopback", help="To listen on; others than loopback take a token.")
@click.option(
    "--port", type=click.IntRange(0, 65_535), default=8080, show_default=True, help="To listen on; 0 takes a free one."
)
@click.option("--json", "as_json", is_flag=True, help="Print a line of JSON once it listens, for programs.")
def serve(source: str, config_file: Path | None, host: str | None, port: int, as_json: bool) -> None:
    """Serve decisions over HTTP until SIGTERM or Ctrl-C: POST /route, GET /healthz, GET /metrics.

    SOURCE is a version folder, a folder that `tier-router ship` fills, or an address such as
    models:/tier-router@champion. With the address and the model of both tiers in --config OpenAI's clients can ask it
    too: POST /v1/chat/completions with model "auto".
    """
    import logging

    from pipeline import settings
    from pipeline.listening import LOOPBACK
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

        service = server.serve(decider, chosen, host or LOOPBACK, port, ready)
    click.echo(f"stopped after {service.measures.decisions:,} decisions{_logged(decider)}", err=True)


def _said(address: str, decider: Decider, settings: Settings) -> list[str]:
    """What is served, and what of the configuration an operator may not expect."""
    learned = {tier: found["model"] for tier, found in decider.manifest["tiers"].items()}
    asked = {tier: getattr(settings.tiers, tier).model or model for tier, model in learned.items()}
    models = " and ".join(f"{tier} ({model or 'unknown'})" for tier, model in asked.items())
    return [
        f"{address}: {decider.version} decides between {models}",
        *(
            f"warning: {tier} is {asked[tier]}, but {decider.version} was trained on answers of {model}"
            for tier, model in learned.items()
            if model and asked[tier] != model
        ),
        "POST /v1/chat/completions forwards to them"
        if settings.tiers.flash.base_url
        else "POST /v1/chat/completions is off: --config names no model and base_url of both tiers",
        *_cascade(decider, settings),
        f"decisions are logged in {settings.serving.log}"
        if settings.serving.log
        else "decisions are not logged: serving.log of --config names no folder",
    ]


def _cascade(decider: Decider, settings: Settings) -> list[str]:
    """What `cascade = true` does not do."""
    from pipeline.serve.escalation import bound

    if not settings.serving.cascade:
        return []
    if not settings.tiers.flash.base_url:
        return ["cascade = true does nothing: nothing is forwarded"]
    if bound(settings.serving, decider.manifest) is None:
        return ["cascade: only JSON Schemas are checked: no escalate_below is configured, and none was tuned"]
    return []


def _logged(decider: Decider) -> str:
    log = decider.log
    return "" if log is None else f", {log.written:,} logged, {log.dropped:,} dropped"
