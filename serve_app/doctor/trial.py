"""Requests to a loaded engine as the ingress would make them: each answers what there is to tell, or raises."""

import asyncio
import io
import json
import time
import wave
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from providers.asr.messages import Heard, Start
from providers.base import Endpoint, JsonObject, Provider, Route
from providers.capabilities import Operation
from providers.spec import SlotSpec
from providers.sse import DONE, SseParser
from providers.tiny.tones import SAMPLE_RATE, tones
from serve_app.audio.decode import opened
from serve_app.audio.recognition import Engine
from serve_app.doctor.checklist import Failed

QUESTION = "Count from one to twenty, in words."
MOST_TOKENS = 64
TEXTS = ["The first of two texts.", "Another one."]
SOUND = ("alpha", "bravo", "charlie")
SHOWN = 40


@dataclass(slots=True)
class Trial:
    http: aiohttp.ClientSession
    provider: Provider[Any]
    slot: SlotSpec
    endpoint: Endpoint
    figures: dict[str, str] = field(default_factory=dict)
    """What was measured, by name, in words."""

    async def chat(self) -> str:
        answer = await self._whole(Operation.CHAT, self._question())
        message = answer["choices"][0]["message"]
        text = message.get("content") or message.get("reasoning_content")
        if not text:
            raise Failed("the answer has no text")
        return f"{_shortened(text)}, {answer['usage']['completion_tokens']} tokens"

    async def streamed_chat(self) -> str:
        """The speed is of what comes after the first token, by the engine's own count."""
        body = self._question() | {"stream": True, "stream_options": {"include_usage": True}}
        asked = time.monotonic()
        times, tokens, ended = [], 0, False
        async with self._posted(Operation.CHAT, body) as response:
            async for event in _events(response):
                if event == DONE:
                    ended = True
                    continue
                chunk = json.loads(event)
                if "error" in chunk:
                    raise Failed(f"an error in the stream: {chunk['error'].get('message')}")
                tokens = (chunk.get("usage") or {}).get("completion_tokens", tokens)
                deltas = [choice["delta"] for choice in chunk.get("choices", ())]
                if any(delta.get("content") or delta.get("reasoning_content") for delta in deltas):
                    times.append(time.monotonic())
        if not times or not ended:
            raise Failed("the stream ended without text" if not times else "the stream broke off")
        first_s, rest_s = times[0] - asked, times[-1] - times[0]
        told = f"first token after {first_s:.2f} s"
        if tokens > 1 and rest_s > 0:
            told += f", then {(tokens - 1) / rest_s:.1f} tokens/s"
        self.figures["streamed chat"] = told
        return told

    async def embeddings(self) -> str:
        body: JsonObject = {"model": self.slot.name, "input": list(TEXTS)}
        answer = await self._whole(Operation.EMBEDDINGS, body)
        sizes = {len(row["embedding"]) for row in answer["data"]}
        if len(answer["data"]) != len(TEXTS) or len(sizes) != 1 or not all(any(r["embedding"]) for r in answer["data"]):
            raise Failed(f"{len(TEXTS)} texts were answered with {len(answer['data'])} vectors of the lengths {sizes}")
        return f"{len(TEXTS)} vectors of {sizes.pop()} numbers"

    async def transcription(self) -> str:
        """Of tones, in which a real model hears whatever it likes: that it answers is what counts."""
        path = self._route(Operation.TRANSCRIPTION).path
        engine = Engine(self.http, self.slot.name, self.endpoint, path)
        async with opened(io.BytesIO(_sound())) as audio, aclosing(engine.hear(Start(), audio)) as events:
            text = "".join([event.segment.text async for event in events if isinstance(event, Heard)])
        return f"heard {_shortened(text)}" if text.strip() else "answered, and heard no words in tones"

    async def all_at_once(self) -> str:
        answers = await asyncio.gather(self.chat(), self.embeddings(), self.transcription(), return_exceptions=True)
        for answer in answers:
            if isinstance(answer, BaseException):
                raise answer
        return f"{len(answers)} answers"

    def _question(self) -> JsonObject:
        return {
            "model": self.slot.name,
            "messages": [{"role": "user", "content": QUESTION}],
            "max_tokens": MOST_TOKENS,
        }

    def _route(self, operation: Operation) -> Route:
        route = self.provider.infer(operation)
        if route is None:
            raise Failed(f"the provider has no route for {operation.value}")
        return route

    async def _whole(self, operation: Operation, body: JsonObject) -> Any:
        async with self._posted(operation, body) as response:
            return await response.json()

    @asynccontextmanager
    async def _posted(self, operation: Operation, body: JsonObject) -> AsyncIterator[aiohttp.ClientResponse]:
        route = self._route(operation)
        translated = route.translate(body, self.slot).request if route.translate else None
        headers = {"Authorization": f"Bearer {self.endpoint.token}"}
        url = f"{self.endpoint.url}{route.path}"
        async with self.http.post(url, json=translated or body, headers=headers) as response:
            if response.status != 200:
                raise route.error(response.status, await response.read())
            yield response


async def _events(response: aiohttp.ClientResponse) -> AsyncIterator[str]:
    """The data of each."""
    parser = SseParser()
    async for piece in response.content.iter_any():
        for event in parser.feed(piece):
            if event.data:
                yield event.data


def _sound() -> bytes:
    """A WAV file."""
    file = io.BytesIO()
    with wave.open(file, "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(SAMPLE_RATE)
        out.writeframes((tones(SOUND, before_s=0.5, after_s=0.5) * 32767).astype("<i2").tobytes())
    return file.getvalue()


def _shortened(text: str) -> str:
    words = " ".join(text.split())
    return f'"{words}"' if len(words) <= SHOWN else f'"{words[:SHOWN]}..."'
