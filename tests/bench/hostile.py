"""How far a hostile caller can move the choice, and what clipping the features bounds."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from scipy.special import expit

from pipeline.costs import RELATIVE_COSTS
from pipeline.heads import Heads
from pipeline.metrics import FLASH, PRO, Reals
from pipeline.served import Outputs, Served
from tests.bench.attacks import attacks
from tests.bench.data import BUNDLE_NAME, Data, Trained, train
from tests.bench.table import Line

TRAINED_ON = "routellm_mmlu"
LOWEST = 200
DIRECTIONS = 2001
POINTS_PER_EDGE = 200


def run(data: Data) -> list[Line]:
    """All lines of this part."""
    name = TRAINED_ON if data.folder else BUNDLE_NAME
    data.say(f"hostile: training on {name}")
    trained = train(data.load(name))
    served = Served(trained.exported.router)
    texts = served.texts(trained.test.traces)
    before = served.run(texts, trained.test.traces.tally)
    lines = [*_bounds(name, trained), _before(name, before)]
    for label, attack in attacks(served.weights).items():
        data.say(f"hostile: {label}")
        after = served.run([attack(text) for text in texts], trained.test.traces.tally)
        lines.append(_after(f"{name}: {label}", before, after, served.evidence_floor))
    return lines


def cost(outputs: Outputs) -> float:
    """Mean relative cost of a request."""
    return float(np.where(outputs["use_pro"], RELATIVE_COSTS[PRO], RELATIVE_COSTS[FLASH]).mean())


def largest_gain(heads: Heads) -> float:
    """The largest gain that any features within the clipping range have: no input can reach more.

    The log-odds of both tiers over the box of clipped features fill a zonotope. The gain falls with one and rises
    with the other, so it is largest on the chain of edges between the least of the one and the most of the other.
    """
    weights, intercepts = heads.coefficients
    angles = np.linspace(0, np.pi / 2, DIRECTIONS)
    favours = np.stack([-np.cos(angles), np.sin(angles)], 1) @ weights.T
    corners = np.unique(np.where(favours > 0, heads.high, heads.low).astype(float), axis=0)
    odds = corners @ weights + intercepts
    chain = odds[np.argsort(odds[:, FLASH])]
    along = np.linspace(0, 1, POINTS_PER_EDGE)[:, None]
    points = np.concatenate([chain, *(first + along * (last - first) for first, last in pairwise(chain))])
    return float((expit(points[:, PRO]) - expit(points[:, FLASH])).max())


def _bounds(name: str, trained: Trained) -> list[Line]:
    gain, threshold = trained.test.observed.gain, trained.point.threshold
    seen = f"(threshold {threshold:.3f}; {len(gain):,} test prompts have {gain.min():.3f} to {gain.max():.3f})"
    return [Line(f"largest gain that clipping lets any input reach, {name}", largest_gain(trained.router.heads), seen)]


def _before(name: str, before: Outputs) -> Line:
    rate, behind = _rate(before["use_pro"])
    return Line(f"pro rate, {name}: baseline, prompts as they are", rate, f"{behind}, cost {cost(before):.2f}")


def _after(what: str, before: Outputs, after: Outputs, floor: float) -> Line:
    rate, behind = _rate(after["use_pro"])
    to_flash = np.flatnonzero(~before["use_pro"])
    lowest = to_flash[np.argsort(before["gain"][to_flash], kind="stable")[:LOWEST]]
    paid, was = cost(after), cost(before)
    moved = float(np.median(after["gain"] - before["gain"]))
    behind += (
        f", cost {was:.2f} → {paid:.2f} ({paid / was:.2f} times), {after['use_pro'][to_flash].mean():.0%} of those"
        f" that went to flash, {after['use_pro'][lowest].mean():.0%} of the {len(lowest)} with the lowest gain;"
        f" median change of gain {moved:+.3f}, {(after['evidence'] < floor).mean():.0%} under the evidence floor"
    )
    return Line(f"pro rate, {what}", rate, behind)


def _rate(use_pro: Reals) -> tuple[float, str]:
    rate = float(use_pro.mean())
    return rate, f"± {np.sqrt(rate * (1 - rate) / len(use_pro)):.3f} ({len(use_pro):,} prompts)"
