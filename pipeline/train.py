"""From a trace file to a tested, tracked, shippable version."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import joblib
import numpy as np

from pipeline import artifact, manifest, parts, policies, report, router, tracking, tune
from pipeline.config import RELATIVE_COSTS, Config
from pipeline.evaluate import evaluate
from pipeline.export import Export, export
from pipeline.findings import Findings
from pipeline.router import Router
from pipeline.traces import load

Step = Callable[[str], None]

EXPORT_ROWS = 5000


@dataclass(frozen=True, slots=True)
class Trained:
    """What a training left."""

    folder: Path
    manifest: Mapping[str, Any]
    findings: Findings
    tracked: tracking.Tracked


def train(config: Config, step: Step = lambda _: None) -> Trained:
    """Train, tune, evaluate, export and record.

    Args:
        config: what to do.
        step: called with the name of each step as it begins, and with more detail while it goes on.

    Raises:
        InputError: traces, target or configuration cannot be used: no version was written.
        ParityError: the exported file would decide otherwise than scikit-learn: no version was written.
        StorageError: the version or the MLflow store cannot be written.
    """
    step("reading traces")
    traces = load(config.traces, lambda rows: step(f"reading traces: {rows:,}"))
    divided = parts.split(traces, parts.by_time(traces) if config.split == "time" else parts.by_group(config.seed))
    fit_part, tune_part, test_part = (traces.take(getattr(divided, name)) for name in parts.PARTS)
    warnings = router.check_learnable(fit_part, tune_part, test_part)
    store = tracking.prepare(config.out)
    step("choosing the smoothing")
    smoothing = router.choose(fit_part, config.seed)
    step("fitting")
    fitted, features = router.fit(fit_part, smoothing)
    tuned, test = policies.observe(fitted, tune_part), policies.observe(fitted, test_part)
    point = tune.operate(tuned.gain, tuned.evidence, tuned.traces.outcomes, config.min_quality)
    terms = policies.Terms(RELATIVE_COSTS, config.min_quality, config.seed)
    findings = evaluate(traces, fit_part, features, fitted, tuned, test, point, terms, warnings, step)
    step("exporting")
    with artifact.new_version(config.out) as folder:
        tuned_policy = policies.router_policy(tuned, point, terms)
        known = manifest.describe(
            artifact.version_of(folder), config, traces, divided, fitted, point, tuned_policy, findings
        )
        compared = traces.take(np.concatenate([divided.tune, divided.test])[:EXPORT_ROWS])
        exported = export(fitted, point, compared, manifest.as_metadata(known))
        complete = manifest.with_files(known, exported)
        write(folder, fitted, exported, report.render(findings, complete))
        version = artifact.publish(folder, complete)
    step("recording in MLflow")
    return Trained(version, complete, findings, tracking.record(store, version, complete))


def write(folder: Path, fitted: Router, exported: Export, page: str) -> None:
    """Write a version's files, all but the manifest."""
    for name in ("router", "scorer"):
        (folder / f"{name}.onnx").write_bytes(getattr(exported, name).SerializeToString(deterministic=True))
    joblib.dump(
        {"vocabulary": fitted.vocabulary, "heads": fitted.heads, "smoothing": fitted.smoothing},
        folder / "router.joblib",
    )
    (folder / "report.html").write_text(page, encoding="utf-8")
