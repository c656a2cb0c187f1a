"""Programs that nobody trusts: what they see, what they may use, and that nothing runs where it cannot be isolated."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.grade import sandbox
from pipeline.grade.sandbox import Limits, run

SHORT = Limits(wall_s=1)


@pytest.fixture(autouse=True)
def isolated(request: pytest.FixtureRequest) -> None:
    if "anywhere" not in request.fixturenames and (why := sandbox.unavailable()):
        pytest.skip(f"left out: {why}")


@pytest.fixture
def anywhere() -> None:
    """For a test that runs no program."""


def test_a_program_gets_its_input_and_its_output_and_exit_code_come_back():
    outcome = run("import sys\nprint(sys.stdin.read().upper())\nsys.exit(3)", b"given")
    assert (outcome.ended, outcome.code, outcome.output) == ("finished", 3, b"GIVEN\n")


def test_the_interpreter_is_of_the_same_version_and_without_installed_packages():
    outcome = run("import sys\nprint(sys.version, flush=True)\nimport pydantic")
    assert outcome.output.startswith(sys.version.encode())
    assert b"No module named 'pydantic'" in outcome.output


@pytest.mark.parametrize(
    ("program", "error"),
    [
        ("import os; os.fork()", b"PermissionError"),
        ("import subprocess; subprocess.run(['/bin/ls'])", b"PermissionError"),
        ("import os; os.posix_spawn('/bin/ls', ['ls'], {})", b"PermissionError"),
        ("import multiprocessing as m; m.Process(target=print).start()", b"Error"),
        ("import socket; socket.socket()", b"PermissionError"),
        ("import urllib.request as u; u.urlopen('http://127.0.0.1:1')", b"Operation not permitted"),
        ("import os; os.memfd_create('x')", b"PermissionError"),
        ("open('/x', 'w')", b"Read-only file system"),
        ("open('/usr/x', 'w')", b"Error"),
        ("open('/dev/x', 'w')", b"Read-only file system"),
        ("open('/etc/passwd')", b"FileNotFoundError"),
        ("open('/proc/self/environ')", b"FileNotFoundError"),
        (f"open({str(Path(__file__))!r})", b"FileNotFoundError"),
        ("open('big', 'wb').write(bytes(17 << 20))", b"File too large"),
        ("for at in range(9): open(str(at), 'wb').write(bytes(4 << 20))", b"No space left"),
        ("kept = [open('/dev/null') for _ in range(99)]", b"Too many open files"),
        ("kept = [bytes(1 << 20) for _ in range(9999)]", b"MemoryError"),
        ("import resource as r; r.setrlimit(r.RLIMIT_AS, (1 << 40, 1 << 40))", b"ValueError"),
    ],
)
def test_a_program_cannot(program: str, error: bytes):
    outcome = run(program)
    assert outcome.ended == "finished"
    assert outcome.code == 1
    assert error in outcome.output


def test_no_processor_that_is_supported_lacks_the_number_of_a_forbidden_call(anywhere):
    lacking = [name for name, numbers in sandbox.FORBIDDEN.items() if numbers.keys() != sandbox.AUDIT_ARCH.keys()]
    assert lacking == ["fork", "vfork"]  # which aarch64 never had


@pytest.mark.parametrize(
    ("program", "ended"),
    [
        ("import time; time.sleep(60)", "took too long"),
        ("import os, time; os.closerange(0, 9); time.sleep(60)", "took too long"),
        ("while True: print('x' * 1000)", "wrote too much"),
    ],
)
def test_a_program_is_ended_when_it(program: str, ended: str):
    outcome = run(program, limits=SHORT)
    assert (outcome.ended, outcome.code) == (ended, None)
    assert len(outcome.output) <= SHORT.output_kb << 10


def test_a_program_is_ended_when_its_cpu_time_is_used_up():
    assert run("while True: pass", limits=Limits(cpu_s=1)).ended == "used up its CPU time"


def test_a_program_that_catches_the_signal_of_its_cpu_limit_is_killed_all_the_same():
    outcome = run("import signal\nsignal.signal(signal.SIGXCPU, print)\nwhile True: pass", limits=Limits(cpu_s=1))
    assert outcome.code == sandbox.KILLED + signal.SIGKILL


def test_nothing_of_the_environment_is_seen(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("API_KEY", "sesame")
    outcome = run("import os; print(os.environ)")
    assert outcome.code == 0
    assert b"sesame" not in outcome.output


def test_no_process_but_its_own_can_be_signalled():
    outcome = run(f"import os\nos.kill(os.getppid(), 9)\nos.kill({os.getpid()}, 9)")
    assert b"ProcessLookupError" in outcome.output


def test_threads_can_be_started():
    outcome = run("from concurrent.futures import *\nprint(sum(ThreadPoolExecutor(8).map(abs, range(100))))")
    assert outcome.output == b"4950\n"


def test_no_process_is_left_when_a_program_was_ended():
    mark = "left-over-of-test-sandbox"
    assert run(f"import time; time.sleep(60)  # {mark}", limits=SHORT).ended == "took too long"
    listed = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
    assert "ps -eo" in listed
    assert mark not in listed


def test_files_do_not_outlive_their_program():
    assert run("open('kept', 'w').write('x')").code == 0
    assert run("import os; print(os.listdir('.'))").output == b"[]\n"


def test_without_bubblewrap_nothing_runs_and_the_remedy_is_named(
    anywhere, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert run("print('ran')") == sandbox.Outcome("not isolated", None, b"bwrap is missing")
    assert "install bubblewrap" in (sandbox.unavailable.__wrapped__() or "")


def test_where_bubblewrap_fails_its_words_and_the_remedy_are_named(
    anywhere, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    fake = tmp_path / "bwrap"
    fake.write_text("#!/bin/sh\necho bwrap: setting up uid map: Permission denied >&2\nexit 1\n")
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert run("print('ran')").ended == "not isolated"
    why = sandbox.unavailable.__wrapped__() or ""
    assert "setting up uid map: Permission denied" in why
    assert "allow user namespaces" in why


@pytest.mark.parametrize(("name", "value"), [("system", "darwin"), ("machine", "riscv64")])
def test_an_unsupported_machine_is_named(anywhere, monkeypatch: pytest.MonkeyPatch, name: str, value: str):
    if name == "system":
        monkeypatch.setattr(sys, "platform", value)
    else:
        monkeypatch.setattr("platform.machine", lambda: value)
    assert value in (sandbox.unavailable.__wrapped__() or "")
