"""A retune that fails or is stopped: it says what stands, and a failure leaves a page."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from retuning import BETTER, FEW, Month, Place, month, place, recorded

from features.errors import InputError, StorageError
from pipeline import history
from pipeline.beside import replacing
from pipeline.pointer import name_of
from pipeline.retune import cut_short, monthly, record
from pipeline.retune.monthly import retune

WAIT_SECONDS = 120
# The command, which is sent a signal as a function is called.
CHILD = """
import importlib, os, sys

sys.path.insert(0, sys.argv[1])
from retuning import recorded
from pipeline import cli
from pipeline.retune import monthly

owner, name, number = importlib.import_module(sys.argv[2]), sys.argv[3], int(sys.argv[4])
real = getattr(owner, name)

def stopped(*given, **named):
    os.kill(os.getpid(), number)
    return real(*given, **named)

setattr(owner, name, stopped)
monthly.recorder = recorded
sys.argv[1:] = ["retune", "--config", sys.argv[5]]
cli.main()
"""


@pytest.fixture(scope="module")
def few(priced: Any, tmp_path_factory: pytest.TempPathFactory) -> Month:
    return month(priced.folder, tmp_path_factory.mktemp("few") / "month", flash=BETTER, count=FEW)


@pytest.fixture(scope="module")
def better(priced: Any, tmp_path_factory: pytest.TempPathFactory) -> Month:
    return month(priced.folder, tmp_path_factory.mktemp("better") / "month", flash=BETTER)


@pytest.fixture
def here(priced: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    """A place of the test's own, with a registry in a file where MLflow would be."""
    monkeypatch.setattr(monthly, "recorder", recorded)
    return place(priced.folder, tmp_path)


def pages(here: Place) -> list[str]:
    """Of failures, relative to the folder of versions."""
    return [path.relative_to(here.out).as_posix() for path in (here.out / record.FOLDER).glob("failed-*/*")]


def failed(here: Place, files: Month, said: str, **more: Any) -> str:
    """The text of the one page that a failure leaves."""
    with pytest.raises((InputError, StorageError), match=said):
        retune(here.settings(files, **more))
    (page,) = pages(here)
    return (here.out / page).read_text(encoding="utf-8")


def test_failure_leaves_a_page_that_its_line_links_to(here: Place, few: Month, priced: Any) -> None:
    text = failed(here, few, "missing", logs=("missing/logs",))
    assert "missing/logs: there is no such file or folder" in text
    assert f"Failed: {name_of(priced.manifest)} serves on, untouched." in text
    assert "It failed before logs and outcomes were joined." in text
    (line,) = here.lines
    assert f"| failed | {here.served} | {here.served} |" in line
    assert pages(here)[0] in line


def test_page_of_a_failure_counts_the_evidence_that_was_read(here: Place, few: Month, tmp_path: Path) -> None:
    (bad := tmp_path / "bad.jsonl").write_text("{}\n")
    text = failed(here, few, "bad.jsonl", traces=(str(bad),))
    assert "usable, outcome known" in text
    assert "<dt>Decisions</dt><dd>600, 2026-" in text


def test_message_is_text_in_the_page_and_nothing_else(here: Place, few: Month) -> None:
    text = failed(here, few, "<script>", logs=("<script>alert(1)</script>",))
    assert "&lt;script&gt;" in text
    assert "<script>" not in text


def test_failure_whose_message_is_no_utf_8_leaves_a_page_all_the_same(here: Place, few: Month, tmp_path: Path) -> None:
    (bad := tmp_path / "bad.jsonl").write_text('{"\\ud800": 1}\n')
    assert "columns: \\ud800" in failed(here, few, "columns: \ud800", traces=(str(bad),))
    assert len(here.lines) == 1


def test_same_failure_has_one_page(here: Place, few: Month) -> None:
    for _ in range(2):
        failed(here, few, "missing", logs=("missing/logs",))
    assert len(here.lines) == 1


def test_decision_that_cannot_be_read_leaves_a_page(here: Place, few: Month) -> None:
    (broken := here.out / record.FOLDER / "0123456789ab").mkdir(parents=True)
    (broken / record.FILE).write_text("{")
    assert "remove its folder, and it is decided anew" in failed(here, few, "cannot be read")


def test_failure_whose_page_cannot_be_written_is_what_is_told(
    here: Place, few: Month, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path) -> Any:
        raise StorageError(f"{path} cannot be written: No space left on device")

    for owner in (cut_short, history):
        monkeypatch.setattr(owner, "replacing", full)
    with pytest.raises(InputError, match="missing/logs"):
        retune(here.settings(few, logs=("missing/logs",)))
    assert here.lines == pages(here) == []
    monkeypatch.setattr(history, "replacing", replacing)
    with pytest.raises(InputError, match="missing/logs"):
        retune(here.settings(few, logs=("missing/logs",)))
    assert here.lines[0].endswith("| - |")


def test_failure_without_a_champion_leaves_no_page(here: Place, few: Month) -> None:
    shutil.rmtree(here.dest)
    with pytest.raises(InputError, match="nothing was shipped there"):
        retune(here.settings(few))
    assert pages(here) == []
    assert "| failed | - | - |" in here.lines[0]


@pytest.mark.parametrize("dest", ["as it is", None])
def test_failure_after_the_decision_says_that_it_stands(
    here: Place, better: Month, monkeypatch: pytest.MonkeyPatch, dest: str | None
) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise StorageError("HISTORY.md cannot be written: No space left on device")

    more = {} if dest else {"dest": None}
    with monkeypatch.context() as patch:
        patch.setattr(monthly.history, "holds", full)
        text = failed(here, better, "No space left", **more)
    assert "Failed: the decision that v2 is to serve stands, and the next run carries it out." in text
    assert "untouched" not in text
    assert retune(here.settings(better, **more)).promoted


def file_of(here: Place, files: Month) -> Path:
    said = here.settings(files).retune.model_dump(mode="json", exclude_defaults=True)
    (path := here.out.parent / "retune.toml").write_text(
        "[retune]\n" + "".join(f"{name} = {json.dumps(value)}\n" for name, value in said.items())
    )
    return path


def stopped(here: Place, files: Month, where: str, number: signal.Signals) -> str:
    """What the command says that is stopped as a function is called."""
    owner, _, name = where.rpartition(".")
    told = [str(Path(__file__).parent), owner, name, str(int(number)), str(file_of(here, files))]
    ended = subprocess.run(
        [sys.executable, "-c", CHILD, *told], capture_output=True, text=True, check=False, timeout=WAIT_SECONDS
    )
    assert ended.returncode == 130, ended.stderr
    return ended.stderr.splitlines()[-1]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda number: number.name)
def test_run_that_is_stopped_before_it_decided_says_that_nothing_has_changed(
    here: Place, few: Month, number: signal.Signals
) -> None:
    said = stopped(here, few, "pipeline.retune.monthly.inquire", number)
    assert said == "interrupted: nothing was decided, and nothing has changed: run it again"
    assert (here.lines, pages(here), here.versions) == ([], [], ["v1"])


@pytest.mark.parametrize("where", ["pipeline.destination.point", "pipeline.retune.record.finish"])
def test_run_that_is_stopped_after_it_decided_says_that_the_decision_stands(
    here: Place, better: Month, where: str
) -> None:
    said = stopped(here, better, where, signal.SIGTERM)
    assert said == "interrupted: the decision that v2 is to serve stands, and the next run carries it out"
    assert retune(here.settings(better)).promoted
    assert here.served.startswith("v2-")
    assert len(here.lines) == 1


def test_run_that_is_stopped_when_all_is_done_says_so(here: Place, few: Month) -> None:
    def stop(_: str) -> None:
        retune(here.settings(few))
        raise KeyboardInterrupt

    with pytest.raises(cut_short.StoppedError, match="is carried out"), cut_short.noted(here.out, here.dest):
        stop("")


def interrupted(here: Place, files: Month) -> str:
    """What is told of a run that somebody stops."""
    with pytest.raises(cut_short.StoppedError) as stop:
        retune(here.settings(files))
    return str(stop.value)


def stop(*_: Any, **__: Any) -> None:
    raise KeyboardInterrupt


def test_run_that_is_stopped_after_it_finished_an_earlier_one_does_not_say_that_it_decided(
    here: Place, better: Month, few: Month, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(record, "finish", stop)
        assert interrupted(here, better).endswith("and the next run carries it out")
    monkeypatch.setattr(monthly.material, "gather", stop)
    said = "what an earlier run decided is carried out, and nothing more was decided: run it again"
    assert interrupted(here, few) == said
    assert interrupted(here, few) == "nothing was decided, and nothing has changed: run it again"


def test_run_that_is_stopped_as_it_begins_takes_no_earlier_decision_for_its_own(
    here: Place, few: Month, monkeypatch: pytest.MonkeyPatch
) -> None:
    retune(here.settings(few))
    real, looks = record.decided, iter((stop,))
    monkeypatch.setattr(record, "decided", lambda out: next(looks, real)(out))
    assert interrupted(here, few) == "nothing was decided, and nothing has changed: run it again"


def test_run_that_is_stopped_says_so_where_a_decision_cannot_be_read(
    here: Place, few: Month, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any) -> None:
        (folder := here.out / record.FOLDER / "0123456789ab").mkdir(parents=True)
        (folder / record.FILE).write_text("{")
        stop()

    monkeypatch.setattr(monthly.material, "gather", broken)
    assert "cannot be read" in interrupted(here, few)
