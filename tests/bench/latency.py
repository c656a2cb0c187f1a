"""What a decision takes by the files alone: time by size, growth, load time, file size, memory and batches.

All in one run, in turns with what it is held against: a bare `Tokenizer` call with the same word rule, a call that
does nothing, and the same router as Python would serve it from a pickle.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from math import log1p
from pathlib import Path

import numpy as np
import onnxruntime
from onnx import ModelProto, NodeProto, TensorProto, ValueInfoProto, helper

from features.graph import FEATURES, IR_VERSION, OPSETS, REQUEST_INPUTS, session
from features.vocabulary import WEIGHT_SCALE
from features.words import NUMBERS, PADDING, SYMBOLS, Tokenizer, tokenizer_node
from pipeline.export import decide
from pipeline.metrics import Reals
from pipeline.served import OUTPUTS, Served
from tests.bench import goals
from tests.bench.data import BUNDLE_NAME, Data, Trained, train
from tests.bench.goals import Goal
from tests.bench.table import Line
from tests.bench.timing import Call, medians, spread, timed

TRAINED_ON = "routellm_mmlu"
SIZES = (200, 2_000, 20_000, 400_000)
BATCHES = (1, 64, 1024)
LOADS = 9
CALLS = 1_000_000
STRING, REAL = TensorProto.STRING, TensorProto.FLOAT
BY_HAND = "same router in Python (onnxruntime's Tokenizer, counts in a dict, scikit-learn's scaler and two regressions)"
OPENED = """
import sys, time
import onnxruntime as ort
ort.set_default_logger_severity(3)
options = ort.SessionOptions()
options.intra_op_num_threads = 1
def load():
    started = time.perf_counter()
    opened = ort.InferenceSession(sys.argv[1], options)
    return opened, (time.perf_counter() - started) * 1e3
router, cold = load()
"""
LOADED = OPENED + "print([cold, min(load()[1] for _ in range(5))])"
CALLED = """
import json
import numpy as np
texts, calls = json.loads(sys.stdin.read())
ones = {name: np.array([1]) for name in ("context_bytes", "tool_count", "turn_count")}
def call(times):
    for turn in range(times):
        router.run(["use_pro"], {"prompt": np.array([texts[turn % len(texts)]], object), **ones})
def resident():
    pages = int(open("/proc/self/statm").read().split()[1])
    return pages * 4096 / 1e6
call(calls // 20)
before = resident()
call(calls)
print([before, resident()])
"""


def run(data: Data) -> list[Line]:
    """All lines of this part."""
    name = TRAINED_ON if data.folder else BUNDLE_NAME
    trained = {each: train(data.load(each)) for each in dict.fromkeys((name, BUNDLE_NAME))}
    data.say(f"latency: decisions, trained on {name}")
    lines = [*_decisions(trained[name]), _scorer(trained[name]), *_batches(trained[name])]
    with tempfile.TemporaryDirectory() as made:
        data.say("latency: loading")
        for each, router in trained.items():
            path = Path(made) / f"{each}.onnx"
            path.write_bytes(router.exported.router.SerializeToString())
            lines += _loading(path, each)
        data.say(f"latency: memory over {CALLS:,} calls")
        return [*lines, _memory(Path(made) / f"{name}.onnx", _texts(trained[name]))]


def _texts(trained: Trained) -> list[str]:
    return Served(trained.exported.router).texts(trained.test.traces)


def _text(prompts: Sequence[str], size: int) -> str:
    """So many characters of real prompts."""
    joined = "\n".join(prompts)
    return (joined * (size // len(joined) + 1))[:size]


def _decisions(trained: Trained) -> list[Line]:
    router, by_hand, prompts = session(trained.exported.router), _by_hand(trained), _texts(trained)
    took = {size: timed(_calls(router, by_hand, _text(prompts, size))) for size in SIZES}
    return [*(_decision(size, found) for size, found in took.items()), _growth(took)]


def _calls(router: onnxruntime.InferenceSession, by_hand: Callable[[str], bool], text: str) -> dict[str, Call]:
    prompt = {"prompt": np.array([text], dtype=object)}
    request = prompt | {name: np.array([1], np.int64) for name in REQUEST_INPUTS}
    if by_hand(text) != router.run(["use_pro"], request)[0][0]:
        raise RuntimeError("the router in Python decides otherwise than the file: they are not the same router")
    bare, empty = session(_tokenizer()), _empty("prompt", STRING, ["N"])
    return {
        "router": lambda: router.run(OUTPUTS, request),
        "bare": lambda: bare.run(None, prompt),
        "empty": lambda: empty.run(None, prompt),
        "by_hand": lambda: by_hand(text),
    }


def _tokenizer() -> ModelProto:
    """The word rule alone."""
    given = helper.make_tensor_value_info("prompt", STRING, ["N"])
    words = helper.make_tensor_value_info("words", STRING, ["N", "W"])
    return _model([tokenizer_node("prompt", "words")], given, words)


def _empty(name: str, kind: int, shape: list[str | int]) -> onnxruntime.InferenceSession:
    """A call with an input and an output that does nothing between them."""
    given, same = (helper.make_tensor_value_info(each, kind, shape) for each in (name, "same"))
    return session(_model([helper.make_node("Identity", [name], ["same"])], given, same))


def _model(nodes: list[NodeProto], given: ValueInfoProto, output: ValueInfoProto) -> ModelProto:
    graph = helper.make_graph(nodes, "baseline", [given], [output])
    opsets = [helper.make_opsetid(domain, version) for domain, version in OPSETS.items()]
    return helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION)


def _by_hand(trained: Trained) -> Callable[[str], bool]:
    """The same router without the file: words by the same operator, counted in Python, judged by scikit-learn."""
    tokenizer, point, heads = Tokenizer(), trained.point, trained.router.heads
    weights = dict(zip(trained.router.vocabulary.words, trained.router.vocabulary.weights.tolist(), strict=True))

    def judge(text: str) -> bool:
        counts = Counter(tokenizer([text])[0].tolist())
        counts.pop(PADDING, None)
        total, known = counts.total(), [word for word in counts if word in weights]
        seen = sum(counts[word] for word in known)
        shares = (sum(counts[word] for word in counts if word in kind) / max(total, 1) for kind in (NUMBERS, SYMBOLS))
        unit = WEIGHT_SCALE * max(len(known), 1)
        means = (sum(weights[word][tier] for word in known) / unit for tier in range(2))
        ones = [log1p(1)] * len(REQUEST_INPUTS)
        row = [log1p(total), total, *ones, *shares, len(known) / max(seen, 1), *means]
        evidence = np.array([seen / max(total, 1)], np.float32)
        return bool(decide(heads.probabilities(np.array([row], np.float32)), evidence, point)[0])

    return judge


def _decision(size: int, took: Mapping[str, Reals]) -> Line:
    labels = {"router": "itself", "bare": "Tokenizer", "empty": "empty call", "by_hand": BY_HAND}
    what = f"router.onnx, all decision outputs, against a bare Tokenizer call, {size:,} characters"
    return _against(what, took, labels, goals.DECISION_RATIO)


def _against(what: str, took: Mapping[str, Reals], labels: Mapping[str, str], goal: Goal) -> Line:
    """How many times as long the first call takes as the second, with p50 and p99 of all."""
    first, second, *_ = (np.median(took[name], axis=1) for name in labels)
    shown = (
        f"{label} {np.median(took[name]):,.1f} / {np.quantile(took[name], 0.99):,.1f}" for name, label in labels.items()
    )
    behind = f"times {spread(first / second)}; p50 / p99 in µs: {', '.join(shown)}"
    return Line(what, float(np.median(first / second)), behind, goal, ".2f")


def _growth(took: Mapping[int, Mapping[str, Reals]]) -> Line:
    """Time per character at the largest size against the one before it."""
    less, most = SIZES[-2:]
    grown = {
        name: np.median(took[most][name], axis=1) / np.median(took[less][name], axis=1) / (most / less)
        for name in ("router", "bare")
    }
    behind = f"times {spread(grown['router'])}; the bare Tokenizer {np.median(grown['bare']):.2f}"
    what = f"time of a character, {most:,} against {less:,} characters"
    return Line(what, float(np.median(grown["router"])), behind, goals.GROWTH, ".2f")


def _scorer(trained: Trained) -> Line:
    features = trained.test.observed.features[:1]
    scorer, empty = session(trained.exported.scorer), _empty("features", REAL, ["N", len(FEATURES)])
    names = [each.name for each in scorer.get_outputs()]
    heads = trained.router.heads
    calls: dict[str, Call] = {
        "scorer": lambda: scorer.run(names, {"features": features}),
        "empty": lambda: empty.run(["same"], {"features": features}),
        "heads": lambda: heads.probabilities(features),
    }
    labels = {"scorer": "itself", "empty": "empty call", "heads": "scikit-learn's scaler and two regressions"}
    return _against("scorer.onnx, all outputs, against an empty call", timed(calls), labels, goals.SCORER_RATIO)


def _batches(trained: Trained) -> list[Line]:
    router, bare, prompts = session(trained.exported.router), session(_tokenizer()), _texts(trained)
    return [_batch(router, bare, sorted(prompts, key=len)[len(prompts) // 2 :][:size]) for size in BATCHES]


def _batch(router: onnxruntime.InferenceSession, bare: onnxruntime.InferenceSession, prompts: list[str]) -> Line:
    prompt = {"prompt": np.array(prompts, dtype=object)}
    request = prompt | {name: np.ones(len(prompts), np.int64) for name in REQUEST_INPUTS}
    took = medians({"router": lambda: router.run(["use_pro"], request), "bare": lambda: bare.run(None, prompt)})
    rate = {name: len(prompts) / values * 1e6 for name, values in took.items()}
    middle = f"middle half {np.quantile(rate['router'], 0.25):,.0f} to {np.quantile(rate['router'], 0.75):,.0f}"
    behind = f"({middle}); prompts of {np.mean([len(each) for each in prompts]):,.0f} characters; "
    behind += f"the bare Tokenizer {np.median(rate['bare']):,.0f}"
    return Line(
        f"decisions a second, batches of {len(prompts):,}", float(np.median(rate["router"])), behind, None, ",.0f"
    )


def _loading(path: Path, name: str) -> list[Line]:
    bare = path.with_name("bare.onnx")
    bare.write_bytes(_tokenizer().SerializeToString())
    runs: dict[Path, list[list[float]]] = {path: [], bare: []}
    for _ in range(LOADS):
        for file, found in runs.items():
            found.append(_child(LOADED, file, ""))
    (cold, warm), (bare_cold, _) = (np.array(found).T for found in runs.values())
    behind = f"in a fresh process {spread(cold)}, again {np.median(warm):.1f}; "
    behind += f"the bare Tokenizer {np.median(bare_cold):.1f}"
    size = path.stat().st_size / 1e6
    return [
        Line(f"loading router.onnx of {name}, ms", float(np.median(cold)), behind, goals.LOAD_MS, ".1f"),
        Line(f"router.onnx of {name}, MB", size, "without its manifest", goals.FILE_MEGABYTES, ".2f"),
    ]


def _memory(path: Path, prompts: Sequence[str]) -> Line:
    before, after = _child(OPENED + CALLED, path, json.dumps([list(prompts[:1000]), CALLS]))
    behind = f"resident {before:.1f} MB after the first {CALLS // 20:,} calls, {after:.1f} after {CALLS:,} more"
    return Line("memory that calls leave behind, MB", after - before, behind, goals.GROWN_MEGABYTES, ".2f")


def _child(code: str, path: Path, given: str) -> list[float]:
    """What a fresh process prints."""
    command = [sys.executable, "-c", code, str(path)]
    found: list[float] = json.loads(
        subprocess.run(command, input=given, capture_output=True, check=True, text=True).stdout
    )
    return found
