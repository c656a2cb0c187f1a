"""OpenAI's own client, unchanged but for its base URL, before scripted tiers and before the simulated pair."""

from __future__ import annotations

import asyncio
import json
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import openai
import pytest
from fronted import DONE, EASY, HARD, Fronted, delta, event, fronted
from scripted import Reply, Scripted, Seen, answer, error, served

from pipeline.simulate import prepare
from pipeline.simulate.child import running
from pipeline.simulate.options import Options

README = Path(__file__).parents[1] / "README.md"
EASILY: Any = [{"role": "user", "content": EASY}]
TOOL: Any = {"type": "function", "function": {"name": "add", "parameters": {"type": "object"}}}
STREAM = Reply(
    b"".join((
        delta("4"), delta("2"),
        event(choices=[{"index": 0, "delta": {}, "finish_reason": "stop"}]),
        event(usage={"prompt_tokens": 7, "completion_tokens": 2, "total_tokens": 9}), DONE,
    )),
    headers={"Content-Type": "text/event-stream"},
)  # fmt: skip
CALLS = {"tool_calls": [{"id": "1", "type": "function", "function": {"name": "add", "arguments": '{"a": 1}'}}]}

Tiers = Callable[..., Any]


@pytest.fixture(scope="module")
def both(priced: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Scripted, Fronted]]:
    folder = tmp_path_factory.mktemp("openai")
    with served(lambda _: answer()) as server, fronted(priced.folder, server.url, folder) as front:
        yield server, front


@pytest.fixture
def client(both: tuple[Scripted, Fronted]) -> Tiers:
    """client(flash, pro, **options): OpenAI's client, and what the tiers saw."""

    @contextmanager
    def made(flash: Reply, pro: Reply | None = None, **options: Any) -> Iterator[tuple[openai.OpenAI, list[Seen]]]:
        server, front = both
        replies = {"flash": flash, "pro": pro or answer("pro")}
        server.script, server.seen = (lambda seen: replies[seen.tier]), []
        with openai.OpenAI(base_url=f"{front.url}/v1", api_key="sk-caller", **{"max_retries": 0, **options}) as made:
            yield made, server.seen

    return made


def test_an_answer(client: Tiers) -> None:
    with client(answer("42")) as (ai, seen):
        found = ai.chat.completions.create(model="auto", messages=EASILY, temperature=0.5)
    assert (found.choices[0].message.content, found.model) == ("42", "scripted")
    assert found.usage is not None
    assert found.usage.total_tokens == 30
    assert seen[0].body == {"model": "made-up/flash", "messages": EASILY, "temperature": 0.5}
    assert seen[0].headers["authorization"] == "Bearer sk-caller"


def test_the_readmes_client(
    client: Tiers, both: tuple[Scripted, Fronted], environment: Callable[..., dict[str, str]]
) -> None:
    fences = re.findall(r"^```python\n(.*?)^```", README.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    [code] = [fence for fence in fences if "openai" in fence]
    changed = re.sub(r"http://[^/\"]+", both[1].url, code)
    with client(answer("It is."), answer("It is.")):
        ended = subprocess.run(
            [sys.executable, "-c", changed], env=environment(OPENAI_API_KEY="sk-caller"),
            capture_output=True, text=True, check=False,
        )  # fmt: skip
    assert (ended.stdout, ended.stderr) == ("It is.\n", "")


def test_the_headers_of_an_answer(client: Tiers) -> None:
    with client(answer("42")) as (ai, _):
        found = ai.chat.completions.with_raw_response.create(model="auto", messages=EASILY)
    assert found.headers["x-tier-router-tier"] == "flash"
    assert found.parse().choices[0].message.content == "42"


def test_a_stream(client: Tiers) -> None:
    with client(STREAM) as (ai, seen):
        stream = ai.chat.completions.create(
            model="auto", messages=EASILY, stream=True, stream_options={"include_usage": True}
        )
        chunks = list(stream)
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices) == "42"
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.total_tokens == 9
    assert seen[0].body["stream_options"] == {"include_usage": True}


def test_the_asynchronous_client(client: Tiers, both: tuple[Scripted, Fronted]) -> None:
    async def ask() -> tuple[list[str | None], str]:
        async with openai.AsyncOpenAI(base_url=f"{both[1].url}/v1", api_key="x", max_retries=0) as ai:
            many = await asyncio.gather(*(ai.chat.completions.create(model="auto", messages=EASILY) for _ in range(20)))
            both[0].script = lambda _: STREAM
            stream = await ai.chat.completions.create(model="auto", messages=EASILY, stream=True)
            texts = [chunk.choices[0].delta.content or "" async for chunk in stream if chunk.choices]
        return [each.choices[0].message.content for each in many], "".join(texts)

    with client(answer("42")):
        answers, streamed = asyncio.run(ask())
    assert answers == ["42"] * 20
    assert streamed == "42"


def test_tools(client: Tiers) -> None:
    reply = answer(None, message=CALLS, choice={"finish_reason": "tool_calls"})
    with client(reply, reply) as (ai, seen):
        found = ai.chat.completions.create(model="auto", messages=EASILY, tools=[TOOL], tool_choice="auto")
    assert found.choices[0].message.tool_calls is not None
    assert json.loads(found.choices[0].message.tool_calls[0].function.arguments) == {"a": 1}
    assert (seen[0].body["tools"], seen[0].body["tool_choice"]) == ([TOOL], "auto")


def test_a_response_format(client: Tiers) -> None:
    wanted: Any = {"type": "json_schema", "json_schema": {"name": "n", "schema": {"type": "object"}, "strict": True}}
    with client(answer('{"n": 1}')) as (ai, seen):
        ai.chat.completions.create(model="auto", messages=EASILY, response_format=wanted)
    assert seen[0].body["response_format"] == wanted


def test_the_models(client: Tiers) -> None:
    with client(answer()) as (ai, _):
        assert {model.id for model in ai.models.list()} >= {"auto", "made-up/flash", "made-up/pro"}


@pytest.mark.parametrize(
    ("model", "flash", "pro", "raised"),
    [
        ("auto", error(400), None, openai.BadRequestError),
        ("auto", error(401), None, openai.AuthenticationError),
        ("auto", error(403), None, openai.PermissionDeniedError),
        ("auto", error(429), error(429), openai.RateLimitError),
        ("auto", error(500), error(503), openai.InternalServerError),
        ("auto", Reply(raw=b""), Reply(raw=b""), openai.InternalServerError),
        ("no-such-model", None, None, openai.NotFoundError),
    ],
)
def test_errors_are_the_clients_own(
    client: Tiers, model: str, flash: Reply | None, pro: Reply | None, raised: type[openai.APIStatusError]
) -> None:
    with client(flash or answer(), pro) as (ai, _), pytest.raises(raised) as caught:
        ai.chat.completions.create(model=model, messages=EASILY)
    assert isinstance(caught.value.body, dict)


def test_the_clients_own_retry_finds_the_retry_after_of_both(client: Tiers) -> None:
    busy = error(429, retry_after="0.01")
    with client(busy, busy, max_retries=1) as (ai, seen), pytest.raises(openai.RateLimitError):
        ai.chat.completions.create(model="auto", messages=EASILY)
    assert [each.tier for each in seen] == ["flash", "pro"] * 2


def test_the_clients_time_out_is_the_deadline(client: Tiers) -> None:
    never = threading.Event()
    with client(Reply(after=never)) as (ai, _):
        found = ai.with_options(timeout=2.0).chat.completions.with_raw_response.create(model="auto", messages=EASILY)
        never.set()
    assert (found.headers["x-tier-router-tier"], found.headers["x-tier-router-fallback"]) == ("pro", "time-out")


def test_the_command_forwards_to_the_simulated_pair(
    priced: Any, tmp_path: Path, environment: Callable[..., dict[str, str]]
) -> None:
    prepare.prepare(tmp_path / "pair", 10, 0)
    with running(tmp_path / "pair", Options(count=10, flash_latency_s=0.0, pro_latency_s=0.0)) as address:
        config = tmp_path / "pair.toml"
        config.write_text(prepare.config(address) + "\n[serving]\nexplore = 0.0\n")
        command = [
            str(Path(sys.executable).with_name("tier-router")),
            "serve",
            str(priced.folder),
            "--config",
            str(config),
            "--port",
            "0",
            "--json",
        ]
        service = subprocess.Popen(
            command, cwd=tmp_path, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        with service, ExitStack() as stack:
            stack.callback(service.kill)
            assert service.stdout is not None
            listens = json.loads(service.stdout.readline())
            with openai.OpenAI(base_url=f"{listens['address']}/v1", api_key="sk-caller", max_retries=0) as ai:
                models = [
                    ai.chat.completions.create(model="auto", messages=[{"role": "user", "content": prompt}]).model
                    for prompt in (EASY, HARD)
                ]
            service.send_signal(signal.SIGTERM)
            _, said = service.communicate(timeout=20)
    assert service.returncode == 0, said
    assert [model[: len("simulated-pro")] for model in models] == ["simulated-fla", "simulated-pro"]
    assert "sk-caller" not in said
