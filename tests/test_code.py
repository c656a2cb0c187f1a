"""The grader of kind `code`: which answers pass, and that no answer passes without solving its task."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from features.errors import InputError
from pipeline.grade import code, sandbox
from pipeline.grade.answer import Answer, Verdict
from pipeline.grade.code import Code, fenced
from pipeline.tables import validated

TESTS = """
import math
assert add(2, 3) == 5
def test_negative():
    assert add(-2, -3) == -5
def test_fractions():
    assert math.isclose(add(0.1, 0.2), 0.3)
"""
UNITTEST = """
import unittest
class Adds(unittest.TestCase):
    def test_small(self):
        self.assertEqual(add(2, 3), 5)
"""
RIGHT = "def add(a, b):\n    return a + b\n"
WRONG = "def add(a, b):\n    return a - b\n"
EQUAL = """
class Sum:
    def __init__(self, value):
        self.value = value
    def __eq__(self, other):
        return self.value == getattr(other, "value", other)
"""
DEEP = """
import sys
sys.setrecursionlimit(10**6)
def deep(n):
    return n and deep(n - 1)
deep(20_000)
"""
POOL = """
from concurrent.futures import ThreadPoolExecutor
def add(a, b):
    with ThreadPoolExecutor(8) as pool:
        return sum(pool.map(float, [a, b]))
"""
SPINNING = """
import threading, time
def spin():
    while True:
        pass
for _ in range(4):
    threading.Thread(target=spin).start()
time.sleep(60)
"""
# Takes every name that the frames under its own can see, on whichever thread a garbage collection or an error calls it,
# and what is left in every open file; tries to say the end with what it finds, and with words that it makes up.
SEARCHING = (
    WRONG
    + """
import gc, os, sys, threading
from contextlib import suppress

def look(*_):
    found = [b"passed", b"setup", b"OK", b"0"]
    try:
        raise ValueError
    except ValueError as error:
        frame = error.__traceback__.tb_frame
    while frame:
        for value in [*frame.f_locals.values(), *frame.f_globals.values()]:
            for inner in list(value.values()) if isinstance(value, dict) else [value]:
                if isinstance(inner, (str, bytes)):
                    found.append(inner.encode() if isinstance(inner, str) else inner)
                for name in ("put", "release"):
                    with suppress(Exception):
                        getattr(inner, name)(*["x"] * (name == "put"))
        frame = frame.f_back
    for number in range(32):
        with suppress(OSError):
            os.lseek(number, 0, 0)
            found.append(os.read(number, 1 << 16))
    for number in range(3, 32):
        with suppress(OSError):
            for word in found:
                if len(word) < 50:
                    os.write(number, word)
    time_to_stop.append(1)
    if len(time_to_stop) > 50:
        gc.callbacks.clear()

time_to_stop = []

class Late:
    def __del__(self):
        look()

gc.callbacks.append(look)
kept = [Late()]
kept.append(kept)
del kept
gc.collect()
sys.unraisablehook = look
thread = threading.Thread(target=look)
thread.start()
thread.join()
look()
assert len(time_to_stop) > 3
gc.set_threshold(1)
"""
)


@pytest.fixture(autouse=True)
def isolated(request: pytest.FixtureRequest) -> None:
    if "anywhere" not in request.fixturenames and (why := sandbox.unavailable()):
        pytest.skip(f"left out: {why}")


@pytest.fixture(scope="session")
def anywhere() -> None:
    """For a test that runs no program."""


def grade(text: str, tests: str = TESTS, **more: Any) -> Verdict:
    table = {"kind": "code", "tests": tests, "timeout_s": 5, **more}
    return validated(Code, table, "tasks.jsonl: line 1: grader").grade(Answer(text))


@pytest.mark.parametrize(
    "text",
    [
        RIGHT,
        f"Here:\n```python\n{RIGHT}```\nIt adds.",
        f"```\n{RIGHT}```",
        f"~~~py\n{RIGHT}~~~",
        f"cut off:\n```python\n{RIGHT}",
        f"1. In a list:\n\n   ```Python\n   {RIGHT.replace(chr(10), chr(10) + '   ')}\n   ```",
        f"```python\n{RIGHT}```\nUse:\n```python\nprint(add(int(input()), 1))\n```",
        f"```python\nfrom functools import reduce\ndef one(): pass\n```\n```python\n{RIGHT}```",
        f"```python\n{WRONG}```\nNo, that subtracts:\n```python\n{RIGHT}```",
        f"```python\n{RIGHT}```\nsays\n```python\n>>> add(1, 2)\n3\n```",
        f"```bash\npip install nothing\n```\n```python\n{RIGHT}```",
        "add = lambda a, b: a + b",
        f"{RIGHT}if __name__ == '__main__':\n    print(add(*map(int, input().split())))",
        f"from __future__ import annotations\nimport asyncio, typing, collections, enum, ctypes\n{RIGHT}",
        f"from dataclasses import dataclass\n@dataclass\nclass Pair:\n    a: 'int'\n{RIGHT}print('x' * 10**6)",
        f"def test_negative(): assert False\n{RIGHT}",
        EQUAL + RIGHT,
        DEEP + RIGHT,
        POOL,
        "import threading, time\nthreading.Thread(target=time.sleep, args=(60,)).start()\n" + RIGHT,
    ],
)
def test_right(text: str):
    assert grade(text) == Verdict(True, "passed the tests")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (WRONG, "AssertionError in the tests: assert add(2, 3) == 5"),
        ("def add(a, b):\n    return 5", "AssertionError in the tests: assert add(-2, -3) == -5"),
        ("", "NameError in the tests"),
        ("It is easy to add.", "no code that compiles: SyntaxError in line 1"),
        ("```python\ndef add(a, b:\n```", "no code that compiles: SyntaxError in line 1"),
        ("x = 1\nraise KeyError\n" + RIGHT, "KeyError in line 2 of the code"),
        ("import numpy\n" + RIGHT, "ModuleNotFoundError in line 1 of the code"),
        (f"```json\n{RIGHT}```", "no code that compiles"),
        ("a\0b", "no code that compiles"),
        ("\udc80", "no code that compiles"),
        ("(" * 10**6, "no code that compiles"),
        ("-" * 10**6 + "1", ""),
        ("x" * 10**6, "NameError"),
    ],
)
def test_wrong(text: str, reason: str):
    verdict = grade(text)
    assert verdict.correct is False
    assert reason in verdict.reason


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        pytest.param("print('OK')\nprint('passed')\n" + WRONG, "assert add(2, 3) == 5", id="says so"),
        pytest.param("import sys\nsys.exit(0)", "ended before", id="exits"),
        pytest.param("def add(a, b):\n    raise SystemExit(0)", "ended before", id="exits when called"),
        pytest.param("import os\ndef add(a, b): os._exit(0)", "ended before", id="exits at once when called"),
        pytest.param("import os\nos.execv('/bin/true', ['true'])", "ended before", id="becomes another program"),
        pytest.param("import os\nos.kill(os.getpid(), 9)", "exit code 137", id="kills itself"),
        pytest.param("AssertionError = Warning\n" + WRONG, "assert add(2, 3) == 5", id="names AssertionError"),
        pytest.param(
            "import builtins\nbuiltins.AssertionError = Warning\n" + WRONG,
            "replaced builtins.AssertionError",
            id="replaces AssertionError",
        ),
        pytest.param(
            "import builtins\nbuiltins.exec = print\nbuiltins.compile = print\n" + WRONG,
            "replaced builtins.",
            id="replaces exec",
        ),
        pytest.param(
            "import builtins\nbuiltins.vars = lambda m: {}\n" + RIGHT,
            "replaced builtins.vars",
            id="replaces what checks",
        ),
        pytest.param(
            "import math\nmath.isclose = lambda *a: True\n" + RIGHT,
            "replaced math.isclose",
            id="replaces what the tests use",
        ),
        pytest.param(
            "import math\ndef add(a, b):\n    math.isclose = lambda *a: True\n    return int(a + b)",
            "replaced math.isclose",
            id="replaces it when called",
        ),
        pytest.param(
            "class A:\n    def __eq__(self, o): return True\ndef add(a, b): return a + b if a == 0.1 else A()",
            "A equals everything",
            id="equals all",
        ),
        pytest.param(
            "class A(float):\n    def __eq__(self, o): return True\n"
            "def add(a, b): return A(a + b if (a, b) == (0.1, 0.2) else 0)",
            "A equals everything",
            id="a number that equals all",
        ),
        pytest.param(
            "def add(a, b):\n    class A:\n        def __eq__(self, o): return isinstance(o, int)\n"
            "    return A() if isinstance(a, int) else a + b",
            "A equals everything",
            id="equals every number",
        ),
        pytest.param(
            "from unittest.mock import ANY\ndef add(a, b): return ANY if isinstance(a, int) else a + b",
            "_ANY equals everything",
            id="equals all, ready-made",
        ),
        pytest.param("globals()['__builtins__'] = {}\n" + WRONG, "in the tests", id="takes the builtins away"),
        pytest.param(
            "def add(a, b):\n    globals()['test_negative'] = lambda: 0\n    return 5",
            "assert add(-2, -3) == -5",
            id="replaces tests",
        ),
        pytest.param("import sys\nsys.settrace(lambda *a: None)\n" + RIGHT, "looked into", id="traces"),
        pytest.param("import sys\nsys.addaudithook(print)\n" + RIGHT, "looked into", id="adds an audit hook"),
        pytest.param("import gc\ngc.get_objects()\n" + RIGHT, "looked into", id="looks at all objects"),
        pytest.param("import ctypes\nctypes.string_at(id(1), 9)\n" + RIGHT, "looked into", id="looks at memory"),
        pytest.param("import ctypes\nctypes.CDLL('libc.so.6')\n" + RIGHT, "looked into", id="loads a library"),
        pytest.param("import sys\nsys._current_frames()\n" + RIGHT, "looked into", id="looks at other threads"),
        pytest.param(SEARCHING, "ended before", id="searches for the secret"),
        pytest.param(
            "import atexit, os\natexit.register(os.write, 3, b'passed')\n" + WRONG,
            "assert add(2, 3) == 5",
            id="speaks last",
        ),
        pytest.param(
            "open('/tmp/result', 'w').write('passed')\n" + WRONG, "assert add(2, 3) == 5", id="writes a result"
        ),
        pytest.param("import os\nwhile True: os.fork()", "PermissionError in line 2", id="forks"),
        pytest.param(
            "import socket\nsocket.create_connection(('1.1.1.1', 53))\n" + RIGHT,
            "PermissionError in line 2",
            id="opens a socket",
        ),
        pytest.param("open('/srv/x', 'w')\n" + RIGHT, "FileNotFoundError", id="writes outside"),
        pytest.param("open('big', 'wb').write(bytes(99 << 20))\n" + RIGHT, "OSError", id="writes a big file"),
        pytest.param("kept = [bytes(1 << 20) for _ in range(9999)]\n" + RIGHT, "MemoryError", id="fills the memory"),
        pytest.param("import os\nos.environ['API_KEY']\n" + RIGHT, "KeyError", id="reads the environment"),
        pytest.param(
            "import os\nfor n in range(3, 32):\n    try: os.write(n, b'x' * 10**6)\n    except OSError: 0\n" + WRONG,
            "grader's channel",
            id="floods",
        ),
    ],
)
def test_refused(text: str, reason: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("API_KEY", "sesame")
    verdict = grade(text)
    assert verdict.correct is False
    assert reason in verdict.reason
    assert "sesame" not in verdict.reason
    assert "\n" not in verdict.reason
    assert len(verdict.reason) < 200


@pytest.mark.parametrize(
    "text",
    [
        "import time\ntime.sleep(60)",
        "def add(a, b):\n    while True: pass",
        "import os, time\nos.closerange(0, 99)\ntime.sleep(60)",
        SPINNING,
    ],
)
def test_too_long(text: str):
    assert grade(text, timeout_s=1) == Verdict(False, "took longer than 1 s")


@pytest.mark.parametrize(
    ("text", "correct"),
    [
        (RIGHT, True),
        (WRONG, False),
        ("import unittest\nunittest.TestCase.assertEqual = print\n" + WRONG, False),
        ("import unittest\nunittest.TestCase.assertEqual.__code__ = (lambda *a: 0).__code__\n" + WRONG, False),
        ("import unittest\nunittest.TestLoader = lambda: 0\n" + RIGHT, False),
        ("import unittest\ndef add(a, b):\n    raise unittest.SkipTest", False),
    ],
)
def test_test_cases_are_run(text: str, correct: bool):
    assert grade(text, UNITTEST).correct is correct


def test_the_setup_runs_before_the_code_in_its_namespace():
    setup = "class Node:\n    value = 5\n"
    assert grade("def add(a, b):\n    return Node.value", "assert add(2, 3) == 5", setup=setup).correct


def test_tests_may_import_the_code_and_replace_functions_themselves():
    tests = "import builtins, answer\nbuiltins.input = lambda: '5'\nfrom answer import read\nassert read() == 5"
    assert grade("def read():\n    return int(input())", tests).correct


@pytest.mark.parametrize("more", [{"setup": "import nowhere"}, {"tests": "import nowhere\nassert add(1, 1) == 2"}])
def test_a_task_that_cannot_run_says_nothing_of_the_answer(more: dict[str, str]):
    verdict = grade(RIGHT, **more)
    assert verdict.correct is None
    assert "setup" in verdict.reason


def test_the_search_for_the_secret_would_find_one_that_code_can_reach(monkeypatch: pytest.MonkeyPatch):
    line = 'space["__builtins__"] = builtins'
    leaking = code._program().replace(line, f'{line}; space["leak"] = given["secret"]')
    assert "leak" in leaking
    monkeypatch.setattr(code, "_program", lambda: leaking)
    assert grade(SEARCHING).correct


def test_an_answer_cannot_pretend_that_its_task_cannot_run():
    text = (
        "import os\nfor number in range(3, 9):\n    try: os.write(number, b'setup')\n    except OSError: 0\nos._exit(0)"
    )
    assert grade(text).correct is False


def test_what_cannot_be_isolated_is_not_run(anywhere, monkeypatch: pytest.MonkeyPatch, tmp_path: Any):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert grade(RIGHT) == Verdict(None, "could not be run: bwrap is missing")


@pytest.mark.parametrize(
    ("table", "complaint"),
    [
        ({"tests": "x = 1"}, "tests nothing: add an assert"),
        ({"tests": "assert ("}, "not Python: line 1"),
        ({"tests": "assert 1", "setup": "a b"}, "not Python: line 1"),
        ({"tests": "def test_it(tmp_path): assert 1"}, "test_it has parameters"),
        ({"tests": "assert 1", "timeout_s": 61}, "less than or equal to 60"),
        ({"tests": "assert 1", "timeout_s": 0}, "greater than 0"),
        ({"tests": "assert 1", "memory_mb": 1}, "greater than or equal to 128"),
        ({"tests": "assert 1", "time_out_s": 5}, "use timeout_s"),
        ({}, "tests is missing"),
    ],
)
def test_a_table_is_refused(anywhere, table: dict[str, Any], complaint: str):
    with pytest.raises(InputError, match="line 1: grader") as raised:
        validated(Code, {"kind": "code", **table}, "line 1: grader")
    assert complaint in str(raised.value)


def test_the_program_fits_on_a_command_line(anywhere):
    assert len(code._program()) < 50_000


@given(
    st.lists(
        st.tuples(
            st.sampled_from(("```", "~~~~")), st.sampled_from(("python", "", "text")), st.text("ab \t=#", max_size=9)
        )
    ),
    st.text("ab ."),
)
def test_fences_are_read_as_they_were_written(anywhere, blocks: list[tuple[str, str, str]], prose: str):
    text = "\n".join(f"{prose}\n{fence}{language}\n{body}\n{fence}" for fence, language, body in blocks)
    assert fenced(text) == [body for _, language, body in blocks if language != "text"]
