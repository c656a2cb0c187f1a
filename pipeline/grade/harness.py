"""What runs in the sandbox beside the answer's code, as the source of a program; see `pipeline.grade.code`.

It is no part of this process, and its annotations are evaluated there: hence no import from __future__.
"""

import _thread
import ast
import builtins
import json
import operator
import os
import sys
import traceback
import weakref
from collections import deque
from collections.abc import Iterable, Iterator
from functools import partial
from queue import SimpleQueue
from types import CodeType, ModuleType
from typing import Any

SNOOPED = 77  # exit code


def _main() -> None:
    """Run the code and its tests; write the secret where all pass, else what failed.

    The names of this frame give nothing away: a garbage collection may call the code on this thread too.
    """
    channel = os.dup(1)
    gate = _thread.allocate_lock()
    gate.acquire()
    failures: list[Any] = []
    ended: SimpleQueue[object] = SimpleQueue()
    watch = _start(channel, gate, failures, ended)
    gate.release()
    ended.get()
    del watch
    _report(channel, failures)


def _start(channel: int, gate: Any, failures: list[Any], ended: SimpleQueue[object]) -> object:
    """Read what is given and start the chain; `ended` hears of its end, whatever that is.

    The chain waits for the gate, which opens when this frame, which knows the secret, is gone. It is the C function
    `deque.extend` calling one step after the other; an exception ends it, and goes to `failures`.
    """
    with os.fdopen(os.dup(0), "rb") as file:
        given = json.load(file)
    null = os.open(os.devnull, os.O_RDWR)
    for number in range(3):
        os.dup2(null, number)
    secret = given["secret"].encode()
    module = ModuleType("answer")
    sys.modules["answer"] = sys.modules["__main__"] = module
    space = vars(module)
    space["__builtins__"] = builtins
    sys.unraisablehook = failures.append
    try:
        exec(compile(given["setup"], "<setup>", "exec", dont_inherit=True), space)  # noqa: S102 - what the sandbox is for
        before = dict(_bindings(modules := _imported(given["setup"] + "\n" + given["tests"])))
    except BaseException:  # noqa: BLE001 - whatever the task's author wrote may raise
        os.write(channel, secret + b"setup")
        os._exit(0)
    tests = compile(given["tests"], "<tests>", "exec", dont_inherit=True)
    steps: list[partial[Any]] = [partial(exec, code, space) for code in _chosen(given["sources"], channel)]
    steps += [
        partial(_check_bindings, modules, before, set()),
        partial(exec, tests, space),
        partial(_check_bindings, modules, before, _assigned(given["setup"] + "\n" + given["tests"])),
        partial(_check_equality, space, any("ANY" in source for source in given["sources"])),
        partial(os.write, channel, secret),
        partial(os._exit, 0),
    ]
    watch = weakref.ref(steps[0], ended.put)
    sys.addaudithook(_forbid_snooping)
    _thread.stack_size(64 << 20)  # deep recursion is no fault
    _thread.start_new_thread(deque(maxlen=0).extend, (map(operator.call, [gate.acquire, *steps]),))
    _thread.stack_size(0)
    return watch


def _forbid_snooping(event: str, arguments: tuple[Any, ...]) -> None:
    """An audit hook that ends the process where the code looks for objects or memory that it has no name for."""
    tracing = ("sys.settrace", "sys.setprofile", "sys.monitoring.register_callback", "sys.addaudithook")
    objects = ("gc.get_objects", "gc.get_referrers", "gc.get_referents", "sys._current_frames")
    loaded = event == "ctypes.dlopen" and arguments[0] is None  # what importing ctypes does
    if event in (*tracing, *objects) or (event.startswith("ctypes.") and not loaded):
        os._exit(SNOOPED)


def _chosen(sources: list[str], channel: int) -> list[CodeType]:
    """Those sources that compile and define something; all that compile where none does."""
    defining: list[CodeType] = []
    others: list[CodeType] = []
    fault: Exception | None = None
    for source in sources:
        try:
            tree = ast.parse(source)
            code = compile(tree, "<code>", "exec", dont_inherit=True)
        except (SyntaxError, ValueError, MemoryError, RecursionError) as error:
            fault = fault or error
            continue
        defines = any(isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) for node in tree.body)
        (defining if defines else others).append(code)
    if fault and not defining and not others:
        os.write(channel, f"{type(fault).__name__}\tsyntax\t{getattr(fault, 'lineno', 0) or 0}".encode())
        os._exit(0)
    return defining or others


def _imported(source: str) -> list[ModuleType]:
    """The modules that a source imports, with their submodules, and builtins."""
    roots = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [node.module] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names]
            if names not in (["answer"], ["__future__"]):
                exec(compile(ast.Module([node], []), "<imports>", "exec", dont_inherit=True), {})  # noqa: S102 - as above
                roots |= {str(name).partition(".")[0] for name in names}
    return [builtins, *(module for name, module in sys.modules.items() if name.partition(".")[0] in roots)]


def _assigned(source: str) -> set[str]:
    """The attributes that a source may replace itself: those it assigns to, and strings, as for setattr."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            found.add(node.attr)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            found.add(node.value)
    return found


def _bindings(modules: Iterable[ModuleType]) -> Iterator[tuple[tuple[str, ...], tuple[object, object]]]:
    """The functions and classes of modules, and the methods of classes written in Python; each with its bytecode."""
    for module in modules:
        for name, value in list(vars(module).items()):
            if callable(value):
                yield (module.__name__, name), (value, getattr(value, "__code__", None))
            if isinstance(value, type) and not value.__flags__ & 1 << 8:  # unless immutable
                for attribute, inner in list(vars(value).items()):
                    if callable(inner):
                        yield (module.__name__, name, attribute), (inner, getattr(inner, "__code__", None))


def _check_bindings(
    modules: list[ModuleType], before: dict[tuple[str, ...], tuple[object, object]], allowed: set[str]
) -> None:
    now = dict(_bindings(modules))
    for place, (value, code) in before.items():
        found = now.get(place, (None, None))
        if (found[0] is not value or found[1] is not code) and place[-1] not in allowed:
            raise RuntimeError(f"{'.'.join(place)}\treplaced")


def _check_equality(space: dict[str, Any], named_any: bool) -> None:
    """Compare a blank object of each class that the code defines with values that it cannot know of."""
    number = int.from_bytes(os.urandom(8), "big")
    probes = [object(), number, str(number), number / 7, [number], (number,), {number: number}, {number}]
    waiting, seen = [object], set()
    while waiting:
        for cls in type.__subclasses__(waiting.pop()):
            if id(cls) in seen:
                continue
            seen.add(id(cls))
            waiting.append(cls)
            equal = type.__dict__["__dict__"].__get__(cls).get("__eq__")
            if getattr(equal, "__globals__", None) is space or (named_any and cls.__name__ == "_ANY"):
                builtin: Any = next(base for base in type.mro(cls) if base.__flags__ & 1 << 8)
                try:
                    blank = builtin.__new__(cls)
                    equals = any(blank == probe for probe in probes)
                except BaseException:  # noqa: BLE001, S112 - code that nobody trusts; honest: it compares what it lacks
                    continue
                if equals:
                    raise RuntimeError(f"{cls.__name__}\tequal")


def _report(channel: int, failures: list[Any]) -> None:
    """Write what ended the chain, for people: nothing depends on it, since the code could write the same."""
    if failures:
        failure = failures[-1]
        lines = {frame.f_code.co_filename: line for frame, line in traceback.walk_tb(failure.exc_traceback)}
        where = next((name for name in ("tests", "code") if f"<{name}>" in lines), None)
        text = f"{failure.exc_type.__name__}\t{where}" if where else str(failure.exc_value)
        os.write(channel, f"{text}\t{lines.get(f'<{where}>', 0)}".encode())
    os._exit(0)
