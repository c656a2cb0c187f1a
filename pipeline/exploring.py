"""How likely a request is to go to the tier that was not chosen: likelier where it matters least which one answers.

The other tier costs the more, the further a request is from the threshold, in proportion; and for the same money most
is learned if what costs more is asked more rarely (Cochran 1977, Sampling Techniques, 5.5). So the chance falls with
the distance, but no further than to `LEAST` of the mean: what is hardly ever tried is never learned, and weighs most in
every estimate once it is. The chance depends on the request alone and is logged with each decision, which is all that
estimates from logs need.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:  # services load nothing of NumPy that it does not load itself
    from numpy.typing import NDArray

LEAST, MOST = 0.3, 5.0  # times the mean, far from the threshold and at it
LARGEST_CHANCE = 0.5
HALVINGS = 60


def chance(explore: float, away: float, scale: float | None) -> float:
    """Probability in [0, 0.5] that a request goes to the tier that was not chosen.

    Args:
        explore: in [0, 0.5], mean over the requests.
        away: >= 0, how far the gain of the request is from the threshold; infinity where the gain did not decide.
        scale: of the version, see `scale_of`; None: all requests are alike.
    """
    if scale is None or not explore:
        return explore
    times = MOST if away * MOST <= scale else max(scale / away, LEAST)
    return explore * (1 + _room(explore) * (times - 1))


def chances(explore: float, away: NDArray[np.floating], scale: float | None) -> NDArray[np.float64]:
    """`chance` of N requests, float64[N]."""
    if scale is None or not explore:
        return np.full(len(away), explore)
    return np.asarray(explore * (1 + _room(explore) * (_times(away, scale) - 1)))


def scale_of(gain: NDArray[np.floating], threshold: float) -> float | None:
    """How far from the threshold a request is that is explored as often as the mean.

    None where the gain tells too few apart: where too many are at the threshold, or were not decided by the gain.

    Args:
        gain: float[N], of requests like those to come; infinite where it does not decide.
        threshold: of the version.
    """
    away = np.abs(np.asarray(gain, float) - threshold)
    low, high = 0.0, MOST * float(away.max(initial=0.0, where=np.isfinite(away)))
    if not high or _times(away, low).mean() >= 1 or _times(away, high).mean() < 1:
        return None
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if _times(away, middle).mean() < 1 else (low, middle)
    return high


def _times(away: NDArray[np.floating], scale: float) -> NDArray[np.float64]:
    """How many times the mean each is explored, float64[N]."""
    inverse = np.divide(scale, away, out=np.full(len(away), np.inf), where=away > 0)
    return np.asarray(inverse.clip(LEAST, MOST))


def _room(explore: float) -> float:
    """How far chances may differ for none to be beyond `LARGEST_CHANCE`, in [0, 1]; the mean stays."""
    return min(1.0, (LARGEST_CHANCE / explore - 1) / (MOST - 1))
