"""The router as ONNX files, compared with scikit-learn before a byte is written."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, numpy_helper

from features.errors import ParityError
from features.graph import FEATURES, REQUEST_INPUTS, Part, assemble, counts_to_features, prompt_to_counts, session
from pipeline.heads import Features, Heads
from pipeline.metrics import Reals
from pipeline.router import Router
from pipeline.served import OUTPUTS, Served
from pipeline.traces import Traces
from pipeline.tune import OperatingPoint

LARGEST_DIFFERENCE = 1e-6
SCORER_OUTPUTS = ("probabilities", "gain", "use_pro")


@dataclass(frozen=True, slots=True)
class Parity:
    """How exported files and scikit-learn compared.

    Attributes:
        rows: requests compared.
        largest_difference: of a probability.
        flipped: decisions that differed.
    """

    rows: int
    largest_difference: float
    flipped: int


@dataclass(frozen=True, slots=True)
class Export:
    """The two models, ready to be written, and the comparison they passed."""

    router: onnx.ModelProto
    scorer: onnx.ModelProto
    parity: Parity


def export(router: Router, point: OperatingPoint, traces: Traces, metadata: dict[str, str]) -> Export:
    """Build `router.onnx` and `scorer.onnx` and compare both with scikit-learn.

    Args:
        router: fitted.
        point: its operating point.
        traces: rows to compare on; where their texts are not at hand, texts of the same words are.
        metadata: properties to store in both files.

    Raises:
        ParityError: a probability differs by more than 1e-6, or a decision at all.
    """
    defaults = {"threshold": point.threshold, "evidence_floor": point.evidence_floor}
    requests = ("prompt", *REQUEST_INPUTS)
    head_part = features_to_gain(router.heads)
    parts = [prompt_to_counts(router.vocabulary), counts_to_features(), head_part, _full_rule()]
    whole = assemble(parts, requests, (*OUTPUTS, "words"), defaults)
    scorer = assemble([head_part, _gain_rule("use_pro")], ("features",), SCORER_OUTPUTS, {"threshold": point.threshold})
    for model in (whole, scorer):
        onnx.helper.set_model_props(model, metadata)
        onnx.checker.check_model(model)
    return Export(whole, scorer, compare(whole, scorer, router, point, traces))


def with_threshold(model: onnx.ModelProto, point: OperatingPoint, metadata: dict[str, str]) -> onnx.ModelProto:
    """A copy of `router.onnx` or `scorer.onnx` that differs in threshold, floor and metadata alone."""
    changed = onnx.ModelProto()
    changed.CopyFrom(model)
    values = {"threshold": point.threshold, "evidence_floor": point.evidence_floor}
    for tensor in changed.graph.initializer:
        if tensor.name in values:
            tensor.CopyFrom(numpy_helper.from_array(np.float32(values[tensor.name]).reshape(tensor.dims), tensor.name))
    del changed.metadata_props[:]
    onnx.helper.set_model_props(changed, metadata)
    return changed


def compare_scores(scorer: onnx.ModelProto, features: Features, probabilities: Reals, point: OperatingPoint) -> Parity:
    """Compare what `scorer.onnx` decides on features with the probabilities that the point was tuned on.

    Raises:
        ParityError: a probability differs by more than 1e-6, or a decision at all.
    """
    found = dict(zip(SCORER_OUTPUTS, session(scorer).run(SCORER_OUTPUTS, {"features": features}), strict=True))
    return _checked(
        Parity(
            rows=len(features),
            largest_difference=float(np.abs(found["probabilities"] - probabilities).max()),
            flipped=int((found["use_pro"] != decide(probabilities, None, point)).sum()),
        )
    )


def features_to_gain(heads: Heads) -> Part:
    """Part C: `features` -> `probabilities` float[N, 2], `gain` float[N]. In double, as scikit-learn computes."""
    part = Part()
    coefficients, intercepts = heads.coefficients
    part.node("Max", ["features", part.constant("low", heads.low)], "raised")
    part.node("Min", ["raised", part.constant("high", heads.high)], "clipped")
    part.node("Cast", ["clipped"], "clipped_double", to=TensorProto.DOUBLE)
    linear = [part.constant("coefficients", coefficients), part.constant("intercepts", intercepts)]
    part.node("Gemm", ["clipped_double", *linear], "log_odds")
    part.node("Sigmoid", ["log_odds"], "probabilities_double")
    part.node("Cast", ["probabilities_double"], "probabilities", to=TensorProto.FLOAT)
    # The sum of two signed numbers is one subtraction, yields float[N], and takes less time than a MatMul.
    part.node("Mul", ["probabilities", part.constant("signs", np.array([-1, 1], np.float32))], "signed_probabilities")
    part.node("ReduceSum", ["signed_probabilities", part.constant("tiers_axis", np.array([1]))], "gain", keepdims=0)
    return part


def _gain_rule(output: str) -> Part:
    part = Part()
    part.node("GreaterOrEqual", ["gain", "threshold"], output)
    return part


def _full_rule() -> Part:
    part = _gain_rule("gain_suffices")
    part.node("Less", ["evidence", "evidence_floor"], "too_little_evidence")
    part.node("Or", ["gain_suffices", "too_little_evidence"], "use_pro")
    return part


def compare(
    whole: onnx.ModelProto, scorer: onnx.ModelProto, router: Router, point: OperatingPoint, traces: Traces
) -> Parity:
    """Compare on the traces through the whole graph, and on extreme values of every feature through the scorer."""
    features, evidence = router.measure(traces)
    expected = router.heads.probabilities(features)
    file = Served(whole)
    served = file.run(file.texts(traces), traces.tally)
    if not np.array_equal(served["features"], features) or not np.array_equal(served["evidence"], evidence):
        row = int(np.flatnonzero((served["features"] != features).any(1) | (served["evidence"] != evidence))[0])
        raise ParityError(
            f"task {traces.task_id[row]!r}: served features {served['features'][row]}, trained on {features[row]}"
        )
    decided = decide(expected, evidence, point)
    extreme = extreme_features(router.heads)
    scores = session(scorer)
    far = dict(zip(SCORER_OUTPUTS, scores.run(SCORER_OUTPUTS, {"features": extreme}), strict=True))
    far_expected = router.heads.probabilities(extreme)
    return _checked(
        Parity(
            rows=len(traces) + len(extreme),
            largest_difference=float(
                max(np.abs(served["probabilities"] - expected).max(), np.abs(far["probabilities"] - far_expected).max())
            ),
            flipped=int(
                (served["use_pro"] != decided).sum() + (far["use_pro"] != decide(far_expected, None, point)).sum()
            ),
        )
    )


def _checked(parity: Parity) -> Parity:
    if parity.flipped or not parity.largest_difference <= LARGEST_DIFFERENCE:
        raise ParityError(
            f"ONNX and scikit-learn differ by {parity.largest_difference:.2g} and in {parity.flipped} of {parity.rows} "
            "decisions: nothing was written; report this with the library versions"
        )
    return parity


def decide(probabilities: Reals, evidence: NDArray[np.float32] | None, point: OperatingPoint) -> NDArray[np.bool_]:
    """The decisions that scikit-learn's probabilities lead to, rounded as the file rounds them."""
    flash, pro = probabilities.astype(np.float32).T
    use_pro = pro - flash >= np.float32(point.threshold)
    return np.asarray(use_pro if evidence is None else use_pro | (evidence < np.float32(point.evidence_floor)))


def extreme_features(heads: Heads) -> Features:
    """Rows in which one feature at a time is far outside its range, at its ends, or just beyond them."""
    middle = (heads.low + heads.high) / 2
    rows = [heads.low, heads.high, middle]
    for feature in range(len(FEATURES)):
        low, high = heads.low[feature], heads.high[feature]
        for value in (
            -1e30,
            1e30,
            low,
            high,
            np.nextafter(low, np.float32(-np.inf)),
            np.nextafter(high, np.float32(np.inf)),
        ):
            row = middle.copy()
            row[feature] = value
            rows.append(row)
    return np.array(rows, np.float32)
