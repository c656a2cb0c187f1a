"""Decisions inside a Python service, in microseconds: the router, the tiers' hard limits, exploration and a log."""

from __future__ import annotations

import logging
import math
import os
import random
import weakref
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Self

from features.errors import InputError, RequestError
from features.request import Request
from pipeline.exploring import LARGEST_CHANCE, chance
from pipeline.limits import Limits, Needs
from pipeline.runtime.choice import Choice, away, capable, choose, explored
from pipeline.runtime.decision import PRO, TIERS, Asked, Decision
from pipeline.runtime.log_options import LogOptions
from pipeline.runtime.opened import FAILURES, Opened, Scores
from pipeline.runtime.row import row
from pipeline.runtime.source import source
from pipeline.runtime.watch import Watch

if TYPE_CHECKING:
    from pipeline.runtime.log import DecisionLog

LOGGER = logging.getLogger("tier_router")
LARGEST_SCORED = 1_000_000  # characters of a prompt


class Options(NamedTuple):
    """How a `Decider` decides.

    Attributes:
        explore: in [0, 0.5], share of requests for which the other tier is chosen, so that the log tells of both; most
            of them near the threshold, see `pipeline.exploring`.
        limits: by tier, in the place of those that the version was trained with.
        models: by tier, what is asked, in the place of those that the version was trained on.
        realtime_first_token_s: > 0, seconds that the first token of a real-time request may take.
        poll_s: > 0, seconds after which a newly shipped version is looked for; at least 30 where the registry is asked.
        log: where decisions are logged; None: nowhere.
        seed: of the exploration; None: another each time.
    """

    explore: float = 0.02
    limits: Mapping[str, Limits] = {}
    models: Mapping[str, str] = {}
    realtime_first_token_s: float = 2.0
    poll_s: float = 1.0
    log: LogOptions | None = None
    seed: int | None = None


STANDARD = Options()


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
        self.log = _log(options.log) if options.log else None
        # The system's own chance is another one in each forked process.
        self._random = random.SystemRandom() if options.seed is None else random.Random(options.seed)  # noqa: S311  # no secret

    @classmethod
    def open(cls, address: str | Path, options: Options = STANDARD) -> Self:
        """Open a version and, where its place may name another one later, watch that place.

        Args:
            address: a version folder, a folder that `tier-router ship` fills, or `models:/NAME@ALIAS`, which is looked
                up with MLflow by MLFLOW_TRACKING_URI.
            options: how to decide.

        Raises:
            ArtifactError: there is no version, or it cannot be used.
            InputError: an option is out of its range, or the log's folder cannot be written.
        """
        if not 0 <= options.explore <= LARGEST_CHANCE:
            raise InputError(f"explore = {options.explore}: expected a share from 0 to {LARGEST_CHANCE}")
        if not options.poll_s > 0 or not options.realtime_first_token_s > 0:
            raise InputError("poll_s and realtime_first_token_s: expected seconds, more than 0")
        if unknown := set(options.limits) - set(TIERS):
            raise InputError(f"limits: there is no tier {min(unknown)!r}: expected {' or '.join(TIERS)}")
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
        request: str | Mapping[str, Any] | Request | Needs,
        *,
        realtime: bool = False,
        threshold: float | None = None,
        record: bool = True,
    ) -> Decision:
        """Decide which tier to ask. Never raises: whatever goes wrong ends in the capable tier, and says so.

        Args:
            request: a prompt, a chat-completions body, or what was read of one.
            realtime: its first token must come soon, which what was read of it may say itself.
            threshold: in the place of the tuned one, if given; see the README on what a wrong answer costs.
            record: log it now, as served by the tier that is to be asked. Who may fall back on another tier says
                False, and calls `record` when it is known which one answered.
        """
        opened = self.watch.opened  # once: a version that changes in between does not mix with this one
        decision = self._certain(opened, request, realtime=realtime, threshold=threshold)
        if record:
            self.record(decision)
        return decision

    def decide_all(self, asked: Sequence[Needs], *, record: bool = True) -> list[Decision]:
        """Decide on requests that are there at the same time, in less than half the time that `decide` takes for each.

        The decisions are those that it would make, all by one version. Never raises either.

        Args:
            asked: what was read of each.
            record: log them now; see `decide`.
        """
        opened = self.watch.opened
        scored = _scored(opened, asked)
        decisions = [self._certain(opened, needs, scores=scored.get(at)) for at, needs in enumerate(asked)]
        if record:
            for decision in decisions:
                self.record(decision)
        return decisions

    def record(
        self, decision: Decision, served: str | None = None, outcome: Mapping[str, Any] | None = None
    ) -> None:  # fmt: skip
        """Log a decision, if there is a log.

        Args:
            decision: that was not recorded yet.
            served: tier that answered; None: the one that was to be asked; "": none did.
            outcome: what is known of the answer, by columns of trace files, such as `pro_latency_s`.
        """
        if self.log is None:
            return
        if served not in (None, "", *TIERS):
            LOGGER.error("record: served = %r is no tier: logged as if none had answered", served)
            served = ""
        asked = decision.asked
        made = row(decision, decision.tier if served is None else served, outcome or {})
        self.log.put(made, asked.request.prompt if asked else "", asked.words if asked else _no_words)

    def close(self) -> None:
        """Stop watching and finish the log. Decisions can still be made, and are not logged any more."""
        _end(self.watch, self.log)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _certain(self, opened: Opened, request: str | Mapping[str, Any] | Request | Needs, **how: Any) -> Decision:
        """A decision, whatever goes wrong; see `_decide`."""
        try:
            return self._decide(opened, request, **how)
        except InputError as error:
            return self._decision(opened, capable("unreadable", str(error)))
        except Exception as error:
            # The one broad catch: a caller's user must get an answer, and the capable tier gives a good one.
            LOGGER.exception("tier-router: deciding failed; the request goes to %s", PRO)
            return self._decision(opened, capable("error", type(error).__name__))

    def _decide(
        self,
        opened: Opened,
        request: str | Mapping[str, Any] | Request | Needs,
        *,
        realtime: bool = False,
        threshold: float | None = None,
        scores: Scores | None = None,
    ) -> Decision:
        """A decision; with `scores`, where they are known already."""
        needs = _needs(request, self.options.realtime_first_token_s if realtime else None)
        if threshold is not None and not math.isfinite(threshold):
            raise InputError(f"threshold = {threshold}: expected a finite number")
        limits = {**opened.limits, **self.options.limits}
        forbidden = {tier: said for tier in TIERS if (said := needs.beyond(limits[tier]))}
        # What a limit decides anyway is scored for the log, unless that takes long.
        if scores is None and not (forbidden and len(needs.request.prompt) > LARGEST_SCORED):
            scores = opened.score(needs.request, threshold)
        bound = opened.threshold if threshold is None else threshold
        scale = opened.scale if threshold is None else None  # it is that of the tuned one
        rate = chance(self.options.explore, away(scores, opened.evidence_floor, bound), scale)
        choice = choose(scores, opened.evidence_floor, forbidden, rate)
        if not forbidden and self._random.random() < rate:
            choice = explored(choice, rate)
        return self._decision(opened, choice, scores, bound, needs.request)

    def _decision(
        self,
        opened: Opened,
        choice: Choice,
        scores: Scores | None = None,
        threshold: float | None = None,
        request: Request | None = None,
    ) -> Decision:
        tier = choice.tier
        return Decision(
            id=os.urandom(16).hex(),
            tier=tier,
            model=self.options.models.get(tier, opened.models[tier]),
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


def _log(options: LogOptions) -> DecisionLog:
    from pipeline.runtime.log import DecisionLog  # a third of all that this module loads

    return DecisionLog(options)


def _end(watch: Watch, log: DecisionLog | None) -> None:
    watch.stop()
    if log:
        log.close()


def _needs(request: str | Mapping[str, Any] | Request | Needs, first_token_s: float | None) -> Needs:
    if isinstance(request, Needs):
        return request if first_token_s is None else request._replace(first_token_s=first_token_s)
    if isinstance(request, Request):
        return Needs(request, None, first_token_s)
    if isinstance(request, str):
        return Needs(Request(request), None, first_token_s)
    if not isinstance(request, Mapping):
        raise RequestError(f"expected a prompt or a chat-completions body, got {type(request).__name__}")
    return Needs.of(request, first_token_s)


def _scored(opened: Opened, asked: Sequence[Needs]) -> dict[int, Scores]:
    """Scores by place of the requests; none where that fails: each is scored alone then, and harms no other."""
    short = [at for at, needs in enumerate(asked) if len(needs.request.prompt) <= LARGEST_SCORED]
    try:
        return dict(zip(short, opened.score_all([asked[at].request for at in short]), strict=True))
    except FAILURES:
        return {}


def _no_words(prompts: Sequence[str]) -> list[list[str]]:
    return [[] for _ in prompts]
