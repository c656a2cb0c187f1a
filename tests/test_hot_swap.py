"""A version that is shipped while services decide: taken soon, whole or not at all, and nobody waits for it."""

from __future__ import annotations

import json
import logging
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from made_up import settings

from features.errors import ArtifactError
from pipeline import pointer
from pipeline.beside import replacing
from pipeline.config import Aim
from pipeline.objective import Objective
from pipeline.runtime import watch
from pipeline.runtime.decider import Decider, Options
from pipeline.runtime.decision import Decision
from pipeline.runtime.opened import Opened
from pipeline.ship import ship
from pipeline.sibling import retune

WAIT_S = 30.0
SWAPS = 30
OFTEN = Options(explore=0.0, poll_s=0.005)
PROMPTS = ("capital city river", "prove integral theorem", "capital prove month lemma", "unheard of", "")


@dataclass(frozen=True)
class Pair:
    """Two versions that decide differently, and what each says of every prompt."""

    folders: tuple[Path, Path]
    names: tuple[str, str]
    expected: dict[str, list[tuple[str, float | None, float | None]]]


def said(decision: Decision) -> tuple[str, float | None, float | None]:
    return decision.tier, decision.gain, decision.threshold


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory, trained: Any, unrecorded: Any) -> Pair:
    folder = Path(shutil.copytree(trained.folder, tmp_path_factory.mktemp("pair") / "v1"))
    made = retune(folder, (), Aim(Objective("pro_rate", 0.0)), settings(""), unrecorded)
    deciders = [Decider.open(each, Options(explore=0.0)) for each in (folder, made.folder)]
    expected = {each.version: [said(each.decide(prompt)) for prompt in PROMPTS] for each in deciders}
    first, second = expected
    assert [tier for tier, _, _ in expected[first]] != [tier for tier, _, _ in expected[second]]
    return Pair((folder, made.folder), (first, second), expected)


@pytest.fixture
def dest(pair: Pair, tmp_path: Path) -> Path:
    """A folder to which the first version was shipped."""
    ship(pair.folders[0], tmp_path / "dest")
    return tmp_path / "dest"


@pytest.fixture
def decider(dest: Path) -> Iterator[Decider]:
    with Decider.open(dest, OFTEN) as opened:
        yield opened


def until(true: Callable[[], object]) -> None:
    end = time.monotonic() + WAIT_S
    while not true():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.002)


def test_newly_shipped_version_decides_soon(dest: Path, pair: Pair, decider: Decider) -> None:
    assert decider.version == pair.names[0]
    ship(pair.folders[1], dest)
    until(lambda: decider.version == pair.names[1])
    assert [said(decider.decide(prompt)) for prompt in PROMPTS] == pair.expected[pair.names[1]]
    assert (decider.swaps, decider.refused) == (1, "")


def test_swaps_under_load_mix_and_lose_nothing(dest: Path, pair: Pair, decider: Decider) -> None:
    wrong: list[Decision] = []
    seen: dict[str, int] = {}
    stop = threading.Event()

    def work() -> None:
        while not stop.is_set():
            for at, prompt in enumerate(PROMPTS):
                decision = decider.decide(prompt)
                seen[decision.version] = seen.get(decision.version, 0) + 1
                if said(decision) != pair.expected[decision.version][at]:
                    wrong.append(decision)

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    for at in range(SWAPS):
        ship(pair.folders[1 - at % 2], dest)
        until(lambda at=at: decider.swaps == at + 1)  # type: ignore[misc]  # each waits within its round
    stop.set()
    for thread in threads:
        thread.join()
    assert not wrong
    assert set(seen) == set(pair.names)


def damaged(version: Path, name: str) -> None:
    content = bytearray((version / name).read_bytes())
    content[len(content) // 2] ^= 1
    (version / name).write_bytes(content)


def point_at(dest: Path, name: str) -> None:
    table = json.loads((dest / pointer.POINTER).read_text())
    with replacing(dest / pointer.POINTER) as partial:
        partial.write_text(json.dumps(table | {"current": name}))


def test_damaged_version_is_refused_loudly_and_the_old_one_stays(
    dest: Path, pair: Pair, decider: Decider, caplog: pytest.LogCaptureFixture
) -> None:
    shutil.copytree(pair.folders[1], dest / pair.names[1])
    damaged(dest / pair.names[1], "router.onnx")
    point_at(dest, pair.names[1])
    until(lambda: decider.refused)
    assert "router.onnx is not the file" in decider.refused
    assert [said(decider.decide(prompt)) for prompt in PROMPTS] == pair.expected[pair.names[0]]
    assert [record.levelno for record in caplog.records if "refused" in record.message] == [logging.ERROR]


def test_refused_version_is_taken_once_it_is_whole(dest: Path, pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "PATIENCE_S", 0.01)
    point_at(dest, pair.names[1])
    with pytest.raises(ArtifactError):
        Opened.open(dest / pair.names[1])
    point_at(dest, pair.names[0])
    with Decider.open(dest, OFTEN) as decider:
        point_at(dest, pair.names[1])
        until(lambda: decider.refused)
        shutil.copytree(pair.folders[1], dest / pair.names[1])
        until(lambda: decider.version == pair.names[1])
        assert decider.refused == ""


@pytest.mark.parametrize("text", ["", "{", "[]", '{"schema": 2}', '{"schema": 1, "current": "../v1", "earlier": []}'])
def test_damaged_pointer_leaves_the_version_that_serves(dest: Path, pair: Pair, decider: Decider, text: str) -> None:
    good = (dest / pointer.POINTER).read_text()
    (dest / pointer.POINTER).write_text(text)
    until(lambda: decider.refused)
    assert decider.version == pair.names[0]
    (dest / pointer.POINTER).write_text(good)
    until(lambda: not decider.refused)


def test_folder_that_goes_away_leaves_the_version_that_serves(dest: Path, pair: Pair, decider: Decider) -> None:
    shutil.rmtree(dest)
    until(lambda: decider.refused)
    assert decider.decide(PROMPTS[0]).version == pair.names[0]


def test_version_under_the_name_of_another_is_refused(dest: Path, pair: Pair, decider: Decider) -> None:
    shutil.copytree(pair.folders[0], dest / pair.names[1])
    point_at(dest, pair.names[1])
    until(lambda: decider.refused)
    assert f"holds {pair.names[0]}" in decider.refused


def test_closed_decider_looks_no_more(dest: Path, pair: Pair, decider: Decider) -> None:
    decider.close()
    ship(pair.folders[1], dest)
    time.sleep(0.1)
    assert decider.decide(PROMPTS[0]).version == pair.names[0]


def deep(manifest: Path) -> None:
    manifest.write_text('{"schema": ' + "[" * 100_000)


def vast(manifest: Path) -> None:
    table = json.loads(manifest.read_text(encoding="utf-8"))
    table["golden"][0]["context_bytes"] = 10**30
    manifest.write_text(json.dumps(table, ensure_ascii=False), encoding="utf-8")


@pytest.mark.parametrize("damage", [deep, vast])
def test_no_damage_ends_the_watch(dest: Path, pair: Pair, decider: Decider, damage: Callable[[Path], None]) -> None:
    shutil.copytree(pair.folders[1], dest / pair.names[1])
    damage(dest / pair.names[1] / "manifest.json")
    point_at(dest, pair.names[1])
    until(lambda: decider.refused)
    point_at(dest, pair.names[0])
    until(lambda: not decider.refused)


FORGOTTEN = """
import gc, sys, threading, time
from pipeline.runtime.decider import Decider, Options
decider = Decider.open(sys.argv[1], Options(poll_s=0.01))
assert any(each.name == "tier-router versions" for each in threading.enumerate())
del decider
gc.collect()
end = time.monotonic() + 20
while any(each.name == "tier-router versions" for each in threading.enumerate()):
    assert time.monotonic() < end
    time.sleep(0.01)
"""
FORKED = """
import os, sys, time
from pathlib import Path
from pipeline.runtime.decider import Decider, Options
from pipeline.ship import ship
decider = Decider.open(sys.argv[1], Options(poll_s=0.01))
before = decider.version
child = os.fork()
if child:
    ship(Path(sys.argv[2]), Path(sys.argv[1]))
    sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
end = time.monotonic() + 20
while decider.version == before:
    if time.monotonic() > end:
        os._exit(3)
    time.sleep(0.01)
os._exit(0)
"""


def run(script: str, *arguments: Sequence[str] | Path) -> None:
    command = [sys.executable, "-c", script, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr


def test_forgotten_decider_leaves_no_thread(dest: Path) -> None:
    run(FORGOTTEN, dest)


def test_forked_process_takes_new_versions_too(dest: Path, pair: Pair) -> None:
    run(FORKED, dest, pair.folders[1])
