"""A decision as a row of the log: columns of trace files where there are such, and what led to the decision."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from features.request import Request
from pipeline.runtime.decision import FLASH, PRO, TIERS, Decision

NOTHING = Request("", turn_count=0)


def row(decision: Decision, served: str, outcome: Mapping[str, Any]) -> dict[str, Any]:
    """The row, without what is kept of the prompt.

    Args:
        decision: that was made.
        served: tier that answered; "": none did.
        outcome: further columns.
    """
    chance = decision.probabilities or dict.fromkeys(TIERS)
    request = decision.asked.request if decision.asked else NOTHING
    made: dict[str, Any] = {
        "task_id": decision.id,
        "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
        "version": decision.version,
        "chosen": decision.chosen,
        "served": served or None,
        "propensity": decision.propensity,
        "reason": decision.reason,
        "gain": decision.gain,
        "threshold": decision.threshold,
        "evidence": decision.evidence,
        "flash_probability": chance[FLASH],
        "pro_probability": chance[PRO],
        "context_bytes": request.context_bytes,
        "tool_count": request.tool_count,
        "turn_count": request.turn_count,
    }
    if served == decision.tier:
        made[f"{served}_model"] = decision.model
    return made | dict(outcome)
