"""What a retune has to go on: evidence of the logs, labelled traces, audits, and a digest of it all."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from features.errors import InputError
from pipeline.drift.facts import Deployed
from pipeline.ingest.ingest import ingest
from pipeline.ingest.result import Ingested
from pipeline.ingest.traced import Experiment
from pipeline.retune.record import FOLDER
from pipeline.schema import TIERS
from pipeline.settings import Retuning, Settings
from pipeline.traces import Traces, digest, load

EVIDENCE = "evidence.parquet"
DAY_S = 86_400

Step = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Material:
    """What a retune has to go on.

    Attributes:
        ingested: what came of logs and outcomes.
        traces: all that is learned from and judged by, over one lexicon.
        audited: newest time of an audited task; NaT where none has a time.
        deployed: models and fingerprints that answered for each tier in the newest days.
    """

    ingested: Ingested
    traces: Traces
    audited: Any
    deployed: Mapping[str, Deployed]


def gather(options: Retuning, step: Step) -> Ingested:
    """Join logs and outcomes into the evidence.

    Raises:
        EvidenceError: there is no decision, or none with an outcome.
        InputError: a file cannot be used, or no logs are named.
        StorageError: the evidence cannot be written.
    """
    if not options.logs:
        raise InputError("[retune] names no 'logs': name the folders of the decision logs")
    experiment = Experiment(options.mlflow, Path(options.out)) if options.mlflow else None
    out = Path(options.out) / FOLDER / EVIDENCE
    return ingest(_paths(options.logs), _paths(options.outcomes), out, experiment=experiment, step=step)


def key(options: Retuning, settings: Settings, tariff: Mapping[str, Any], ingested: Ingested) -> str:
    """Digest of the evidence and of what is asked of it, hexadecimal: the same for the same question.

    Args:
        options, settings: that the retune was called with.
        tariff: prices that apply, as `Tariff.printed` gives them; the day that they were asked for does not count.
        ingested: what came of logs and outcomes.

    Raises:
        InputError: a file of traces or audits cannot be read.
    """
    files = [path for name in ("traces", "audit") for path in _paths(getattr(options, name))]
    said = {
        "evidence": ingested.sha256, "files": [_digest(path) for path in files],
        "tariff": {name: value for name, value in tariff.items() if name != "priced_at"},
        "options": {"newest_days": options.newest_days, "margin": options.margin, "audit_days": options.audit_days},
        "settings": settings.printed(),
    }  # fmt: skip
    return hashlib.sha256(json.dumps(said, sort_keys=True, default=str).encode()).hexdigest()


def read(options: Retuning, ingested: Ingested, step: Step) -> Material:
    """Read everything over one lexicon.

    Raises:
        TraceError: a file cannot be read, or two contradict each other.
    """
    audits, labelled = _paths(options.audit), _paths(options.traces)
    paths = [*labelled, *audits, ingested.path]
    traces = load(paths, lambda rows: step(f"reading traces: {rows:,}"), waiting=True)
    audited = _newest(load(audits).time if audits else np.array([], "datetime64[us]"))
    return Material(ingested, traces, audited, _deployed(ingested.path, options.newest_days))


def _digest(path: Path) -> str:
    try:
        return digest([path])
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror or error}: see to [retune] traces, audit") from error


def _newest(times: Any) -> Any:
    known = times[~np.isnat(times)]
    return known.max() if len(known) else np.datetime64("NaT", "us")


def _deployed(evidence: Path, newest_days: float) -> dict[str, Deployed]:
    """What answered for each tier in the newest days of the evidence."""
    there = pq.read_schema(evidence).names
    wanted = [name for tier in TIERS for name in (f"{tier}_model", f"{tier}_fingerprint") if name in there]
    table = pq.read_table(evidence, columns=["time", *wanted])
    times = table["time"].to_numpy().astype("datetime64[us]")
    recent = table.filter(times > times.max() - np.timedelta64(round(newest_days * DAY_S), "s"))

    def names(column: str) -> frozenset[str]:
        return frozenset(recent[column].drop_null().unique().to_pylist()) if column in wanted else frozenset()

    return {tier: Deployed(names(f"{tier}_model"), names(f"{tier}_fingerprint")) for tier in TIERS}


def _paths(names: tuple[str, ...]) -> list[Path]:
    return [Path(name) for name in names]
