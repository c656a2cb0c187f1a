"""Calls that brought no answer: what each failure means for trying again, for the bill, and for all other calls."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from features.errors import TierRouterError
from features.request import well_formed

# Statuses that another try may change. Of the others a client's error stands, whatever is tried.
RETRIED = (408, 409, 425, 429, 500, 502, 503, 504, 520, 521, 522, 523, 524, 529)
# With these a gateway gave up on an answer that the endpoint behind it may have gone on with, and may bill.
MAYBE_PAID = (408, 502, 504, 520, 524)
NO_BALANCE = "the balance is used up: add funds, then give the same command again"
MOVED = "the address moved: give the one it leads to as base_url"
# With these, all other calls would end the same way.
FATAL = {
    401: "the key is wrong or missing: check key_env and the variable that it names",
    402: NO_BALANCE,
    404: "there is no such model or address: check model and base_url",
    405: "this address takes no chat completions: check base_url",
    **dict.fromkeys((301, 302, 307, 308), MOVED),
}
# What OpenAI calls an empty balance, with status 429.
QUOTA = "insufficient_quota"
# What endpoints say with status 400 where others have 404.
UNKNOWN_MODEL = ("model_not_found", "Model Not Exist")
SHOWN_CHARACTERS = 200


class CallError(TierRouterError):
    """A call without an answer.

    Attributes:
        cause: the same words for the same kind of failure, to count them by.
        detail: what the endpoint said of this one, without the key; "" where it said nothing.
        paid: whether it was, or may have been, paid for.
        again: whether another try may succeed.
        fatal: what to do, where no other call can succeed either; else "".
        wait_s: seconds that the endpoint asked to wait, or None.
        reply: what arrived of a body.
    """

    def __init__(
        self,
        cause: str,
        detail: str = "",
        *,
        paid: bool,
        again: bool = True,
        fatal: str = "",
        wait_s: float | None = None,
        reply: str = "",
    ) -> None:
        super().__init__(f"{cause}: {detail}" if detail else cause)
        self.cause = cause
        self.detail = detail
        self.paid = paid
        self.again = again
        self.fatal = fatal
        self.wait_s = wait_s
        self.reply = reply


def refused(status: int, retry_after: str | None, said: str, now: datetime | None = None) -> CallError:
    """The failure that a status stands for. Nothing was generated, so nothing was paid for, except behind gateways.

    Args:
        status: of HTTP, not 2xx.
        retry_after: the header, if there was one.
        said: text of the body, without the key.
        now: for dates in the header; None: the present.
    """
    return CallError(
        f"HTTP {status}",
        _message(said)[:SHOWN_CHARACTERS],
        paid=status in MAYBE_PAID,
        again=status in RETRIED and QUOTA not in said,
        fatal=_fatal(status, said),
        wait_s=seconds(retry_after, now or datetime.now(UTC)),
        reply=said,
    )


def _fatal(status: int, said: str) -> str:
    if QUOTA in said:
        return NO_BALANCE
    if status == 400 and any(words in said for words in UNKNOWN_MODEL):
        return FATAL[404]
    return FATAL.get(status, "")


def _message(said: str) -> str:
    """What an error body says to people, where it is made as OpenAI's, else all of it; in one printable line."""
    try:
        error = json.loads(said)["error"]
        text = str(error["message"] if isinstance(error, dict) else error)
    except (ValueError, RecursionError, KeyError, TypeError):
        text = said
    return " ".join("".join(each if each.isprintable() else " " for each in well_formed(text)).split())


def seconds(retry_after: str | None, now: datetime) -> float | None:
    """Seconds to wait by a Retry-After header, which holds seconds or a date; None where it says neither.

    >>> seconds("1.5", datetime(2026, 1, 1, tzinfo=UTC))
    1.5
    >>> seconds("Thu, 01 Jan 2026 00:00:30 GMT", datetime(2026, 1, 1, tzinfo=UTC))
    30.0
    >>> seconds("soon", datetime(2026, 1, 1, tzinfo=UTC))
    """
    if retry_after is None:
        return None
    try:
        waited = float(retry_after)
    except ValueError:
        try:
            until = parsedate_to_datetime(retry_after)
        except (ValueError, OverflowError):
            return None
        waited = ((until if until.tzinfo else until.replace(tzinfo=UTC)) - now).total_seconds()
    return max(0.0, waited) if waited < float("inf") else None
