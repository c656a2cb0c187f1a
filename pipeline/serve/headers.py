"""Which headers go through: to a tier, and from it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

Headers = Sequence[tuple[bytes, bytes]]

# What a caller may tell a tier of a request; all else is between the caller and whoever stands before this service.
TO_A_TIER = frozenset({
    b"accept", b"idempotency-key", b"traceparent", b"tracestate", b"user-agent", b"x-request-id",
})  # fmt: skip
OF_CLIENTS = (b"openai-", b"x-stainless-")
# With another key they would be wrong, or give this caller's away.
OF_THE_KEY = frozenset({b"authorization", b"openai-organization", b"openai-project"})
FROM_A_TIER = frozenset({
    b"cache-control", b"content-encoding", b"content-type", b"openai-model", b"openai-processing-ms",
    b"openai-version", b"request-id", b"retry-after", b"retry-after-ms", b"x-accel-buffering", b"x-ds-trace-id",
    b"x-request-id", b"x-should-retry",
})  # fmt: skip
RATES = (b"x-ratelimit-", b"ratelimit")
CONTROLS = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")


def to_tier(headers: Headers, *, with_key: bool) -> list[tuple[str, str]]:
    """Those of a caller's headers that a tier gets; names in lower case.

    Args:
        headers: of the request.
        with_key: the caller's key is for the tier.
    """
    of_the_hop = {name.strip().lower() for key, text in headers if key == b"connection" for name in text.split(b",")}
    return [
        (name.decode(), text.decode())
        for name, text in headers
        if _is_for_tiers(name, with_key=with_key) and name not in of_the_hop and _can_be_said(text)
    ]


def from_tier(headers: Iterable[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """Those of a tier's headers that the caller gets; names in lower case."""
    lowered = [(name.lower(), text) for name, text in headers]
    return [
        (name, text)
        for name, text in lowered
        # With control characters the server would refuse the whole reply.
        if (name in FROM_A_TIER or name.startswith(RATES)) and not CONTROLS.search(text)
    ]


def _is_for_tiers(name: bytes, *, with_key: bool) -> bool:
    if name in OF_THE_KEY:
        return with_key
    return name in TO_A_TIER or name.startswith(OF_CLIENTS)


def _can_be_said(text: bytes) -> bool:
    """Whether a header may hold it: with control characters the tier might read another request than was meant."""
    try:
        return text.decode().replace("\t", " ").isprintable()
    except UnicodeDecodeError:
        return False
