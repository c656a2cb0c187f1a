"""The decisions kept beside a retuned version: they come back to the bit, and what is not that file is refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_up import rows
from test_held_out import same

from features.errors import ArtifactError
from pipeline import chosen_on
from pipeline.chosen_on import FILE
from pipeline.evidence import Evidence

NAN = float("nan")
# A row: flash asked, pro asked, either outcome, chance of pro, script, version.
row = st.tuples(
    st.booleans(), st.booleans(), st.sampled_from([0.0, 1.0, NAN]), st.sampled_from([0.0, 1.0, NAN]),
    st.floats(0, 1) | st.just(NAN), st.text(max_size=3), st.text(max_size=3),
)  # fmt: skip


def known(table: list[tuple[Any, ...]]) -> Evidence:
    size, values = len(table), np.array([each[:5] for each in table], float)
    return Evidence(
        replace(rows(values[:, 2:4], groups=np.arange(size) // 2), time=np.full(size, "2026-02-03", "datetime64[us]")),
        values[:, :2] == 1,
        np.stack([1 - values[:, 4], values[:, 4]], 1),
        np.array([each[5] for each in table], object),
        np.array([each[6] for each in table], object),
    )


@given(st.lists(row, min_size=1, max_size=6))
def test_decisions_come_back_to_the_bit(tmp_path_factory: pytest.TempPathFactory, table: list[tuple[Any, ...]]) -> None:
    one, folder = known(table), tmp_path_factory.mktemp("chosen")
    stated = chosen_on.write(folder, one)
    other = chosen_on.read(folder, stated)
    assert stated["rows"] == len(other) == len(table)
    same(one.rows, other.rows)
    assert np.array_equal(one.chances, other.chances, equal_nan=True)
    for name in ("asked", "script", "decided_by"):
        ours, theirs = getattr(one, name), getattr(other, name)
        assert (ours.tolist(), ours.dtype) == (theirs.tolist(), theirs.dtype), name


@pytest.fixture
def written(tmp_path: Path) -> dict[str, Any]:
    """What a manifest says of the file in `tmp_path`."""
    return chosen_on.write(tmp_path, known([(True, False, 1.0, NAN, 0.3, "latin", "v1")]))


@pytest.mark.parametrize("damage", ["missing", "truncated", "altered", "not told of"])
def test_file_that_is_not_the_manifest_s_is_refused(tmp_path: Path, written: dict[str, Any], damage: str) -> None:
    path, content = tmp_path / FILE, (tmp_path / FILE).read_bytes()
    if damage == "missing":
        path.unlink()
    elif damage == "truncated":
        path.write_bytes(content[:-1])
    elif damage == "altered":
        path.write_bytes(content[:50] + bytes([content[50] ^ 1]) + content[51:])
    else:
        written = {}
    (new := tmp_path / "new").mkdir()
    for refused in (lambda: chosen_on.read(tmp_path, written), lambda: chosen_on.copy(tmp_path, written, new)):
        with pytest.raises(ArtifactError, match=rf"{FILE}.*restore it, or train again"):
            refused()
    assert not list(new.iterdir())


def test_file_of_another_format_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as later:
        later.setattr(chosen_on, "FORMAT", 2)
        stated = chosen_on.write(tmp_path, known([(True, False, 1.0, NAN, 0.3, "latin", "v1")]))
    with pytest.raises(ArtifactError, match="expected format 1, found 2: train again"):
        chosen_on.read(tmp_path, stated)


def test_texts_are_kinds_scripts_and_versions_alone(tmp_path: Path, written: dict[str, Any]) -> None:
    assert written["rows"] == 1
    schema = pq.read_schema(tmp_path / FILE)
    texts = {name for name in schema.names if str(schema.field(name).type) == "string"}
    assert texts == {"category", "script", "decided_by"}
