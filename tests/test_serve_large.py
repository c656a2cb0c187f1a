"""Large bodies of `tier-router serve`: read by another process, decided on like any other."""

from __future__ import annotations

import json
import os
import pickle
import signal
import time
from pathlib import Path
from typing import Any

import httpx
import pytest
from serving import PATIENCE_S, WORDS, chat, command, running

from pipeline.runtime.decider import Decider
from pipeline.serve import server
from pipeline.serve.bodies import Refusal, parsed
from pipeline.serve.service import LARGE_BYTES
from pipeline.settings import Settings

LONG = WORDS * (2 * LARGE_BYTES // len(WORDS))


def padded(asked: dict[str, Any]) -> bytes:
    """A request that is large for a reason that no decision rests on."""
    return json.dumps(asked | {"user": "x" * LARGE_BYTES}).encode()


@pytest.fixture
def decider(priced: Any) -> Decider:
    limits = {"tiers": {"flash": {"limits": {"output_tokens": 100}}}, "serving": {"explore": 0.0}}
    return Decider.open(priced.folder, server.options(Settings.model_validate(limits)))


def _children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def test_large_body_is_decided_on_as_the_same_small_one(decider: Decider) -> None:
    asked = [chat(), chat(max_tokens=101), chat(tools=[{"type": "function"}]), {"messages": [7]}, {}]
    with running(decider) as url:
        for each in asked:
            large, small = (
                httpx.post(f"{url}/route", content=body).json() for body in (padded(each), json.dumps(each))
            )
            assert large | {"id": ""} == small | {"id": ""}


def test_prompt_reaches_the_router_whole(decider: Decider) -> None:
    with running(decider) as url:
        assert httpx.post(f"{url}/route", json=chat(LONG)).json()["gain"] == decider.decide(chat(LONG)).gain


@pytest.mark.parametrize(
    "body", [b"[" * 2 * LARGE_BYTES, b"{" + b" " * LARGE_BYTES, b"[" + b"0," * LARGE_BYTES + b"0]"]
)
def test_large_body_that_is_no_object_is_refused(decider: Decider, body: bytes) -> None:
    with running(decider) as url:
        reply = httpx.post(f"{url}/route", content=body)
    assert (reply.status_code, reply.json()["error"]["code"]) == (400, "invalid_json")


def test_refusal_comes_whole_from_another_process() -> None:
    refusal = Refusal(413, "request_too_large", "too large", "body", closes=True)
    assert vars(pickle.loads(pickle.dumps(refusal))) == vars(refusal)
    with pytest.raises(Refusal) as caught:
        parsed(b"[]")
    assert pickle.loads(pickle.dumps(caught.value)).body == caught.value.body


def test_death_of_the_reader_is_survived(priced: Any) -> None:
    with command(priced.folder) as (process, told):
        url = f"{told['address']}/route"
        assert httpx.post(url, content=padded(chat())).status_code == 200
        for child in _children(process.pid):
            os.kill(child, signal.SIGKILL)
        answers = [httpx.post(url, content=padded(chat())).json()["reason"] for _ in range(2)]
    assert answers[-1] not in ("unreadable", "error")


def test_reader_ends_with_the_service(priced: Any) -> None:
    with command(priced.folder) as (process, told):
        httpx.post(f"{told['address']}/route", content=padded(chat()))
        children = _children(process.pid)
        process.kill()
        process.communicate()
    assert children
    end = time.monotonic() + PATIENCE_S
    while any(_lives(child) for child in children):
        assert time.monotonic() < end
        time.sleep(0.02)


def _lives(pid: int) -> bool:
    try:
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except OSError:
        return False
