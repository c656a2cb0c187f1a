"""The manifest of a version: what it is, what it was made from, and what was measured."""

from __future__ import annotations

import hashlib
import json
import math
import platform
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from features.graph import FEATURES
from pipeline import artifact
from pipeline.config import COST_UNIT, RELATIVE_COSTS, Config
from pipeline.export import Export
from pipeline.findings import Findings, Policy
from pipeline.metrics import Estimate
from pipeline.parts import Parts
from pipeline.router import Router
from pipeline.schema import TIERS
from pipeline.traces import Traces
from pipeline.tune import OperatingPoint

LIBRARIES = ("joblib", "mlflow", "numpy", "onnx", "onnxruntime", "pandas", "pyarrow", "scikit-learn", "tier-router")


def describe(
    name: str, config: Config, data: Mapping[str, Any], router: Router, point: OperatingPoint, tuned: Policy,
    findings: Findings,
) -> dict[str, Any]:  # fmt: skip
    """All of the manifest that is known before the files are made; the files carry it as metadata.

    Args:
        name: of the version.
        data: from `data`.
        tuned: the router's policy on the tune part.
    """
    return {
        "schema": artifact.SCHEMA,
        "version": name,
        "created_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "git_commit": git_commit(),
        "tiers": data["tiers"],
        "features": list(FEATURES),
        "threshold": point.threshold,
        "evidence_floor": point.evidence_floor,
        "operating_point": asdict(point),
        "objective": {"name": "min_quality", "value": config.min_quality},
        "certificate": None,
        "costs": list(RELATIVE_COSTS),
        "cost_unit": COST_UNIT,
        "metrics": {"tune": metrics(tuned), "test": metrics(findings.policy("router"))},
        "baselines": {policy.name: metrics(policy) for policy in findings.policies if policy.name != "router"},
        "warnings": list(findings.warnings),
        "data": data["traces"],
        "vocabulary": {"words": len(router.vocabulary.words), **asdict(router.smoothing)},
        "libraries": {"python": platform.python_version()} | {library: version(library) for library in LIBRARIES},
        "config": config.printed(),
    }


def data(traces: Traces, parts: Parts) -> dict[str, Any]:
    """What the manifest says of the traces, under `traces`, and of the models that answered them, under `tiers`."""
    return {
        "tiers": {tier: {"model": traces.models[tier] or None, "price": None} for tier in TIERS},
        "traces": {
            "source": traces.source,
            "sha256": traces.sha256,
            "rows": len(traces),
            "groups": len(set(traces.group)),
            "categories": len(set(traces.category)),
            "time_range": time_range(traces),
            "split": parts.rule,
            "split_sizes": parts.sizes,
            "repeated_rows_left_out": traces.repeated,
            "ignored_columns": list(traces.ignored),
        },
    }


def with_files(manifest: Mapping[str, Any], exported: Export) -> dict[str, Any]:
    """The manifest with what is known once the models are made."""
    models = {"router": exported.router, "scorer": exported.scorer}
    return {
        **manifest,
        "onnx": {name: facts(model) for name, model in models.items()},
        "parity": asdict(exported.parity),
    }


def facts(model: onnx.ModelProto) -> dict[str, Any]:
    """Digest, operator set and size in bytes of a model as it is written."""
    content = model.SerializeToString(deterministic=True)
    opset = {entry.domain or "ai.onnx": entry.version for entry in model.opset_import}
    return {"sha256": hashlib.sha256(content).hexdigest(), "opset": opset, "size": len(content)}


def as_metadata(manifest: Mapping[str, Any]) -> dict[str, str]:
    """The manifest as a property of the ONNX files."""
    return {"manifest": json.dumps(manifest, ensure_ascii=False, allow_nan=False)}


def metrics(policy: Policy) -> dict[str, Any]:
    """Metrics as plain values; what is not defined is null. Cost in dollars is null while no prices are known."""
    return {name: plain(value) for name, value in policy.metrics.items()} | {"cost_per_1k_usd": None}


def plain(estimate: Estimate) -> dict[str, float | None]:
    """An estimate as JSON."""
    return {name: round(value, 6) if math.isfinite(value) else None for name, value in asdict(estimate).items()}


def time_range(traces: Traces) -> list[str] | None:
    """First and last time, or None where no trace has one."""
    known = traces.time[~np.isnat(traces.time)]
    return [str(known.min()), str(known.max())] if len(known) else None


def git_commit() -> str | None:
    """Commit of the checkout this package runs from; None where there is none."""
    git = shutil.which("git")
    if git is None:
        return None
    here = Path(__file__).parent
    asked = subprocess.run(  # noqa: S603  # a fixed command of the git found on the path
        [git, "rev-parse", "HEAD"], cwd=here, capture_output=True, text=True, check=False, timeout=10
    )
    return asked.stdout.strip() or None if asked.returncode == 0 else None
