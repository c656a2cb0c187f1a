"""The exported files: equal to scikit-learn, carrying their manifest, with inputs that a caller may override."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from onnxruntime.capi.onnxruntime_pybind11_state import InvalidArgument

from features.errors import ParityError
from features.graph import FEATURES, REQUEST_INPUTS, session
from pipeline import artifact, router
from pipeline.export import Export, compare, export, extreme_features
from pipeline.router import Router, Smoothing
from pipeline.served import OUTPUTS, Served
from pipeline.traces import Traces
from pipeline.tune import OperatingPoint

POINT = OperatingPoint(0.25, 0.3, "router", 0.5, 0.8, 0.98, 6.5, 6.5)
METADATA = {"manifest": json.dumps({"schema": 1, "note": "größer"})}


@pytest.fixture(scope="module")
def exported(small_router: Router, small_traces: Traces) -> Export:
    return export(small_router, POINT, small_traces, METADATA)


@pytest.fixture(scope="module")
def opened(exported: Export) -> onnxruntime.InferenceSession:
    return session(exported.router)


@pytest.fixture(scope="module")
def scorer(exported: Export) -> onnxruntime.InferenceSession:
    return session(exported.scorer)


def feeds(*prompts: str, **more: Any) -> dict[str, Any]:
    inputs = {name: np.full(len(prompts), 1, np.int64) for name in REQUEST_INPUTS}
    return {"prompt": np.array(prompts, dtype=object), **inputs, **more}


def decided(opened: onnxruntime.InferenceSession, feed: dict[str, Any]) -> dict[str, NDArray[Any]]:
    return dict(zip(OUTPUTS, opened.run(OUTPUTS, feed), strict=True))


def test_contract_of_router(exported: Export) -> None:
    graph = exported.router.graph
    assert [value.name for value in graph.input] == ["prompt", *REQUEST_INPUTS, "threshold", "evidence_floor"]
    assert [value.name for value in graph.output] == [
        "features",
        "probabilities",
        "gain",
        "evidence",
        "use_pro",
        "words",
    ]


def test_contract_of_scorer(exported: Export) -> None:
    graph = exported.scorer.graph
    assert [value.name for value in graph.input] == ["features", "threshold"]
    assert [value.name for value in graph.output] == ["probabilities", "gain", "use_pro"]


def test_files_compared_equal_with_no_flips(exported: Export, small_traces: Traces) -> None:
    assert exported.parity.flipped == 0
    assert exported.parity.rows > len(small_traces)
    assert exported.parity.largest_difference <= 1e-6


@given(st.lists(st.lists(st.floats(width=32, allow_nan=False), min_size=10, max_size=10), min_size=1, max_size=5))
def test_scorer_equals_scikit_learn_on_any_values(
    scorer: onnxruntime.InferenceSession, small_router: Router, rows: list[list[float]]
) -> None:
    features = np.array(rows, np.float32)
    probabilities, gain, use_pro = scorer.run(None, {"features": features})
    expected = small_router.heads.probabilities(features)
    assert probabilities == pytest.approx(expected, abs=1e-6)
    assert np.array_equal(gain, probabilities[:, 1] - probabilities[:, 0])
    assert np.array_equal(use_pro, gain >= np.float32(POINT.threshold))


def test_extreme_rows_one_by_one_equal_their_batch(scorer: onnxruntime.InferenceSession, small_router: Router) -> None:
    extreme = extreme_features(small_router.heads)
    batch = scorer.run(None, {"features": extreme})
    alone = [scorer.run(None, {"features": extreme[at : at + 1]}) for at in range(len(extreme))]
    for output, values in enumerate(batch):
        assert np.array_equal(values, np.concatenate([each[output] for each in alone]))


def test_scorer_continues_from_the_features_of_router(
    opened: onnxruntime.InferenceSession, scorer: onnxruntime.InferenceSession
) -> None:
    outputs = decided(opened, feeds("prove integral", "city river name", "zebra"))
    probabilities, gain, _ = scorer.run(None, {"features": outputs["features"]})
    assert np.array_equal(probabilities, outputs["probabilities"])
    assert np.array_equal(gain, outputs["gain"])


def test_use_pro_is_the_full_rule(opened: onnxruntime.InferenceSession) -> None:
    outputs = decided(opened, feeds("prove integral lemma", "city river name", "zebra zebu", "city zebra", ""))
    rule = (outputs["gain"] >= np.float32(POINT.threshold)) | (outputs["evidence"] < np.float32(POINT.evidence_floor))
    assert np.array_equal(outputs["use_pro"], rule)
    assert outputs["use_pro"][[1, 2]].tolist() == [False, True]


@pytest.mark.parametrize(("threshold", "expected"), [(-1.0, True), (2.0, False)])
def test_caller_may_override_the_threshold(
    opened: onnxruntime.InferenceSession, threshold: float, expected: bool
) -> None:
    override = {"threshold": np.array(threshold, np.float32), "evidence_floor": np.array(0, np.float32)}
    outputs = decided(opened, feeds("prove integral", "city", "zebra", "", **override))
    assert outputs["use_pro"].tolist() == [expected] * 4


def test_caller_may_override_the_evidence_floor(opened: onnxruntime.InferenceSession) -> None:
    override = {"threshold": np.array(2, np.float32), "evidence_floor": np.array(0.75, np.float32)}
    outputs = decided(opened, feeds("city city", "city zebra", **override))
    assert outputs["use_pro"].tolist() == [False, True]


@pytest.mark.parametrize("name", ["router", "scorer"])
def test_metadata_carries_the_manifest(exported: Export, name: str) -> None:
    model = getattr(exported, name)
    assert session(model).get_modelmeta().custom_metadata_map["manifest"] == METADATA["manifest"]


def test_empty_batch_is_refused_by_onnxruntime(opened: onnxruntime.InferenceSession) -> None:
    with pytest.raises(InvalidArgument, match="rank"):
        decided(opened, feeds())


def test_export_is_the_same_to_the_byte(small_router: Router, small_traces: Traces, exported: Export) -> None:
    again = export(small_router, POINT, small_traces, METADATA)
    assert again.router.SerializeToString(deterministic=True) == exported.router.SerializeToString(deterministic=True)


def test_weights_come_back_from_the_file(exported: Export, small_router: Router) -> None:
    served, vocabulary = Served(exported.router), small_router.vocabulary
    assert list(served.weights) == list(vocabulary.words)
    assert np.array_equal(np.array(list(served.weights.values())) * 4096, vocabulary.weights)


def tampered(model: onnx.ModelProto, constant: str, change: Callable[[NDArray[Any]], NDArray[Any]]) -> onnx.ModelProto:
    copy = onnx.ModelProto.FromString(model.SerializeToString())
    tensor = next(each for each in copy.graph.initializer if each.name == constant)
    tensor.CopyFrom(onnx.numpy_helper.from_array(change(onnx.numpy_helper.to_array(tensor)), constant))
    return copy


@pytest.mark.parametrize(
    ("constant", "change"),
    [
        ("coefficients", lambda value: value * 1.01),
        ("intercepts", lambda value: value + 1e-4),
        ("high", lambda value: value * np.float32(0.5)),
        ("weight_bytes", lambda value: np.where(value > 0, value - 1, value)),
        ("count_table", lambda value: value + 1),
        ("signs", lambda value: value * np.float32(0.5)),
        ("evidence_columns", lambda value: value - 4),
        ("threshold", lambda value: value + np.float32(0.3)),
        ("evidence_floor", lambda value: np.full_like(value, 1)),
    ],
)
def test_altered_file_fails_the_gate(
    exported: Export, small_router: Router, small_traces: Traces, constant: str, change: Any
) -> None:
    if constant == "evidence_floor":
        small_traces = small_traces.take(np.arange(100))
    with pytest.raises(ParityError):
        compare(tampered(exported.router, constant, change), exported.scorer, small_router, POINT, small_traces)


@pytest.mark.parametrize("constant", ["coefficients", "low", "signs", "threshold"])
def test_altered_scorer_fails_the_gate(
    exported: Export, small_router: Router, small_traces: Traces, constant: str
) -> None:
    model = tampered(exported.scorer, constant, lambda value: value + np.float32(0.4))
    with pytest.raises(ParityError):
        compare(exported.router, model, small_router, POINT, small_traces)


def test_failed_gate_leaves_nothing_behind(
    tmp_path: Path, small_router: Router, small_traces: Traces, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The heads that are exported are not those that are compared: as if a conversion had gone wrong."""
    weights, intercepts = small_router.heads.coefficients
    wrong = property(lambda _: (weights * 1.5, intercepts))
    monkeypatch.setattr(type(small_router.heads), "coefficients", wrong)
    with pytest.raises(ParityError, match="nothing was written"), artifact.new_version(tmp_path) as folder:
        export(small_router, POINT, small_traces, {})
    assert not folder.exists()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("answer", [0.0, 1.0])
def test_constant_tier_passes_the_gate(small_traces: Traces, answer: float) -> None:
    outcomes = small_traces.outcomes.copy()
    outcomes[:, 1] = answer
    traces = replace(small_traces, outcomes=outcomes)
    fitted, _ = router.fit(traces, Smoothing())
    assert export(fitted, POINT, traces, {}).parity.flipped == 0


def test_ten_features_leave_the_file(opened: onnxruntime.InferenceSession) -> None:
    assert decided(opened, feeds("city"))["features"].shape == (1, len(FEATURES))
