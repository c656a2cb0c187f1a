"""`tier-router serve`: what it answers, to whom, what it measures, and how it begins and ends."""

from __future__ import annotations

import json
import re
import signal
import socket
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from serving import PATIENCE_S, WORDS, answered, chat, command, connected, running, whole

from features.errors import InputError
from pipeline.limits import Limits
from pipeline.listening import LOOPBACK, listen
from pipeline.runtime.decider import Decider, Options
from pipeline.schema import nearest
from pipeline.serve import server
from pipeline.serve.commands import _said
from pipeline.settings import Serving, Settings, read

TOKEN = "a-token-of-this-test"
NO_EXPLORING = Options(explore=0.0)


@pytest.fixture(scope="module")
def decider(priced: Any) -> Iterator[Decider]:
    with Decider.open(priced.folder, NO_EXPLORING) as opened:
        yield opened


@pytest.fixture(scope="module")
def url(decider: Decider) -> Iterator[str]:
    with running(decider) as address:
        yield address


@pytest.fixture(scope="module")
def guarded(decider: Decider) -> Iterator[str]:
    with running(decider, token=TOKEN) as address:
        yield address


def error(reply: httpx.Response) -> dict[str, Any]:
    return reply.json()["error"]


def counted(url: str, name: str, **labels: str) -> float:
    """A figure of /metrics; 0 where there is none."""
    wanted = {f'{label}="{text}"' for label, text in labels.items()}
    for line in httpx.get(f"{url}/metrics").text.splitlines():
        found = re.fullmatch(r"(\w+)(?:\{(.*)\})? (\S+)", line)
        if found and found[1] == name and set(filter(None, (found[2] or "").split(","))) == wanted:
            return float(found[3])
    return 0.0


def test_decision_is_the_deciders_own(url: str, decider: Decider) -> None:
    reply = httpx.post(f"{url}/route", json=chat())
    expected = decider.decide(chat())
    assert reply.status_code == 200
    assert reply.headers["content-type"] == "application/json"
    assert reply.json() == replace(expected, id=reply.json()["id"]).plain()


def test_every_decision_has_an_id_of_its_own(url: str) -> None:
    with httpx.Client() as client:
        ids = {client.post(f"{url}/route", json=chat()).json()["id"] for _ in range(3)}
    assert len(ids) == 3


@pytest.mark.parametrize("size", [10, 30_000, 400_000])
def test_size_of_a_body_changes_nothing_but_where_it_is_read(url: str, decider: Decider, size: int) -> None:
    asked = chat(WORDS * (size // len(WORDS) + 1))
    assert httpx.post(f"{url}/route", json=asked).json()["gain"] == decider.decide(asked).gain


def test_json_object_that_is_no_chat_request_goes_to_the_capable_tier(url: str) -> None:
    reply = httpx.post(f"{url}/route", json={"prompt": "Is 7 prime?"})
    assert (reply.status_code, reply.json()["tier"], reply.json()["reason"]) == (200, "pro", "unreadable")
    assert "messages" in reply.json()["detail"]


@pytest.mark.parametrize("mark", ["1", "true", "TRUE"])
def test_header_marks_what_cannot_wait(priced: Any, mark: str) -> None:
    options = server.options(Settings.model_validate({"tiers": {"pro": {"limits": {"first_token_s": 30.0}}}}))
    with Decider.open(priced.folder, options) as decider, running(decider) as address:
        hasty = httpx.post(f"{address}/route", json=chat(), headers={"X-Tier-Router-Realtime": mark}).json()
        patient = httpx.post(f"{address}/route", json=chat(), headers={"X-Tier-Router-Realtime": "0"}).json()
    assert (hasty["tier"], hasty["reason"], hasty["alternative"]) == ("flash", "realtime", None)
    assert patient["reason"] != "realtime"


def test_realtime_header_that_says_neither_is_named(url: str) -> None:
    reply = httpx.post(f"{url}/route", json=chat(), headers={"X-Tier-Router-Realtime": "soon"})
    assert (reply.status_code, error(reply)["param"]) == (400, "x-tier-router-realtime")


def test_health_tells_the_version_and_that_none_was_refused(url: str, decider: Decider) -> None:
    found = httpx.get(f"{url}/healthz").json()
    assert found["status"] == "ok"
    assert found["version"] == decider.version
    assert found["refused"] == ""


def test_health_can_be_asked_for_without_its_text(url: str) -> None:
    reply = httpx.head(f"{url}/healthz")
    assert (reply.status_code, reply.content) == (200, b"")


def test_decisions_and_requests_are_counted(decider: Decider) -> None:
    with running(decider) as address:
        decided = httpx.post(f"{address}/route", json=chat()).json()
        tier, reason = decided["tier"], decided["reason"]
        httpx.post(f"{address}/route", content=b"{")
        assert counted(address, "tier_router_decisions_total", tier=tier, reason=reason) == 1
        assert counted(address, "tier_router_decision_seconds_count") == 1
        assert counted(address, "tier_router_evidence_count") == 1
        assert counted(address, "tier_router_requests_total", path="/route", status="200") == 1
        assert counted(address, "tier_router_requests_total", path="/route", status="400") == 1
        assert counted(address, "tier_router_request_seconds_count", path="/route") == 2


def test_metrics_tell_the_version_and_its_changes(url: str, decider: Decider) -> None:
    assert counted(url, "tier_router_version_info", version=decider.version) == 1
    assert counted(url, "tier_router_swaps_total") == 0
    assert "tier_router_refused_version 0.0" in httpx.get(f"{url}/metrics").text


def test_unknown_paths_share_one_label(decider: Decider) -> None:
    with running(decider) as address:
        for name in ("a", "b"):
            httpx.get(f"{address}/{name}")
        assert counted(address, "tier_router_requests_total", path="other", status="404") == 2
        assert "/a" not in httpx.get(f"{address}/metrics").text


def test_metrics_tell_what_was_logged(priced: Any, tmp_path: Path) -> None:
    settings = Settings(serving=Serving(log=str(tmp_path / "log")))
    with Decider.open(priced.folder, server.options(settings)) as decider:
        with running(decider, settings) as address:
            decided = httpx.post(f"{address}/route", json=chat()).json()
            assert "tier_router_log_dropped_total 0.0" in httpx.get(f"{address}/metrics").text
        decider.close()
    [row] = [json.loads(line) for path in (tmp_path / "log").glob("*.jsonl") for line in path.read_text().splitlines()]
    assert (row["task_id"], row["served"]) == (decided["id"], decided["tier"])


@pytest.mark.parametrize("given", [None, "Bearer wrong", f"Basic {TOKEN}", f"Bearer {TOKEN}x", "Bearer"])
@pytest.mark.parametrize(("method", "path"), [("POST", "/route"), ("GET", "/metrics")])
def test_nobody_is_served_without_the_token(guarded: str, method: str, path: str, given: str | None) -> None:
    headers = {"Authorization": given} if given else {}
    reply = httpx.request(method, f"{guarded}{path}", json=chat(), headers=headers)
    assert (reply.status_code, error(reply)["code"]) == (401, "invalid_api_key")


@pytest.mark.parametrize("scheme", ["Bearer", "bearer"])
def test_token_lets_in(guarded: str, scheme: str) -> None:
    headers = {"Authorization": f"{scheme} {TOKEN}"}
    assert httpx.post(f"{guarded}/route", json=chat(), headers=headers).status_code == 200
    assert httpx.get(f"{guarded}/metrics", headers=headers).status_code == 200


def test_health_is_open_to_everyone(guarded: str) -> None:
    assert httpx.get(f"{guarded}/healthz").status_code == 200


def test_web_page_may_not_ask_a_service_without_a_token(url: str, guarded: str) -> None:
    page = {"Origin": "https://example.org"}
    assert httpx.post(f"{url}/route", json=chat(), headers=page).status_code == 403
    known = page | {"Authorization": f"Bearer {TOKEN}"}
    assert httpx.post(f"{guarded}/route", json=chat(), headers=known).status_code == 200


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "example.org"])
def test_others_than_loopback_need_a_token(host: str) -> None:
    with pytest.raises(InputError, match="token_env"):
        server.token(Serving(), host)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "::1", "localhost"])
def test_loopback_needs_no_token(host: str) -> None:
    assert server.token(Serving(), host) is None


@pytest.mark.parametrize("value", ["", " ", "two words", "schlüssel", "a\x01b"])
def test_token_that_no_header_can_carry_is_refused_unshown(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("SERVICE_TOKEN", value)
    with pytest.raises(InputError, match="SERVICE_TOKEN") as caught:
        server.token(Serving(token_env="SERVICE_TOKEN"), "127.0.0.1")
    assert not value.strip() or value not in str(caught.value)


def test_models_of_the_tiers_are_the_configured_ones() -> None:
    assert server.options(Settings()).models == {}
    assert server.options(Settings.model_validate({"tiers": {"pro": {"model": "p"}}})).models == {"pro": "p"}


def test_columns_about_what_became_of_a_request_are_no_slips_of_traces() -> None:
    assert [nearest(name) for name in ("fallback", "escalated", "status")] == [None] * 3


HERE = ["localhost", "LocalHost:80", "127.0.0.1", "127.1.2.3:8080", "[::1]", "[::1]:8080"]
ELSEWHERE = [
    "example.org", "example.org:8080", "localhost.example.org", "127.0.0.1.example.org", "192.0.2.1", "[2001:db8::1]",
    "", "user@localhost", "localhost:80:80", "localhost:port", "[::1",
]  # fmt: skip


@pytest.mark.parametrize(("host", "status"), [*((host, 200) for host in HERE), *((host, 403) for host in ELSEWHERE)])
@pytest.mark.parametrize(("method", "path"), [("POST", "/route"), ("GET", "/metrics")])
def test_host_of_a_page_that_was_bound_to_this_machine_is_refused(
    url: str, method: str, path: str, host: str, status: int
) -> None:
    assert httpx.request(method, f"{url}{path}", json=chat(), headers={"Host": host}).status_code == status


def test_with_a_token_any_host_will_do(guarded: str) -> None:
    headers = {"Host": "example.org", "Authorization": f"Bearer {TOKEN}"}
    assert httpx.post(f"{guarded}/route", json=chat(), headers=headers).status_code == 200


def test_limits_of_a_tier_are_the_versions_unless_the_file_states_some(tmp_path: Path) -> None:
    assert server.options(Settings()).limits == {}
    path = tmp_path / "tier-router.toml"
    path.write_text("[tiers.pro.limits]\ntools = 3\n")
    assert server.options(read(path)).limits == {"pro": Limits(tools=3)}


def test_command_serves_until_it_is_told_to_stop(priced: Any) -> None:
    with command(priced.folder) as (process, told):
        reply = httpx.post(f"{told['address']}/route", json=chat())
        assert reply.json()["version"] == told["version"]
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=PATIENCE_S)
    assert (process.returncode, out) == (0, "")
    assert f"{told['address']}: {told['version']} decides between flash" in err
    assert "stopped after 1 decisions" in err
    assert WORDS not in err


def test_request_on_its_way_is_answered_before_the_command_ends(priced: Any) -> None:
    body = json.dumps(chat()).encode()
    request = whole(body)
    with command(priced.folder) as (process, told), connected(told["address"]) as connection:
        connection.sendall(request[:-20])
        with httpx.Client() as other:  # what was sent before is there when this is answered
            other.get(f"{told['address']}/healthz")
        process.send_signal(signal.SIGINT)
        _closed_to_others(told["address"])
        connection.sendall(request[-20:])
        assert answered(connection).startswith(b"HTTP/1.1 200")
        process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 0


def _closed_to_others(url: str) -> None:
    try:
        while True:
            connected(url).close()
    except OSError:
        return


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("nowhere",), "nowhere"),
        (("VERSION", "--host", "0.0.0.0"), "token_env"),
        (("VERSION", "--config", "tier-router.toml"), "explore"),
    ],
)
def test_what_cannot_be_served_is_named(
    tier_router: Any, priced: Any, tmp_path: Path, arguments: tuple[str, ...], said: str
) -> None:
    (tmp_path / "tier-router.toml").write_text("[serving]\nexplor = 0.1\n")
    given = [str(priced.folder) if argument == "VERSION" else argument for argument in arguments]
    ended = tier_router("serve", *given, "--port", 0, cwd=tmp_path)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert said in ended.stderr


@pytest.mark.parametrize("port", [-1, 65_536, 99_999])
def test_port_that_there_is_not_is_named(port: int) -> None:
    with pytest.raises(InputError, match="65535"):
        listen("serve", LOOPBACK, port).close()


def test_port_that_there_is_not_is_a_wrong_use(tier_router: Any, priced: Any) -> None:
    ended = tier_router("serve", priced.folder, "--port", 99_999, cwd=priced.folder)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert "65535" in ended.stderr


ADDRESSED = {tier: {"base_url": "http://localhost:1", "model": f"made-up/{tier}"} for tier in ("flash", "pro")}


@pytest.mark.parametrize(
    ("settings", "bound", "said", "unsaid"),
    [
        ({}, 0.5, "", "cascade"),
        ({"serving": {"cascade": True}}, 0.5, "cascade = true does nothing", "only JSON"),
        ({"tiers": ADDRESSED, "serving": {"cascade": True}}, None, "only JSON Schemas are checked", "nothing"),
        ({"tiers": ADDRESSED, "serving": {"cascade": True}}, 0.5, "flash (made-up/flash)", "cascade"),
        ({"tiers": ADDRESSED}, 0.5, "warning: flash is made-up/flash", "cascade"),
    ],
)
def test_operator_is_told_what_is_asked_and_what_does_nothing(
    decider: Decider,
    monkeypatch: pytest.MonkeyPatch,
    settings: dict[str, Any],
    bound: float | None,
    said: str,
    unsaid: str,
) -> None:
    monkeypatch.setitem(decider.manifest, "escalate_below", bound)
    told = "\n".join(_said("http://here", decider, Settings.model_validate(settings)))
    assert said in told
    assert unsaid not in told


def test_port_that_is_taken_is_named(decider: Decider) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(InputError, match="choose another"):
        server.serve(decider, Settings(), "127.0.0.1", taken.getsockname()[1])
