"""From a trace file to a tested, tracked, shippable version."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import joblib
import numpy as np

from pipeline import (
    artifact,
    costs,
    frontier,
    generalisation,
    held_out,
    manifest,
    observed,
    parts,
    report,
    router,
)
from pipeline.config import Config
from pipeline.evaluate import evaluate
from pipeline.export import Export, export
from pipeline.held_out import HeldOut
from pipeline.metrics import Reals
from pipeline.recorder import Made, recorder
from pipeline.router import Router
from pipeline.sample import Priced
from pipeline.schema import TIERS
from pipeline.traces import Traces, load
from pipeline.tune import tune
from pipeline.weights import learnable

Step = Callable[[str], None]

EXPORT_ROWS = 5_000
# The first thing in the file, so that a pager shows it as well.
PICKLED = (
    "This is a pickle for analysts: to load one runs the code in it. Load none that you did not make; never serve it."
)


@dataclass(frozen=True, slots=True)
class Given:
    """What a training has to go on.

    Attributes:
        fit, tune, test: the parts; of a very large test part a sample.
        counted: what the outcomes of the fit part count, float64[N, 2]; None where no decision was logged.
        sample: traces of all parts, for cross-validation.
        data: what the manifest says of the traces.
        warnings: sentences that a reader must not miss.
    """

    fit: Traces
    counted: Reals | None
    tune: Traces
    test: Traces
    sample: Traces
    data: Mapping[str, Any]
    warnings: list[str]


def train(config: Config, step: Step = lambda _: None) -> Made:
    """Train, tune, evaluate, export and record.

    Args:
        config: what to do.
        step: called with the name of each step as it begins, and with more detail while it goes on.

    Raises:
        InputError: traces, target, prices or configuration cannot be used: no version was written.
        ParityError: the exported file would decide otherwise than scikit-learn: no version was written.
        StorageError: the version or the MLflow store cannot be written.
    """
    given = read(config, step)
    step("choosing the smoothing")
    smoothing = router.choose(given.fit, config.seed, given.counted)
    step("fitting")
    fitted, left_out = router.fit(given.fit, smoothing, given.counted)
    rules = frontier.declare(fitted.gain_of(left_out.features), left_out.evidence)
    step("tuning")
    both = observed.observe(fitted, given.tune, config.seed), observed.observe(fitted, given.test, config.seed)
    held = HeldOut(both[0].observed, both[1].observed, rules)
    tariff = costs.learn(config.settings, given.data["models"], held.tune, config.aim.priced_at)
    priced = Priced.of(held, tariff, config.seed)
    tuned = tune(priced.tuned, rules, config.aim)
    artifact.make_parent(config.out)
    with recorder(config.out) as tracked:
        findings = evaluate(
            given.sample, given.fit, left_out.features, fitted, both, priced, tuned, config.aim, given.warnings, step
        )
        step("exporting")
        with artifact.new_version(config.out) as folder:
            name, kept = artifact.version_of(folder), held_out.write(folder, held)
            known = manifest.describe(name, config, given.data, fitted, priced, tuned, findings, kept)
            exported = export(fitted, tuned.point, _some(both[1].traces, config.seed), manifest.as_metadata(known))
            complete = manifest.with_files(known, exported)
            write(folder, fitted, exported, report.render(findings, complete))
            version = artifact.publish(folder, complete)
        step("recording in MLflow")
        return Made(version, complete, findings, tracked.record(version))


def read(config: Config, step: Step) -> Given:
    """Read the traces and divide them; what is not needed of them is let go."""
    step("reading traces")
    traces = load(config.traces, lambda rows: step(f"reading traces: {rows:,}"))
    divided = parts.split(traces, parts.by_time(traces) if config.split == "time" else parts.by_group(config.seed))
    fit, tuning, test = (traces.take(getattr(divided, name)) for name in parts.PARTS)
    data = manifest.data(traces, divided)
    fit, weights = learnable(fit)
    warnings = [*manifest.practice(data), *router.check_learnable(fit, tuning, test)]
    if len(test) > parts.MOST_MEASURED:
        warnings.append(f"evaluated on {parts.MOST_MEASURED:,} of the {len(test):,} traces of the test part")
        test = test.take(parts.drawn(len(test), config.seed))
    if weights is not None:
        told = " and ".join(f"{size:,.0f} of {tier}" for tier, size in zip(TIERS, weights.effective, strict=True))
        warnings.append(f"learned from logged decisions too: the outcomes are worth {told} that count the same")
    counted = None if weights is None else weights.values
    return Given(fit, counted, tuning, test, generalisation.sample(traces, config.seed), data, warnings)


def _some(traces: Traces, seed: int) -> Traces:
    return traces.take(np.random.default_rng(seed).permutation(len(traces))[:EXPORT_ROWS])


def write(folder: Path, fitted: Router, exported: Export, page: str) -> None:
    """Write a version's files, all but the manifest and the rows held out."""
    for name in ("router", "scorer"):
        (folder / f"{name}.onnx").write_bytes(getattr(exported, name).SerializeToString(deterministic=True))
    joblib.dump(
        {"warning": PICKLED, "vocabulary": fitted.vocabulary, "heads": fitted.heads, "smoothing": fitted.smoothing},
        folder / "router.joblib",
    )
    (folder / "report.html").write_text(page, encoding="utf-8")
