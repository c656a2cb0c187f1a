"""One tier, asked once: what came of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pipeline.collect import protocol
from pipeline.endpoint import Endpoint
from pipeline.runtime.decision import FLASH
from pipeline.serve.answers import complaint, of_stream, of_whole, whole
from pipeline.serve.escalation import without_logprobs
from pipeline.serve.upstream import Reply

# With these another tier may do better; what other statuses say of the request holds for both.
TROUBLE = (408, 429)
# What the service's own key, its balance or the model it names brings about: nothing that the caller could mend.
REFUSED = (401, 402, 403, 404)
TOO_LONG = "context_length_exceeded"


@dataclass(slots=True)
class Attempt:
    """A tier, asked.

    Attributes:
        tier: by name.
        endpoint: of the tier.
        reply: None where there is none.
        cause: why not, or its status.
        seconds: until it was there.
        own_key: it was asked with the service's own key.
        answer: the reply, read; None where it was not, or could not be.
    """

    tier: str
    endpoint: Endpoint
    reply: Reply | None
    cause: str
    seconds: float
    own_key: bool
    answer: protocol.Reply | None = None

    @property
    def good(self) -> bool:
        """Whether the tier answered."""
        return self.reply is not None and self.reply.good

    @property
    def failed(self) -> bool:
        """Whether another tier may do better."""
        if self.reply is None or self.reply.status in TROUBLE or self.reply.status >= 500:
            return True
        return self.refused or (
            self.tier == FLASH and self.reply.status == 400 and complaint(self.reply.received) == TOO_LONG
        )

    @property
    def refused(self) -> bool:
        """Whether the tier does not want the service itself, which is for its operator to mend."""
        return self.own_key and self.reply is not None and self.reply.status in REFUSED

    def read(self) -> None:
        """Read the answer, if all of it is there."""
        if self.reply is not None and self.reply.complete and self.answer is None:
            self.answer = whole(self.reply.received, self.endpoint)

    def drop_logprobs(self) -> None:
        """Take log-probabilities out of the reply, for a caller who did not ask for them."""
        if self.reply is not None and self.reply.complete:
            self.reply.received = without_logprobs(self.reply.received)

    def told(self, tail: bytes, seconds: float) -> dict[str, Any]:
        """What the log keeps of an answer that was passed on.

        Args:
            tail: the end of its body.
            seconds: that all of it took.
        """
        if self.reply is None or not self.good:
            return {}
        if b"text/event-stream" in dict(self.reply.headers).get(b"content-type", b""):
            return of_stream(self.tier, tail, seconds)
        self.read()
        return of_whole(self.tier, self.answer, seconds)
