"""Parts and folds: who belongs where, the same over shards and commands."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from features.errors import LearningError
from pipeline import parts
from pipeline.parts import by_group, by_time, category_folds, folds, part_of, split
from pipeline.traces import Traces, load

Row = dict[str, Any]
Loaded = Callable[[Sequence[Row]], Traces]
names = st.lists(st.sampled_from([f"g{at}" for at in range(12)]), min_size=1, max_size=40)


def membership(traces: Traces, rule: dict[str, object]) -> dict[str, str]:
    """The part of each task."""
    divided = split(traces, rule)
    return {task: name for name in parts.PARTS for task in traces.task_id[getattr(divided, name)].tolist()}


def test_part_of_a_group_is_pinned() -> None:
    assert [part_of(f"group {at}", 0) for at in range(12)] == [
        "fit", "test", "fit", "fit", "fit", "fit", "fit", "fit", "tune", "test", "tune", "tune",
    ]  # fmt: skip


@given(st.text(), st.integers(0, 10))
def test_every_group_has_one_part(group: str, seed: int) -> None:
    assert part_of(group, seed) in parts.PARTS


def test_parts_have_their_shares() -> None:
    found = [part_of(str(at), 7) for at in range(20_000)]
    assert [found.count(name) / 20_000 for name in parts.PARTS] == pytest.approx([0.6, 0.2, 0.2], abs=0.015)


def test_membership_is_stable_over_shards_and_formats(
    tmp_path: Path, generated: Callable[..., list[Row]], write: Callable[[Path, Sequence[Row]], Path]
) -> None:
    rows = generated(200)
    whole = membership(load([write(tmp_path / "all.jsonl", rows)]), by_group(3))
    shards = {
        "first": load([write(tmp_path / "first.csv", rows[:90])]),
        "second": load([write(tmp_path / "second.parquet", rows[90:])]),
    }
    apart: dict[str, str] = {}
    for shard in shards.values():
        apart |= membership(shard, by_group(3))
    assert apart == whole


def test_membership_does_not_depend_on_the_other_rows(small_traces: Traces) -> None:
    whole, some = (
        membership(traces, by_group(0)) for traces in (small_traces, small_traces.take(np.arange(399, 0, -7)))
    )
    assert some.items() <= whole.items()


def test_groups_stay_whole(loaded: Loaded) -> None:
    rows = [{"prompt": f"{at}", "group": f"g{at % 9}", "flash_correct": 1} for at in range(90)]
    traces = loaded(rows)
    divided = split(traces, by_group(0))
    groups = [set(traces.group[getattr(divided, name)]) for name in parts.PARTS]
    assert sum(map(len, groups)) == len(set().union(*groups)) == 9


def test_seed_changes_membership(small_traces: Traces) -> None:
    assert membership(small_traces, by_group(0)) != membership(small_traces, by_group(1))


def test_every_row_is_in_one_part(small_traces: Traces) -> None:
    for rule in (by_group(0), by_time(small_traces)):
        divided = split(small_traces, rule)
        rows = np.concatenate([getattr(divided, name) for name in parts.PARTS])
        assert sorted(rows.tolist()) == list(range(len(small_traces)))
        assert sum(divided.sizes.values()) == len(small_traces)


def test_time_split_puts_the_newest_last(small_traces: Traces) -> None:
    divided = split(small_traces, by_time(small_traces))
    times = [small_traces.time[getattr(divided, name)] for name in parts.PARTS]
    assert times[0].max() < times[1].min()
    assert times[1].max() < times[2].min()


def test_cut_dates_of_the_manifest_give_the_same_parts_on_a_shard(small_traces: Traces) -> None:
    rule = by_time(small_traces)
    whole = membership(small_traces, rule)
    assert membership(small_traces.take(np.arange(50, 90)), rule).items() <= whole.items()


def test_time_split_without_times_is_refused_with_the_task_and_the_remedy(loaded: Loaded) -> None:
    rows = [{"task_id": "dated", "time": "2026-01-01", "prompt": "x", "flash_correct": 1}]
    rows.append({"task_id": "undated", "prompt": "y", "flash_correct": 1})
    with pytest.raises(LearningError, match=r"'undated' has none.*split by group"):
        by_time(loaded(rows))


@given(names, st.integers(2, 5), st.integers(0, 3))
def test_folds_keep_groups_whole(groups: list[str], count: int, seed: int) -> None:
    labels = np.arange(len(groups)) % 3
    fold = folds(np.array(groups, dtype=object), labels, count, seed)
    assert all(0 <= each < count for each in fold)
    assert len({(group, int(at)) for group, at in zip(groups, fold, strict=True)}) == len(set(groups))


@given(st.lists(st.integers(0, 3), min_size=1, max_size=60), st.integers(2, 5))
def test_folds_spread_labels_evenly(labels: list[int], count: int) -> None:
    fold = folds(np.array([str(at) for at in range(len(labels))], dtype=object), np.array(labels), count, 0)
    for label in set(labels):
        sizes = np.bincount(fold[np.array(labels) == label], minlength=count)
        assert sizes.max() - sizes.min() <= 1


@given(names, st.integers(2, 5))
def test_category_folds_hold_out_whole_categories_and_none_is_empty(categories: list[str], count: int) -> None:
    fold = category_folds(np.array(categories, dtype=object), count, 0)
    assert len({(name, int(at)) for name, at in zip(categories, fold, strict=True)}) == len(set(categories))
    assert set(fold.tolist()) == set(range(min(count, len(set(categories)))))


def test_time_split_keeps_groups_whole(loaded: Loaded) -> None:
    rows = [
        {"task_id": str(at), "group": f"g{at % 7}", "time": f"2026-01-{at + 1:02}", "prompt": "x", "flash_correct": 1}
        for at in range(28)
    ]
    traces = loaded(rows)
    divided = split(traces, by_time(traces))
    held = [set(traces.group[getattr(divided, name)]) for name in parts.PARTS]
    assert sum(map(len, held)) == len(set(traces.group))
