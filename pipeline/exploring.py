"""How likely a request is to go to the tier that was not chosen: likelier where it matters least which one answers.

Far from the threshold one tier is clearly the better deal, so to ask the other one costs most there, and tells least of
where the threshold should be. Near it the two are worth about the same. So most of the exploration is spent on the
requests nearest to the threshold, and the rest on all alike, for what is never tried is never learned. The chance
depends on the request alone and is logged with each decision, which is all that estimates from logs need.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:  # services load nothing of NumPy that it does not load itself
    from numpy.typing import NDArray

NEAREST = 0.1  # share of the requests that count as near
SPENT_NEAR = 0.5  # share of the exploration that is spent on them beyond their own
LARGEST_CHANCE = 0.5


def chance(explore: float, away: float, reach: float | None) -> float:
    """Probability in [0, 0.5] that a request goes to the tier that was not chosen.

    Args:
        explore: in [0, 0.5], mean over the requests.
        away: >= 0, how far the gain of the request is from the threshold; infinity where the gain did not decide.
        reach: of the version, see `reach_of`; None: all requests are alike.
    """
    if reach is None:
        return explore
    near = min(explore * (1 - SPENT_NEAR + SPENT_NEAR / NEAREST), LARGEST_CHANCE)
    return near if away <= reach else (explore - NEAREST * near) / (1 - NEAREST)


def reach_of(gain: NDArray[np.floating], threshold: float) -> float | None:
    """How far from the threshold the gain of the nearest `NEAREST` of the requests is.

    None where it tells too few apart, as a gain that takes only a few values does.

    Args:
        gain: float[N], of requests like those to come.
        threshold: of the version.
    """
    away = np.abs(np.asarray(gain, float) - threshold)
    if not len(away):
        return None
    reach = float(np.quantile(away, NEAREST))
    return reach if (away <= reach).mean() <= 2 * NEAREST else None
