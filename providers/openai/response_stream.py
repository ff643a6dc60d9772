"""The Responses API's stream of events, made from the chunks of a streamed chat completion.

https://platform.openai.com/docs/api-reference/responses-streaming
"""

import json
from collections.abc import Iterator

from pydantic import JsonValue

from providers.base import JsonObject
from providers.openai.response_items import Event, OpenCall, OpenItem, OpenReasoning, OpenText
from providers.openai.response_object import ResponseObject, new_id
from providers.sse import DONE, EventTranslator, ServerSentEvent

_CUT_OFF = "The engine's answer ended before it was complete."


class ResponseStream(EventTranslator):
    """Items open as their first piece arrives, and close when another opens or the answer ends."""

    def __init__(self, answer: ResponseObject) -> None:
        super().__init__()
        self._answer = answer
        self._sequence = 0
        self._output: list[JsonValue] = []
        self._open: OpenItem | None = None
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
        if not isinstance(self._open, OpenReasoning):
            yield from self._switch(OpenReasoning(self._next_index()))
        assert isinstance(self._open, OpenReasoning)
        yield self._open.delta(piece)

    def _say(self, piece: str, logprobs: JsonValue) -> Iterator[Event]:
        if not isinstance(self._open, OpenText):
            yield from self._switch(OpenText(self._next_index()))
        assert isinstance(self._open, OpenText)
        content = logprobs.get("content") if isinstance(logprobs, dict) else None
        yield self._open.delta(piece, content if isinstance(content, list) else [])

    def _call(self, call: JsonObject) -> Iterator[Event]:
        function = call.get("function")
        function = function if isinstance(function, dict) else {}
        number = call.get("index", 0)
        if not isinstance(self._open, OpenCall) or self._open.number != number:
            name = str(function.get("name", ""))
            yield from self._switch(OpenCall(self._next_index(), number, str(call.get("id") or new_id("call")), name))
        assert isinstance(self._open, OpenCall)
        if isinstance(piece := function.get("arguments"), str) and piece:
            yield self._open.delta(piece)

    def _next_index(self) -> int:
        return len(self._output) + (self._open is not None)

    def _switch(self, item: OpenItem) -> Iterator[Event]:
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
            yield from self._switch(OpenText(0))
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
            body: JsonObject = {"type": name, "sequence_number": self._sequence, **fields}
            self._sequence += 1
            yield ServerSentEvent(json.dumps(body, ensure_ascii=False), name)
