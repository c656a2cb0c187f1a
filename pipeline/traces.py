"""Traces in memory: bags of words, counts and outcomes.

What stays of a prompt is its bag of words and a few figures. The text itself is kept only while all of it
is small, because one baseline of the evaluation reads it.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from features.bags import Bags, Encoder, Ints
from features.errors import TraceError
from features.graph import REQUEST_INPUTS
from features.measure import Tally, word_counts
from features.request import byte_length, tools_bytes
from pipeline.reading import Chunk, read
from pipeline.schema import OUTCOME_COLUMNS, SIMULATED, TIERS
from pipeline.usage import COLUMNS as USAGE_COLUMNS
from pipeline.usage import PARTS_OF, Usage

LARGEST_KEPT_TEXT_BYTES = 16_000_000
NAMED = tuple(f"{tier}_{name}" for tier in TIERS for name in ("model", "fingerprint"))

Texts = NDArray[np.object_]
Progress = Callable[[int], None]


@dataclass(frozen=True, slots=True)
class Traces:
    """N checked traces; every array has an entry per task.

    Attributes:
        task_id, group, category: text; a category that was not given is "".
        time: datetime64[us], UTC, NaT where not given.
        bags: words of the prompts, numbered by `encoder.lexicon`.
        tally: counts of the prompts' words and of the rest of the requests.
        outcomes: float64[N, 2] for flash and pro: 1 correct, 0 wrong, NaN not observed.
        usage: what the answers took.
        chosen, served: int8[N], place of the tier in `TIERS`, -1 where not given: that the router chose, and that
            answered.
        propensity: float64[N], probability of the chosen tier, given the request; NaN where not known.
        decided_by: version that chose; "" where not given.
        prompts: the texts, or None where they were not given or are too large to keep.
        models, fingerprints: the one that answered most often, per tier; "" where no trace names one.
        simulated: whether any answer is a simulated model's.
        encoder: the numbering of the words.
        ignored: columns of the file that nobody knows.
        repeated: rows left out because the same task with the same outcomes stood before them, or because it is
            labelled besides being logged.
        sha256: digest of the file.
        source: name of the file.
    """

    task_id: Texts
    group: Texts
    category: Texts
    time: NDArray[np.datetime64]
    bags: Bags
    tally: Tally
    outcomes: NDArray[np.float64]
    usage: Usage
    chosen: NDArray[np.int8]
    served: NDArray[np.int8]
    propensity: NDArray[np.float64]
    decided_by: Texts
    prompts: Texts | None
    models: dict[str, str]
    fingerprints: dict[str, str]
    simulated: bool
    encoder: Encoder
    ignored: tuple[str, ...]
    repeated: int
    sha256: str
    source: str

    def __len__(self) -> int:
        return len(self.outcomes)

    def take(self, rows: NDArray[np.integer]) -> Traces:
        """The traces of some rows, in that order."""
        values = {item.name: getattr(self, item.name) for item in fields(self)}
        taken = {name: value[rows] for name, value in values.items() if isinstance(value, np.ndarray)}
        parts = {name: getattr(self, name).take(rows) for name in ("bags", "tally", "usage")}
        return Traces(**{**values, **taken, **parts})

    def with_outcomes(self, outcomes: NDArray[np.float64]) -> Traces:
        """The same traces with other outcomes, float64[N, 2]."""
        return replace(self, outcomes=outcomes)

    @property
    def both_observed(self) -> NDArray[np.bool_]:
        """Rows on which the outcomes of both tiers are known."""
        return np.asarray(~np.isnan(self.outcomes).any(1))


def load(paths: Sequence[Path], progress: Progress = lambda _: None, *, waiting: bool = False) -> Traces:
    """Read and check trace files; see `pipeline.reading.read` for their formats.

    Args:
        paths: one file, or the shards of one data set.
        progress: called with the number of rows read so far.
        waiting: whether to keep logged decisions whose outcome is not known yet.

    Raises:
        TraceError: names the file, the row (the line, in text formats) and the field.
    """
    encoder, columns, kept_bytes, rows = Encoder(), defaultdict[str, list[Any]](list), 0, 0
    for path, chunk in ((file, chunk) for file in paths for chunk in read(file)):
        part = figures(chunk, encoder, path)
        kept_bytes += part.pop("text_bytes")
        if kept_bytes > LARGEST_KEPT_TEXT_BYTES:
            columns["prompts"] = [None]
        for name, values in part.items():
            columns[name].append(values)
        rows += len(chunk.places)
        progress(rows)
    if not rows:
        raise TraceError(f"{paths[0]}: there are no rows in it")
    bags, texts = Bags.concatenate(columns.pop("bags")), columns.pop("prompts")
    named = {name: _counted(columns.pop(name)) for name in NAMED}
    most = {name: max(counts, key=counts.__getitem__, default="") for name, counts in named.items()}
    ignored = tuple(dict.fromkeys(name for names in columns.pop("ignored") for name in names))
    places = columns.pop("places")
    arrays = {name: np.concatenate(columns.pop(name)) for name in list(columns)}
    arrays["group"] = np.where(pd.isna(arrays["group"]), _same_words(bags, encoder), arrays["group"])
    requests = {name: arrays.pop(name) for name in REQUEST_INPUTS}
    usage = Usage(**{name: arrays.pop(name) for name in USAGE_COLUMNS})
    traces = Traces(
        **arrays,
        bags=bags,
        tally=Tally(**word_counts(bags, encoder), **requests),
        usage=usage,
        prompts=None if any(text is None for text in texts) else np.concatenate(texts),
        models={tier: most[f"{tier}_model"] for tier in TIERS},
        fingerprints={tier: most[f"{tier}_fingerprint"] for tier in TIERS},
        simulated=any(name.startswith(SIMULATED) for tier in TIERS for name in named[f"{tier}_model"]),
        encoder=encoder,
        ignored=ignored,
        repeated=0,
        sha256=digest(paths),
        source=", ".join(path.name for path in paths),
    )
    traces = _distinct(traces, places)
    return traces if waiting else traces.take(np.flatnonzero(~np.isnan(traces.outcomes).all(1)))


def digest(paths: Sequence[Path]) -> str:
    """SHA-256 of a file, hexadecimal; of several files that of their digests, one after the other."""
    digests = []
    for path in paths:
        with path.open("rb") as file:
            digests.append(hashlib.file_digest(file, "sha256"))
    return (
        digests[0].hexdigest()
        if len(digests) == 1
        else hashlib.sha256(b"".join(d.digest() for d in digests)).hexdigest()
    )


def figures(chunk: Chunk, encoder: Encoder, path: Path) -> dict[str, Any]:
    """What is kept of a chunk, by name: an entry per row, its texts too, and what is added up over chunks."""
    size = len(chunk.places)

    def column(name: str) -> pa.Array:
        return chunk.columns.get(name, pa.nulls(size))

    prompts = column("prompt").to_pylist()
    _check_complete(prompts, chunk, path)
    _check_parts(chunk, path)
    system, tools = (column(name).to_pylist() for name in ("system", "tools"))
    offered = [json.loads(text) if text else [] for text in tools]
    derived = {
        "context_bytes": [byte_length(a or "") + tools_bytes(b) for a, b in zip(system, offered, strict=True)],
        "tool_count": [len(each) for each in offered],
        "turn_count": [1 + bool(text) for text in system],
    }
    all_text = None not in prompts
    return {
        "places": (path, chunk.places),
        "bags": _bags(prompts, chunk, encoder, path),
        "prompts": np.array(prompts, dtype=object) if all_text else None,
        "text_bytes": sum(map(byte_length, prompts)) if all_text else LARGEST_KEPT_TEXT_BYTES + 1,
        "task_id": np.where(
            pd.isna(ids := _objects(column("task_id"))), [f"{path}/{place}" for place in chunk.places], ids
        ),
        "group": _objects(column("group")),
        "category": _objects(column("category").cast(pa.string()).fill_null("")),
        "time": column("time").cast(pa.timestamp("us")).to_numpy(zero_copy_only=False).astype("datetime64[us]"),
        **{name: _filled(column(name), values) for name, values in derived.items()},
        "outcomes": np.stack([_rates(column(name)) for name in OUTCOME_COLUMNS], 1),
        **{name: _amounts(name, chunk) for name in USAGE_COLUMNS},
        **{name: _places(column(name)) for name in ("chosen", "served")},
        "propensity": _rates(column("propensity")),
        "decided_by": _objects(column("decided_by").cast(pa.string()).fill_null("")),
        **{name: column(name).value_counts().to_pylist() for name in NAMED},
        "ignored": chunk.unknown,
    }


def _check_complete(prompts: list[str | None], chunk: Chunk, path: Path) -> None:
    words = chunk.columns.get("words", pa.nulls(len(prompts)))
    for at in np.flatnonzero(words.is_null()):
        if prompts[at] is None:
            raise TraceError(
                f"{path}, row {chunk.places[at]}, field 'prompt': neither a prompt nor words: drop the row"
            )
    observed = np.zeros(len(prompts), np.bool_)
    for name in (*OUTCOME_COLUMNS, "chosen"):  # of a logged decision the outcome may not have arrived yet
        if name in chunk.columns:
            observed |= chunk.columns[name].is_valid().to_numpy(zero_copy_only=False)
    if not observed.all():
        place = chunk.places[np.flatnonzero(~observed)[0]]
        raise TraceError(
            f"{path}, row {place}, fields {' and '.join(OUTCOME_COLUMNS)}: no outcome of either tier: drop the row"
        )


def _check_parts(chunk: Chunk, path: Path) -> None:
    """Some providers count cached or reasoning tokens beside the others; here they are counted among them."""
    for tier in TIERS:
        for part, whole in PARTS_OF.items():
            names = f"{tier}_{part}", f"{tier}_{whole}"
            if not set(names) <= set(chunk.columns):
                continue
            some, all_of_them = (_rates(chunk.columns[name]) for name in names)
            if (too_many := np.flatnonzero(some > all_of_them)).size:
                at = too_many[0]
                raise TraceError(
                    f"{path}, row {chunk.places[at]}, field '{names[0]}': {some[at]:.0f} are more than the "
                    f"{all_of_them[at]:.0f} of '{names[1]}', which counts them too: add them to it"
                )


def _amounts(name: str, chunk: Chunk) -> NDArray[np.float32]:
    absent = pa.nulls(len(chunk.places))
    columns = [chunk.columns.get(f"{tier}_{name}", absent) for tier in TIERS]
    return np.stack([_rates(column) for column in columns], 1).astype(np.float32)


def _bags(prompts: list[str | None], chunk: Chunk, encoder: Encoder, path: Path) -> Bags:
    texts = encoder.prompts([prompt or "" for prompt in prompts])
    words = chunk.columns.get("words")
    if words is None or None not in prompts:
        return texts
    before, offsets = len(encoder.lexicon), words.offsets.to_numpy()
    keys = words.keys[offsets[0] : offsets[-1]].dictionary_encode()
    ids = encoder.numbers(keys.dictionary.to_pylist())[keys.indices.to_numpy()]
    rows = np.repeat(np.arange(len(prompts)), np.diff(offsets))
    _check_words(list(encoder.lexicon)[before:], ids, rows, encoder, chunk, path)
    counts = words.items[offsets[0] : offsets[-1]].to_numpy()
    counted = np.array([prompt is None for prompt in prompts])[rows]
    return Bags.of_pairs(
        np.concatenate([texts.rows, rows[counted]]),
        np.concatenate([texts.ids, ids[counted]]),
        np.concatenate([texts.counts, counts[counted]]),
        len(prompts),
    )


def _check_words(new: list[str], ids: Ints, rows: Ints, encoder: Encoder, chunk: Chunk, path: Path) -> None:
    """Words from another tokenizer would be counted and then never found in a prompt."""
    wrong = encoder.not_words(new)
    if wrong:
        word = next(word for word in new if word in wrong)
        place = chunk.places[rows[np.flatnonzero(ids == encoder.lexicon[word])[0]]]
        raise TraceError(
            f"{path}, row {place}, field 'words': {word!r} is not one word by the word rule: "
            "make the counts with 'tier-router anonymise'"
        )


def _objects(column: pa.Array) -> Texts:
    return np.asarray(column.to_numpy(zero_copy_only=False), dtype=object)


def _filled(column: pa.Array, derived: Sequence[int]) -> Ints:
    """The column where the trace has it, else what its texts say."""
    given = column.cast(pa.int64())
    return np.asarray(pc.coalesce(given, pa.array(derived, pa.int64())).to_numpy(), dtype=np.int64)


def _places(column: pa.Array) -> NDArray[np.int8]:
    """Tiers by their places in `TIERS`, -1 for none."""
    found = pc.index_in(column.cast(pa.string()), value_set=pa.array(TIERS))
    return np.asarray(found.fill_null(-1).to_numpy(), dtype=np.int8)


def _rates(column: pa.Array) -> NDArray[np.float64]:
    return np.asarray(column.cast(pa.float64()).fill_null(np.nan).to_numpy(), dtype=np.float64)


def _counted(counts: Sequence[Sequence[dict[str, Any]]]) -> Counter[str]:
    """How often each name stands in a column, from the counts of its chunks."""
    total: Counter[str] = Counter()
    for part in counts:
        total.update({item["values"]: item["counts"] for item in part if item["values"]})
    return total


def _same_words(bags: Bags, encoder: Encoder) -> Texts:
    """A group for each distinct bag of words, for traces that name none: the same from text and from counts."""
    hashes = np.array(
        [
            int.from_bytes(hashlib.blake2b(word.lower().encode(), digest_size=8).digest(), "big")
            for word in encoder.lexicon
        ],
        np.uint64,
    )
    keys = np.zeros(len(bags), np.uint64)
    for rows, part in bags.slices():
        sums = np.concatenate([np.zeros(1, np.uint64), np.cumsum(hashes[part.ids] * part.counts.astype(np.uint64))])
        keys[rows] = sums[part.starts[1:]] - sums[part.starts[:-1]]
    return np.array([f"words/{key:016x}" for key in keys.tolist()], dtype=object)


def _distinct(traces: Traces, places: Sequence[tuple[Path, Ints]]) -> Traces:
    """Without repeated tasks: of each the row that knows most outcomes; rows that contradict are an error.

    A logged decision whose task is labelled too, such as in an audit, is left out before that: a tier that is asked
    once more may well answer otherwise.
    """
    ids = pd.Series(traces.task_id)
    if not ids.duplicated().any():
        return traces
    labelled = (traces.chosen < 0) | traces.both_observed
    left = labelled | ~ids.isin(traces.task_id[labelled]).to_numpy()
    twice = left & ids.where(left).duplicated(keep=False).to_numpy()
    best: dict[str, int] = {}
    for at in np.flatnonzero(twice).tolist():
        before = best.setdefault(traces.task_id[at], at)
        one, other = traces.outcomes[at], traces.outcomes[before]
        if (np.abs(one - other) > 0).any():
            raise TraceError(
                f"{_place(at, places)}, field 'task_id': {traces.task_id[at]!r} stood before with other outcomes "
                f"({_place(before, places)}): keep one, or give the attempts different ids"
            )
        if np.isnan(one).sum() < np.isnan(other).sum():
            best[traces.task_id[at]] = at
    kept = left & ~twice
    kept[list(best.values())] = True
    return replace(traces.take(np.flatnonzero(kept)), repeated=int((~kept).sum()))


def _place(at: int, places: Sequence[tuple[Path, Ints]]) -> str:
    """File and row of the trace that was read as number `at`."""
    for path, rows in places:
        if at < len(rows):
            return f"{path}, row {rows[at]}"
        at -= len(rows)
    raise IndexError(at)
