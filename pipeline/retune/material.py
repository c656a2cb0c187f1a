"""What a retune has to go on: evidence of the logs, labelled traces, audits, and a digest of it all."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from features.errors import EvidenceError, InputError
from pipeline import reading
from pipeline.drift.facts import Deployed
from pipeline.evidence import Mask
from pipeline.ingest import clocks
from pipeline.ingest.ingest import ingest
from pipeline.ingest.result import Ingested
from pipeline.ingest.traced import Experiment
from pipeline.retune.record import FOLDER
from pipeline.schema import TIERS
from pipeline.settings import Retuning, Settings
from pipeline.traces import Traces, digest, load

EVIDENCE = "evidence.parquet"
DAY_S = 86_400
NEVER = np.datetime64("NaT", "us")

Step = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Material:
    """What a retune has to go on.

    Attributes:
        ingested: what came of logs and outcomes.
        traces: all that is learned from and judged by, over one lexicon; named after the models that answer now.
        audit: bool[N], which of the traces are of an audit: of a file that [retune] audit names.
        audited: newest time of an audited task; NaT where there is none.
        deployed: models and fingerprints that answered for each tier in the newest days.
    """

    ingested: Ingested
    traces: Traces
    audit: Mask
    audited: Any
    deployed: Mapping[str, Deployed]


def gather(options: Retuning, step: Step, now: datetime | None = None) -> Ingested:
    """Join logs and outcomes into the evidence.

    Args:
        options: that the retune was called with.
        step: called with the name of each step as it begins.
        now: the time; None: as this machine knows it.

    Raises:
        EvidenceError: there is no decision, none with an outcome, or none of the newest days.
        InputError: a file cannot be used, or no logs are named.
        StorageError: the evidence cannot be written.
    """
    if not options.logs:
        raise InputError("[retune] names no 'logs': name the folders of the decision logs")
    experiment = Experiment(options.mlflow, Path(options.out)) if options.mlflow else None
    out = Path(options.out) / FOLDER / EVIDENCE
    moment = now or datetime.now(UTC)
    found = ingest(
        _paths(options.logs), _paths(options.outcomes), out, experiment=experiment, now=moment,
        newest_days=options.newest_days, step=step,
    )  # fmt: skip
    for said in clocks.ended(found.last, options.newest_days, moment):
        raise EvidenceError(f"{said} Where so old ones are to be learned from, raise [retune] newest_days")
    return found


def key(options: Retuning, settings: Settings, prices: Mapping[str, Any], ingested: Ingested) -> str:
    """Digest of the evidence and of what is asked of it, hexadecimal: the same for the same question.

    Args:
        options, settings: that the retune was called with.
        prices: that are in force, by name; nothing that is learned of the champion, for it changes with a promotion.
        ingested: what came of logs and outcomes.

    Raises:
        InputError: a file of traces or audits cannot be read.
    """
    files = [path for name in ("traces", "audit") for path in _paths(getattr(options, name))]
    places = {"logs", "outcomes", "mlflow", "traces", "audit", "out", "dest"}
    said = {
        "evidence": ingested.sha256, "files": [_digest(path) for path in files], "prices": dict(prices),
        "options": options.model_dump(mode="json", exclude=places), "settings": settings.printed(),
    }  # fmt: skip
    return hashlib.sha256(json.dumps(said, sort_keys=True, default=str).encode()).hexdigest()


def read(options: Retuning, ingested: Ingested, step: Step, now: datetime | None = None) -> Material:
    """Read everything over one lexicon.

    Args:
        options: that the retune was called with.
        ingested: what came of logs and outcomes.
        step: called with the name of each step as it begins.
        now: the time; None: as this machine knows it.

    Raises:
        InputError: an audited task has no time, or a task one that is to come.
        TraceError: a file cannot be read, or two contradict each other.
    """
    audits, labelled = _paths(options.audit), _paths(options.traces)
    _check_times(audits)
    # The audits first: of a task that another file repeats, the row that stood first stays.
    paths = [*audits, *labelled, ingested.path]
    traces = load(paths, lambda rows: step(f"reading traces: {rows:,}"), waiting=True)
    _check_clocks(traces, [*audits, *labelled], now or datetime.now(UTC))
    audited = load(audits, waiting=True) if audits else traces.take(np.array([], np.int64))
    audit = pd.Series(traces.task_id).isin(audited.task_id).to_numpy()
    last = audited.time.max() if len(audited) else NEVER
    deployed = _deployed(ingested.path, options.newest_days)
    models = traces.models | _alone({tier: each.models for tier, each in deployed.items()})
    builds = traces.fingerprints | _alone({tier: each.fingerprints for tier, each in deployed.items()})
    return Material(ingested, replace(traces, models=models, fingerprints=builds), audit, last, deployed)


def _check_times(audits: Sequence[Path]) -> None:
    for path, chunk in ((file, chunk) for file in audits for chunk in reading.read(file)):
        given = chunk.columns.get("time", pa.nulls(len(chunk.places)))
        if given.null_count:
            at = chunk.places[given.is_null().to_numpy(zero_copy_only=False)][0]
            raise InputError(
                f"{path}, row {at}, field 'time': empty, and the newest audit is found by it: fill in when both tiers "
                "were asked, or, where nobody knows, name the file under [retune] traces"
            )


def _check_clocks(traces: Traces, files: Sequence[Path], now: datetime) -> None:
    """Refuse tasks of the future, as `ingest` does decisions: logs would seem old beside them, and no audit due."""
    latest = clocks.utc(now + clocks.AHEAD)
    if (ahead := np.flatnonzero(traces.time > latest)).size:
        first = int(ahead[0])
        raise InputError(
            f"{', '.join(map(str, files))}: task_id {traces.task_id[first]!r}, field 'time': {traces.time[first]} is "
            f"to come, and so are the times of {len(ahead):,} tasks; here it is {now:%Y-%m-%d %H:%M} UTC: set the "
            "clock right, and mend the times"
        )


def _digest(path: Path) -> str:
    try:
        return digest([path])
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror or error}: see to [retune] traces, audit") from error


def answering(evidence: Path, newest_days: float) -> dict[str, str]:
    """The model that answered for a tier in the newest days, by tier, where it is one alone."""
    return _alone({tier: each.models for tier, each in _deployed(evidence, newest_days).items()})


def _alone(names: Mapping[str, frozenset[str]]) -> dict[str, str]:
    return {tier: next(iter(each)) for tier, each in names.items() if len(each) == 1}


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
