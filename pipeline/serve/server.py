"""The service on a port, until it is told to stop."""

from __future__ import annotations

import gc
import os
import resource
import sys
from collections.abc import Callable
from contextlib import closing
from functools import partial
from pathlib import Path

import uvicorn
from prometheus_client import disable_created_metrics

from features.errors import InputError
from pipeline.limits import Limits
from pipeline.listening import LOOPBACK, Announcing, is_loopback, listen, quiet_signals
from pipeline.runtime.decider import Decider, Options
from pipeline.runtime.decision import TIERS
from pipeline.runtime.log_options import LogOptions
from pipeline.serve.app import PATHS, Application
from pipeline.serve.bodies import Bodies
from pipeline.serve.connections import IDLE_S, Connection
from pipeline.serve.front import Front
from pipeline.serve.measures import Measures
from pipeline.serve.service import Service
from pipeline.serve.tiers import opened
from pipeline.settings import Serving, Settings

GOODBYE_S = 10
FILES = 8_192  # two for a request that is forwarded
TURN_S = 2e-4  # that another thread, such as the log's, may keep the interpreter from whoever answers
LOOP = "auto"  # uvloop where it is installed


def options(settings: Settings) -> Options:
    """What the file says of deciding; a tier's limits and its model are those of the version, unless it says any."""
    serving, tiers = settings.serving, settings.tiers
    found = {tier: getattr(tiers, tier) for tier in TIERS}
    limits = {
        tier: Limits.of(each.limits.model_dump()) for tier, each in found.items() if "limits" in each.model_fields_set
    }
    log = None
    if serving.log:
        log = LogOptions(
            Path(serving.log),
            serving.log_form,
            serving.log_text,
            rotate_seconds=serving.log_rotate_s,
            keep=serving.log_keep,
        )
    return Options(
        explore=serving.explore,
        limits=limits,
        models={tier: each.model for tier, each in found.items() if each.model is not None},
        realtime_first_token_s=serving.realtime_first_token_s,
        poll_s=serving.poll_s,
        log=log,
    )


def token(serving: Serving, host: str) -> str | None:
    """The token that callers have to send; None: none.

    Raises:
        InputError: the variable is not set or holds what no header can, or there has to be a token for this host.
    """
    name = serving.token_env
    if name is None:
        if not is_loopback(host):
            raise InputError(
                f"--host {host}: others could ask without a token: name the environment variable that holds one in "
                f"serving.token_env of the --config file, or listen on {LOOPBACK}"
            )
        return None
    found = os.environ.get(name, "").strip()
    if not found:
        raise InputError(f"serving.token_env: the environment variable {name} is not set: export it")
    if not (found.isascii() and found.isprintable() and " " not in found):
        raise InputError(f"serving.token_env: {name} holds characters that no header can carry: export it again")
    return found


def application(decider: Decider, settings: Settings, token: str | None) -> Application:
    """The service, with the front where the settings say where the tiers are.

    Raises:
        InputError: the address, the model or the key of a tier is missing.
    """
    # They are a line more for each figure, of when its counting began; this holds for the whole process.
    disable_created_metrics()  # type: ignore[no-untyped-call]  # prometheus_client's
    serving, service = settings.serving, Service(decider, Measures(decider, PATHS))
    upstreams = opened(settings)
    front = Front(service, serving, upstreams) if upstreams else None
    return Application(service, Bodies(serving.largest_body_bytes, serving.body_timeout_s), token, front)


def server(app: Application, ready: Callable[[], None]) -> Announcing:
    """What serves an application; `ready` is called when it does."""
    config = uvicorn.Config(
        app, http=partial(Connection, app.bodies), ws="none", lifespan="on", loop=LOOP, log_config=None,  # type: ignore[arg-type]  # it is called, and no more
        log_level="error", access_log=False, proxy_headers=False, server_header=False,
        timeout_keep_alive=int(IDLE_S), timeout_graceful_shutdown=GOODBYE_S,
    )  # fmt: skip
    return Announcing(config, ready)


def serve(
    decider: Decider, settings: Settings, host: str, port: int, ready: Callable[[str], None] = lambda _: None
) -> Service:
    """Serve until SIGINT or SIGTERM, then finish what is on its way.

    Args:
        decider: open; left open.
        settings: of the --config file.
        host: an address of this machine.
        port: 0 takes a free one.
        ready: called with the base URL, such as "http://127.0.0.1:8080", when it listens.

    Returns:
        What served, closed.

    Raises:
        InputError: as `token` and `application`, or the port is taken.
    """
    app = application(decider, settings, token(settings.serving, host))
    _allow_files()
    gc.collect()
    sys.setswitchinterval(TURN_S)
    gc.freeze()  # what is there now stays, and need not be looked through while callers wait
    with closing(app.service), listen("serve", host, port) as listener, quiet_signals():
        server(app, partial(ready, _url(listener.getsockname()))).run([listener])
    return app.service


def _allow_files() -> None:
    """Let there be as many connections as may be, where few open files are allowed at first."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = FILES if hard == resource.RLIM_INFINITY else min(FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _url(address: tuple[str, int]) -> str:
    host, port = address[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
