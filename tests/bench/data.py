"""The data sets of the bench: the folder of trace files, or what the bundle holds of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pandas as pd

from pipeline import costs, export, frontier, parts, router, tune
from pipeline.config import BUNDLE, Config
from pipeline.export import Export
from pipeline.observed import Part, observe
from pipeline.router import Router
from pipeline.sample import Sample
from pipeline.settings import Settings
from pipeline.traces import Traces, load
from pipeline.tune import OperatingPoint

NAMES = ("routellm_mmlu", "routellm_gsm8k", "reasoning_gym", "bfcl_v1")
BUNDLED = {"routellm_mmlu": "mmlu/", "routellm_gsm8k": "gsm8k/"}
BUNDLE_NAME = "bundle"


@dataclass
class Data:
    """Data sets by name, loaded when they are first asked for.

    Attributes:
        folder: of the trace files; None where only the bundle is at hand.
        say: prints a line of progress.
    """

    folder: Path | None
    say: Callable[[str], None]
    _loaded: dict[str, Traces] = field(default_factory=dict)

    @property
    def names(self) -> tuple[str, ...]:
        """The data sets at hand, the bundle itself not among them."""
        return NAMES if self.folder else tuple(BUNDLED)

    def load(self, name: str) -> Traces:
        """All traces of a data set, or of the bundle."""
        if name not in self._loaded:
            self._loaded[name] = self._read(name)
        return self._loaded[name]

    def _read(self, name: str) -> Traces:
        if name == BUNDLE_NAME:
            return load([BUNDLE])
        if self.folder:
            return load([self.folder / f"{name}.parquet"])
        bundle = self.load(BUNDLE_NAME)
        return bundle.take(np.flatnonzero([task.startswith(BUNDLED[name]) for task in bundle.task_id]))

    def one_per_group(self, name: str) -> Traces:
        """The first trace of each group."""
        traces = self.load(name)
        return traces.take(np.flatnonzero(~pd.Series(traces.group).duplicated().to_numpy()))


@dataclass(frozen=True)
class Trained:
    """What `train` would ship, without the folder, and what it makes of its test part."""

    router: Router
    point: OperatingPoint
    exported: Export
    test: Part


def train(traces: Traces, seed: int = 0) -> Trained:
    """The steps of `pipeline.train`, up to the exported files."""
    divided = parts.split(traces, parts.by_group(seed))
    fit = traces.take(divided.fit)
    fitted, left_out = router.fit(fit, router.choose(fit, seed))
    rules = frontier.declare(fitted.gain_of(left_out.features), left_out.evidence)
    tuned, test = (observe(fitted, traces.take(rows), seed) for rows in (divided.tune, divided.test))
    tariff = costs.learn(Settings(), {"flash": "", "pro": ""}, tuned.observed, datetime.now(UTC))
    sample = Sample(tuned.observed, tariff.costs(tuned.observed), seed)
    point = tune.operate(sample, rules, Config().aim.objective)
    return Trained(fitted, point, export.export(fitted, point, test.traces, {}), test)
