"""Connections of the practice pair that end early, its ledger, and its own beginning and end."""

from __future__ import annotations

import asyncio
import json
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from features.errors import InputError, StorageError
from pipeline.simulate import kinds, ledger
from pipeline.simulate.child import running
from pipeline.simulate.kinds import SimTask
from pipeline.simulate.ledger import Entry
from pipeline.simulate.options import Options
from pipeline.simulate.prepare import prepare

COUNT, SEED = 10, 1
QUICK = {"count": COUNT, "seed": SEED, "flash_latency_s": 0.0, "pro_latency_s": 0.0}
WAIT_SECONDS = 20


@pytest.fixture
def task() -> SimTask:
    return kinds.task(SEED, 0)


def begun(url: str, task: SimTask) -> socket.socket:
    """A connection that has sent a whole request."""
    body = json.dumps(task.request("simulated-pro")).encode()
    host, _, port = url.removeprefix("http://").partition(":")
    connection = socket.create_connection((host, int(port)))
    head = f"POST /pro/v1/chat/completions HTTP/1.1\r\nhost: {host}\r\ncontent-length: {len(body)}\r\n\r\n"
    connection.sendall(head.encode() + body)
    return connection


def entries(folder: Path, count: int) -> list[Entry]:
    """The ledger once it has so many lines."""
    end = time.monotonic() + WAIT_SECONDS
    while time.monotonic() < end:
        found = list(ledger.read(folder))
        if len(found) >= count:
            return found
        time.sleep(0.01)
    raise AssertionError(f"the ledger has {len(found)} lines and not {count}")


@pytest.fixture
def lazy(tmp_path: Path) -> Iterator[str]:
    """A pair whose pro thinks for a third of a second and more."""
    with running(tmp_path, Options(count=COUNT, seed=SEED, pro_latency_s=0.6)) as url:
        yield url


def test_client_that_goes_away_is_billed_and_gets_nothing(lazy: str, tmp_path: Path, task: SimTask) -> None:
    begun(lazy, task).close()
    entry = entries(tmp_path, 1)[0]
    assert entry.usd > 0
    assert (entry.status, entry.task, entry.delivered) == (200, task.id, False)


def test_client_that_stays_gets_the_whole_reply(lazy: str, tmp_path: Path, task: SimTask) -> None:
    reply = httpx.post(f"{lazy}/pro/v1/chat/completions", json=task.request("simulated-pro"))
    assert entries(tmp_path, 1)[0].output == reply.json()["usage"]["completion_tokens"]
    assert entries(tmp_path, 1)[0].delivered


def test_pair_that_is_stopped_meanwhile_enters_what_it_had_begun(tmp_path: Path, task: SimTask) -> None:
    with running(tmp_path, Options(count=COUNT, seed=SEED, pro_latency_s=60.0)) as url:
        connection = begun(url, task)
        # The second request is answered at once, so the first one has arrived.
        httpx.post(f"{url}/flash/v1/chat/completions", json=task.request("simulated-flash"))
    connection.close()
    entered = [entry for entry in ledger.read(tmp_path) if entry.tier == "pro"]
    assert [(entry.usd > 0, entry.delivered) for entry in entered] == [(True, False)]


def test_many_at_once_are_answered_side_by_side(lazy: str, tmp_path: Path, task: SimTask) -> None:
    async def ask() -> list[int]:
        async with httpx.AsyncClient(base_url=lazy, timeout=WAIT_SECONDS) as client:
            request = task.request("simulated-pro")
            replies = [client.post("/pro/v1/chat/completions", json=request) for _ in range(20)]
            return [reply.status_code for reply in await asyncio.gather(*replies)]

    start = time.monotonic()
    assert asyncio.run(ask()) == [200] * 20
    assert time.monotonic() - start < 20 * 0.3
    assert len({entry.time for entry in entries(tmp_path, 20)}) == 20


def test_ledger_goes_on_where_an_earlier_pair_left_it(tmp_path: Path, task: SimTask) -> None:
    for _ in range(2):
        with running(tmp_path, Options(**QUICK)) as url:
            httpx.post(f"{url}/pro/v1/chat/completions", json=task.request("simulated-pro"))
    assert len(list(ledger.read(tmp_path))) == 2


def test_ledger_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"ledger\.jsonl"):
        list(ledger.read(tmp_path))


def test_pair_of_other_tasks_than_were_prepared_does_not_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.simulate.prepare.POPULATION", 100)
    prepare(tmp_path, 5, 0)
    with pytest.raises(StorageError, match="prepared here"), running(tmp_path, Options(count=6)):
        pass


def test_port_that_is_taken_is_named(tmp_path: Path) -> None:
    from pipeline.simulate.server import serve

    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(InputError, match="choose another"):
        serve(tmp_path, Options(count=1), taken.getsockname()[1])


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_serving_ends_with_a_signal_and_returns(tmp_path: Path, project: Path, number: int) -> None:
    script = (
        "import sys\nfrom pathlib import Path\nfrom pipeline.simulate.options import Options\n"
        "from pipeline.simulate.server import serve\n"
        "serve(Path(sys.argv[1]), Options(count=1), ready=lambda url: print(url, flush=True))\nprint('returned')"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path)],
        cwd=project, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as child:  # fmt: skip
        assert child.stdout is not None
        assert child.stdout.readline().startswith("http://127.0.0.1:")
        child.send_signal(number)
        assert child.communicate(timeout=WAIT_SECONDS) == ("returned\n", "")
    assert child.returncode == 0


def test_pair_ends_with_the_process_that_started_it(tmp_path: Path, project: Path) -> None:
    script = (
        "import sys, time\nfrom pathlib import Path\nfrom pipeline.simulate.child import running\n"
        "from pipeline.simulate.options import Options\n"
        "with running(Path(sys.argv[1]), Options(count=1)) as url:\n    print(url, flush=True)\n    time.sleep(60)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path)], cwd=project, stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        url = parent.stdout.readline().strip()
        parent.kill()
    end = time.monotonic() + WAIT_SECONDS
    while time.monotonic() < end:
        try:
            httpx.get(f"{url}/flash/v1/models")
        except httpx.HTTPError:
            return
        time.sleep(0.05)
    raise AssertionError(f"{url} still answers")
