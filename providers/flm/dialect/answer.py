"""FastFlowLM's streamed answer in OpenAI's terms: https://platform.openai.com/docs/api-reference/chat-streaming

The stream: https://github.com/ROCm/FastFlowLM/blob/main/src/server/streaming_ostream_openai.hpp
"""

import json
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from uuid import uuid4

from pydantic import JsonValue

from providers.base import JsonObject
from providers.errors import EngineError
from providers.flm.dialect.errors import refused
from providers.flm.dialect.request import ChatRequest
from providers.flm.dialect.stopping import Stopper
from providers.flm.dialect.usage import counted, estimated, timings
from providers.sse import DONE, ServerSentEvent, SseParser


@dataclass(slots=True)
class _Said:
    """All that went to the client."""

    text: str = ""
    reasoning: str = ""
    calls: list[JsonObject] = field(default_factory=list)


class ChatAnswer:
    """One answer; `feed` it what comes from FLM, until `over`. It is broken off if FLM's stream ends before that."""

    def __init__(self, request: ChatRequest) -> None:
        self.begun = False
        """FLM has said something."""
        self.over = False
        """Nothing more is needed of FLM."""
        self._request = request
        self._parser = SseParser()
        self._stopper = Stopper(request.stop)
        self._id, self._created = f"chatcmpl-{uuid4().hex}", int(time.time())
        self._said = _Said()
        self._named = False
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
        """The last chunks, after `over`."""
        deltas = [*self._text(self._stopper.flush())]
        if not self._named:
            deltas.append(self._delta({"content": ""}))
        chunks = [*deltas, self._chunk({}, self._finish()) | self._timings()]
        if self._request.include_usage:
            chunks.append(self._head() | {"choices": [], "usage": self._counts()})
        return chunks

    def whole(self) -> JsonObject:
        """All of it as one `chat.completion`, after `over`."""
        self.end()
        said = self._said
        message: JsonObject = {"role": "assistant", "content": said.text if said.text or not said.calls else None}
        if said.reasoning:
            message["reasoning_content"] = said.reasoning
        if said.calls:
            message["tool_calls"] = [*said.calls]
        choice: JsonObject = {"index": 0, "message": message, "logprobs": None, "finish_reason": self._finish()}
        whole = self._head() | {"object": "chat.completion", "choices": [choice], "usage": self._counts()}
        return whole | self._timings()

    def _event(self, event: ServerSentEvent) -> Iterator[JsonObject]:
        if self.over or not event.data:
            return
        self.begun = True
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
        delta = choice.get("delta")
        if isinstance(delta, dict):
            if isinstance(thought := delta.get("reasoning_content"), str) and thought:
                yield from self._think(thought)
            if isinstance(piece := delta.get("content"), str) and piece:
                yield from self._say(piece)
            for call in _objects(delta.get("tool_calls")):
                yield from self._call(call)
        if choice.get("finish_reason") is not None:
            self._reason, self.over = choice["finish_reason"], True

    def _counts_in(self) -> bool:
        """Whether one more piece, a token or a few, is within the limit: FLM goes one beyond it."""
        most = self._request.max_tokens
        self._cut = self._cut or self._pieces == most
        self._pieces += not self._cut
        return not self._cut

    def _think(self, thought: str) -> Iterator[JsonObject]:
        if self._counts_in():
            self._said.reasoning += thought
            yield self._delta({"reasoning_content": thought})

    def _say(self, piece: str) -> Iterator[JsonObject]:
        if not self._stopper.hit and self._counts_in():
            yield from self._text(self._stopper.feed(piece))
            self.over = self.over or self._stopper.hit

    def _text(self, text: str) -> Iterator[JsonObject]:
        if text:
            self._said.text += text
            yield self._delta({"content": text})

    def _call(self, call: JsonObject) -> Iterator[JsonObject]:
        """A whole call. FLM's own index grows from answer to answer, and its id may be the same each time."""
        if self._stopper.hit:
            return
        yield from self._text(self._stopper.flush())
        self._pieces += 1
        made = _made(call)
        index = len(self._said.calls)
        self._said.calls.append(made)
        yield self._delta({"tool_calls": [{"index": index, **made}]})

    def _delta(self, fields: JsonObject) -> JsonObject:
        if not self._named:
            self._named = True
            fields = {"role": "assistant", "content": None} | fields
        return self._chunk(fields, None)

    def _chunk(self, delta: JsonObject, reason: JsonValue) -> JsonObject:
        choice: JsonObject = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": reason}
        return self._head() | {"choices": [choice]} | ({"usage": None} if self._request.include_usage else {})

    def _head(self) -> JsonObject:
        kind = "chat.completion.chunk"
        return {"id": self._id, "object": kind, "created": self._created, "model": self._request.model}

    def _finish(self) -> str:
        if not self._stopper.hit and (self._cut or self._reason == "length"):
            return "length"
        return "tool_calls" if self._said.calls else "stop"

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
        raise EngineError(502, "The engine's answer cannot be read.", "server_error", "engine_error")
    return chunk


def _objects(value: JsonValue) -> Iterable[JsonObject]:
    return (item for item in value if isinstance(item, dict)) if isinstance(value, list) else ()


def _made(call: JsonObject) -> JsonObject:
    function = call.get("function")
    function = function if isinstance(function, dict) else {}
    arguments = function.get("arguments")
    text = arguments if isinstance(arguments, str) else json.dumps(arguments or {}, ensure_ascii=False)
    named: JsonObject = {"name": str(function.get("name") or ""), "arguments": text}
    return {"id": f"call_{uuid4().hex[:24]}", "type": "function", "function": named}
