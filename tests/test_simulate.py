"""The practice pair over its protocol: what a client asks and sees, and what the ledger says of it."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from pipeline.simulate import kinds, ledger
from pipeline.simulate.child import running
from pipeline.simulate.kinds import SimTask
from pipeline.simulate.ledger import Entry
from pipeline.simulate.options import Options
from pipeline.simulate.pair import STRANGER
from pipeline.simulate.replies import PRICES, REASONING

KEY = "simulated-key"
COUNT, SEED = 120, 4
QUICK = {"count": COUNT, "seed": SEED, "flash_latency_s": 0.0, "pro_latency_s": 0.0}


@dataclass(frozen=True)
class Served:
    """A pair in a process of its own."""

    client: httpx.Client
    folder: Path

    def post(self, tier: str, body: Any, key: str = KEY) -> httpx.Response:
        headers = {"authorization": f"Bearer {key}"}
        # As ASCII, for a lone surrogate has no UTF-8.
        return self.client.post(f"/{tier}/v1/chat/completions", content=json.dumps(body), headers=headers)

    def entry(self) -> Entry:
        """The newest of the ledger."""
        return list(ledger.read(self.folder))[-1]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("pair")
    with running(folder, Options(**QUICK, key=KEY)) as url, httpx.Client(base_url=url) as client:
        yield Served(client, folder)


@pytest.fixture(scope="module")
def tasks() -> list[SimTask]:
    return list(kinds.tasks(COUNT, SEED))


def body(task: SimTask, tier: str, **more: Any) -> dict[str, Any]:
    """A request for a task."""
    return task.request(f"simulated-{tier}") | more


def said(reply: httpx.Response) -> dict[str, Any]:
    return reply.json()["choices"][0]["message"]


@pytest.mark.parametrize("tier", ["flash", "pro"])
def test_answer_is_the_right_or_the_wrong_one_as_drawn(served: Served, tasks: list[SimTask], tier: str) -> None:
    for task in tasks:
        made = task.made.right if task.right(tier) else task.made.wrong
        message = said(served.post(tier, body(task, tier)))
        assert message["content"] == made.text
        calls = [(each["function"]["name"], each["function"]["arguments"]) for each in message.get("tool_calls", [])]
        assert calls == [(name, json.dumps(arguments)) for name, arguments in made.calls]


def test_reply_has_the_shape_of_a_chat_completion(served: Served, tasks: list[SimTask]) -> None:
    task = next(task for task in tasks if task.kind == "arithmetic")
    reply = served.post("flash", body(task, "flash")).json()
    assert reply["object"] == "chat.completion"
    assert (reply["model"], reply["system_fingerprint"]) == ("simulated-flash-2026-11", "simulated-fp-1")
    assert reply["id"].startswith("simulated-")
    assert isinstance(reply["created"], int)
    choice = reply["choices"][0]
    assert (choice["index"], choice["finish_reason"], choice["logprobs"]) == (0, "stop", None)
    assert choice["message"]["role"] == "assistant"
    usage = reply["usage"]
    assert usage["prompt_cache_hit_tokens"] + usage["prompt_cache_miss_tokens"] == usage["prompt_tokens"] > 0
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]
    assert 0 < usage["completion_tokens_details"]["reasoning_tokens"] < usage["completion_tokens"]


def test_tool_calls_end_with_tool_calls(served: Served, tasks: list[SimTask]) -> None:
    task = next(task for task in tasks if task.kind == "tools")
    choice = served.post("pro", body(task, "pro", logprobs=True)).json()["choices"][0]
    assert (choice["finish_reason"], choice["logprobs"]) == ("tool_calls", None)


def test_ledger_says_what_was_billed(served: Served, tasks: list[SimTask]) -> None:
    usage = served.post("pro", body(tasks[3], "pro")).json()["usage"]
    entry = served.entry()
    assert (entry.task, entry.tier, entry.digest) == (tasks[3].id, "pro", tasks[3].digest.hex())
    amounts = entry.input, entry.cached, entry.output
    assert amounts == tuple(usage[f"{name}_tokens"] for name in ("prompt", "prompt_cache_hit", "completion"))
    price = PRICES["pro"]
    usd = (
        (entry.input - entry.cached) * price["input"] + entry.cached * price["cached"] + entry.output * price["output"]
    )
    assert entry.usd == pytest.approx(usd / 1e6)
    assert (entry.status, entry.fault, entry.delivered) == (200, None, True)


def test_no_thinking_no_reasoning(served: Served, tasks: list[SimTask]) -> None:
    reply = served.post("flash", body(tasks[0], "flash", thinking={"type": "disabled"}))
    assert "reasoning_content" not in said(reply)
    assert reply.json()["usage"]["completion_tokens_details"]["reasoning_tokens"] == 0


def test_more_effort_reasons_more(served: Served, tasks: list[SimTask]) -> None:
    replies = [served.post("pro", body(tasks[0], "pro", reasoning_effort=effort)) for effort in ("low", "high", "max")]
    used = [reply.json()["usage"]["completion_tokens_details"]["reasoning_tokens"] for reply in replies]
    assert used == sorted(set(used))
    assert [len(said(reply)["reasoning_content"]) for reply in replies] == [4 * tokens for tokens in used]


def test_pro_reasons_more_about_harder_tasks(served: Served, tasks: list[SimTask]) -> None:
    def tokens(task: SimTask, tier: str) -> int:
        usage = served.post(tier, body(task, tier)).json()["usage"]
        return usage["completion_tokens_details"]["reasoning_tokens"]

    stories = sorted((task for task in tasks if task.kind == "steps"), key=lambda task: task.made.load["steps"])
    assert tokens(stories[-1], "pro") > tokens(stories[0], "pro") > REASONING["pro"][0]
    assert tokens(stories[-1], "pro") > tokens(stories[-1], "flash")


@pytest.mark.parametrize(("limit", "content"), [(2, "The answ"), (1, "The "), (10_000, None)])
def test_answer_that_does_not_fit_is_cut(served: Served, tasks: list[SimTask], limit: int, content: str | None) -> None:
    task = next(each for each in tasks if each.made.right.text.startswith("The answer") and each.right("pro"))
    reply = served.post("pro", body(task, "pro", max_tokens=limit, thinking={"type": "disabled"}))
    assert said(reply)["content"] == (content or task.made.right.text)
    assert reply.json()["choices"][0]["finish_reason"] == ("length" if content else "stop")
    assert reply.json()["usage"]["completion_tokens"] <= limit


def test_reasoning_uses_up_the_limit_first(served: Served, tasks: list[SimTask]) -> None:
    reply = served.post("pro", body(tasks[0], "pro", max_tokens=5))
    assert (said(reply)["content"], reply.json()["choices"][0]["finish_reason"]) == ("", "length")
    assert reply.json()["usage"]["completion_tokens"] == 5


def test_log_probabilities_tell_something_of_whether_it_is_right(served: Served, tasks: list[SimTask]) -> None:
    means: dict[bool, list[float]] = {True: [], False: []}
    for task in tasks:
        found = served.post("flash", body(task, "flash", logprobs=True)).json()["choices"][0]
        if found["logprobs"]:
            tokens = found["logprobs"]["content"]
            assert "".join(token["token"] for token in tokens) == found["message"]["content"]
            means[task.right("flash")].append(sum(token["logprob"] for token in tokens) / len(tokens))
    surer = [right > wrong for right in means[True] for wrong in means[False]]
    assert max(map(max, means.values())) < 0
    assert 0.6 < sum(surer) / len(surer) < 0.95


def test_asked_again_it_answers_the_same(served: Served, tasks: list[SimTask]) -> None:
    one, two = (served.post("flash", body(tasks[7], "flash", logprobs=True)).json() for _ in range(2))
    assert one["id"] != two["id"]
    for reply in (one, two):
        del reply["id"], reply["created"]
    assert one == two


def test_what_is_no_task_is_answered_and_billed(served: Served) -> None:
    reply = served.post("flash", {"model": "simulated-flash", "messages": [{"role": "user", "content": "\ud800?"}]})
    assert said(reply)["content"] == STRANGER.text
    assert served.entry().task is None
    assert served.entry().usd > 0


def judge(served: Served, prompt: str) -> str:
    question = {"model": "simulated-judge", "messages": [{"role": "user", "content": prompt}]}
    return str(json.loads(said(served.post("judge", question))["content"])["winner"])


def test_judge_prefers_the_same_answer_in_either_order(served: Served) -> None:
    winners = Counter()
    for at in range(30):
        shown = f"<answer_a>\n{at}\n</answer_a>\n\n<answer_b>\n{-at}\n</answer_b>"
        turned = f"<answer_a>\n{-at}\n</answer_a>\n\n<answer_b>\n{at}\n</answer_b>"
        winners[one := judge(served, shown)] += 1
        assert judge(served, turned) == {"A": "B", "B": "A", "tie": "tie"}[one]
    assert set(winners) == {"A", "B", "tie"}
    assert served.entry().tier == "judge"


@pytest.mark.parametrize("prompt", ["", "A or B? \ud800"])
def test_judge_of_no_answers_says_tie(served: Served, prompt: str) -> None:
    assert judge(served, prompt) == "tie"


def test_reasoning_of_tool_calls_has_to_be_sent_back(served: Served, tasks: list[SimTask]) -> None:
    task = next(task for task in kinds.tasks(2_000, SEED) if "reasoning_content" in str(task.made.asked))
    request = body(task, "pro")
    for message in request["messages"]:
        message.pop("reasoning_content", None)
    reply = served.post("pro", request)
    assert reply.status_code == 400
    assert "reasoning_content" in reply.json()["error"]["message"]
    assert served.post("pro", request | {"thinking": {"type": "disabled"}}).status_code == 200


HELLO = {"model": "simulated-pro", "messages": [{"role": "user", "content": "Hello"}]}


@pytest.mark.parametrize(
    ("status", "request_body", "key", "word"),
    [
        (401, HELLO, "another", "key"),
        (404, HELLO | {"model": "gpt-4"}, KEY, "simulated-pro"),
        (400, [HELLO], KEY, "model"),
        (400, HELLO | {"messages": []}, KEY, "messages"),
        (400, HELLO | {"messages": [{"role": "owner", "content": "Hello"}]}, KEY, "role"),
        (400, HELLO | {"messages": [{"role": "user"}]}, KEY, "content"),
        (400, HELLO | {"tools": "all"}, KEY, "tools"),
        (422, HELLO | {"max_tokens": 0}, KEY, "max_tokens"),
        (422, HELLO | {"max_tokens": True}, KEY, "max_tokens"),
        (422, HELLO | {"thinking": "on"}, KEY, "thinking"),
        (422, HELLO | {"reasoning_effort": "heroic"}, KEY, "reasoning_effort"),
        (422, HELLO | {"response_format": "json"}, KEY, "response_format"),
        (422, HELLO | {"stream": True}, KEY, "stream"),
    ],
)
def test_bad_request_is_refused_and_costs_nothing(
    served: Served, status: int, request_body: Any, key: str, word: str
) -> None:
    reply = served.post("pro", request_body, key)
    assert reply.status_code == status
    assert word in reply.json()["error"]["message"]
    assert key not in reply.text
    assert (served.entry().status, served.entry().usd) == (status, 0.0)


def test_only_its_endpoints_exist(served: Served) -> None:
    assert served.post("other", HELLO).status_code == 404
    listed = served.client.get("/flash/v1/models", headers={"authorization": f"Bearer {KEY}"}).json()
    assert [model["id"] for model in listed["data"]] == ["simulated-flash"]
    assert served.client.get("/flash/v1/models").status_code == 401
    assert served.client.get("/other/v1/models").status_code == 404
