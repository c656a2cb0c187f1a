"""Faults of the practice pair as a client sees them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from email.utils import parsedate_to_datetime

import httpx
import pytest

from pipeline.simulate import kinds, ledger
from pipeline.simulate.child import running
from pipeline.simulate.faults import KINDS, REJECTIONS, WRONG_USAGE, Faults
from pipeline.simulate.ledger import Entry
from pipeline.simulate.options import Options

QUICK = {"count": 60, "flash_latency_s": 0.0, "pro_latency_s": 0.0}
SLOW_S = 0.25
RETRY_AFTER_S = 3


@dataclass(frozen=True)
class Befallen:
    """A reply, or the error that came in its stead, and the ledger's line."""

    reply: httpx.Response | httpx.HTTPError
    entry: Entry

    @property
    def response(self) -> httpx.Response:
        assert isinstance(self.reply, httpx.Response), self.reply
        return self.reply


@pytest.fixture(scope="module")
def befallen(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Befallen]:
    """What a raw client sees of each fault, on a task that pro answers in text and its worse stand-in gets wrong."""
    folder = tmp_path_factory.mktemp("faults")
    task = asked()
    seen: list[httpx.Response | httpx.HTTPError] = []
    options = Options(**QUICK, seed=1, fault_share=1.0, slow_s=SLOW_S, retry_after_s=RETRY_AFTER_S)
    with running(folder, options) as url, httpx.Client(base_url=url) as client:
        drawn = Faults(1.0, KINDS, options.fault_seed)
        missing = set(KINDS)
        while missing:
            missing.discard(str(drawn.next()))
            try:
                seen.append(client.post("/pro/v1/chat/completions", json=task.request("simulated-pro")))
            except httpx.HTTPError as error:
                seen.append(error)
    entries = list(ledger.read(folder))
    assert len(entries) == len(seen)
    return {str(entry.fault): Befallen(reply, entry) for reply, entry in zip(seen, entries, strict=True)}


def asked() -> kinds.SimTask:
    """A task that pro answers in text, and a worse model would get wrong."""
    tasks = kinds.tasks(QUICK["count"], 1)
    return next(task for task in tasks if task.made.right.text and task.right("pro") and not task.right("pro", 4.0))


def test_every_fault_is_drawn(befallen: dict[str, Befallen]) -> None:
    assert set(befallen) == set(KINDS)


@pytest.mark.parametrize("fault", REJECTIONS)
def test_rejection_costs_nothing(befallen: dict[str, Befallen], fault: str) -> None:
    entry = befallen[fault].entry
    assert (entry.status, entry.usd, entry.input, entry.output) == (REJECTIONS[fault], 0.0, 0, 0)
    assert entry.task == asked().id


@pytest.mark.parametrize("fault", [fault for fault in KINDS if fault not in REJECTIONS])
def test_fault_after_tokens_were_generated_is_billed_in_full(befallen: dict[str, Befallen], fault: str) -> None:
    whole, entry = befallen["slow"].entry, befallen[fault].entry
    assert entry.usd > 0
    assert (entry.status, entry.input, entry.cached) == (200, whole.input, whole.cached)
    assert entry.delivered == (fault != "cut_off")
    if fault != "other_model":
        assert (entry.output, entry.usd) == (whole.output, whole.usd)


@pytest.mark.parametrize(("fault", "status"), [(name, status) for name, status in REJECTIONS.items() if status])
def test_rejection_has_its_status_and_an_error(befallen: dict[str, Befallen], fault: str, status: int) -> None:
    reply = befallen[fault].response
    assert reply.status_code == status
    assert set(reply.json()["error"]) == {"message", "type", "param", "code"}
    assert befallen[fault].entry.delivered


def test_retry_after_comes_as_seconds_as_a_date_and_not_at_all(befallen: dict[str, Befallen]) -> None:
    headers = [befallen[f"limit_{name}"].response.headers for name in ("seconds", "date", "bare")]
    assert headers[0]["retry-after"] == str(RETRY_AFTER_S)
    wait = parsedate_to_datetime(headers[1]["retry-after"]).timestamp() - befallen["limit_date"].entry.time
    assert RETRY_AFTER_S - 1 <= wait <= RETRY_AFTER_S
    assert "retry-after" not in headers[2]


def test_closed_connection_sends_nothing(befallen: dict[str, Befallen]) -> None:
    assert isinstance(befallen["closed"].reply, httpx.RemoteProtocolError)
    assert "without sending a response" in str(befallen["closed"].reply)
    assert not befallen["closed"].entry.delivered


def test_cut_off_body_is_shorter_than_it_says(befallen: dict[str, Befallen]) -> None:
    assert isinstance(befallen["cut_off"].reply, httpx.RemoteProtocolError)
    assert "incomplete" in str(befallen["cut_off"].reply) or "complete message body" in str(befallen["cut_off"].reply)


def test_malformed_body_is_no_json(befallen: dict[str, Befallen]) -> None:
    reply = befallen["malformed"].response
    assert reply.status_code == 200
    with pytest.raises(json.JSONDecodeError):
        reply.json()


def test_slow_reply_is_late_and_otherwise_good(befallen: dict[str, Befallen]) -> None:
    reply = befallen["slow"].response
    assert reply.elapsed.total_seconds() >= SLOW_S
    assert reply.json()["choices"][0]["message"]["content"] == asked().made.right.text


@pytest.mark.parametrize("fault", WRONG_USAGE)
def test_wrong_usage_is_not_what_was_billed(befallen: dict[str, Befallen], fault: str) -> None:
    usage, entry = befallen[fault].response.json().get("usage"), befallen[fault].entry
    stated = usage and (usage["prompt_tokens"], usage["prompt_cache_hit_tokens"], usage["completion_tokens"])
    assert stated != (entry.input, entry.cached, entry.output)
    wrong = {
        "usage_missing": lambda: usage is None,
        "usage_negative": lambda: usage["completion_tokens"] < 0,
        "usage_text": lambda: isinstance(usage["prompt_tokens"], str),
        "usage_cached": lambda: usage["prompt_cache_hit_tokens"] > usage["prompt_tokens"],
        "usage_huge": lambda: usage["completion_tokens"] > 1e12,
    }
    assert wrong[fault]()


def test_other_model_is_worse_and_has_another_name_and_fingerprint(befallen: dict[str, Befallen]) -> None:
    other, own = (befallen[name].response.json() for name in ("other_model", "slow"))
    assert other["model"] != own["model"]
    assert other["system_fingerprint"] != own["system_fingerprint"]
    assert other["choices"][0]["message"]["content"] == asked().made.wrong.text


def test_blank_lines_come_before_good_json(befallen: dict[str, Befallen]) -> None:
    reply = befallen["blank_lines"].response
    assert reply.text.startswith("\n\n\n{")
    assert reply.json()["choices"][0]["message"]["content"] == asked().made.right.text


def test_want_of_resources_breaks_off(befallen: dict[str, Befallen]) -> None:
    choice = befallen["insufficient"].response.json()["choices"][0]
    assert choice["finish_reason"] == "insufficient_system_resource"
    assert asked().made.right.text.startswith(choice["message"]["content"])
    assert choice["message"]["content"] != asked().made.right.text


def test_faults_are_as_frequent_as_their_share_and_drawn_anew_for_each_request() -> None:
    drawn = Faults(0.2, ("slow", "closed"), 3)
    found = [drawn.next() for _ in range(5_000)]
    assert 0.17 < sum(fault is not None for fault in found) / len(found) < 0.23
    again = Faults(0.2, ("slow", "closed"), 3)
    assert found == [again.next() for _ in range(5_000)]
    assert set(found) == {None, "slow", "closed"}
