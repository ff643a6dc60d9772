"""FastFlowLM's streamed answer in OpenAI's terms.

The stream: https://github.com/ROCm/FastFlowLM/blob/main/src/server/streaming_ostream_openai.hpp
"""

import json
from collections.abc import Iterable, Iterator

from pydantic import JsonValue

from providers.base import JsonObject
from providers.flm.dialect.errors import refused, unreadable
from providers.flm.dialect.request import ChatRequest
from providers.flm.dialect.stopping import Stopper
from providers.flm.dialect.usage import counted, estimated, timings
from providers.openai.completion import Completion
from providers.sse import DONE, ServerSentEvent, SseParser


class ChatAnswer:
    """One answer: `feed` it what comes from FLM until it is `over`. If FLM's stream ends before, it was broken off."""

    def __init__(self, request: ChatRequest) -> None:
        self.over = False
        """Nothing more is needed of FLM."""
        self._request = request
        self._parser = SseParser()
        self._stopper = Stopper(request.stop)
        self._completion = Completion(request.model)
        self._pieces = 0
        self._cut = False
        self._reason: JsonValue = None
        self._usage: JsonObject | None = None

    @property
    def empty(self) -> bool:
        """No text, no reasoning, no tool calls so far."""
        return self._pieces == 0

    def feed(self, data: bytes) -> list[JsonObject]:
        """Chunks for the client. Raises `EngineError` for an error in the stream."""
        return [chunk for event in self._parser.feed(data) for chunk in self._event(event)]

    def end(self) -> list[JsonObject]:
        """The last chunks, once it is over."""
        chunks = [*self._text(self._stopper.flush()), *self._completion.finish(self._finish())]
        chunks[-1] |= self._timings()
        return [*chunks, self._completion.count(self._counts())] if self._request.include_usage else chunks

    def whole(self) -> JsonObject:
        """All of it as one `chat.completion`, once it is over."""
        for _ in self._text(self._stopper.flush()):
            pass
        return self._completion.whole(self._finish(), self._counts()) | self._timings()

    def _event(self, event: ServerSentEvent) -> Iterator[JsonObject]:
        if self.over or not event.data:
            return
        if event.data == DONE:
            self.over = True
            return
        chunk = _parsed(event.data)
        if chunk.get("error") is not None:
            raise refused(200, chunk["error"])
        if isinstance(usage := chunk.get("usage"), dict):
            self._usage = usage
        for choice in _objects(chunk.get("choices")):
            yield from self._choice(choice)

    def _choice(self, choice: JsonObject) -> Iterator[JsonObject]:
        if isinstance(delta := choice.get("delta"), dict):
            if isinstance(thought := delta.get("reasoning_content"), str) and thought:
                yield from self._think(thought)
            if isinstance(piece := delta.get("content"), str) and piece:
                yield from self._say(piece)
            for call in _objects(delta.get("tool_calls")):
                yield from self._call(call)
        if choice.get("finish_reason") is not None:
            self._reason, self.over = choice["finish_reason"], True

    def _within_limit(self) -> bool:
        """Whether there may be one more piece, of a token or a few: FLM goes one beyond the limit."""
        self._cut = self._cut or self._pieces == self._request.max_tokens
        self._pieces += not self._cut
        return not self._cut

    def _think(self, thought: str) -> Iterator[JsonObject]:
        if self._within_limit():
            yield self._completion.think(thought)

    def _say(self, piece: str) -> Iterator[JsonObject]:
        if not self._stopper.hit and self._within_limit():
            yield from self._text(self._stopper.feed(piece))
            self.over = self._stopper.hit

    def _text(self, text: str) -> Iterator[JsonObject]:
        if text:
            yield self._completion.say(text)

    def _call(self, call: JsonObject) -> Iterator[JsonObject]:
        """A whole call. FLM's own index grows from answer to answer, and its id may be the same each time."""
        if self._stopper.hit:
            return
        self._pieces += 1
        yield from self._text(self._stopper.flush())
        function = call.get("function")
        function = function if isinstance(function, dict) else {}
        arguments = function.get("arguments")
        text = arguments if isinstance(arguments, str) else json.dumps(arguments or {}, ensure_ascii=False)
        yield self._completion.call(str(function.get("name") or ""), text)

    def _finish(self) -> str:
        """Never FLM's "cancel"."""
        if not self._stopper.hit and (self._cut or self._reason == "length"):
            return "length"
        return "tool_calls" if self._completion.calls else "stop"

    def _counts(self) -> JsonObject:
        if self._usage is None:
            return estimated(self._request.engine["messages"], self._pieces)
        return counted(self._usage)

    def _timings(self) -> JsonObject:
        told = timings(self._usage or {})
        return {"timings": told} if told else {}


def _parsed(data: str) -> JsonObject:
    try:
        chunk: JsonValue = json.loads(data)
    except (ValueError, RecursionError):
        chunk = None
    if not isinstance(chunk, dict):
        raise unreadable()
    return chunk


def _objects(value: JsonValue) -> Iterable[JsonObject]:
    return (item for item in value if isinstance(item, dict)) if isinstance(value, list) else ()
