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
from pipeline import artifact, golden
from pipeline.config import Aim, Config
from pipeline.costs import Tariff
from pipeline.exploring import scale_of
from pipeline.export import Export
from pipeline.findings import Findings, Policy
from pipeline.metrics import Estimate
from pipeline.parts import Parts, drawn
from pipeline.policies import router_policy
from pipeline.router import Router
from pipeline.sample import Priced
from pipeline.schema import TIERS
from pipeline.settings import Settings
from pipeline.traces import Traces
from pipeline.tune import Tuned

LIBRARIES = ("joblib", "mlflow", "numpy", "onnx", "onnxruntime", "pandas", "pyarrow", "scikit-learn", "tier-router")


def describe(
    name: str, config: Config, data: Mapping[str, Any], router: Router, priced: Priced, tuned: Tuned,
    findings: Findings, held_out: Mapping[str, Any],
) -> dict[str, Any]:  # fmt: skip
    """All of the manifest that is known before the files are made; the files carry it as metadata.

    Args:
        name: of the version.
        data: from `data`.
        priced: the parts that were not fitted on.
        held_out: what `held_out.write` says of its file.
    """
    return {
        "schema": artifact.SCHEMA,
        "version": name,
        **made_now(),
        "tiers": tiers(data["models"], config.settings, priced.tariff),
        "features": list(FEATURES),
        **choices(config.aim, priced, tuned, findings),
        "data": dict(data),
        "held_out": dict(held_out),
        "vocabulary": {"words": len(router.vocabulary.words), **asdict(router.smoothing)},
        "libraries": {"python": platform.python_version()} | {library: version(library) for library in LIBRARIES},
        "config": config.printed(),
    }


def made_now() -> dict[str, Any]:
    """When and by what code."""
    return {"created_at": datetime.now(UTC).isoformat(timespec="seconds"), "git_commit": git_commit()}


def choices(aim: Aim, priced: Priced, tuned: Tuned, findings: Findings) -> dict[str, Any]:
    """What a manifest says of the choice of a threshold: all that another choice changes."""
    point, sample = tuned.point, priced.tuned
    on_tune = router_policy(sample.take(drawn(len(sample.rows), sample.seed)), point)
    money = priced.test.costs.in_usd
    deciding = np.where(sample.rows.evidence < np.float32(point.evidence_floor), np.inf, sample.rows.gain)
    return {
        "threshold": point.threshold,
        "evidence_floor": point.evidence_floor,
        "operating_point": asdict(point),
        "explore_scale": scale_of(deciding, point.threshold),
        "objective": {"name": aim.objective.name, "value": aim.objective.value, "certify": aim.certify},
        "certificate": tuned.certificate.printed(),
        "escalate_below": findings.money.escalate_below,
        "tariff": priced.tariff.printed(),
        "costs": priced.tuned.costs.api.mean(0).tolist(),
        "cost_unit": priced.tuned.costs.told,
        "costs_estimated": priced.tuned.costs.estimated,
        "metrics": {"tune": metrics(on_tune, money), "test": metrics(findings.policy("router"), money)},
        "baselines": {policy.name: metrics(policy, money) for policy in findings.policies if policy.name != "router"},
        "warnings": list(findings.warnings),
    }


def practice(data: Mapping[str, Any]) -> list[str]:
    """What must be said of traces, as a manifest describes them, if any are simulated."""
    simulated = data.get("simulated", False)  # versions of before know nothing of it
    return [f"{data['source']} holds answers of simulated models: practice, no measurement"] if simulated else []


def tiers(models: Mapping[str, str], settings: Settings, tariff: Tariff) -> dict[str, Any]:
    """What answers for each tier, and the price table's entry for it; null where there is none."""
    prices = [rate.price and rate.price.deployment for rate in tariff.rates]
    return {
        tier: {"model": getattr(settings.tiers, tier).model or models[tier] or None, "price": price}
        for tier, price in zip(TIERS, prices, strict=True)
    }


def data(traces: Traces, parts: Parts) -> dict[str, Any]:
    """What the manifest says of the traces."""
    return {
        "source": traces.source,
        "sha256": traces.sha256,
        "rows": len(traces),
        "groups": len(set(traces.group)),
        "categories": len(set(traces.category)),
        "simulated": traces.simulated,
        "time_range": time_range(traces),
        "models": traces.models,
        "fingerprints": traces.fingerprints,
        "split": parts.rule,
        "split_sizes": parts.sizes,
        "repeated_rows_left_out": traces.repeated,
        "ignored_columns": list(traces.ignored),
    }


def other_models(data: Mapping[str, Any], models: Mapping[str, str]) -> list[str]:
    """Warnings about tiers that other models stood behind when the version was trained."""
    return [
        f"{tier} was {data['models'][tier]} in training and is {name} in these traces: if that is more than another "
        "name, train again"
        for tier, name in models.items()
        if name and data["models"][tier] and name != data["models"][tier]
    ]


def with_files(manifest: Mapping[str, Any], exported: Export) -> dict[str, Any]:
    """The manifest with what is known once the models are made."""
    models = {"router": exported.router, "scorer": exported.scorer}
    return {
        **manifest,
        "onnx": {name: facts(model) for name, model in models.items()},
        "parity": asdict(exported.parity),
        "golden": golden.rows(exported.router),
    }


def facts(model: onnx.ModelProto) -> dict[str, Any]:
    """Digest, operator set and size in bytes of a model as it is written."""
    content = model.SerializeToString(deterministic=True)
    opset = {entry.domain or "ai.onnx": entry.version for entry in model.opset_import}
    return {"sha256": hashlib.sha256(content).hexdigest(), "opset": opset, "size": len(content)}


def as_metadata(manifest: Mapping[str, Any]) -> dict[str, str]:
    """The manifest as a property of the ONNX files, without what is known only once they are made."""
    known = {name: value for name, value in manifest.items() if name not in artifact.KNOWN_LATER}
    return {"manifest": json.dumps(known, ensure_ascii=False, allow_nan=False)}


def metrics(policy: Policy, in_usd: bool) -> dict[str, Any]:
    """Metrics as plain values; what is not defined is null. Cost in dollars is null where no prices are known."""
    plainly = {name: plain(value) for name, value in policy.metrics.items()}
    return plainly | {"cost_per_1k_usd": plainly["cost"] if in_usd else None}


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
