"""The grader of kind `code`: runs a model's Python against unit tests, isolated.

The verdict is made out of the code's reach. The sandboxed interpreter gets a secret and hides it behind the tests: a
chain of C calls, started on a thread of its own, runs the code, then the tests, then writes the secret. No Python frame
lies under the code's frames and nothing that Python can name refers to that chain, so neither walking frames nor
printing, exiting, patching or writing to every open file yields the secret; looking for it with gc, ctypes or tracing
ends the process. Replaced functions of builtins or of what the tests import are found, and so are objects that equal
everything.

What remains possible, all of it deliberate: native code that the code brings along, or a fault of the interpreter, can
search the memory; a function that a test calls can read that test through its caller's frame, and return what it
expects; objects can lie to a comparison in subtler ways than equalling everything (`<`, arithmetic, their type).
"""

from __future__ import annotations

import ast
import functools
import inspect
import json
import math
import re
import secrets
from typing import Literal

from pydantic import Field, field_validator

from pipeline.grade import harness, sandbox
from pipeline.grade.answer import Answer, Verdict
from pipeline.tables import Strict

PYTHON = ("python", "python3", "py", "")
FENCE = re.compile(r"([ \t]*)(`{3,}|~{3,})[ \t]*([\w+-]*)")
REPORT = re.compile(r"([\w.]{1,80})\t(tests|code|syntax|replaced|equal)\t(\d{1,7})")


class Code(Strict):
    """Grades an answer that is Python code by running it: right where all tests pass.

    The code is that of the answer's fences marked as Python or not marked: all that compile and define a function or
    a class, in their order, so that examples of use are not run; where none does, all that compile. An answer without
    fences is code as a whole. It runs as a module named "answer", in a thread, with the standard library only.

    Attributes:
        tests: Python source, run in the code's namespace after it: assertions, functions named test_*, which are called
            without arguments, and classes derived from TestCase. At least one of these.
        setup: Python source, run in that namespace before the code.
        timeout_s: seconds for all of it, over 0 and at most 60.
        memory_mb: address space in MiB, 128 to 4096.
    """

    kind: Literal["code"]
    tests: str
    setup: str = ""
    timeout_s: float = Field(sandbox.Limits.wall_s, gt=0, le=60)
    memory_mb: int = Field(sandbox.Limits.memory_mb, ge=128, le=4096)

    @field_validator("tests", "setup")
    @classmethod
    def _compiles(cls, source: str) -> str:
        try:
            compile(source, "tests", "exec", dont_inherit=True)
        except SyntaxError as error:
            raise ValueError(f"not Python: line {error.lineno}: {error.msg}; mend that line") from None
        return source

    @field_validator("tests")
    @classmethod
    def _tests_something(cls, source: str) -> str:
        functions, classes = _tests_in(source)
        for function in functions:
            if len(function.args.posonlyargs + function.args.args) > len(function.args.defaults):
                raise ValueError(f"{function.name} has parameters, and nothing fills them: give them defaults")
        asserts = (node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Assert))
        if not (functions or classes or any(asserts)):
            raise ValueError("tests nothing: add an assert, a function named test_* or a TestCase")
        return source

    def grade(self, answer: Answer) -> Verdict:
        """Run the answer's code; None where that could not be done, or where `setup` or the tests' imports fail."""
        secret = secrets.token_hex(16)
        given = {
            "secret": secret,
            "setup": self.setup,
            "tests": self.tests + _calls(self.tests),
            "sources": fenced(answer.text) or [answer.text],
        }
        limits = sandbox.Limits(wall_s=self.timeout_s, cpu_s=math.ceil(self.timeout_s), memory_mb=self.memory_mb)
        outcome = sandbox.run(_program(), json.dumps(given).encode(), limits)
        return self._verdict(outcome, secret)

    def _verdict(self, outcome: sandbox.Outcome, secret: str) -> Verdict:
        said = outcome.output.decode(errors="replace")
        if outcome.ended == "not isolated":
            return Verdict(None, f"could not be run: {' '.join(said.split())[-200:]}")
        if outcome.ended in ("took too long", "used up its CPU time"):
            return Verdict(False, f"took longer than {self.timeout_s:g} s")
        if outcome.ended == "wrote too much":
            return Verdict(False, "wrote into the grader's channel")
        if said.endswith(secret + "setup"):
            return Verdict(None, "could not be run: the task's setup, or an import of its tests, fails in the sandbox")
        if said.endswith(secret):
            return Verdict(True, "passed the tests")
        return Verdict(False, self._reason(outcome.code, said))

    def _reason(self, code: int | None, said: str) -> str:
        if code == harness.SNOOPED:
            return "looked into the interpreter instead of solving the task"
        report = REPORT.fullmatch(said)
        if report is None:
            return f"ended before its tests did, with exit code {code}"
        what, where, line = report[1], report[2], int(report[3])
        if where == "tests":
            tests = self.tests.splitlines()
            shown = tests[line - 1].strip()[:80] if 0 < line <= len(tests) else "a test"
            return f"{what} in the tests: {shown}"
        return {
            "code": f"{what} in line {line} of the code",
            "syntax": f"no code that compiles: {what} in line {line}",
            "replaced": f"replaced {what}",
            "equal": f"{what} equals everything",
        }[where]


def fenced(text: str) -> list[str]:
    """The contents of the fences in a text that may be Python, in their order; the last one need not be closed."""
    found: list[tuple[str, list[str]]] = []
    closing: re.Pattern[str] | None = None
    indent = 0
    for line in text.split("\n"):
        opened = None if closing else FENCE.match(line)
        if opened:
            indent = len(opened[1])
            closing = re.compile(rf"[ \t]*{opened[2]}{opened[2][0]}*\s*")
            found.append((opened[3].lower(), []))
        elif closing and closing.fullmatch(line):
            closing = None
        elif closing:
            found[-1][1].append(line[indent:] if line[:indent].isspace() else line)
    return ["\n".join(lines) for language, lines in found if language in PYTHON]


def _tests_in(source: str) -> tuple[list[ast.FunctionDef], list[ast.ClassDef]]:
    """The test functions and test cases that a source defines."""
    body = ast.parse(source).body
    functions = [node for node in body if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")]
    classes = [node for node in body if isinstance(node, ast.ClassDef)]
    return functions, [node for node in classes if any(ast.unparse(base).endswith("TestCase") for base in node.bases)]


def _calls(source: str) -> str:
    """Lines that run the tests a source defines.

    All are named in one expression, before the first is called, so that code called by one cannot replace the next.
    """
    functions, classes = _tests_in(source)
    load = "__import__('unittest').TestLoader().loadTestsFromTestCase"
    calls = [node.name for node in functions] + [f"{load}({node.name}).debug" for node in classes]
    return "".join(f"\nfor _call in [{', '.join(calls)}]: _call()" for _ in calls[:1])


@functools.cache
def _program() -> str:
    """What runs in the sandbox: the harness, with builtins of its own, which the code cannot reach."""
    return f"import builtins\n__builtins__ = dict(vars(builtins))\n{inspect.getsource(harness)}\n_main()"
