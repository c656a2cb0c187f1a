"""One decision, with what led to it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from features.graph import FEATURES
from features.request import Request
from pipeline.schema import TIERS
from pipeline.served import Served

WORDS_SHOWN = 8


def explain(folder: Path, request: Request) -> dict[str, Any]:
    """Decide on a request and say why.

    Args:
        folder: of a version.
        request: what to decide on.

    Returns:
        Plain values: `tier`, `model`, `version`, `reason`, `probabilities` by tier, `gain`, `threshold`, `evidence`,
        `evidence_floor`, the ten `features`, and the `words` that moved the gain most.

    Raises:
        ArtifactError: the folder is not a whole version.
    """
    served, manifest = Served.open(folder)
    outputs = served.decide(request)
    gain, evidence = float(outputs["gain"][0]), float(outputs["evidence"][0])
    tier, reason = _choice(bool(outputs["use_pro"][0]), evidence, served, request)
    return {
        "tier": tier,
        "model": manifest["tiers"][tier]["model"],
        "version": manifest["version"],
        "reason": reason,
        "probabilities": dict(zip(TIERS, map(float, outputs["probabilities"][0]), strict=True)),
        "gain": gain,
        "threshold": served.threshold,
        "evidence": evidence,
        "evidence_floor": served.evidence_floor,
        "features": dict(zip(FEATURES, map(float, outputs["features"][0]), strict=True)),
        "words": {move.word: move.gain for move in served.moves(request)[:WORDS_SHOWN]},
    }


def _choice(use_pro: bool, evidence: float, served: Served, request: Request) -> tuple[str, str]:
    if request.other_modalities:
        return "pro", f"modality: {', '.join(request.other_modalities)}"
    if not use_pro:
        return "flash", "the gain is below the threshold"
    if evidence < served.evidence_floor:
        return "pro", "too few of the words are known"
    return "pro", "the gain reaches the threshold"
