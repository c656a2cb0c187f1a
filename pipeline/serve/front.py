"""The front for OpenAI's clients: decides on a chat request, forwards it, and asks the other tier where that helps."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Any

from starlette.responses import Response

from pipeline.runtime.decision import FLASH, PRO
from pipeline.serve.attempt import Attempt
from pipeline.serve.bodies import Left, Refusal
from pipeline.serve.chat import Chat, deadline
from pipeline.serve.course import Course
from pipeline.serve.escalation import bound, doubt, wanted_schema
from pipeline.serve.headers import Headers
from pipeline.serve.passing import Passing, unless_left
from pipeline.serve.service import Service
from pipeline.serve.upstream import TIME_OUT, Upstream, UpstreamError
from pipeline.settings import Serving

LOGGER = logging.getLogger("tier_router")
AUTO = "auto"
# The tier that is asked first may use so much of the time, where there is another one to fall back on.
FIRST_SHARE = 0.5
# In the place of a status of HTTP, in the log.
GONE, UNFORESEEN = "left", "500"
QUIET_S = 60.0  # between two complaints to the operator about the same


class Front:
    """Forwards chat requests to the tiers.

    Args:
        service: that decides.
        serving: deadline, cascade.
        upstreams: the tiers, by name.
    """

    def __init__(self, service: Service, serving: Serving, upstreams: Mapping[str, Upstream]) -> None:
        self.service, self.serving, self.upstreams = service, serving, upstreams
        self._complained: dict[tuple[str, str], float] = {}  # when, by tier and cause

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
        chat = await self.service.elsewhere(len(body), partial(Chat.read, body))
        course = Course(chat, headers, until, self._named(chat.model))
        if chat.model == AUTO:
            await self._decide(course, len(body), realtime=realtime)
        attempt, status = None, UNFORESEEN
        try:
            async with unless_left(gone()):
                attempt = await self._answered(course)
        except Left:
            status = GONE
            raise
        finally:
            if attempt is None:
                self._record(course, "", {"status": status})
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
            await self.service.elsewhere(len(first.reply.received), first.read)
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
            make = partial(chat.body_for, upstream.endpoint, logprobs=logprobs)
            body = await self.service.elsewhere(size, make)
            reply = await upstream.ask(body, course.headers, most_s, streamed=chat.streamed)
            cause = str(reply.status)
        except UpstreamError as error:
            cause = str(error)
        self.service.measures.upstream.labels(tier, cause).inc()
        attempt = Attempt(tier, upstream.endpoint, reply, cause, time.monotonic() - began, upstream.own_key)
        if attempt.refused:
            self._complain(attempt)
        if logprobs and attempt.good:
            attempt.read()
            attempt.drop_logprobs()
        return attempt

    def _response(self, course: Course, attempt: Attempt) -> Response:
        headers = course.told(attempt, self.service.decider.version)
        reply = attempt.reply
        if reply is None:
            response = _no_answer(attempt, headers)
            self._record(course, "", {"status": str(response.status_code)})
            return response
        began = time.monotonic() - attempt.seconds
        complete = reply.complete

        async def done(ended: bool, tail: bytes) -> None:
            told: dict[str, Any] = {} if reply.good else {"status": attempt.cause}
            seconds = attempt.seconds if complete else time.monotonic() - began
            try:
                if ended:
                    told |= await self.service.elsewhere(len(reply.received), partial(attempt.told, tail, seconds))
            finally:
                self._record(course, attempt.tier if reply.good else "", told)

        return Passing(reply, headers, attempt.endpoint.call_timeout_s, done)

    def _record(self, course: Course, served: str, told: Mapping[str, Any]) -> None:
        """Log and count what became of a decision; `served` is "" where no tier gave an answer."""
        if course.decision is None:
            return
        measures, why = self.service.measures, {}
        if course.fell_back:
            why["fallback"] = course.fell_back
            measures.fallbacks.labels(course.fell_back).inc()
        if course.escalated:
            why["escalated"] = course.escalated
            measures.escalations.labels(course.escalated).inc()
        self.service.decider.record(course.decision, served, {**course.kept, **told, **why})

    def _complain(self, attempt: Attempt) -> None:
        """Tell the operator, now and then, that a tier does not want the service."""
        now, about = time.monotonic(), (attempt.tier, attempt.cause)
        if now - self._complained.get(about, -QUIET_S) < QUIET_S:
            return
        self._complained[about] = now
        LOGGER.error(
            "tier-router: %s answers %s to the service's own key: see to its key_env, model, base_url and balance",
            *about,
        )


def _no_answer(attempt: Attempt, headers: Headers) -> Response:
    status, code = (504, "upstream_timeout") if attempt.cause == TIME_OUT else (502, "upstream_unreachable")
    said = f"no tier gave an answer, {attempt.tier} for this reason: {attempt.cause}; try again later"
    response = Response(Refusal(status, code, said).body, status, media_type="application/json")
    response.raw_headers += headers
    return response
