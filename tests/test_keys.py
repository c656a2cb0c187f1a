"""Keys are in nothing that is made, written or said, whatever an endpoint makes of them."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from itertools import cycle
from pathlib import Path

import pytest
from scripted import KEY_VARIABLE, Bench, Reply, Seen, answer, bench, completion, error, says

from features.errors import InputError
from pipeline.collect.client import HIDDEN_KEY, hidden

KEY = 'sk-9f/3aB+71c\\"d0=E55ee6'
PART = 8  # characters of it in a row that are too many
WAIT_SECONDS = 60
LOGGED = """
import logging, sys
logging.basicConfig(level=logging.DEBUG)
from pipeline import cli
sys.argv = ["tier-router", *sys.argv[1:]]
cli.main()
"""


def tells(text: str, key: str = KEY) -> bool:
    """Whether a text has so much of the key in a row, as it is or as JSON writes it."""
    spellings = (key, key.replace("\\", "\\\\").replace('"', '\\"'))
    spellings += tuple(spelling.replace("/", "\\/") for spelling in spellings)
    return any(each[at : at + PART] in text for each in spellings for at in range(len(each) - PART + 1))


def assert_untold(folder: Path, *said: str) -> None:
    for text in said:
        assert not tells(text)
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert files
    for path in files:
        assert not tells(path.read_bytes().decode("latin-1")), path


def repeating() -> Callable[[Seen], Reply]:
    """Every kind of reply, the key of the request in each."""
    kinds = cycle(range(8))

    def script(seen: Seen) -> Reply:
        sent = seen.headers["authorization"]
        key = sent.removeprefix("Bearer ")
        echo = says({"error": {"message": f"Incorrect key {key}", "sent": sent}}).body
        page = b'{"error": "' + key.encode()
        return (
            Reply(echo, 500, {"X-Sent": sent}),
            Reply(echo.replace(b"/", b"\\/"), 429, {"Retry-After": key}),
            answer(f"Your key is {key}.", model=key, system_fingerprint=key),
            Reply(f"<html>{key}</html>".encode()),
            Reply(page, cut=len(page) - 3),
            Reply(raw=f"HTTP/1.1 {key}\r\n\r\n".encode()),
            error(400, sent, location=key),
            says(completion(message={"reasoning_content": sent})),
        )[next(kinds)]

    return script


def command(found: Bench, key: str, *arguments: str, logged: bool = False) -> subprocess.CompletedProcess[str]:
    start = [sys.executable, "-c", LOGGED] if logged else [str(Path(sys.executable).with_name("tier-router"))]
    return subprocess.run(
        [*start, *arguments], env={KEY_VARIABLE: key, "PATH": ""}, cwd=found.folder,
        capture_output=True, text=True, check=False, timeout=WAIT_SECONDS,
    )  # fmt: skip


def collecting(found: Bench, *more: str) -> tuple[str, ...]:
    return ("collect", str(found.tasks), "--config", str(found.config), "--budget", "1", *more)


@pytest.mark.parametrize("key", [KEY, f"  {KEY}\n"])
def test_the_key_is_sent_as_a_bearer_token_without_the_space_around_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, key: str
) -> None:
    monkeypatch.setenv(KEY_VARIABLE, key)
    with bench(tmp_path, lambda _: answer(), key_env=KEY_VARIABLE) as found:
        found.collect()
        assert {seen.headers["authorization"] for seen in found.server.seen} == {f"Bearer {KEY}"}


def test_without_a_key_none_is_sent(tmp_path: Path) -> None:
    with bench(tmp_path, lambda _: answer()) as found:
        found.collect()
        assert all("authorization" not in seen.headers for seen in found.server.seen)


@pytest.mark.parametrize(("more", "logged"), [((), True), (("--json",), False)])
def test_whatever_an_endpoint_repeats_the_key_is_nowhere(tmp_path: Path, more: tuple[str, ...], logged: bool) -> None:
    with bench(tmp_path, repeating(), 16, key_env=KEY_VARIABLE, concurrency=1) as found:
        done = command(found, KEY, *collecting(found, *more), logged=logged)
        assert done.returncode == 3, done.stderr
        assert len(found.server.seen) > 16
        traces = str(found.folder / "traces.jsonl")
        people = str(found.folder / "people.csv")
        graded = command(found, KEY, "grade", str(found.journal), "--for-people", people)
        labelled = command(found, KEY, "label", str(found.journal), traces)
        assert graded.returncode == labelled.returncode == 0, graded.stderr + labelled.stderr
        assert HIDDEN_KEY in done.stdout + found.journal.read_bytes().decode("latin-1")
        assert_untold(tmp_path, *(each.stdout + each.stderr for each in (done, graded, labelled)))


def test_a_wrong_key_is_not_shown_by_the_message_that_complains_of_it(tmp_path: Path) -> None:
    script = lambda seen: error(401, f"no such key: {seen.headers['authorization']}")  # noqa: E731
    with bench(tmp_path, script, 4, key_env=KEY_VARIABLE) as found:
        done = command(found, KEY, *collecting(found))
        assert done.returncode == 2
        assert "the key is wrong or missing" in done.stderr
        assert HIDDEN_KEY in done.stderr
        assert_untold(tmp_path, done.stdout, done.stderr)


@pytest.mark.parametrize(
    ("key", "complaint"),
    [
        ("", "environment variable SCRIPTED_KEY is not set: export it"),
        ("   ", "environment variable SCRIPTED_KEY is not set: export it"),
        ("sk-secretsecret two", "SCRIPTED_KEY holds characters that no key has"),
        ("sk-secretsecret\x07", "SCRIPTED_KEY holds characters that no key has"),
        ("sk-secretsecretü", "SCRIPTED_KEY holds characters that no key has"),
    ],
)
def test_a_key_that_cannot_be_one_is_complained_about_and_not_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, key: str, complaint: str
) -> None:
    monkeypatch.setenv(KEY_VARIABLE, key)
    with bench(tmp_path, lambda _: answer(), key_env=KEY_VARIABLE) as found:
        with pytest.raises(InputError, match=rf"tiers\.flash\.key_env: .*{complaint}") as caught:
            found.collect()
        assert "secret" not in str(caught.value)
        assert found.server.seen == []
        assert not found.journal.exists()


@pytest.mark.parametrize(
    "line",
    [
        'key_env = "sk-secretsecret"', 'key_env = "secretsecret"',
        'base_url = "https://user:secretsecret@example.com"', 'base_url = "https://example.com/?key=secretsecret"',
        'base_url = "https://example.com/#secretsecret"', 'base_url = "https://user:secretsecret@[example.com"',
    ],
)  # fmt: skip
def test_a_key_in_the_wrong_place_of_the_file_is_refused_and_not_shown(tmp_path: Path, line: str) -> None:
    with bench(tmp_path, lambda _: answer()) as found:
        found.config.write_text(f"[tiers.pro]\n{line}\n", encoding="utf-8")
        with pytest.raises(InputError, match=r"tier-router\.toml: tiers\.pro") as caught:
            found.collect()
        assert "secret" not in str(caught.value)


def test_a_training_with_the_key_at_hand_keeps_none_of_it(
    tmp_path: Path, generated: Callable[..., list[dict[str, object]]], write: Callable[..., Path]
) -> None:
    with bench(tmp_path, lambda _: answer(), key_env=KEY_VARIABLE) as found:
        traces = write(tmp_path / "traces.jsonl", generated(320))
        out = tmp_path / "models"
        done = command(found, KEY, "train", "--traces", str(traces), "--out", str(out), "--config", str(found.config))
        assert done.returncode == 0, done.stderr
        manifest = next(out.glob("*/manifest.json")).read_text(encoding="utf-8")
        assert KEY_VARIABLE in manifest  # the name of the variable, so that the file can be given again
        assert_untold(tmp_path, done.stdout, done.stderr)


@pytest.mark.parametrize("left", range(4, len(KEY)))
def test_a_key_that_was_cut_off_is_hidden(left: int) -> None:
    assert hidden(f"{{'said': '{KEY[:left]}", KEY) == f"{{'said': '{HIDDEN_KEY}"


def test_a_text_without_the_key_is_as_it_was() -> None:
    assert hidden('{"a": "sk-"}', KEY) == '{"a": "sk-"}'
