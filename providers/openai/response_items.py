"""The Responses API's output items while a streamed answer makes them grow.

https://platform.openai.com/docs/api-reference/responses-streaming
"""

from collections.abc import Iterator
from dataclasses import dataclass

from pydantic import JsonValue

from providers.base import JsonObject
from providers.openai.response_object import call_item, message_item, new_id, reasoning_item, text_part

Event = tuple[str, JsonObject]
"""An event's name and its fields, but for the sequence number."""


@dataclass(slots=True)
class OpenItem:
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


class OpenText(OpenItem):
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


class OpenReasoning(OpenItem):
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


class OpenCall(OpenItem):
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
