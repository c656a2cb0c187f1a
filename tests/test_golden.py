"""The golden corpus: prompts and payloads with their words, inputs, features and decisions, for every language."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

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

GOLDEN = json.loads(Path(__file__).with_name("golden.json").read_text(encoding="utf-8"))
Entry = dict[str, Any]
named = {"ids": lambda entry: entry["name"]}


def prompt_of(entry: Entry) -> str:
    return entry["prompt"] if "prompt" in entry else entry["repeat"] * entry["times"]


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


@pytest.fixture(scope="module")
def served(small_traces: Traces) -> Served:
    """The made-up router, through the export and its parity gate."""
    told = GOLDEN["heads"]
    point = OperatingPoint(told["threshold"], told["evidence_floor"], "router", 0.5, 0.5, 0.5, 6.5, 6.5)
    return Served(export(made_up_router(), point, small_traces, {}).router)


@pytest.mark.parametrize("entry", GOLDEN["prompts"], **named)
def test_words(entry: Entry) -> None:
    words = [word for word in Tokenizer()([Request(prompt_of(entry)).prompt])[0].tolist() if word != PADDING]
    found = words if isinstance(entry["words"], list) else {"count": len(words), "distinct": len(set(words))}
    assert found == entry["words"]


@pytest.mark.parametrize("entry", GOLDEN["prompts"], **named)
def test_features(served: Served, entry: Entry) -> None:
    outputs = served.decide(Request(prompt_of(entry)))
    found = dict(zip(FEATURES, outputs["features"][0].tolist(), strict=True))
    assert found == pytest.approx(dict(zip(FEATURES, entry["features"], strict=True)), rel=1e-6)
    assert outputs["evidence"][0] == pytest.approx(entry["evidence"], rel=1e-6)


@pytest.mark.parametrize("entry", GOLDEN["prompts"], **named)
def test_decision(served: Served, entry: Entry) -> None:
    outputs = served.decide(Request(prompt_of(entry)))
    assert outputs["probabilities"][0].tolist() == pytest.approx(entry["probabilities"], abs=1e-6)
    assert bool(outputs["use_pro"][0]) == entry["use_pro"]


@pytest.mark.parametrize("entry", GOLDEN["payloads"], **named)
def test_request_inputs(entry: Entry) -> None:
    expected = entry["request"] | {"other_modalities": tuple(entry["request"]["other_modalities"])}
    assert Request.from_payload(entry["payload"]) == Request(**expected)


def test_batch_of_the_corpus_equals_row_by_row(served: Served) -> None:
    requests = [Request(prompt_of(entry)) for entry in GOLDEN["prompts"]]
    zeros = np.zeros(len(requests), np.int64)
    inputs = {name: np.array([getattr(each, name) for each in requests]) for name in REQUEST_INPUTS}
    batch = served.run([each.prompt for each in requests], Tally(zeros, zeros, zeros, **inputs))
    alone = [served.decide(each) for each in requests]
    for name, values in batch.items():
        assert np.array_equal(values, np.concatenate([each[name] for each in alone])), name


def test_scikit_learn_decides_the_corpus_as_the_file_does(served: Served) -> None:
    router = made_up_router()
    for entry in GOLDEN["prompts"]:
        outputs = served.decide(Request(prompt_of(entry)))
        expected = router.heads.probabilities(outputs["features"])
        assert outputs["probabilities"] == pytest.approx(expected, abs=1e-7), entry["name"]


def test_corpus_has_both_decisions_and_both_reasons() -> None:
    sent = [(entry["use_pro"], entry["evidence"] < GOLDEN["heads"]["evidence_floor"]) for entry in GOLDEN["prompts"]]
    assert set(sent) == {(True, True), (True, False), (False, False)}
