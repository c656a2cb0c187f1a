"""The front for OpenAI's clients: decides on a chat request, forwards it, and asks the other tier where that helps."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Any, TypeVar

from prometheus_client import Counter
from starlette.responses import Response

from pipeline.runtime.decision import FLASH, PRO
from pipeline.serve.attempt import Attempt
from pipeline.serve.bodies import Left, Refusal
from pipeline.serve.chat import Chat, deadline
from pipeline.serve.course import Course
from pipeline.serve.escalation import bound, doubt, wanted_schema
from pipeline.serve.headers import Headers
from pipeline.serve.passing import Passing, unless_left
from pipeline.serve.service import AT_ONCE_BYTES, Service
from pipeline.serve.upstream import TIME_OUT, Upstream, UpstreamError
from pipeline.settings import Serving

AUTO = "auto"
# The tier that is asked first may use so much of the time, where there is another one to fall back on.
FIRST_SHARE = 0.5

Result = TypeVar("Result")


class Front:
    """Forwards chat requests to the tiers.

    Args:
        service: that decides.
        serving: deadline, cascade.
        upstreams: the tiers, by name.
    """

    def __init__(self, service: Service, serving: Serving, upstreams: Mapping[str, Upstream]) -> None:
        self.service, self.serving, self.upstreams = service, serving, upstreams
        self._asked = Counter(
            "tier_router_upstream", "Requests to the tiers, by what came of them.", ("tier", "outcome"),
            registry=service.measures.registry,
        )  # fmt: skip

    async def complete(
        self, body: bytes, headers: Headers, *, realtime: bool, gone: Callable[[], Awaitable[None]]
    ) -> Response:
        """Answer a chat-completions request.

        Args:
            body: as it came.
            headers: as they came, names in lower case.
            realtime: the first token must come soon.
            gone: returns when the caller has left.

        Raises:
            Refusal: it asks for a model that there is not, or cannot be read.
            Left: the caller left before there was an answer.
        """
        until = time.monotonic() + deadline(headers, self.serving.deadline_s)
        chat = await _apart(len(body), partial(Chat.read, body))
        course = Course(chat, headers, until, self._named(chat.model))
        if chat.model == AUTO:
            await self._decide(course, len(body), realtime=realtime)
        try:
            async with unless_left(gone()):
                attempt = await self._answered(course)
        except Left:
            self._record(course, None, {})
            raise
        return self._response(course, attempt)

    async def models(self) -> Response:
        """The models that can be asked for."""
        ids = [upstream.endpoint.model for upstream in self.upstreams.values()]
        names = dict.fromkeys([AUTO, *self.upstreams, *(name for name in ids if name and ids.count(name) == 1)])
        models = [{"id": name, "object": "model", "created": 0, "owned_by": "tier-router"} for name in names]
        return Response(json.dumps({"object": "list", "data": models}), media_type="application/json")

    async def close(self) -> None:
        """Close the connections to the tiers."""
        for upstream in self.upstreams.values():
            await upstream.close()

    def _named(self, model: str) -> str:
        """The tier that a model stands for; pro for "auto", until it is decided on.

        Raises:
            Refusal: there is none, or there are two.
        """
        if model == AUTO:
            return PRO
        if model in self.upstreams:
            return model
        tiers = [tier for tier, upstream in self.upstreams.items() if upstream.endpoint.model == model]
        if len(tiers) == 1:
            return tiers[0]
        known = ", ".join([AUTO, *self.upstreams])
        said = "stands for both tiers" if tiers else "is not served here"
        raise Refusal(404, "model_not_found", f"the model {model[:100]!r} {said}: ask for one of {known}", "model")

    async def _decide(self, course: Course, size: int, *, realtime: bool) -> None:
        decision = await self.service.decide(course.chat.payload, size, realtime=realtime, record=False)
        course.decision, course.tier, course.other = decision, decision.tier, decision.alternative
        if course.other == PRO and not course.chat.streamed:
            course.below = bound(self.serving, self.service.decider.manifest)

    async def _answered(self, course: Course) -> Attempt:
        """Ask the tier; then the other one, if the first fails or its answer is in doubt."""
        first = await self._tried(course, course.tier, course.left_s * (FIRST_SHARE if course.other else 1))
        if course.other is None:
            return first
        if first.failed:
            course.fell_back = first.cause
            second = await self._tried(course, course.other, course.left_s)
            return first if second.reply is None and first.reply is not None else second
        if not (self.serving.cascade and course.tier == FLASH and first.good and not course.chat.streamed):
            return first
        return await self._escalated(course, first)

    async def _escalated(self, course: Course, first: Attempt) -> Attempt:
        """Pro's answer where flash's is in doubt, unless pro gives none."""
        if first.reply is not None:
            await _apart(len(first.reply.received), first.read)
        if first.answer is None:
            return first
        schema = wanted_schema(course.chat.value("response_format"))
        look = partial(doubt, first.answer, schema, course.below)
        course.escalated = look() if schema is None else await asyncio.to_thread(look)
        if not course.escalated:
            return first
        second = await self._tried(course, PRO, course.left_s)
        if not second.good:
            course.fell_back = second.cause
            return first
        course.kept = first.told(b"", first.seconds)
        return second

    async def _tried(self, course: Course, tier: str, most_s: float) -> Attempt:
        """Ask a tier once."""
        upstream, chat, began = self.upstreams[tier], course.chat, time.monotonic()
        logprobs = tier == FLASH and course.below is not None and not chat.asks_logprobs
        reply, size = None, sum(len(member.text) for member in chat.said.values())
        try:
            body = await _apart(size, partial(chat.body_for, upstream.endpoint, logprobs=logprobs))
            reply = await upstream.ask(body, course.headers, most_s, streamed=chat.streamed)
            cause = outcome = str(reply.status)
        except UpstreamError as error:
            cause = outcome = str(error)
        self._asked.labels(tier, outcome).inc()
        attempt = Attempt(tier, upstream.endpoint, reply, cause, time.monotonic() - began)
        if logprobs and attempt.good:
            attempt.read()
            attempt.drop_logprobs()
        return attempt

    def _response(self, course: Course, attempt: Attempt) -> Response:
        headers = course.told(attempt, self.service.decider.version)
        reply = attempt.reply
        if reply is None:
            self._record(course, None, {})
            return _no_answer(attempt, headers)
        began = time.monotonic() - attempt.seconds
        complete = reply.complete

        async def done(ended: bool, tail: bytes) -> None:
            seconds = attempt.seconds if complete else time.monotonic() - began
            told = await _apart(len(reply.received), partial(attempt.told, tail, seconds)) if ended else {}
            self._record(course, attempt, told)

        return Passing(reply, headers, attempt.endpoint.call_timeout_s, done)

    def _record(self, course: Course, attempt: Attempt | None, outcome: Mapping[str, Any]) -> None:
        """Log a decision, and the answer; where no tier gave one, `served` is null."""
        if course.decision is None:
            return
        if attempt is None or not attempt.good:
            self.service.decider.record(course.decision, outcome={"served": None})
        else:
            self.service.decider.record(course.decision, attempt.tier, course.kept | dict(outcome))


def _no_answer(attempt: Attempt, headers: Headers) -> Response:
    status, code = (504, "upstream_timeout") if attempt.cause == TIME_OUT else (502, "upstream_unreachable")
    said = f"no tier gave an answer, {attempt.tier} for this reason: {attempt.cause}; try again later"
    response = Response(Refusal(status, code, said).body, status, media_type="application/json")
    response.raw_headers += headers
    return response


async def _apart(size: int, work: Callable[[], Result]) -> Result:
    """Do the work here or, for a large request, in a thread."""
    return work() if size <= AT_ONCE_BYTES else await asyncio.to_thread(work)
