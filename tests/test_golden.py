"""The golden corpus: prompts and payloads with their words, inputs, features and decisions, for every language.

Words, inputs and what is wrong with a payload are written by hand. The figures follow from them by `answered`, which
knows neither the graph nor scikit-learn; `python tests/test_golden.py` writes them anew.
"""

from __future__ import annotations

import json
import math
import operator
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import ModelProto
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from features.errors import RequestError
from features.graph import FEATURES, REQUEST_INPUTS
from features.measure import Tally
from features.request import Request
from features.vocabulary import Vocabulary
from features.words import PADDING, Tokenizer
from pipeline.export import export
from pipeline.heads import Heads
from pipeline.router import Router, Smoothing
from pipeline.served import Served
from pipeline.traces import Traces
from pipeline.tune import OperatingPoint

CORPUS = Path(__file__).with_name("golden.json")
GOLDEN = json.loads(CORPUS.read_text(encoding="utf-8"))
ENTRIES = GOLDEN["prompts"] + GOLDEN["payloads"]
FIGURES = ("features", "evidence", "probabilities", "gain", "use_pro")
NUMBER = re.compile("[0-9]{1,3}|[\u0660-\u0669\u06f0-\u06f9\u0966-\u096f\u09e6-\u09ef\u0e50-\u0e59\uff10-\uff19]")
SYMBOL = re.compile(r"[!-/:-@\[-`{-~]{1,2}|[\u00ac\u00b1\u00d7\u00f7\u2190-\u22ff]")
CLEAR_OF_BOUNDS = 1e-4
Entry = dict[str, Any]
named = {"ids": lambda entry: entry["name"]}


def unrolled(written: Any) -> Any:
    """A text, or a list of words: as it stands, or what is to be repeated."""
    if isinstance(written, dict):
        return written["repeat"] * written["times"]
    return [unrolled(word) for word in written] if isinstance(written, list) else written


def request_of(entry: Entry) -> Request:
    """The request of an entry, as Python reads it."""
    if "payload" in entry:
        return Request.from_payload(entry["payload"])
    return Request(unrolled(entry["prompt"]), **{name: entry[name] for name in REQUEST_INPUTS if name in entry})


def answered(words: list[str], context_bytes: int, tool_count: int, turn_count: int) -> dict[str, Any]:
    """What the router of this file answers, in plain arithmetic."""
    vocabulary, heads = GOLDEN["vocabulary"], GOLDEN["heads"]
    known = [word for word in words if word in vocabulary]
    distinct = set(known)
    numbers, symbols = (sum(bool(kind.fullmatch(word)) for word in words) for kind in (NUMBER, SYMBOL))
    sizes = [math.log1p(max(0, count)) for count in (context_bytes, tool_count, turn_count)]
    shares = [numbers / max(1, len(words)), symbols / max(1, len(words)), len(distinct) / max(1, len(known))]
    shifts = [sum(vocabulary[word][tier] for word in distinct) / 4096 / max(1, len(distinct)) for tier in (0, 1)]
    features = [math.log1p(len(words)), len(words), *sizes, *shares, *shifts]
    clipped = [
        min(max(value, low), high) - low for value, low, high in zip(features, heads["low"], heads["high"], strict=True)
    ]
    flash, pro = (
        1 / (1 + math.exp(-intercept - sum(map(operator.mul, coefficients, clipped))))
        for coefficients, intercept in zip(heads["coefficients"].values(), heads["intercepts"].values(), strict=True)
    )
    evidence = len(known) / max(1, len(words))
    use_pro = pro - flash >= heads["threshold"] or evidence < heads["evidence_floor"]
    return dict(zip(FIGURES, (features, evidence, [flash, pro], pro - flash, use_pro), strict=True))


def made_up_router() -> Router:
    """The router of the golden file: a few words, and heads with coefficients written by hand."""
    told = GOLDEN["heads"]
    scaler = StandardScaler()
    scaler.mean_, scaler.scale_, scaler.n_features_in_ = np.zeros(10), np.ones(10), 10
    scaler.var_ = np.ones(10)
    models = tuple(_model(told["coefficients"][tier], told["intercepts"][tier]) for tier in ("flash", "pro"))
    words = GOLDEN["vocabulary"]
    vocabulary = Vocabulary(
        words=tuple(words),
        weights=np.array(list(words.values()), np.int32),
        seen=np.full((len(words), 2), 10),
        correct=np.full((len(words), 2), 5.0),
        base=np.array([0.5, 0.5]),
        strength=10.0,
    )
    low, high = (np.array(told[end], np.float32) for end in ("low", "high"))
    return Router(vocabulary, Heads(low, high, scaler, models), Smoothing())


def _model(coefficients: list[float], intercept: float) -> LogisticRegression:
    model = LogisticRegression()
    model.coef_, model.intercept_, model.classes_ = (
        np.array([coefficients]),
        np.array([intercept]),
        np.array([0.0, 1.0]),
    )
    model.n_features_in_ = 10
    return model


def made_up_file(traces: Traces) -> ModelProto:
    """`router.onnx` of the made-up router, through the export and its parity gate."""
    told = GOLDEN["heads"]
    point = OperatingPoint(told["threshold"], told["evidence_floor"], "router", 0.5, 0.5, 0.5, 6.5, 6.5)
    return export(made_up_router(), point, traces, {}).router


@pytest.fixture(scope="module")
def served(small_traces: Traces) -> Served:
    return Served(made_up_file(small_traces))


@pytest.mark.parametrize("entry", GOLDEN["payloads"], **named)
def test_inputs_of_a_payload(entry: Entry) -> None:
    expected = entry["request"] | {"other_modalities": tuple(entry["request"]["other_modalities"])}
    assert Request.from_payload(entry["payload"]) == Request(**expected)


@pytest.mark.parametrize("entry", GOLDEN["refused"], **named)
def test_payload_that_is_none_is_refused_with_what_is_wrong(entry: Entry) -> None:
    with pytest.raises(RequestError, match=re.escape(entry["wrong"])):
        Request.from_payload(entry["payload"])


@pytest.mark.parametrize("entry", ENTRIES, **named)
def test_words(entry: Entry) -> None:
    words = [word for word in Tokenizer()([request_of(entry).prompt])[0].tolist() if word != PADDING]
    assert words == unrolled(entry["words"])


@pytest.mark.parametrize("entry", ENTRIES, **named)
def test_figures_follow_from_the_words_and_inputs(entry: Entry) -> None:
    request = request_of(entry)
    expected = answered(unrolled(entry["words"]), *(getattr(request, name) for name in REQUEST_INPUTS))
    assert {name: entry[name] == pytest.approx(expected[name], rel=1e-8) for name in FIGURES} == dict.fromkeys(
        FIGURES, True
    )


@pytest.mark.parametrize("entry", ENTRIES, **named)
def test_features(served: Served, entry: Entry) -> None:
    outputs = served.decide(request_of(entry))
    found = dict(zip(FEATURES, outputs["features"][0].tolist(), strict=True))
    assert found == pytest.approx(dict(zip(FEATURES, entry["features"], strict=True)), rel=1e-6)
    assert outputs["evidence"][0] == pytest.approx(entry["evidence"], rel=1e-6)


@pytest.mark.parametrize("entry", ENTRIES, **named)
def test_decision(served: Served, entry: Entry) -> None:
    outputs = served.decide(request_of(entry))
    assert outputs["probabilities"][0].tolist() == pytest.approx(entry["probabilities"], abs=1e-6)
    assert outputs["gain"][0] == pytest.approx(entry["gain"], abs=1e-6)
    assert bool(outputs["use_pro"][0]) == entry["use_pro"]


def test_batch_of_the_corpus_equals_row_by_row(served: Served) -> None:
    requests = [request_of(entry) for entry in ENTRIES]
    zeros = np.zeros(len(requests), np.int64)
    inputs = {name: np.array([getattr(each, name) for each in requests]) for name in REQUEST_INPUTS}
    batch = served.run([each.prompt for each in requests], Tally(zeros, zeros, zeros, **inputs))
    alone = [served.decide(each) for each in requests]
    for name, values in batch.items():
        assert np.array_equal(values, np.concatenate([each[name] for each in alone])), name


def test_scikit_learn_decides_the_corpus_as_the_file_does(served: Served) -> None:
    router = made_up_router()
    for entry in ENTRIES:
        outputs = served.decide(request_of(entry))
        expected = router.heads.probabilities(outputs["features"])
        assert outputs["probabilities"] == pytest.approx(expected, abs=1e-7), entry["name"]


def test_names_are_unique() -> None:
    names = [entry["name"] for entry in ENTRIES + GOLDEN["refused"]]
    assert len(set(names)) == len(names)


def test_corpus_has_both_decisions_and_both_reasons() -> None:
    sent = [(entry["use_pro"], entry["evidence"] < GOLDEN["heads"]["evidence_floor"]) for entry in ENTRIES]
    assert set(sent) == {(True, True), (True, False), (False, False)}


@pytest.mark.parametrize("name", REQUEST_INPUTS)
def test_each_input_changes_a_decision_by_itself(name: str) -> None:
    flash = next(entry for entry in GOLDEN["prompts"] if entry["name"] == "two words")
    same = [entry for entry in GOLDEN["prompts"] if entry["prompt"] == flash["prompt"] and entry["use_pro"]]
    assert not flash["use_pro"]
    assert any(set(entry) - set(flash) == {name} for entry in same)


def test_decisions_are_clear_of_their_bounds() -> None:
    for entry in ENTRIES:
        assert abs(entry["gain"] - GOLDEN["heads"]["threshold"]) > CLEAR_OF_BOUNDS, entry["name"]
        assert abs(entry["evidence"] - GOLDEN["heads"]["evidence_floor"]) > CLEAR_OF_BOUNDS, entry["name"]


def rounded(value: Any) -> Any:
    """Nine digits, enough for a float32."""
    if isinstance(value, list):
        return [rounded(each) for each in value]
    return float(f"{value:.9g}") if isinstance(value, float) else value


def write() -> None:
    """Write the figures of all entries anew, an entry per line."""
    for entry in ENTRIES:
        request = request_of(entry)
        figures = answered(unrolled(entry["words"]), *(getattr(request, name) for name in REQUEST_INPUTS))
        entry.update({name: rounded(value) for name, value in figures.items()})
    lines = [f" {json.dumps(key)}: {_laid_out(value)}" for key, value in GOLDEN.items()]
    CORPUS.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")


def _laid_out(value: Any) -> str:
    if isinstance(value, list):
        return "[\n" + ",\n".join(f"  {json.dumps(entry)}" for entry in value) + "\n ]"
    return json.dumps(value)


if __name__ == "__main__":
    write()
