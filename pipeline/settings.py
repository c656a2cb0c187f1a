"""The user's own file, given with --config: prices of the tiers, what a wrong answer costs, how much traffic there is.

Every key has a default, and an empty file is a good one.
"""

from __future__ import annotations

import json
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from pipeline.endpoint import Endpoint
from pipeline.prices import Name, PeakHours, Price, Prices, packaged, parsed
from pipeline.tables import Strict, loaded, validated

# What is assumed of requests without usage where neither the file nor other traces say anything.
ASSUMED = {"tokens_per_word": 1.3, "output_tokens": 500.0, "cache_share": 0.0, "latency_s": 2.0}

MINUTES_PER_HOUR = 60
LARGEST = 1e12  # more of anything is a slip

Positive = Annotated[float, Field(strict=True, gt=0, le=LARGEST)]
AtLeastZero = Annotated[float, Field(strict=True, ge=0, le=LARGEST)]
Share = Annotated[float, Field(strict=True, ge=0, le=1, allow_inf_nan=False)]
Count = Annotated[int, Field(strict=True, ge=1, le=LARGEST)]


class Tier(Endpoint):
    """One tier. What is None is learned from the traces that hold it, and assumed where none does (`ASSUMED`).

    Attributes:
        price: entry of the price table; None: `model`, or what the traces name, if the table has it.
        tokens_per_word: > 0, input tokens of a word, for requests without usage.
        output_tokens: > 0, mean of a request without usage, reasoning included.
        cache_share: in [0, 1], share of the input tokens that the cache serves, for requests without usage.
        latency_s: >= 0, mean seconds of a request without a latency.
        attempts: >= 1, most attempts until an answer is accepted. They cost, and people pay for fewer wrong answers;
            quality and certificate count first answers.
        retry_success: in [0, 1], share of wrong answers that another attempt puts right; None: the tier's accuracy.
    """

    price: Name | None = None
    tokens_per_word: Positive | None = None
    output_tokens: Positive | None = None
    cache_share: Share | None = None
    latency_s: AtLeastZero | None = None
    attempts: Count = 1
    retry_success: Share | None = None


class Tiers(Strict):
    flash: Tier = Tier()
    pro: Tier = Tier()


class Judge(Endpoint):
    """A third model, which grades answers that only a reader can.

    Attributes:
        price: entry of the price table; None: `model`.
    """

    price: Name | None = None


class Delivery(Strict):
    """What happens to an answer, and what that costs.

    Attributes:
        escalation_rate: in [0, 1], share of finally wrong answers that a person has to put right.
        escalation_minutes: >= 0, a person's time for one.
        hourly_wage_usd: >= 0, of that person.
        wrong_answer_usd: >= 0, further damage of a finally wrong answer.
        waiting_usd_per_second: >= 0, price of a second of waiting for an answer.
        requests_per_month: >= 1.
    """

    escalation_rate: Share = 0.0
    escalation_minutes: AtLeastZero = 15.0
    hourly_wage_usd: AtLeastZero = 30.0
    wrong_answer_usd: AtLeastZero = 0.0
    waiting_usd_per_second: AtLeastZero = 0.0
    requests_per_month: Count = 1_000_000

    @property
    def wrong_usd(self) -> float:
        """USD of a finally wrong answer, on average."""
        wage = self.escalation_minutes / MINUTES_PER_HOUR * self.hourly_wage_usd
        return self.escalation_rate * wage + self.wrong_answer_usd


class Settings(Strict):
    """A whole file.

    Attributes:
        tiers: the two tiers.
        judge: the model that grades.
        delivery: what becomes of answers.
        price: own entries of the price table.
        peak_hours: own peak hours, which entries refer to by name.
    """

    tiers: Tiers = Tiers()
    judge: Judge = Judge()
    delivery: Delivery = Delivery()
    price: tuple[Price, ...] = ()
    peak_hours: dict[str, PeakHours] = Field(default_factory=dict)

    @cached_property
    def prices(self) -> Prices:
        """The packaged price table with the file's own entries; read when first asked for."""
        return packaged().extended(self.price)

    def printed(self) -> dict[str, Any]:
        """Everything that the file says and its defaults, as plain JSON values."""
        return self.model_dump(mode="json", by_alias=True)


def restored(printed: dict[str, Any]) -> Settings:
    """Settings from what `Settings.printed` made of them."""
    return Settings.model_validate_json(json.dumps(printed))


def read(path: Path | None) -> Settings:
    """The settings of a file; None: the defaults.

    Raises:
        InputError: a file that cannot be read, a line that is not TOML, an unknown key, a value out of its range.
    """
    if path is None:
        return Settings()
    document = loaded(path)
    return validated(Settings, document | {"price": parsed(document, str(path))}, str(path))
