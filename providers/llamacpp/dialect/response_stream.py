"""The Responses API's stream of events, made from the chunks of a streamed chat completion.

https://platform.openai.com/docs/api-reference/responses-streaming
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass

from pydantic import JsonValue

from providers.base import JsonObject
from providers.llamacpp.dialect.response_object import (
    ResponseObject,
    call_item,
    message_item,
    new_id,
    reasoning_item,
    text_part,
)
from providers.sse import DONE, EventTranslator, ServerSentEvent

Event = tuple[str, JsonObject]
_CUT_OFF = "The engine's answer ended before it was complete."


@dataclass(slots=True)
class _Item:
    """One output item while it grows."""

    index: int
    id: str
    content: str = ""

    def added(self) -> Iterator[Event]:
        yield "response.output_item.added", {"output_index": self.index, "item": self.item("in_progress")}

    def item(self, status: str) -> JsonObject:
        raise NotImplementedError

    def done(self, status: str) -> Iterator[Event]:
        yield "response.output_item.done", {"output_index": self.index, "item": self.item(status)}

    def place(self) -> JsonObject:
        return {"item_id": self.id, "output_index": self.index}


class _Text(_Item):
    """A message."""

    logprobs: list[JsonValue]

    def __init__(self, index: int) -> None:
        super().__init__(index, new_id("msg"))
        self.logprobs = []

    def item(self, status: str) -> JsonObject:
        started = status != "in_progress"
        return message_item(self.id, [self._part()] if started else [], status)

    def added(self) -> Iterator[Event]:
        yield from super().added()
        yield "response.content_part.added", self._at() | {"part": text_part("", [])}

    def delta(self, piece: str, logprobs: list[JsonValue]) -> Event:
        self.content += piece
        self.logprobs += logprobs
        return "response.output_text.delta", self._at() | {"delta": piece, "logprobs": logprobs}

    def done(self, status: str) -> Iterator[Event]:
        whole: JsonObject = {"text": self.content, "logprobs": self.logprobs}
        yield "response.output_text.done", self._at() | whole
        yield "response.content_part.done", self._at() | {"part": self._part()}
        yield from super().done(status)

    def _part(self) -> JsonObject:
        return text_part(self.content, self.logprobs)

    def _at(self) -> JsonObject:
        return self.place() | {"content_index": 0}


class _Reasoning(_Item):
    def __init__(self, index: int) -> None:
        super().__init__(index, new_id("rs"))

    def item(self, status: str) -> JsonObject:
        part: JsonObject = {"type": "reasoning_text", "text": self.content}
        return reasoning_item(self.id, [part] if self.content else [], status)

    def delta(self, piece: str) -> Event:
        self.content += piece
        return "response.reasoning_text.delta", self.place() | {"content_index": 0, "delta": piece}

    def done(self, status: str) -> Iterator[Event]:
        yield "response.reasoning_text.done", self.place() | {"content_index": 0, "text": self.content}
        yield from super().done(status)


class _Call(_Item):
    def __init__(self, index: int, number: JsonValue, call_id: str, name: str) -> None:
        super().__init__(index, new_id("fc"))
        self.number, self.call_id, self.name = number, call_id, name

    def item(self, status: str) -> JsonObject:
        return call_item(self.id, self.call_id, self.name, self.content, status)

    def delta(self, piece: str) -> Event:
        self.content += piece
        return "response.function_call_arguments.delta", self.place() | {"delta": piece}

    def done(self, status: str) -> Iterator[Event]:
        whole: JsonObject = {"name": self.name, "arguments": self.content}
        yield "response.function_call_arguments.done", self.place() | whole
        yield from super().done(status)


class ResponseStream(EventTranslator):
    """Items open as their first piece arrives, and close when another opens or the answer ends."""

    def __init__(self, answer: ResponseObject) -> None:
        super().__init__()
        self._answer = answer
        self._sequence = 0
        self._output: list[JsonValue] = []
        self._open: _Item | None = None
        self._reason: JsonValue = None
        self._usage: JsonValue = None
        self._ended = False

    def translate(self, event: ServerSentEvent) -> Iterator[ServerSentEvent]:
        if self._ended:
            return
        if event.data == DONE:
            yield from self._numbered(self._finish())
            return
        chunk = json.loads(event.data)
        if self._sequence == 0:
            yield from self._numbered(self._start())
        yield from self._numbered(self._fail(chunk) if "error" in chunk else self._chunk(chunk))

    def end(self) -> Iterator[ServerSentEvent]:
        if not self._ended:
            yield from self._numbered(self._finish() if self._reason else self._fail({"error": {"message": _CUT_OFF}}))

    def _start(self) -> Iterator[Event]:
        yield "response.created", {"response": self._answer.started()}
        yield "response.in_progress", {"response": self._answer.started()}

    def _chunk(self, chunk: JsonObject) -> Iterator[Event]:
        self._usage = chunk.get("usage") or self._usage
        choices = chunk.get("choices")
        for choice in choices if isinstance(choices, list) else ():
            if isinstance(choice, dict):
                yield from self._choice(choice)

    def _choice(self, choice: JsonObject) -> Iterator[Event]:
        self._reason = choice.get("finish_reason") or self._reason
        delta = choice.get("delta")
        if not isinstance(delta, dict):
            return
        if isinstance(thought := delta.get("reasoning_content"), str) and thought:
            yield from self._think(thought)
        if isinstance(said := delta.get("content"), str) and said:
            yield from self._say(said, choice.get("logprobs"))
        calls = delta.get("tool_calls")
        for call in calls if isinstance(calls, list) else ():
            if isinstance(call, dict):
                yield from self._call(call)

    def _think(self, piece: str) -> Iterator[Event]:
        if not isinstance(self._open, _Reasoning):
            yield from self._switch(_Reasoning(self._next_index()))
        assert isinstance(self._open, _Reasoning)
        yield self._open.delta(piece)

    def _say(self, piece: str, logprobs: JsonValue) -> Iterator[Event]:
        if not isinstance(self._open, _Text):
            yield from self._switch(_Text(self._next_index()))
        assert isinstance(self._open, _Text)
        content = logprobs.get("content") if isinstance(logprobs, dict) else None
        yield self._open.delta(piece, content if isinstance(content, list) else [])

    def _call(self, call: JsonObject) -> Iterator[Event]:
        function = call.get("function")
        function = function if isinstance(function, dict) else {}
        number = call.get("index", 0)
        if not isinstance(self._open, _Call) or self._open.number != number:
            name = str(function.get("name", ""))
            yield from self._switch(_Call(self._next_index(), number, str(call.get("id") or new_id("call")), name))
        assert isinstance(self._open, _Call)
        if isinstance(piece := function.get("arguments"), str) and piece:
            yield self._open.delta(piece)

    def _next_index(self) -> int:
        return len(self._output) + (self._open is not None)

    def _switch(self, item: _Item) -> Iterator[Event]:
        yield from self._close("completed")
        self._open = item
        yield from item.added()

    def _close(self, status: str) -> Iterator[Event]:
        if self._open is not None:
            yield from self._open.done(status)
            self._output.append(self._open.item(status))
            self._open = None

    def _finish(self) -> Iterator[Event]:
        self._ended = True
        cut = self._reason == "length"
        if not self._output and self._open is None:
            yield from self._switch(_Text(0))
        yield from self._close("incomplete" if cut else "completed")
        name = "response.incomplete" if cut else "response.completed"
        yield name, {"response": self._answer.finished(self._output, self._usage, cut)}

    def _fail(self, chunk: JsonObject) -> Iterator[Event]:
        self._ended = True
        error = chunk.get("error")
        message = str(error.get("message", _CUT_OFF)) if isinstance(error, dict) else str(error)
        yield from self._close("incomplete")
        yield "response.failed", {"response": self._answer.failed(self._output, message)}

    def _numbered(self, events: Iterator[Event]) -> Iterator[ServerSentEvent]:
        for name, fields in events:
            body: JsonObject = {"type": name, "sequence_number": self._sequence} | fields
            self._sequence += 1
            yield ServerSentEvent(json.dumps(body, ensure_ascii=False), name)
