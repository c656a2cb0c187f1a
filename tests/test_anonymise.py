"""Traces without prompts: the same router, no rare word, and nothing that reads as text."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from features.errors import StorageError, TraceError
from features.vocabulary import MINIMUM_GROUPS
from features.words import PLACEHOLDERS
from pipeline import parts, router
from pipeline.anonymise import anonymise
from pipeline.export import export
from pipeline.router import Smoothing
from pipeline.served import Served
from pipeline.traces import Traces, load
from pipeline.tune import OperatingPoint

Row = dict[str, Any]
Write = Callable[[Path, Sequence[Row]], Path]
LARGEST_BUNDLE_BYTES = 3_000_000
SOURCES = ("routellm_mmlu.parquet", "routellm_gsm8k.parquet")
TEXT_COLUMNS = {"prompt", "system", "tools"}


@pytest.fixture(scope="module")
def both_forms(tmp_path_factory: pytest.TempPathFactory, generated: Any, write: Write) -> tuple[Traces, Traces, Path]:
    """Generated traces as text and as their word counts, and the file of counts."""
    folder = tmp_path_factory.mktemp("forms")
    source = write(folder / "text.jsonl", generated(400))
    anonymise([source], folder / "counts.parquet")
    return load([source]), load([folder / "counts.parquet"]), folder / "counts.parquet"


@pytest.fixture(scope="module")
def real_forms(tmp_path_factory: pytest.TempPathFactory, shared_data: Path) -> tuple[Traces, Traces, Path]:
    """The same of the real traces that the bundle is made of."""
    target = tmp_path_factory.mktemp("bundle") / "routellm.parquet"
    sources = [shared_data / name for name in SOURCES]
    anonymise(sources, target)
    return load(sources), load([target]), target


@pytest.fixture(params=["both_forms", "real_forms"], ids=["generated", "shared"])
def forms(request: pytest.FixtureRequest) -> tuple[Traces, Traces, Path]:
    return request.getfixturevalue(request.param)


def fit_part(traces: Traces) -> Traces:
    return traces.take(parts.split(traces, parts.by_group(0)).fit)


def test_text_and_counts_train_the_same_router(forms: tuple[Traces, Traces, Path]) -> None:
    text, counts, _ = forms
    one, one_left_out = router.fit(fit_part(text), Smoothing())
    other, other_left_out = router.fit(fit_part(counts), Smoothing())
    weights = [
        dict(zip(each.vocabulary.words, map(tuple, each.vocabulary.weights.tolist()), strict=True))
        for each in (one, other)
    ]
    assert weights[0] == weights[1]
    for name in ("features", "evidence"):
        ours, theirs = (getattr(each, name).view(np.int32) for each in (one_left_out, other_left_out))
        assert np.array_equal(ours, theirs), name
    assert all(np.array_equal(a, b) for a, b in zip(one.heads.coefficients, other.heads.coefficients, strict=True))
    for measured_text, measured_counts in zip(one.measure(text), other.measure(counts), strict=True):
        assert np.array_equal(measured_text.view(np.int32), measured_counts.view(np.int32))


def test_outcomes_categories_groups_and_counts_are_kept(forms: tuple[Traces, Traces, Path]) -> None:
    text, counts, _ = forms
    for name in ("task_id", "group", "category", "outcomes", "time"):
        assert np.array_equal(getattr(text, name), getattr(counts, name), equal_nan=name in ("outcomes", "time")), name
    for name in ("words", "numbers", "symbols", "context_bytes", "tool_count", "turn_count"):
        assert np.array_equal(getattr(text.tally, name), getattr(counts.tally, name)), name


def test_no_text_and_no_rare_word_is_kept(forms: tuple[Traces, Traces, Path]) -> None:
    text, _, path = forms
    table = pq.read_table(path)
    assert not TEXT_COLUMNS & set(table.column_names)
    names = np.array(list(text.encoder.lexicon), dtype=object)
    codes = np.unique(text.group, return_inverse=True)[1][text.bags.rows]
    pairs = np.unique(np.stack([codes, text.bags.ids]), axis=1)
    groups = dict(zip(names.tolist(), np.bincount(pairs[1], minlength=len(names)).tolist(), strict=True))
    kept = set(table["words"].combine_chunks().keys.to_pylist()) - set(PLACEHOLDERS.values())
    assert kept
    assert min(groups[word] for word in kept) >= MINIMUM_GROUPS


def test_words_stand_in_sorted_order(forms: tuple[Traces, Traces, Path]) -> None:
    for row in pq.read_table(forms[2], columns=["words"])["words"].to_pylist()[:500]:
        words = [word for word, _ in row]
        assert words == sorted(words)


def test_router_trained_on_counts_exports_and_serves(both_forms: tuple[Traces, Traces, Path]) -> None:
    text, counts, _ = both_forms
    fitted, _ = router.fit(counts, Smoothing())
    model = export(fitted, OperatingPoint(0.2, 0.1, "router", 0.5, 0.5, 0.98, 6.5, 6.5), counts, {}).router
    outputs = Served(model).run(list(text.prompts), text.tally)
    assert np.array_equal(outputs["features"], fitted.measure(counts)[0])


def test_anonymising_again_changes_nothing(both_forms: tuple[Traces, Traces, Path], tmp_path: Path) -> None:
    anonymise([both_forms[2]], tmp_path / "again.parquet")
    assert pq.read_table(tmp_path / "again.parquet").equals(pq.read_table(both_forms[2]))


def test_report_of_the_run_counts_the_rows_of_the_file(tmp_path: Path, generated: Any, write: Write) -> None:
    rows = generated(50)
    source = write(tmp_path / "t.jsonl", [*rows, *rows[:5]])
    written = anonymise([source], tmp_path / "out.parquet")
    assert written["rows"] == pq.read_metadata(tmp_path / "out.parquet").num_rows


def test_source_that_cannot_be_read_leaves_the_target_as_it_was(tmp_path: Path) -> None:
    (source := tmp_path / "bad.csv").write_text("prompt,flash_correct\nx,perhaps\n")
    (target := tmp_path / "out.parquet").write_text("before")
    with pytest.raises(TraceError):
        anonymise([source], target)
    assert target.read_text() == "before"
    assert {path.name for path in tmp_path.iterdir()} == {"bad.csv", "out.parquet"}


def test_target_that_cannot_be_written_is_named(tmp_path: Path, generated: Any, write: Write) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(StorageError, match="file"):
        anonymise([write(tmp_path / "t.jsonl", generated(20))], tmp_path / "file" / "out.parquet")


def test_command_reports_what_it_wrote(tmp_path: Path, generated: Any, write: Write, tier_router: Any) -> None:
    source = write(tmp_path / "t.csv", generated(60))
    done = tier_router("anonymise", source, "out/figures.parquet", "--json", cwd=tmp_path)
    assert json.loads(done.stdout)["rows"] == 60
    assert len(load([tmp_path / "out" / "figures.parquet"])) == 60


def test_bundle_is_small_and_holds_no_text(project: Path) -> None:
    bundle = project / "data" / "routellm.parquet"
    assert bundle.stat().st_size <= LARGEST_BUNDLE_BYTES
    assert not TEXT_COLUMNS & set(pq.read_schema(bundle).names)


def test_bundle_is_what_anonymise_makes(real_forms: tuple[Traces, Traces, Path], project: Path) -> None:
    assert pq.read_table(real_forms[2]).equals(pq.read_table(project / "data" / "routellm.parquet"))


def test_bundle_loads(project: Path) -> None:
    traces = load([project / "data" / "routellm.parquet"])
    assert (len(traces), traces.repeated, traces.ignored) == (15_361, 0, ())
    assert traces.both_observed.all()


def test_groups_that_were_not_given_tell_nothing_of_the_words(
    tmp_path: Path, generated: Callable[..., list[Row]], write: Write
) -> None:
    rows = [{name: cell for name, cell in row.items() if name not in {"group", "task_id"}} for row in generated(60)]
    anonymise([write(tmp_path / "t.jsonl", rows)], tmp_path / "f.parquet")
    table = pq.read_table(tmp_path / "f.parquet")
    assert set(table["task_id"].to_pylist()) == {f"task/{at}" for at in range(60)}
    assert all(group.removeprefix("group/").isdigit() for group in table["group"].to_pylist())


def test_shards_of_unlike_columns_become_one_file(tmp_path: Path, write: Write) -> None:
    rows = [{"prompt": f"word {at}", "flash_correct": 1, "pro_correct": 1} for at in range(4)]
    first = write(tmp_path / "a.jsonl", rows)
    second = write(tmp_path / "b.jsonl", [{**row, "flash_cost_usd": 0.5} for row in rows])
    assert anonymise([first, second], tmp_path / "f.parquet")["rows"] == 8
    assert pq.read_table(tmp_path / "f.parquet")["flash_cost_usd"].to_pylist() == [None] * 4 + [0.5] * 4
