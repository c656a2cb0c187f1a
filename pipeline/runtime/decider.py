"""Decisions inside a Python service, in microseconds: the router, the tiers' hard limits, exploration and a log."""

from __future__ import annotations

import logging
import math
import os
import random
import weakref
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

from features.errors import InputError, RequestError
from features.request import Request
from pipeline.limits import Limits, Needs
from pipeline.runtime.choice import Choice, by_score, capable, explored, limited
from pipeline.runtime.decision import FLASH, PRO, TIERS, Asked, Decision
from pipeline.runtime.log import DecisionLog
from pipeline.runtime.log_options import LogOptions
from pipeline.runtime.opened import Opened, Scores
from pipeline.runtime.source import source
from pipeline.runtime.watch import Watch

LOGGER = logging.getLogger("tier_router")
LARGEST_EXPLORE = 0.5
# What a request may allow its answer to take stands in either.
OUTPUT_LIMITS = ("max_completion_tokens", "max_tokens")


@dataclass(frozen=True, slots=True)
class Options:
    """How a `Decider` decides.

    Attributes:
        explore: in [0, 0.5], share of requests for which the other tier is chosen, so that the log tells of both.
        limits: of the tiers, by name, in the place of those that the version was trained with.
        realtime_first_token_s: > 0, seconds that the first token of a real-time request may take.
        poll_s: > 0, seconds after which a newly shipped version is looked for; at least 30 where the registry is asked.
        log: where decisions are logged; None: nowhere.
        seed: of the exploration; None: another each time.
    """

    explore: float = 0.02
    limits: Mapping[str, Limits] | None = None
    realtime_first_token_s: float = 2.0
    poll_s: float = 1.0
    log: LogOptions | None = None
    seed: int | None = None


class Decider:
    """Decides which tier to ask. May be used by any number of threads.

    >>> decider = Decider.open("models/v1")  # doctest: +SKIP
    >>> decider.decide("Is 7 prime?").tier  # doctest: +SKIP
    'flash'

    Attributes:
        log: the decision log, or None.
    """

    def __init__(self, watch: Watch, options: Options) -> None:
        self.options = options
        self.watch = watch
        self.log = DecisionLog(options.log) if options.log else None
        self._random = random.Random(options.seed)  # noqa: S311  # exploration needs no secrecy

    @classmethod
    def open(cls, address: str | Path, options: Options = Options()) -> Self:
        """Open a version and, where its place may name another one later, watch that place.

        Args:
            address: a version folder, a folder that `tier-router ship` fills, or `models:/NAME@ALIAS`, which is looked
                up with MLflow by MLFLOW_TRACKING_URI.
            options: how to decide.

        Raises:
            ArtifactError: there is no version, or it cannot be used.
            InputError: an option is out of its range, or the log's folder cannot be written.
        """
        if not 0 <= options.explore <= LARGEST_EXPLORE:
            raise InputError(f"explore = {options.explore}: expected a share from 0 to {LARGEST_EXPLORE}")
        if not options.poll_s > 0 or not options.realtime_first_token_s > 0:
            raise InputError("poll_s and realtime_first_token_s: expected seconds, more than 0")
        if options.limits is not None and set(options.limits) != set(TIERS):
            raise InputError(f"limits: expected one entry each for {' and '.join(TIERS)}")
        watch = Watch(source(address), options.poll_s)
        decider = cls(watch, options)
        if decider.log:
            decider.log.start()
        watch.start()
        weakref.finalize(decider, _end, watch, decider.log)  # at the end of the process too
        return decider

    @property
    def version(self) -> str:
        """The version that decides now, such as "v3-1a2b3c4d5e6f"."""
        return self.watch.opened.name

    @property
    def manifest(self) -> Mapping[str, Any]:
        """Of that version."""
        return self.watch.opened.manifest

    @property
    def refused(self) -> str:
        """Why the newest version was not taken, or ""."""
        return self.watch.refused

    @property
    def swaps(self) -> int:
        """How often another version was changed over to."""
        return self.watch.swaps

    def decide(
        self,
        request: str | Mapping[str, Any] | Request,
        *,
        realtime: bool = False,
        threshold: float | None = None,
        record: bool = True,
    ) -> Decision:
        """Decide which tier to ask. Never raises: whatever goes wrong ends in the capable tier, and says so.

        Args:
            request: a prompt, a chat-completions body, or a `Request`.
            realtime: its first token must come soon.
            threshold: in the place of the tuned one, if given; see the README on what a wrong answer costs.
            record: log it now, as served by the tier that is to be asked. Who may fall back on another tier says
                False, and calls `record` when it is known which one answered.
        """
        opened = self.watch.opened  # once: a version that changes in between does not mix with this one
        try:
            decision = self._decide(opened, request, realtime=realtime, threshold=threshold)
        except RequestError as error:
            decision = _decision(opened, capable("unreadable", str(error)))
        except Exception as error:
            # The one broad catch: a caller's user must get an answer, and the capable tier gives a good one.
            LOGGER.exception("tier-router: deciding failed; the request goes to %s", PRO)
            decision = _decision(opened, capable("error", type(error).__name__))
        if record:
            self.record(decision)
        return decision

    def record(
        self, decision: Decision, served: str | None = None, outcome: Mapping[str, Any] | None = None
    ) -> None:  # fmt: skip
        """Log a decision, if there is a log.

        Args:
            decision: that was not recorded yet.
            served: tier that answered; None: the one that was to be asked.
            outcome: what is known of the answer, by columns of trace files, such as `pro_latency_s`.
        """
        if self.log is None:
            return
        asked = decision.asked
        request = asked.request if asked else Request("", turn_count=0)
        row = _row(decision, served or decision.tier, request) | dict(outcome or {})
        self.log.put(row, request.prompt, asked.words if asked else _no_words)

    def close(self) -> None:
        """Stop watching and finish the log. Decisions can still be made, and are not logged any more."""
        _end(self.watch, self.log)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _decide(
        self, opened: Opened, request: str | Mapping[str, Any] | Request, *, realtime: bool, threshold: float | None
    ) -> Decision:
        needs = _needs(request, self.options.realtime_first_token_s if realtime else None)
        if threshold is not None and not math.isfinite(threshold):
            raise InputError(f"threshold = {threshold}: expected a finite number")
        limits = self.options.limits or opened.limits
        forbidden = {tier: said for tier in TIERS if (said := needs.beyond(limits[tier]))}
        scores = opened.score(needs.request, threshold)
        choice = by_score(scores, opened.evidence_floor)
        if forbidden:
            choice = limited(choice, forbidden)
        elif self.options.explore:
            choice = explored(choice, self.options.explore, self._random.random())
        return _decision(opened, choice, scores, opened.threshold if threshold is None else threshold, needs.request)


def _end(watch: Watch, log: DecisionLog | None) -> None:
    watch.stop()
    if log:
        log.close()


def _needs(request: str | Mapping[str, Any] | Request, first_token_s: float | None) -> Needs:
    if isinstance(request, Request):
        return Needs(request, None, first_token_s)
    if isinstance(request, str):
        return Needs(Request(request), None, first_token_s)
    if not isinstance(request, Mapping):
        raise RequestError(f"expected a prompt or a chat-completions body, got {type(request).__name__}")
    limits = [request.get(name) for name in OUTPUT_LIMITS]
    asked = [limit for limit in limits if isinstance(limit, int) and not isinstance(limit, bool)]
    return Needs(Request.from_payload(request), asked[0] if asked else None, first_token_s)


def _decision(
    opened: Opened,
    choice: Choice,
    scores: Scores | None = None,
    threshold: float | None = None,
    request: Request | None = None,
) -> Decision:
    return Decision(
        id=os.urandom(16).hex(),
        tier=choice.tier,
        model=opened.models[choice.tier],
        chosen=choice.chosen,
        reason=choice.reason,
        detail=choice.detail,
        probabilities=dict(zip(TIERS, scores.probabilities, strict=True)) if scores else None,
        gain=scores.gain if scores else None,
        threshold=threshold,
        evidence=scores.evidence if scores else None,
        version=opened.name,
        propensity=choice.propensity,
        alternative=choice.alternative,
        asked=Asked(request, opened.words) if request else None,
    )


def _row(decision: Decision, served: str, request: Request) -> dict[str, Any]:
    """A line of the log: columns of trace files where there are such, and what led to the decision."""
    chance = decision.probabilities or dict.fromkeys(TIERS)
    row: dict[str, Any] = {
        "task_id": decision.id,
        "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
        "version": decision.version,
        "chosen": decision.chosen,
        "served": served,
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
        row[f"{served}_model"] = decision.model
    return row


def _no_words(_prompt: str) -> list[str]:
    return []
