"""One decision, one training and one `--help`, each beside a baseline measured in turns with it."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnx import NodeProto, TensorProto, helper

from features.graph import FEATURES, IR_VERSION, OPSETS, REQUEST_INPUTS, session
from features.words import tokenizer_node
from pipeline.served import OUTPUTS, Served
from tests.bench import goals
from tests.bench.data import BUNDLE_NAME, Data, Trained, train
from tests.bench.goals import Goal
from tests.bench.processes import TIER_ROUTER, Took, interleaved, python
from tests.bench.table import Line
from tests.bench.timing import Call, medians, spread

TRAINED_ON = "routellm_mmlu"
SIZES = (200, 2_000, 20_000)
LONGEST = 400_000
TRAINING_REPETITIONS = 3
HELP_REPETITIONS = 15
HEAVY_IMPORTS = "import mlflow, sklearn, pandas"


def run(data: Data) -> list[Line]:
    """All lines of this part."""
    name = TRAINED_ON if data.folder else BUNDLE_NAME
    data.say(f"speed: decisions, trained on {name}")
    trained = train(data.load(name))
    lines = [*_decisions(trained), _scorer(trained)]
    data.say("speed: training on the bundle")
    lines += _training()
    data.say("speed: --help")
    return [*lines, _help()]


def _decisions(trained: Trained) -> list[Line]:
    texts = Served(trained.exported.router).texts(trained.test.traces)
    opened = session(trained.exported.router)
    return [line for size in (*SIZES, LONGEST) for line in _decision(opened, _text(texts, size), size)]


def _text(prompts: Sequence[str], size: int) -> str:
    """So many characters of real prompts."""
    joined = "\n".join(prompts)
    return (joined * (size // len(joined) + 1))[:size]


def _decision(router: onnxruntime.InferenceSession, text: str, size: int) -> list[Line]:
    prompt = {"prompt": np.array([text], dtype=object)}
    request = prompt | {name: np.array([1], np.int64) for name in REQUEST_INPUTS}
    bare, unread = _tokenizer(read=True), _tokenizer(read=False)
    calls: dict[str, Call] = {
        "router": lambda: router.run(OUTPUTS, request),
        "use_pro": lambda: router.run(["use_pro"], request),
        "bare": lambda: bare.run(None, prompt),
        "unread": lambda: unread.run(None, prompt),
    }
    took = medians(calls)
    goal = goals.DECISION_RATIO if size in SIZES else None
    p50 = {name: float(np.median(values)) for name, values in took.items()}
    baselines = {"bare": "words handed to Python", "unread": "words left in the session"}
    return [
        Line(
            f"router.onnx against a bare Tokenizer call ({label}), {size:,} characters",
            float(np.median(took["router"] / took[baseline])),
            f"times {spread(took['router'] / took[baseline])}; p50 {p50['router']:.1f} against {p50[baseline]:.1f} µs"
            f" (with use_pro alone asked for {p50['use_pro']:.1f} µs)",
            goal,
            ".2f",
        )
        for baseline, label in baselines.items()
    ]


def _tokenizer(*, read: bool) -> onnxruntime.InferenceSession:
    """The word rule alone; where its words are not to be read, their shape is the output."""
    nodes = [tokenizer_node("prompt", "tokens")]
    output = helper.make_tensor_value_info("tokens", TensorProto.STRING, ["N", "W"])
    if not read:
        nodes.append(helper.make_node("Shape", ["tokens"], ["shape"]))
        output = helper.make_tensor_value_info("shape", TensorProto.INT64, [2])
    return session(_model(nodes, helper.make_tensor_value_info("prompt", TensorProto.STRING, ["N"]), output))


def _model(nodes: list[NodeProto], given: onnx.ValueInfoProto, output: onnx.ValueInfoProto) -> onnx.ModelProto:
    graph = helper.make_graph(nodes, "baseline", [given], [output])
    opsets = [helper.make_opsetid(domain, version) for domain, version in OPSETS.items()]
    return helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION)


def _scorer(trained: Trained) -> Line:
    shape = ["N", len(FEATURES)]
    given, output = (helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in ("features", "same"))
    empty = session(_model([helper.make_node("Identity", ["features"], ["same"])], given, output))
    scorer = session(trained.exported.scorer)
    inputs = {"features": trained.test.observed.features[:1]}
    names = [each.name for each in scorer.get_outputs()]
    calls: dict[str, Call] = {
        "scorer": lambda: scorer.run(names, inputs),
        "use_pro": lambda: scorer.run(["use_pro"], inputs),
        "empty": lambda: empty.run(["same"], inputs),
    }
    took = medians(calls)
    ratio = took["scorer"] / took["empty"]
    p50 = {name: float(np.median(values)) for name, values in took.items()}
    behind = f"times {spread(ratio)}; p50 {p50['scorer']:.1f} against {p50['empty']:.1f} µs"
    behind += f" (with use_pro alone asked for {p50['use_pro']:.1f} µs)"
    what = "scorer.onnx, all outputs, against an empty (Identity) session call"
    return Line(what, float(np.median(ratio)), behind, goals.SCORER_RATIO, ".2f")


def _training() -> list[Line]:
    with tempfile.TemporaryDirectory() as folder:
        outs = [str(Path(folder) / "models")]
        commands = {"train": [TIER_ROUTER, "train", "--out", *outs], "baseline": python(HEAVY_IMPORTS)}
        runs = interleaved(commands, TRAINING_REPETITIONS)
    seconds = _against("`tier-router train` on the bundle, seconds", runs, "seconds", goals.TRAIN_SECONDS)
    memory = _against("`tier-router train` on the bundle, peak GB", runs, "peak_gigabytes", goals.TRAIN_GIGABYTES)
    return [seconds, memory]


def _help() -> Line:
    runs = interleaved({"train": [TIER_ROUTER, "--help"], "baseline": python("pass")}, HELP_REPETITIONS)
    return _against("`tier-router --help`, seconds", runs, "seconds", goals.HELP_SECONDS, "python -c pass")


def _against(what: str, runs: dict[str, list[Took]], field: str, goal: Goal, label: str = HEAVY_IMPORTS) -> Line:
    ours, theirs = (np.array([getattr(each, field) for each in runs[name]]) for name in ("train", "baseline"))
    behind = (
        f"{spread(ours)}, {np.median(ours / theirs):.1f} times `{label}` ({np.median(theirs):.2f} {spread(theirs)})"
    )
    return Line(what, float(np.median(ours)), behind, goal, ".2f")
