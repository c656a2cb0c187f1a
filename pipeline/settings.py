"""The user's own file, given with --config: prices of the tiers, what a wrong answer costs, how much traffic there is.

Every key has a default, and an empty file is a good one.
"""

from __future__ import annotations

import json
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from pipeline.endpoint import VARIABLE, Endpoint, Seconds
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


class LimitsTable(Strict):
    """What a tier may be asked at all; None: no limit. See `pipeline.limits.Limits`."""

    context_tokens: Count | None = None
    output_tokens: Count | None = None
    tools: Annotated[int, Field(strict=True, ge=0, le=LARGEST)] | None = None
    modalities: tuple[Name, ...] | None = None
    first_token_s: AtLeastZero | None = None


class FlashLimits(LimitsTable):
    """Those of the cheap tier, which is given neither very long inputs nor anything besides text."""

    context_tokens: Count | None = 80_000
    modalities: tuple[Name, ...] | None = ()


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
        limits: what it may be asked at all, by services that serve the router.
    """

    price: Name | None = None
    tokens_per_word: Positive | None = None
    output_tokens: Positive | None = None
    cache_share: Share | None = None
    latency_s: AtLeastZero | None = None
    attempts: Count = 1
    retry_success: Share | None = None
    limits: LimitsTable = LimitsTable()


class Flash(Tier):
    limits: FlashLimits = FlashLimits()


class Tiers(Strict):
    flash: Flash = Flash()
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


class Serving(Strict):
    """How services decide, log and forward.

    Attributes:
        explore: in [0, 0.5], share of requests sent to the tier that the router did not choose, so that logs can be
            learned from.
        realtime_first_token_s: > 0, seconds that the first token of a real-time request may take.
        poll_s: > 0, seconds after which a newly shipped version is noticed.
        log: folder of the decision log; None: nothing is logged.
        log_form: of its files.
        log_text: what is kept of prompts: their word counts, their text, or nothing.
        log_keep: >= 1, finished files of the log that stay, the newest; None: all.
        log_rotate_s: > 0, seconds after which a file of the log is finished.
        token_env: name of the environment variable with the token that callers have to send; None: none is asked for.
        largest_body_bytes: >= 1, of a request.
        body_timeout_s: > 0, seconds that a request may take to arrive.
        deadline_s: > 0, seconds for an answer, both tiers together, where the caller states none.
        cascade: ask pro as well where an unstreamed answer of flash fails its JSON Schema or is unsure.
        escalate_below: in [0, 1], confidence below which flash is unsure; None: the tuned one, if there is one.
    """

    explore: Annotated[float, Field(strict=True, ge=0, le=0.5)] = 0.02
    realtime_first_token_s: Seconds = 2.0
    poll_s: Seconds = 1.0
    log: Name | None = None
    log_form: Literal["jsonl", "parquet"] = "jsonl"
    log_text: Literal["counts", "prompt", "none"] = "counts"
    log_keep: Count | None = None
    log_rotate_s: Seconds = 3600.0
    token_env: Annotated[str, Field(pattern=VARIABLE.pattern)] | None = None
    largest_body_bytes: Count = 8_000_000
    body_timeout_s: Seconds = 10.0
    deadline_s: Seconds = 600.0
    cascade: bool = False
    escalate_below: Share | None = None


class Retuning(Strict):
    """The monthly retune: what it reads, whom it serves, and how sure it has to be.

    Attributes:
        logs: folders or files of decision logs.
        outcomes: files of outcomes of logged decisions.
        mlflow: experiment whose traces carry assessments; None: none does.
        traces: files of labelled traces that are learned from beside the logs: those of the first training.
        audit: files of labelled traces of both tiers, drawn from the traffic at random.
        out: folder of the versions and of MLflow's store.
        dest: folder that services read; None: only the alias in MLflow moves.
        newest_days: > 0, days that count as newest: drift is looked for in them, and champion and challenger are judged
            on them.
        margin: in (0, 1), accuracy, and share of always-pro's cost, by which a challenger may be worse.
        unsure: what becomes of a challenger that is shown neither to be good enough nor to be worse: "keep" the
            champion, or "promote" it all the same, which suits little traffic, with a watch on what it does.
        half_life_days: > 0, days after which a logged outcome counts half in learning.
        audit_days: >= 1, days after which an audit sample is asked for before anything is fitted; None: never.
    """

    logs: tuple[Name, ...] = ()
    outcomes: tuple[Name, ...] = ()
    mlflow: Name | None = None
    traces: tuple[Name, ...] = ()
    audit: tuple[Name, ...] = ()
    out: Name = "models"
    dest: Name | None = None
    newest_days: Positive = 31.0
    margin: Annotated[float, Field(strict=True, gt=0, lt=1)] = 0.01
    unsure: Literal["keep", "promote"] = "keep"
    half_life_days: Positive = 90.0
    audit_days: Count | None = 92


class Settings(Strict):
    """A whole file.

    Attributes:
        tiers: the two tiers.
        judge: the model that grades.
        delivery: what becomes of answers.
        serving: how services decide.
        retune: what the monthly retune reads and writes.
        price: own entries of the price table.
        peak_hours: own peak hours, which entries refer to by name.
    """

    tiers: Tiers = Tiers()
    judge: Judge = Judge()
    delivery: Delivery = Delivery()
    serving: Serving = Serving()
    retune: Retuning = Retuning()
    price: tuple[Price, ...] = ()
    peak_hours: dict[str, PeakHours] = Field(default_factory=dict)

    @cached_property
    def prices(self) -> Prices:
        """The packaged price table with the file's own entries; read when first asked for."""
        return packaged().extended(self.price)

    def printed(self) -> dict[str, Any]:
        """What the file says and its defaults, as plain JSON values; without paths, for a manifest travels."""
        return self.model_dump(mode="json", by_alias=True, exclude={"retune"})


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
