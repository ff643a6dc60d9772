"""A chat completion while it grows: chunks of a stream, and all of it as one object.

https://platform.openai.com/docs/api-reference/chat-streaming, https://platform.openai.com/docs/api-reference/chat/object
"""

import time
from dataclasses import dataclass, field
from uuid import uuid4

from providers.base import JsonObject


@dataclass(slots=True)
class Completion:
    """One choice. What adds to it gives the chunk that says so."""

    model: str
    text: str = ""
    reasoning: str = ""
    calls: list[JsonObject] = field(default_factory=list)
    id: str = field(default_factory=lambda: f"chatcmpl-{uuid4().hex}")
    created: int = field(default_factory=lambda: int(time.time()))
    _named: bool = False

    def say(self, text: str) -> JsonObject:
        self.text += text
        return self._delta({"content": text})

    def think(self, text: str) -> JsonObject:
        """`reasoning_content`, which is llama.cpp's and others' addition."""
        self.reasoning += text
        return self._delta({"reasoning_content": text})

    def call(self, name: str, arguments: str) -> JsonObject:
        """A whole call of a function; `arguments` is JSON."""
        function: JsonObject = {"name": name, "arguments": arguments}
        made: JsonObject = {"id": f"call_{uuid4().hex[:24]}", "type": "function", "function": function}
        self.calls.append(made)
        return self._delta({"tool_calls": [{"index": len(self.calls) - 1, **made}]})

    def finish(self, reason: str) -> list[JsonObject]:
        """The last chunk of the choice, after the one that names the role if nothing was said."""
        named = [] if self._named else [self._delta({"content": ""})]
        return [*named, self._chunk({}, reason)]

    def count(self, usage: JsonObject) -> JsonObject:
        """The chunk that tells the usage, if it is asked for."""
        return self._head("chat.completion.chunk") | {"choices": [], "usage": usage}

    def whole(self, reason: str, usage: JsonObject) -> JsonObject:
        message: JsonObject = {"role": "assistant", "content": self.text if self.text or not self.calls else None}
        if self.reasoning:
            message["reasoning_content"] = self.reasoning
        if self.calls:
            message["tool_calls"] = [*self.calls]
        choice: JsonObject = {"index": 0, "message": message, "logprobs": None, "finish_reason": reason}
        return self._head("chat.completion") | {"choices": [choice], "usage": usage}

    def _delta(self, fields: JsonObject) -> JsonObject:
        if self._named:
            return self._chunk(fields, None)
        self._named = True
        return self._chunk({"role": "assistant", "content": None} | fields, None)

    def _chunk(self, delta: JsonObject, reason: str | None) -> JsonObject:
        choice: JsonObject = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": reason}
        return self._head("chat.completion.chunk") | {"choices": [choice]}

    def _head(self, kind: str) -> JsonObject:
        return {"id": self.id, "object": kind, "created": self.created, "model": self.model}
