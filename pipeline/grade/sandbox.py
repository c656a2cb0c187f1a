"""Runs a Python program that nobody trusts: bubblewrap, a filter of system calls, resource limits, a deadline.

What the program sees: the standard library, read-only, and one small folder in memory to write to. It has its own
process numbers, no network, no other file of the machine, an empty environment and no /proc. It may start threads but
no process: the filter forbids that rather than RLIMIT_NPROC, which counts all processes of a user and spares root.
The filter also forbids what would hold memory that no limit counts, sockets (those of a virtual machine reach its host
from any network namespace) and calls that only attacks need.

Where one of these cannot be had nothing is run: there is no way to run a program here without isolation.
"""

from __future__ import annotations

import contextlib
import functools
import os
import platform
import selectors
import shutil
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

# The program's first byte: isolated, limits set. What comes without it was said by bubblewrap, or by the interpreter.
READY = b"\0"
KILLED = 128  # bubblewrap's exit code for a program that a signal ended is this and the signal
# Read-only for the program, where they exist. The cache tells the loader where an interpreter's own library is.
SYSTEM = ("/usr", "/bin", "/lib", "/lib64", "/etc/ld.so.cache")
DEVICES = ("/dev/null", "/dev/urandom")

EPERM, ENOSYS = 1, 38
CLONE_THREAD = 0x10000
# Numbers of system calls: of Linux's tables, which never change. The C library makes threads with clone where clone3
# is missing, and only clone's flags can be seen by a filter.
CLONE3 = 435
AUDIT_ARCH = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
CLONE = {"x86_64": 56, "aarch64": 220}
FORBIDDEN = {
    "fork": {"x86_64": 57},
    "vfork": {"x86_64": 58},
    "socket": {"x86_64": 41, "aarch64": 198},
    "memfd_create": {"x86_64": 319, "aarch64": 279},
    "memfd_secret": {"x86_64": 447, "aarch64": 447},
    "shmget": {"x86_64": 29, "aarch64": 194},
    "msgget": {"x86_64": 68, "aarch64": 186},
    "semget": {"x86_64": 64, "aarch64": 190},
    "mq_open": {"x86_64": 240, "aarch64": 180},
    "unshare": {"x86_64": 272, "aarch64": 97},
    "setns": {"x86_64": 308, "aarch64": 268},
    "mount": {"x86_64": 165, "aarch64": 40},
    "ptrace": {"x86_64": 101, "aarch64": 117},
    "process_vm_readv": {"x86_64": 310, "aarch64": 270},
    "process_vm_writev": {"x86_64": 311, "aarch64": 271},
    "bpf": {"x86_64": 321, "aarch64": 280},
    "perf_event_open": {"x86_64": 298, "aarch64": 241},
    "userfaultfd": {"x86_64": 323, "aarch64": 282},
    "io_uring_setup": {"x86_64": 425, "aarch64": 425},
    "add_key": {"x86_64": 248, "aarch64": 217},
    "request_key": {"x86_64": 249, "aarch64": 218},
    "keyctl": {"x86_64": 250, "aarch64": 219},
}

Ending = Literal["finished", "took too long", "used up its CPU time", "wrote too much", "not isolated"]


@dataclass(frozen=True)
class Limits:
    """What a program may use.

    Attributes:
        wall_s: seconds until it is killed.
        cpu_s: seconds of all its threads together; whole.
        memory_mb: address space, in MiB, the interpreter's own 30 included.
        file_mb: of one file, and of all files together.
        open_files: at a time.
        output_kb: of what it writes to stdout and stderr; a program that writes more is killed.
    """

    wall_s: float = 10
    cpu_s: int = 5
    memory_mb: int = 512
    file_mb: int = 16
    open_files: int = 32
    output_kb: int = 64


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a program ended.

    Attributes:
        ended: "not isolated" where it never ran, or where its isolation broke: nothing is known of the program then.
        code: its exit code, 128 and the signal for one that was killed; None unless it finished.
        output: of stdout and stderr, in the order written; what went wrong where it was not isolated.
    """

    ended: Ending
    code: int | None
    output: bytes


@functools.cache
def unavailable() -> str | None:
    """Why this machine cannot isolate a program, and what to do about it; None where it can.

    Found once per process, by running a program of no lines.
    """
    if sys.platform != "linux":
        return f"code is isolated on Linux only, and this is {sys.platform}: grade on Linux"
    if platform.machine() not in AUDIT_ARCH:
        return f"no filter of system calls for a {platform.machine()}: grade on one of {', '.join(AUDIT_ARCH)}"
    if shutil.which("bwrap") is None:
        return "bwrap is missing: install bubblewrap 0.8 or later (apt-get install bubblewrap)"
    outcome = run("")
    if outcome.ended == "finished" and outcome.code == 0:
        return None
    said = " ".join(outcome.output.decode(errors="replace").split())[-300:]
    return (
        f"bwrap cannot isolate a program ({said or outcome.ended}): install bubblewrap 0.8 or later and allow user "
        "namespaces (in a container: seccomp and AppArmor profiles that do)"
    )


def run(program: str, given: bytes = b"", limits: Limits | None = None) -> Outcome:
    """Run a Python program isolated.

    Args:
        program: its source, under 100 KB; the interpreter is the one of this process, without installed packages.
        given: its stdin, of any length.
        limits: those of `Limits()` where there are none.
    """
    limits = limits or Limits()
    bwrap = shutil.which("bwrap")
    if bwrap is None:
        return Outcome("not isolated", None, b"bwrap is missing")
    with _file(given) as stdin, _file(_filter()) as rules:
        process = subprocess.Popen(  # noqa: S603 - an argument list, no shell
            [bwrap, *_walls(limits, rules), *_interpreter(), "-c", _limiting(limits) + program],
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            pass_fds=(rules,),
            env={},  # what bubblewrap itself was given is none of the program's business either
            start_new_session=True,  # an interrupt from the keyboard is for the caller to act on
        )
        with process:
            try:
                return _watched(process, limits)
            finally:
                process.kill()  # and the process namespace dies with it


def _watched(process: subprocess.Popen[bytes], limits: Limits) -> Outcome:
    """Wait for the end of a program or of what it may use, whichever is first."""
    deadline = time.monotonic() + limits.wall_s
    output = bytearray()
    assert process.stdout is not None
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        while True:
            if not selector.select(max(0, deadline - time.monotonic())):
                return _outcome("took too long", None, output)
            chunk = os.read(process.stdout.fileno(), 1 << 16)
            output += chunk
            if len(output) > limits.output_kb << 10:
                del output[limits.output_kb << 10 :]
                return _outcome("wrote too much", None, output)
            if not chunk:
                break
    try:  # a program can close its output and go on
        code = process.wait(max(0, deadline - time.monotonic()))
    except subprocess.TimeoutExpired:
        return _outcome("took too long", None, output)
    if code < 0:  # not the program but bubblewrap was killed, which the program cannot do
        return Outcome("not isolated", None, b"bwrap was ended by signal %d" % -code)
    if code == KILLED + signal.SIGXCPU:
        return _outcome("used up its CPU time", None, output)
    return _outcome("finished", code, output)


def _outcome(ended: Ending, code: int | None, output: bytearray) -> Outcome:
    if not output.startswith(READY):
        return Outcome("not isolated", None, bytes(output))
    return Outcome(ended, code, bytes(output[len(READY) :]))


def _walls(limits: Limits, rules: int) -> Iterator[str]:
    """Bubblewrap's options. The last mount makes what they leave of a root folder read-only, so it comes last."""
    yield from ("--unshare-all", "--unshare-user", "--uid", "65534", "--gid", "65534", "--hostname", "sandbox")
    yield from ("--die-with-parent", "--new-session", "--clearenv", "--seccomp", str(rules))
    for path in (*SYSTEM, sys.base_prefix):
        yield from ("--ro-bind-try", path, path)
    for device in DEVICES:
        yield from ("--dev-bind", device, device)
    yield from ("--size", str(limits.file_mb << 20), "--tmpfs", "/tmp", "--chdir", "/tmp")  # noqa: S108 - its own
    yield from ("--remount-ro", "/")
    # Sets and dictionaries in the same order each time; no 64 MiB of address space set aside per thread.
    for name, value in {"HOME": "/tmp", "LANG": "C.UTF-8", "PYTHONHASHSEED": "0", "MALLOC_ARENA_MAX": "1"}.items():  # noqa: S108
        yield from ("--setenv", name, value)


def _interpreter() -> tuple[str, ...]:
    """The interpreter under this process' virtual environment, if any; only the standard library is on its path."""
    name = f"python{sys.version_info.major}.{sys.version_info.minor}"
    return str(Path(sys.base_prefix, "bin", name)), "-S", "-P", "-B"


def _limiting(limits: Limits) -> str:
    """The program's first lines. Bubblewrap sets no limits, and code between fork and exec is unsafe beside threads."""
    amounts = {
        "CPU": (limits.cpu_s, limits.cpu_s + 1),  # a second later a signal comes that cannot be caught
        "AS": (limits.memory_mb << 20,) * 2,
        "FSIZE": (limits.file_mb << 20,) * 2,
        "NOFILE": (limits.open_files,) * 2,
        "CORE": (0, 0),
    }
    lines = [f"resource.setrlimit(resource.RLIMIT_{name}, {amount})" for name, amount in amounts.items()]
    return "\n".join(["import os, resource", *lines, f"os.write(1, {READY!r})", ""])


def _filter() -> bytes:
    """The rules for system calls, as a classic BPF program: forbidden ones fail, and nothing else changes.

    https://docs.kernel.org/userspace-api/seccomp_filter.html
    """
    machine = platform.machine()
    calls = [numbers[machine] for numbers in FORBIDDEN.values() if machine in numbers]
    load, equal, at_least, any_of, answer = 0x20, 0x15, 0x35, 0x45, 0x06
    fail, kill, allow = 0x00050000, 0x80000000, 0x7FFF0000
    rules = [(load, 0, 0, 4), (equal, 1, 0, AUDIT_ARCH[machine]), (answer, 0, 0, kill), (load, 0, 0, 0)]
    rules += [(at_least, 0, 1, 1 << 30), (answer, 0, 0, kill)]  # the x32 calls of x86-64: other numbers, same calls
    rules += [(equal, 0, 1, CLONE3), (answer, 0, 0, fail | ENOSYS)]
    for call in calls:
        rules += [(equal, 0, 1, call), (answer, 0, 0, fail | EPERM)]
    rules += [(equal, 0, 3, CLONE[machine]), (load, 0, 0, 16), (any_of, 1, 0, CLONE_THREAD)]
    rules += [(answer, 0, 0, fail | EPERM), (answer, 0, 0, allow)]
    return b"".join(struct.pack("=HBBI", *rule) for rule in rules)


@contextlib.contextmanager
def _file(content: bytes) -> Iterator[int]:
    """A file in memory, to be read from its start; as a number, since another process inherits it."""
    number = os.memfd_create("given")
    try:
        with os.fdopen(os.dup(number), "wb") as file:
            file.write(content)
        os.lseek(number, 0, os.SEEK_SET)
        yield number
    finally:
        os.close(number)
