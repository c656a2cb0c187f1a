"""The practice pair within one process: what it makes of a body, its balance and its limit."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from features.errors import InputError
from pipeline.simulate import kinds
from pipeline.simulate.asked import Asked, Refusal, parsed
from pipeline.simulate.kinds import SimTask
from pipeline.simulate.options import Options
from pipeline.simulate.pair import Pair


@pytest.fixture
def task() -> SimTask:
    return kinds.task(0, 0)


@given(st.binary() | st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(), lambda inner: st.lists(inner) | st.dictionaries(
        st.sampled_from(["model", "messages", "role", "content", "tools", "thinking", "type", "max_tokens"]), inner)
).map(lambda value: json.dumps(value).encode()))  # fmt: skip
def test_any_body_is_a_request_or_a_refusal(raw: bytes) -> None:
    assert isinstance(parsed(raw), Asked | Refusal)


@pytest.mark.parametrize("depth", [800, 100_000])
def test_deeply_nested_body_is_a_request_or_a_refusal(depth: int) -> None:
    nested = "[" * depth + "]" * depth
    raw = f'{{"model": "m", "messages": [{{"role": "user", "content": {nested}}}]}}'
    assert isinstance(parsed(raw.encode()), Asked | Refusal)


def test_balance_once_used_up_refuses(task: SimTask) -> None:
    pair = Pair(Options(count=3, balance_usd=0.0005))
    raw = json.dumps(task.request("simulated-pro")).encode()
    statuses = [pair.take("pro", None, raw, float(at)).entry for at in range(20)]
    refused = [entry.status for entry in statuses].index(402)
    assert {entry.status for entry in statuses[refused:]} == {402}
    assert sum(entry.usd for entry in statuses[: refused - 1]) < 0.0005 <= sum(entry.usd for entry in statuses)


def test_limit_holds_in_any_minute_and_for_each_tier(task: SimTask) -> None:
    pair = Pair(Options(count=3, requests_per_minute=2))

    def take(tier: str, now: float) -> Any:
        return pair.take(tier, None, json.dumps(task.request(f"simulated-{tier}")).encode(), now)

    assert [take("flash", now).entry.status for now in (0.0, 30.0, 59.9)] == [200, 200, 429]
    refused = take("flash", 59.9)
    assert (refused.entry.fault, refused.entry.usd, refused.headers) == ("rate_limit", 0.0, {"retry-after": "1"})
    assert take("pro", 59.9).entry.status == 200
    assert [take("flash", now).entry.status for now in (60.0, 61.0, 90.0)] == [200, 429, 200]


@pytest.mark.parametrize(
    ("wrong", "word"),
    [
        ({"count": 0}, "count"),
        ({"fault_share": 1.5}, "fault_share"),
        ({"faults": ("cutoff",)}, "cut_off"),
        ({"faults": (), "fault_share": 0.1}, "without faults"),
        ({"slow_s": -1.0}, "slow_s"),
        ({"flash_latency_s": float("nan")}, "flash_latency_s"),
        ({"requests_per_minute": 0}, "requests_per_minute"),
    ],
)
def test_options_out_of_range_are_refused(wrong: dict[str, Any], word: str) -> None:
    with pytest.raises(InputError, match=word):
        Options(**wrong)


def test_key_is_not_shown() -> None:
    assert "my-key" not in repr(Options(key="my-key"))


def test_memory_of_a_pair_is_a_digest_a_task() -> None:
    pair = Pair(Options(count=50))
    pair.learn()
    assert len(pair.places) == 50
    assert all(isinstance(key, bytes) and len(key) == 16 for key in pair.places)
