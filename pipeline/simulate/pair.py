"""The two tiers and the judge: what becomes of a request."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache, partial
from typing import Any

from pipeline.simulate import kinds
from pipeline.simulate.ability import START, TIERS, WORSE
from pipeline.simulate.asked import Asked, Refusal, parsed
from pipeline.simulate.faults import REJECTIONS, Faults, retry_after, spoiled
from pipeline.simulate.judge import judged
from pipeline.simulate.kinds import SimTask
from pipeline.simulate.ledger import Entry
from pipeline.simulate.made import Said, uniforms
from pipeline.simulate.options import Options
from pipeline.simulate.replies import PRICES, Answering

WINDOW_S = 60.0
RECENT = 1_000
STRANGER = Said("I am a simulation and know only my own tasks.")
ERRORS = {
    400: "invalid_request_error", 401: "authentication_error", 402: "insufficient_balance",
    404: "invalid_request_error", 422: "invalid_request_error", 429: "rate_limit_error", 500: "server_error",
    503: "server_error",
}  # fmt: skip
MESSAGES = {
    401: "Authentication fails: the key is missing or not the simulation's.",
    402: "Insufficient balance: the simulation's balance_usd is used up.",
    429: "Too many requests: the simulation asks to wait.",
    500: "The simulation fails on purpose.",
    503: "The simulation is overloaded on purpose.",
}


@dataclass(frozen=True, slots=True)
class Exchange:
    """What becomes of a request.

    Attributes:
        entry: the ledger's line, as if nothing were delivered.
        body: of the reply, empty where there is none.
        headers: besides those that every reply has.
        wait_s: seconds until the reply.
    """

    entry: Entry
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)
    wait_s: float = 0.0


class Pair:
    """The tiers behind one port, and what they have seen and billed so far.

    Args:
        options: how they behave.
    """

    def __init__(self, options: Options) -> None:
        self.options = options
        self.faults = Faults(options.fault_share, options.faults, options.fault_seed)
        self.places: dict[bytes, tuple[int, int]] = {}
        # What one tier is asked, the other is often asked soon after.
        self.task = lru_cache(RECENT)(partial(kinds.task, options.seed))
        self.admitted: dict[str, deque[float]] = {tier: deque() for tier in PRICES}
        self.spent_usd = 0.0
        self.asked = 0

    def learn(self) -> None:
        """Note which tasks there are; they are made again when they are asked."""
        for number, (task, attempt) in enumerate(kinds.drawn(self.options.count, self.options.seed)):
            self.places[task.digest] = number, attempt

    def knows(self, authorization: str | None) -> bool:
        """Whether a request bears the key, if there is one."""
        return self.options.key is None or authorization == f"Bearer {self.options.key}"

    def take(self, tier: str, authorization: str | None, body: bytes, now: float) -> Exchange:
        """Decide what becomes of a request; from here on it counts as billed, unless it is rejected.

        Args:
            tier: "flash", "pro" or "judge".
            authorization: the header.
            body: of the request.
            now: seconds since 1970.
        """
        self.asked += 1
        if not self.knows(authorization):
            return _rejected(Entry(now, tier), 401)
        asked = parsed(body)
        if isinstance(asked, Refusal):
            return _rejected(Entry(now, tier), asked.status, asked.message)
        place = self.places.get(asked.digest) if tier in TIERS else None
        task = self.task(*place) if place else None
        entry = Entry(now, tier, task.id if task else None, asked.digest.hex())
        if asked.model != f"simulated-{tier}":
            return _rejected(entry, 404, f"No such model; this endpoint serves simulated-{tier}.")
        if wait := self._wait(tier, now):
            return _rejected(replace(entry, fault="rate_limit"), 429, headers={"retry-after": str(wait)})
        if self.options.balance_usd is not None and self.spent_usd >= self.options.balance_usd:
            return _rejected(entry, 402)
        return self._befallen(entry, asked, task)

    def _befallen(self, entry: Entry, asked: Asked, task: SimTask | None) -> Exchange:
        fault = self.faults.next()
        if fault is None:
            return self._answered(entry, asked, task)
        entry = replace(entry, fault=fault)
        if fault not in REJECTIONS:
            return self._answered(entry, asked, task)
        headers = retry_after(fault, entry.time, self.options.retry_after_s)
        return _rejected(entry, REJECTIONS[fault], headers=headers)

    def _wait(self, tier: str, now: float) -> int:
        """Whole seconds until the tier takes another request; 0: it takes this one."""
        admitted, most = self.admitted[tier], self.options.requests_per_minute
        if most is None:
            return 0
        while admitted and admitted[0] <= now - WINDOW_S:
            admitted.popleft()
        if len(admitted) >= most:
            return int(admitted[0] + WINDOW_S - now) + 1
        admitted.append(now)
        return 0

    def _answered(self, entry: Entry, asked: Asked, task: SimTask | None) -> Exchange:
        chance = uniforms("reply", self.options.seed, asked.digest.hex(), entry.tier)
        answering = self._answering(entry, asked, task, chance)
        body, tokens = answering.reply(asked, self.asked, entry.time)
        usd = tokens.usd(entry.tier)
        self.spent_usd += usd
        entry = replace(entry, input=tokens.input, cached=tokens.cached, output=tokens.output, usd=usd, status=200)
        text = written(spoiled(entry.fault, body))
        if entry.fault == "malformed":
            text = text[: len(text) * 2 // 3] + b"</html>"
        wait = self.options.latency_s(entry.tier) * (0.5 + chance[4])
        return Exchange(entry, text, wait_s=wait + (self.options.slow_s if entry.fault == "slow" else 0))

    def _answering(self, entry: Entry, asked: Asked, task: SimTask | None, chance: tuple[float, ...]) -> Answering:
        other = entry.fault == "other_model"
        if task is None:
            said = Said(judged(asked.prompt)) if entry.tier == "judge" else STRANGER
            return Answering(entry.tier, said, None, 0.0, chance, other)
        right = task.right(entry.tier, WORSE if other else 0.0)
        burden = START[task.kind][TIERS.index(entry.tier)] - task.log_odds(entry.tier)
        return Answering(entry.tier, task.made.right if right else task.made.wrong, right, burden, chance, other)


def _rejected(
    entry: Entry, status: int | None, message: str = "", headers: Mapping[str, str] | None = None
) -> Exchange:
    if status is None:
        return Exchange(entry, b"")
    error = {"message": message or MESSAGES[status], "type": ERRORS[status], "param": None, "code": None}
    return Exchange(replace(entry, status=status), written({"error": error}), headers or {})


def written(body: dict[str, Any]) -> bytes:
    """A body as JSON."""
    return json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()
