"""What decision logs, files of outcomes and the evidence hold."""

from __future__ import annotations

import pyarrow as pa

from pipeline.runtime.parquet_file import REALS, TIMES
from pipeline.schema import COLUMNS, OUTCOME_COLUMNS, TEXT, TIERS, WHOLE, WORDS, Column, Layout, text

# What a decision was made by and what became of it, beyond the columns of traces.
WHYS = ("reason", "fallback", "escalated")
LOG = Layout(
    COLUMNS | {name: Column(name, TEXT, text) for name in ("version", *WHYS)}, (("task_id",), ("time",), ("chosen",))
)

# Of decisions, and not of their outcomes: passed over.
PASSED_OVER = (*REALS, "status", TIMES)

SOURCES = tuple(f"{tier}_label_source" for tier in TIERS)
SAYING = ("correct", *OUTCOME_COLUMNS)
OUTCOMES = Layout(
    {
        "task_id": COLUMNS["task_id"],
        "time": COLUMNS["time"],
        "tier": Column("tier", TEXT, COLUMNS["served"].read),
        "correct": Column("correct", pa.bool_(), COLUMNS["flash_correct"].read),
        "label_source": Column("label_source", TEXT, text),
        **{name: COLUMNS[name] for name in (*OUTCOME_COLUMNS, *SOURCES)},
    },
    (("task_id",), SAYING),
)

# Columns of the evidence that traces do not have: why a row must not be used for estimates, and what is known of its
# outcome.
UNUSABLE, STATE = "unusable", "outcome"
EVIDENCE = pa.schema(
    [*((name, column.arrow) for name, column in COLUMNS.items()), *((name, TEXT) for name in (*WHYS, UNUSABLE, STATE))]
)
# There even where no row has a value: a file of traces needs them.
ALWAYS = ("task_id", "time", "chosen", "served", "propensity", "decided_by", *OUTCOME_COLUMNS, UNUSABLE, STATE)

# How lines of JSON are read at once; times as text, words as two lists.
LISTS = {"words": pa.list_(TEXT), TIMES: pa.list_(WHOLE)}
EMPTY = pa.scalar([], WORDS)
