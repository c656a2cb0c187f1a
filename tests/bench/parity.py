"""Every row of every data set through the file and through scikit-learn: do the decisions agree?"""

from __future__ import annotations

import numpy as np

from pipeline.export import decide
from pipeline.served import Served
from pipeline.traces import Traces
from tests.bench import goals
from tests.bench.data import BUNDLE_NAME, Data, train
from tests.bench.table import Line


def run(data: Data) -> list[Line]:
    """All lines of this part."""
    lines = []
    for name in (*data.names, BUNDLE_NAME):
        data.say(f"parity: {name}")
        lines.append(_compared(name, data.load(name)))
    return lines


def _compared(name: str, traces: Traces) -> Line:
    """Trained on the fit part, compared on all rows."""
    trained = train(traces)
    served = Served(trained.exported.router)
    outputs = served.run(served.texts(traces), traces.tally)
    features, evidence = trained.router.measure(traces)
    expected = trained.router.heads.probabilities(features)
    flipped = int((outputs["use_pro"] != decide(expected, evidence, trained.point)).sum())
    flash, pro = expected.astype(np.float32).T
    far = np.abs(outputs["probabilities"] - expected).max(), np.abs(outputs["features"] - features).max()
    behind = (
        f"of {len(traces):,} rows at threshold {trained.point.threshold:.3f}; largest difference of a probability"
        f" {far[0]:.1e}, of a feature {far[1]:g}; gains that differ at all, so that some threshold could flip them:"
        f" {(outputs['gain'] != pro - flash).sum()}"
    )
    return Line(f"flips between ONNX and scikit-learn, {name}", flipped, behind, goals.FLIPS, "d")
