"""Node: the lines that the README gives to JavaScript, on the golden corpus and on bodies that hypothesis makes up."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from test_golden import CORPUS, ENTRIES, GOLDEN, Entry, made_up_file, request_of
from test_readme import fences

from features.errors import RequestError
from features.graph import REQUEST_INPUTS
from features.request import Request
from pipeline.served import OUTPUTS, Served
from pipeline.traces import Traces

NODE = Path(__file__).parent / "node"
SCRIPTS = NODE / "golden.mjs", NODE / "inputs_of_lines.mjs"
WAIT_SECONDS = 120
TOLERANCE = 1e-6

pytestmark = pytest.mark.skipif(
    shutil.which("node") is None or not (NODE / "node_modules" / "onnxruntime-node").exists(),
    reason="left out: Node's part needs node, and onnxruntime-node ('make node' installs it)",
)


def node(*arguments: object, cwd: Path) -> str:
    done = subprocess.run(
        ["node", *map(str, arguments)], cwd=cwd, capture_output=True, text=True, check=False, timeout=WAIT_SECONDS
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, small_traces: Traces) -> Path:
    """A folder with the made-up router where the README has a version, and the README's module."""
    folder = tmp_path_factory.mktemp("node")
    (folder / "models" / "v1").mkdir(parents=True)
    onnx.save(made_up_file(small_traces), folder / "models" / "v1" / "router.onnx")
    (module,) = (fence for fence in fences("js") if "export function inputs(" in fence)
    (folder / "inputs.mjs").write_text(module, encoding="utf-8")
    (folder / "node_modules").symlink_to(NODE / "node_modules")
    return folder


@pytest.fixture(scope="module")
def run(home: Path) -> dict[str, Any]:
    """What Node makes of the corpus."""
    return json.loads(node(SCRIPTS[0], "models/v1/router.onnx", CORPUS, "inputs.mjs", cwd=home))


@pytest.fixture(scope="module")
def served(home: Path) -> Served:
    return Served(onnx.load(home / "models" / "v1" / "router.onnx"))


def test_node_reproduces_the_corpus(run: dict[str, Any]) -> None:
    assert run["differences"] == []


def test_node_compared_all_of_it(run: dict[str, Any]) -> None:
    short = sum(len(request_of(entry).prompt) < 1000 for entry in ENTRIES)
    assert run["compared"] == {"entries": len(ENTRIES), "refused": len(GOLDEN["refused"]), "batch": short}
    assert list(run["outputs"]) == [entry["name"] for entry in ENTRIES]


def test_node_answers_as_python_does(run: dict[str, Any], served: Served) -> None:
    flipped, largest = [], dict.fromkeys(OUTPUTS, 0.0)
    for entry in ENTRIES:
        ours, theirs = served.decide(request_of(entry)), run["outputs"][entry["name"]]
        flipped += [entry["name"]] * (bool(ours["use_pro"][0]) != theirs["use_pro"])
        for name in OUTPUTS:
            expected = ours[name][0].astype(float)
            scale = np.maximum(np.abs(expected), 1.0)
            largest[name] = max(largest[name], float(np.max(np.abs(np.array(theirs[name]) - expected) / scale)))
    assert flipped == []
    assert max(largest.values()) <= TOLERANCE, largest


@pytest.mark.parametrize("name", ["NUL at both ends", "surrogate at the end of a word", "emoji with skin tone"])
def test_lines_for_a_bare_prompt_answer_as_the_corpus_says(home: Path, name: str) -> None:
    entry = next(entry for entry in GOLDEN["prompts"] if entry["name"] == name)
    (snippet,) = (fence for fence in fences("js") if '"Is 7 prime?"' in fence)
    (home / "bare.mjs").write_text(snippet.replace('"Is 7 prime?"', json.dumps(entry["prompt"])), encoding="utf-8")
    assert node("bare.mjs", cwd=home) == ("pro\n" if entry["use_pro"] else "flash\n")


@pytest.fixture(scope="module")
def inputs_in_node(home: Path) -> Iterator[Callable[[str], dict[str, Any]]]:
    """The README's function: the JSON of a body -> its inputs, or {"refused": why}. One process for all bodies."""
    command = ["node", str(SCRIPTS[1]), "inputs.mjs"]
    with subprocess.Popen(
        command, cwd=home, stdin=subprocess.PIPE, stdout=subprocess.PIPE, encoding="utf-8"
    ) as process:
        assert process.stdin
        assert process.stdout
        lines, answers = process.stdin, process.stdout

        def ask(body: str) -> dict[str, Any]:
            lines.write(body + "\n")
            lines.flush()
            return json.loads(answers.readline())

        yield ask


def inputs_in_python(body: str) -> dict[str, Any]:
    try:
        request = Request.from_payload(json.loads(body))
    except RequestError as error:
        return {"refused": str(error)}
    counts = {name: getattr(request, name) for name in REQUEST_INPUTS}
    return {"prompt": request.prompt, **counts, "other_modalities": list(request.other_modalities)}


def assert_same(ask: Callable[[str], dict[str, Any]], body: str) -> None:
    ours, theirs = inputs_in_python(body), ask(body)
    if "refused" in theirs:
        assert "refused" in ours
        return
    # The binding writes UTF-8, and so replaces lone surrogates.
    assert theirs | {"prompt": Request(theirs["prompt"]).prompt} == ours


def body_with_tools(tools: str) -> str:
    return f'{{"messages": [{{"role": "user", "content": "x"}}], "tools": {tools}}}'


any_text = st.text(st.characters(codec=None) | st.sampled_from('\ud83d\ude00\udfff\0"\\\u2028é漢'), max_size=8)
any_number = st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.integers().map(lambda n: n * 2**50)
any_json = st.recursive(
    st.none() | st.booleans() | any_number | any_text,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(any_text, inner, max_size=4),
    max_leaves=12,
)
good_part = st.fixed_dictionaries({"type": st.just("text"), "text": any_text}) | st.fixed_dictionaries(
    {"type": st.sampled_from(["image_url", "input_audio", "file"])}, optional={"text": any_json}
)
good_message = st.fixed_dictionaries(
    {"role": st.sampled_from(["user", "user", "assistant", "system", "tool", "User"])},
    optional={"content": any_text | st.lists(good_part, max_size=3) | st.none(), "tool_calls": any_json},
)
good_body = st.fixed_dictionaries(
    {"messages": st.lists(good_message, min_size=1, max_size=5)},
    optional={"tools": st.lists(any_json, max_size=3) | st.none(), "model": any_json},
)
bad_message = st.fixed_dictionaries({"role": any_json, "content": any_json | st.lists(good_part | any_json)})
bad_body = st.fixed_dictionaries(
    {"messages": st.lists(good_message | bad_message | any_json, max_size=4) | any_json}, optional={"tools": any_json}
)


@given(st.lists(any_json, min_size=1, max_size=4))
@example([{"": 1, "2": 1, "1": 1, "__proto__": 1.0, "toJSON": 2.0, "constructor": 10**400 // 10**380}])
def test_tools_are_counted_alike(inputs_in_node: Callable[[str], dict[str, Any]], tools: list[Any]) -> None:
    assert_same(inputs_in_node, body_with_tools(json.dumps(tools)))


@given(st.from_regex(r"-?(0|[1-9][0-9]{0,24})(\.[0-9]{1,20})?([eE][+-]?[0-9]{1,3})?", fullmatch=True))
@example("1e400")
@example("-1E-400")
@example("-0")
@example("9" * 400)
@example("0.000001")
@example("0.0000001")
@example("999999999999999934463")
@example("1e21")
def test_numbers_are_counted_alike(inputs_in_node: Callable[[str], dict[str, Any]], number: str) -> None:
    assert_same(inputs_in_node, body_with_tools(f"[{number}]"))


@settings(max_examples=200)
@given(good_body | good_body | bad_body | any_json)
def test_bodies_are_read_or_refused_alike(inputs_in_node: Callable[[str], dict[str, Any]], body: Any) -> None:
    assert_same(inputs_in_node, json.dumps(body))


@pytest.mark.parametrize(
    "body",
    [
        '{"messages": [], "messages": [{"role": "tool", "role": "user", "content": "a", "content": "b"}]}',
        '{"messages": [{"role": "user", "content": "x"}], "tools": [{"a": 1, "b": "é", "a": 22.0}]}',
        body_with_tools("[" * 200 + "]" * 200),
        body_with_tools('[{"a": "\\ud83d\\ude00 \\ud83d \\u00e9", "\\ude00": 1}]'),
    ],
    ids=["keys twice", "tool's keys twice", "deep tools", "escapes"],
)
def test_spellings_are_read_alike(inputs_in_node: Callable[[str], dict[str, Any]], body: str) -> None:
    assert "refused" not in inputs_in_python(body)
    assert_same(inputs_in_node, body)


def test_entry_of_a_body_is_what_node_is_given(inputs_in_node: Callable[[str], dict[str, Any]]) -> None:
    entries: list[Entry] = GOLDEN["payloads"]
    for entry in entries:
        assert_same(inputs_in_node, json.dumps(entry["payload"]))
