"""How a simulated pair behaves."""

from __future__ import annotations

from dataclasses import dataclass, field

from features.errors import InputError
from pipeline.simulate.faults import KINDS
from pipeline.tables import nearest


@dataclass(frozen=True, slots=True)
class Options:
    """How a simulated pair behaves.

    Attributes:
        count, seed: of the tasks that it knows, as they were prepared.
        flash_latency_s, pro_latency_s: >= 0, mean seconds until a reply; the judge takes as long as pro.
        fault_share: in [0, 1], share of the requests that a fault befalls.
        faults: kinds of `pipeline.simulate.faults.KINDS`, one of which is drawn each time.
        fault_seed: of that drawing.
        slow_s: >= 0, by how much a slow reply is later.
        retry_after_s: >= 0, seconds that a rejection asks to wait.
        key: that every request has to bear; None: none is asked for.
        balance_usd: what may be spent while it runs; None: no end of it.
        requests_per_minute: of each tier, in any 60 seconds; None: no limit.

    Raises:
        InputError: a value out of its range, an unknown fault.
    """

    count: int = 2_000
    seed: int = 0
    flash_latency_s: float = 0.02
    pro_latency_s: float = 0.05
    fault_share: float = 0.0
    faults: tuple[str, ...] = KINDS
    fault_seed: int = 0
    slow_s: float = 2.0
    retry_after_s: int = 1
    key: str | None = field(default=None, repr=False)
    balance_usd: float | None = None
    requests_per_minute: int | None = None

    def __post_init__(self) -> None:
        if self.count < 1:
            raise InputError(f"simulate: count = {self.count}: expected at least 1 task")
        if not 0 <= self.fault_share <= 1:
            raise InputError(f"simulate: fault_share = {self.fault_share:g}: expected a share, such as 0.2")
        for name in self.faults:
            if name not in KINDS:
                known = ", ".join(nearest(name, KINDS) or KINDS)
                raise InputError(f"simulate: faults = {name!r}: unknown fault; use {known}")
        for name in ("flash_latency_s", "pro_latency_s", "slow_s", "retry_after_s"):
            if not 0 <= getattr(self, name) < float("inf"):
                raise InputError(f"simulate: {name} = {getattr(self, name)}: expected seconds, 0 or more")
        if self.requests_per_minute is not None and self.requests_per_minute < 1:
            raise InputError(f"simulate: requests_per_minute = {self.requests_per_minute}: expected 1 or more")
        if not self.faults and self.fault_share:
            raise InputError("simulate: a fault_share without faults: name some, or set it to 0")

    def latency_s(self, tier: str) -> float:
        """Mean seconds until a reply."""
        return self.flash_latency_s if tier == "flash" else self.pro_latency_s
