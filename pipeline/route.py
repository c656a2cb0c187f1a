"""One decision, with what led to it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from features.errors import InputError
from features.graph import FEATURES
from features.request import Request
from pipeline.costs import REQUESTS, USD_UNIT
from pipeline.frontier import ALWAYS_FLASH, ALWAYS_PRO
from pipeline.schema import TIERS
from pipeline.served import Served

WORDS_SHOWN = 8


def explain(folder: Path, request: Request, wrong_usd: float | None = None) -> dict[str, Any]:
    """Decide on a request and say why.

    Args:
        folder: of a version.
        request: what to decide on.
        wrong_usd: USD that a wrong answer to this request costs, > 0: pro is worth its price where the gain times that
            reaches it, so the threshold is the difference of the tiers' mean costs divided by it. The tuned threshold
            applies where not given.

    Returns:
        Plain values: `tier`, `model`, `version`, `reason`, `probabilities` by tier, `gain`, `threshold`, `evidence`,
        `evidence_floor`, the ten `features`, and the `words` that moved the gain most; with `wrong_usd` also
        `threshold_from`, what the threshold rests on.

    Raises:
        ArtifactError: the folder is not a whole version.
        InputError: `wrong_usd` is not positive, or the version knows no prices.
    """
    served, manifest = Served.open(folder)
    threshold = served.threshold if wrong_usd is None else worth(manifest, wrong_usd)
    outputs = served.decide(request, threshold)
    gain, evidence = float(outputs["gain"][0]), float(outputs["evidence"][0])
    tier, reason = _choice(bool(outputs["use_pro"][0]), evidence, served, request)
    return {
        "tier": tier,
        "model": manifest["tiers"][tier]["model"],
        "version": manifest["version"],
        "reason": reason,
        "probabilities": dict(zip(TIERS, map(float, outputs["probabilities"][0]), strict=True)),
        "gain": gain,
        "threshold": threshold,
        **(
            {}
            if wrong_usd is None
            else {"threshold_from": f"{wrong_usd:g} USD a wrong answer, {manifest['cost_unit']}"}
        ),
        "evidence": evidence,
        "evidence_floor": served.evidence_floor,
        "features": dict(zip(FEATURES, map(float, outputs["features"][0]), strict=True)),
        "words": {move.word: move.gain for move in served.moves(request)[:WORDS_SHOWN]},
    }


def worth(manifest: Mapping[str, Any], wrong_usd: float) -> float:
    """The gain from which on pro is worth its price, where a wrong answer costs so much.

    Raises:
        InputError: `wrong_usd` is not positive, or the version knows no prices.
    """
    if not 0 < wrong_usd < float("inf"):
        raise InputError(f"--wrong-answer {wrong_usd:g}: expected what a wrong answer costs in USD, more than 0")
    if manifest["tariff"]["unit"] != USD_UNIT:
        raise InputError(
            f"--wrong-answer: {manifest['version']} knows no prices, its costs are in {manifest['cost_unit']}: "
            "tune it with a --config file that names them"
        )
    flash, pro = manifest["costs"]
    return float(np.clip((pro - flash) / REQUESTS / wrong_usd, ALWAYS_PRO, ALWAYS_FLASH))


def _choice(use_pro: bool, evidence: float, served: Served, request: Request) -> tuple[str, str]:
    if request.other_modalities:
        return "pro", f"modality: {', '.join(request.other_modalities)}"
    if not use_pro:
        return "flash", "the gain is below the threshold"
    if evidence < served.evidence_floor:
        return "pro", "too few of the words are known"
    return "pro", "the gain reaches the threshold"
