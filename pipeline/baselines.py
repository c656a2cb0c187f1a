"""What a router has to beat: each baseline is fitted on rows of the fit part and scores any others.

A score is higher where pro is needed more; a policy is then a threshold on it, as for the router.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_matrix
from sklearn.dummy import DummyClassifier
from sklearn.feature_extraction.text import TfidfTransformer, TfidfVectorizer
from sklearn.linear_model import LogisticRegression

from pipeline import heads
from pipeline.heads import Features
from pipeline.metrics import Reals, needs_pro
from pipeline.traces import Traces

LONG_PROMPT_CHARACTERS = 2000
KEYWORDS = ("analyze", "debug", "explain", "prove", "refactor")
MOST_ROWS = 20_000
RAREST_TERM = 3
MOST_TERMS = 50_000
TFIDF_REGULARISATION = 1.0

TFIDF_LABEL = "TF-IDF, two heads (ceiling)"

Score = Callable[[Traces, Features], Reals]


@dataclass(frozen=True, slots=True)
class Baseline:
    """A fitted baseline.

    Attributes:
        name: short.
        label: for people.
        score: float64[N] from traces and their ten features.
        note: a caveat worth reading beside its figures, or "".
        threshold: to send to pro at, for a policy that is not tuned.
    """

    name: str
    label: str
    score: Score
    note: str = ""
    threshold: float | None = None


def fit_all(traces: Traces, features: Features, seed: int) -> list[Baseline]:
    """Every learned or written baseline, fitted on these rows (both outcomes observed).

    TF-IDF, which learns from many columns, sees at most `MOST_ROWS` rows; its note says so.
    """
    return [
        prompt_length(traces, features),
        heuristic(traces),
        one_head(traces, features),
        tfidf(traces, seed),
    ]


def prompt_length(traces: Traces, features: Features) -> Baseline:
    """Two heads on the first feature alone."""
    fitted = heads.fit(features[:, :1], traces.outcomes, 1.0)

    def score(_: Traces, features: Features) -> Reals:
        return np.asarray(np.diff(fitted.probabilities(features[:, :1]))[:, 0])

    return Baseline("prompt_length", "prompt length alone", score)


def one_head(traces: Traces, features: Features) -> Baseline:
    """One logistic regression on the label "pro right and flash wrong"."""
    label = needs_pro(traces.outcomes).astype(float)[:, None]
    fitted = heads.fit(features, label, 1.0)
    return Baseline(
        "one_head", "one head: pro right, flash wrong", lambda _, features: fitted.probabilities(features)[:, 0]
    )


def heuristic(traces: Traces) -> Baseline:
    """What most teams write first: to pro if long, or several tools, or one of five keywords. Binary."""
    words = list(traces.encoder.lexicon)
    lengths = np.array([len(word) + 1 for word in words])
    asks = np.array([word.lower() in KEYWORDS for word in words])

    def score(traces: Traces, _: Features) -> Reals:
        bags = traces.bags
        characters = bags.row_sums(lengths[bags.ids] * bags.counts)
        if traces.prompts is not None:
            characters = np.array([len(prompt) for prompt in traces.prompts])
        asked = bags.row_sums(asks[bags.ids])
        return ((characters > LONG_PROMPT_CHARACTERS) | (traces.tally.tool_count > 1) | (asked > 0)).astype(float)

    note = (
        f"more than {LONG_PROMPT_CHARACTERS:,} characters (estimated where only words are known), or several tools, "
        f"or one of: {', '.join(KEYWORDS)}"
    )
    return Baseline("heuristic", "hand-written heuristic", score, note, threshold=0.5)


def tfidf(traces: Traces, seed: int) -> Baseline:
    """Two logistic regressions on TF-IDF: of words and word pairs where there is text, else of single words."""
    from_text = traces.prompts is not None
    rows = np.random.default_rng(seed).permutation(len(traces))[:MOST_ROWS]
    sample = traces.take(np.sort(rows))
    transform = _of_text(sample) if from_text else _of_words(sample)
    if transform is None:
        nothing = f"no term stands in {RAREST_TERM} prompts"
        return Baseline("tfidf", TFIDF_LABEL, lambda traces, _: np.zeros(len(traces)), nothing)
    matrix = transform(sample)
    models = [_ridge(matrix, column) for column in sample.outcomes.T]

    def score(traces: Traces, _: Features) -> Reals:
        matrix = transform(traces)
        flash, pro = (model.predict_proba(matrix)[:, -1] for model in models)
        return np.asarray(pro - flash)

    terms = "words and word pairs" if from_text else "single words, for the traces hold no text"
    note = f"of {terms}" + (f"; fitted on {MOST_ROWS:,} rows" if len(traces) > MOST_ROWS else "")
    return Baseline("tfidf", TFIDF_LABEL, score, note)


def _of_text(sample: Traces) -> Callable[[Traces], csr_matrix] | None:
    vectorizer = TfidfVectorizer(ngram_range=(1, 2), min_df=RAREST_TERM, max_features=MOST_TERMS, sublinear_tf=True)
    try:
        vectorizer.fit(sample.prompts)
    except ValueError:  # scikit-learn's only word for "no term is frequent enough"
        return None
    return lambda traces: vectorizer.transform(traces.prompts)


def _of_words(sample: Traces) -> Callable[[Traces], csr_matrix] | None:
    width = len(sample.encoder.lexicon)
    kept = np.flatnonzero(np.bincount(sample.bags.ids, minlength=width) >= RAREST_TERM)
    if not len(kept):
        return None
    weighting = TfidfTransformer(sublinear_tf=True).fit(_matrix(sample, width)[:, kept])
    return lambda traces: weighting.transform(_matrix(traces, width)[:, kept])


def _matrix(traces: Traces, width: int) -> csr_matrix:
    bags = traces.bags
    known = bags.ids < width
    pairs = bags.counts[known].astype(float), (bags.rows[known], bags.ids[known])
    return csr_matrix(pairs, shape=(len(bags), width))


def _ridge(matrix: csr_matrix, outcomes: Reals) -> LogisticRegression | DummyClassifier:
    if outcomes.min() == outcomes.max():
        return DummyClassifier().fit(matrix, outcomes)
    return LogisticRegression(C=TFIDF_REGULARISATION, solver="liblinear").fit(matrix, outcomes)
