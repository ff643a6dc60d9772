"""Utterances as items of a conversation: an engine's events as OpenAI's server events. Pure.

Events: https://platform.openai.com/docs/api-reference/realtime-server-events
"""

import uuid
from dataclasses import dataclass, field

from providers.asr import messages
from providers.asr.text import joined
from providers.base import JsonObject
from serve_app.audio.realtime_transcript import GrowingText
from serve_app.errors import Answer, type_of

TRANSCRIPTION = "conversation.item.input_audio_transcription"


def new_id(kind: str) -> str:
    return f"{kind}_{uuid.uuid4().hex[:21]}"


@dataclass(slots=True)
class Item:
    """One utterance. `seconds` of audio, once all of it has been heard."""

    id: str = field(default_factory=lambda: new_id("item"))
    text: GrowingText = field(default_factory=GrowingText)
    begun: bool = False
    """Whether the client knows that its speech has started."""
    committed: bool = False
    seconds: float = 0.0


class Items:
    """Those of one client, over the engine sessions that it may have one after the other.

    `as_beta`: an item is announced as OpenAI's beta API did, by one event instead of two.
    """

    def __init__(self) -> None:
        self.as_beta = False
        self._under_way: dict[int, Item] = {}
        self._last_committed: str | None = None
        self._offset_s = 0.0

    @property
    def committed(self) -> bool:
        """Whether the text of any is still to come."""
        return any(item.committed for item in self._under_way.values())

    def begin_session(self, offset_s: float) -> None:
        """A new engine counts utterances from 0, and time from where the client's audio is at `offset_s`. What is not
        committed it hears again from its beginning."""
        self._under_way = dict(enumerate(item for item in self._under_way.values() if not item.committed))
        self._offset_s = offset_s

    def heard(self, event: messages.Event) -> list[JsonObject]:
        """Server events, but for their ids."""
        match event:
            case messages.SpeechStarted():
                item = self._item(event.utterance)
                begun, item.begun = item.begun, True
                return [] if begun else [self._speech("started", "audio_start_ms", event.utterance, event.at_s)]
            case messages.SpeechStopped():
                return [self._speech("stopped", "audio_end_ms", event.utterance, event.at_s)]
            case messages.Committed():
                return self._commit(event)
            case messages.Partial():
                item = self._item(event.utterance)
                return _delta(item, item.text.guess(event.text))
            case messages.Final():
                item = self._finished(event.utterance)
                text = joined(event.segments)
                return [*_delta(item, item.text.end(text)), _completed(item, text)]
            case messages.Failed(utterance=int(utterance)):
                answer = Answer(event.status, event.message, type_of(event.status), event.code, event.param)
                return [_failed(self._finished(utterance), answer)]
            case messages.Cleared():
                self._under_way = {number: item for number, item in self._under_way.items() if item.committed}
                return [{"type": "input_audio_buffer.cleared"}]
            case _:
                raise AssertionError(f"a live session has no event '{event.type}'")

    def fail_all(self, answer: Answer) -> list[JsonObject]:
        """Nothing more comes of those under way."""
        items = list(self._under_way.values())
        self._under_way.clear()
        return [_failed(item, answer) for item in items]

    def _item(self, utterance: int) -> Item:
        """Without detection of speech, an utterance's first event is its commit or a guess."""
        return self._under_way.setdefault(utterance, Item())

    def _finished(self, utterance: int) -> Item:
        item = self._item(utterance)
        del self._under_way[utterance]
        return item

    def _speech(self, what: str, moment: str, utterance: int, at_s: float) -> JsonObject:
        at_ms = round((self._offset_s + at_s) * 1000)
        return {"type": f"input_audio_buffer.speech_{what}", moment: at_ms, "item_id": self._item(utterance).id}

    def _commit(self, event: messages.Committed) -> list[JsonObject]:
        item = self._item(event.utterance)
        item.committed, item.seconds = True, event.end_s - event.start_s
        before, self._last_committed = self._last_committed, item.id
        content: JsonObject = {"type": "input_audio", "transcript": None}
        whole: JsonObject = {
            "id": item.id,
            "object": "realtime.item",
            "type": "message",
            "status": "completed",
            "role": "user",
            "content": [content],
        }
        names = ("created",) if self.as_beta else ("added", "done")
        committed: JsonObject = {"type": "input_audio_buffer.committed", "previous_item_id": before, "item_id": item.id}
        told: list[JsonObject] = [
            {"type": f"conversation.item.{name}", "previous_item_id": before, "item": whole} for name in names
        ]
        return [committed, *told]


def _delta(item: Item, more: str) -> list[JsonObject]:
    if not more:
        return []
    return [{"type": f"{TRANSCRIPTION}.delta", "item_id": item.id, "content_index": 0, "delta": more}]


def _completed(item: Item, text: str) -> JsonObject:
    return {
        "type": f"{TRANSCRIPTION}.completed",
        "item_id": item.id,
        "content_index": 0,
        "transcript": text,
        "usage": {"type": "duration", "seconds": round(item.seconds, 3)},
    }


def _failed(item: Item, answer: Answer) -> JsonObject:
    error: JsonObject = {"type": answer.type, "code": answer.code, "message": answer.message, "param": answer.param}
    return {"type": f"{TRANSCRIPTION}.failed", "item_id": item.id, "content_index": 0, "error": error}
