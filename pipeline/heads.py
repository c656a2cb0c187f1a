"""The two logistic regressions of a router: P(flash correct) and P(pro correct) from the same ten features."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from features.bags import Ints

if TYPE_CHECKING:  # scikit-learn takes most of a second to load, and who only tunes does without
    from sklearn.dummy import DummyClassifier
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import StandardScaler

Features = NDArray[np.float32]
Reals = NDArray[np.float64]

MOST_ITERATIONS = 1000


@dataclass(frozen=True, slots=True)
class Heads:
    """Fitted heads over F features and T tiers, as scikit-learn objects.

    Attributes:
        low, high: float32[F], range of the features in training: values outside are clipped.
        scaler: standardises the clipped features, counted from `low` so that a constant one is exactly 0.
        models: a classifier per tier; a constant one for a tier that was always right or always wrong.
    """

    low: Features
    high: Features
    scaler: StandardScaler
    models: tuple[LogisticRegression | DummyClassifier, ...]

    def probabilities(self, features: Features) -> Reals:
        """P(correct) of each tier, float64[N, T], by scikit-learn."""
        scaled = self.scale(features)
        return np.stack([model.predict_proba(scaled)[:, -1] for model in self.models], 1)

    def scale(self, features: Features) -> Reals:
        """Clipped and standardised features, float64[N, F]."""
        return np.asarray(self.scaler.transform(np.clip(features, self.low, self.high).astype(float) - self.low))

    @property
    def coefficients(self) -> tuple[Reals, Reals]:
        """Weights on the clipped features, float64[F, T], and intercepts, float64[T], standardisation folded in."""
        weights = np.stack([_weights(model, len(self.low)) for model in self.models], 1)
        intercepts = np.array([_intercept(model) for model in self.models])
        raw = weights / self.scaler.scale_[:, None]
        return raw, intercepts - (self.low + self.scaler.mean_) @ raw

    @property
    def standardised(self) -> Reals:
        """Weights on the standardised features, float64[F, T]: log-odds per standard deviation."""
        return np.stack([_weights(model, len(self.low)) for model in self.models], 1)


def fit(features: Features, outcomes: Reals, regularisation: float, weights: Reals | None = None) -> Heads:
    """Fit a head per tier on the rows where its outcome was observed.

    Args:
        features: float32[N, F].
        outcomes: float64[N, T], 1 correct, 0 wrong, NaN not observed; a tier never observed gets the probability 0.5.
        regularisation: C of scikit-learn, > 0; larger means weaker.
        weights: float64[N] or float64[N, T], how often each row counts, or each outcome; once where not given.
    """
    from sklearn.preprocessing import StandardScaler

    weights = np.ones(len(features)) if weights is None else weights
    each = np.broadcast_to(weights.T, outcomes.T.shape)
    low, high = features.min(0), features.max(0)
    from_low = features.astype(float) - low
    scaler = StandardScaler().fit(from_low, sample_weight=each.mean(0))
    scaled = scaler.transform(from_low)
    models = (_head(scaled, column, regularisation, own) for column, own in zip(outcomes.T, each, strict=True))
    return Heads(low, high, scaler, tuple(models))


def _head(
    scaled: Reals, outcomes: Reals, regularisation: float, weights: Reals
) -> LogisticRegression | DummyClassifier:
    from sklearn.dummy import DummyClassifier
    from sklearn.linear_model import LogisticRegression

    seen = ~np.isnan(outcomes)
    scaled, outcomes, weights = scaled[seen], outcomes[seen], weights[seen]
    if not len(outcomes) or outcomes.min() == outcomes.max():
        half_a_doubt = np.array([0.0, 1.0])
        counts = np.array([weights @ (1 - outcomes), weights @ outcomes]) + 0.5
        return DummyClassifier().fit(half_a_doubt[:, None], half_a_doubt, sample_weight=counts)
    model = LogisticRegression(C=regularisation, solver="newton-cholesky", tol=1e-10, max_iter=MOST_ITERATIONS)
    return model.fit(scaled, outcomes, sample_weight=weights)


def _weights(model: LogisticRegression | DummyClassifier, count: int) -> Reals:
    return model.coef_[0] if _learned(model) else np.zeros(count)


def _intercept(model: LogisticRegression | DummyClassifier) -> float:
    if _learned(model):
        return float(model.intercept_[0])
    wrong, right = model.class_prior_
    return float(np.log(right / wrong))


def _learned(model: LogisticRegression | DummyClassifier) -> bool:
    """Whether it is a regression and no constant."""
    return hasattr(model, "coef_")


def standard_errors(
    heads: Heads, features: Features, outcomes: Reals, groups: Ints, regularisation: float, weights: Reals
) -> Reals:
    """Cluster-robust (sandwich) standard errors of the standardised weights, float64[F, T]; 0 for constant heads.

    The rows of a group are one observation (Liang and Zeger 1986); the ridge term counts in the curvature.
    `weights` are those of the fit.
    """
    scaled = heads.scale(features)
    design = np.column_stack([scaled, np.ones(len(scaled))])
    ridge = np.diag([1.0 / regularisation] * scaled.shape[1] + [0.0])
    errors = np.zeros((scaled.shape[1], outcomes.shape[1]))
    for tier, model in enumerate(heads.models):
        if not _learned(model):
            continue
        seen = ~np.isnan(outcomes[:, tier])
        x, p = design[seen], model.predict_proba(scaled[seen])[:, 1]
        scores = np.zeros((groups.max() + 1, x.shape[1]))
        np.add.at(scores, groups[seen], x * (weights[seen] * (outcomes[seen, tier] - p))[:, None])
        bread = np.linalg.pinv((x * (weights[seen] * p * (1 - p))[:, None]).T @ x + ridge)
        errors[:, tier] = np.sqrt(np.maximum(np.diag(bread @ (scores.T @ scores) @ bread), 0))[:-1]
    return errors
