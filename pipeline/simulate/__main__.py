"""The child of `pipeline.simulate.child`: options in, the base URL or a complaint out."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from pathlib import Path

from features.errors import TierRouterError
from pipeline.simulate.options import Options


def main() -> None:
    """Serve a pair as the parent says, until it says no more."""
    from pipeline.simulate.server import serve

    given = json.loads(sys.stdin.readline())
    options = Options(**given | {"faults": tuple(given["faults"])})
    threading.Thread(target=_end_with_the_parent, daemon=True).start()
    try:
        serve(Path(sys.argv[1]), options, ready=_say)
    except TierRouterError as error:
        _say(str(error))


def _end_with_the_parent() -> None:
    sys.stdin.read()
    os.kill(os.getpid(), signal.SIGTERM)


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
