"""Evidence made by hand: requests that are hard or easy for flash, asked by a router that explores, or of both."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from made_up import FLASH_PRICE, PRO_PRICE, price_file, rows, tariff
from numpy.typing import NDArray

from pipeline.costs import Tariff
from pipeline.evidence import Evidence
from pipeline.observed import Observed

Mask = NDArray[np.bool_]

HARD, EASY = (0.2, 0.9), (0.9, 0.9)


def requests(count: int, seed: int = 0, **known: Any) -> tuple[Observed, Mask]:
    """Requests with the outcomes of both tiers, and whether each is hard: flash is right in 20 % of those."""
    random = np.random.default_rng(seed)
    hard = random.random(count) < 0.5
    right = random.random((count, 2)) < np.where(hard[:, None], HARD, EASY)
    made = rows(right.astype(float), **known)
    features = made.features.copy()
    features[:, 0] = hard + 0.3 * random.normal(size=count)
    return replace(made, features=features, probabilities=np.where(hard[:, None], HARD, EASY)), hard


def mistaken(decided: Mask, share: float, seed: int = 1) -> Mask:
    """Decisions of which a share is turned round."""
    return decided ^ (np.random.default_rng(seed).random(len(decided)) < share)


def wasteful(hard: Mask, seed: int = 1) -> Mask:
    """What a poor router sends to pro: a fifth of the easy requests, and not all of the hard ones."""
    draw = np.random.default_rng(seed).random(len(hard))
    return np.where(hard, draw > 0.1, draw < 0.2)


def evidence(
    seen: Observed, to_pro: Mask, explore: float = 0.1, audited: int = 0, seed: int = 2, missing: float = 0.0
) -> Evidence:
    """What a router's log shows of requests; the first `audited` are asked of both tiers."""
    random = np.random.default_rng(seed)
    count, both = len(seen), np.arange(len(seen)) < audited
    chance = np.where(to_pro, 1 - explore, explore)
    sent = random.random(count) < chance
    asked = np.stack([~sent, sent], 1) | both[:, None]
    chances = np.where(both[:, None], 1.0, np.stack([1 - chance, chance], 1))
    arrived = asked & ((random.random(count) >= missing) | both)[:, None]
    logged = replace(seen, outcomes=np.where(arrived, seen.outcomes, np.nan))
    return Evidence(logged, asked, chances, np.full(count, "latin", object), np.where(both, "", "v1").astype(object))


def prices(seen: Observed) -> Tariff:
    """A tariff in which calls alone cost."""
    return tariff(price_file(FLASH_PRICE, PRO_PRICE), seen)
