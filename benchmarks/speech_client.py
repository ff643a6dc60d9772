"""A client of hal0's speech to text: files one after the other, and somebody who speaks."""

import asyncio
import base64
import http.client
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import aiohttp

from benchmarks.load import Address, LoadError
from benchmarks.speech_live import CHUNK_S, SILENCE_MS, LiveRun, Shown
from benchmarks.speech_runs import Effort, Runs, Work, repeat

FILES_PATH, LIVE_PATH = "/v1/audio/transcriptions", "/v1/realtime?intent=transcription"
BOUNDARY = "a-boundary-that-no-sound-has"
TIMEOUT_S = 120.0
SAMPLE_BYTES = 2
KINDS = {
    "conversation.item.input_audio_transcription.delta": "delta",
    "input_audio_buffer.committed": "committed",
    "conversation.item.input_audio_transcription.completed": "completed",
}


def hear(address: Address, slot: str, path: Path, effort: Effort) -> Runs:
    """Each client has one connection. Raises `LoadError`."""
    body = form(slot, path)

    @contextmanager
    def client() -> Iterator[Work]:
        connection = http.client.HTTPConnection(address.host, address.port, timeout=TIMEOUT_S)
        try:
            yield lambda: _posted(connection, body)
        finally:
            connection.close()

    return repeat(client, effort)


def form(slot: str, path: Path) -> bytes:
    head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="model"\r\n\r\n{slot}\r\n'
    file = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="{path.name}"\r\n\r\n'
    return (head + file).encode() + path.read_bytes() + f"\r\n--{BOUNDARY}--\r\n".encode()


def _posted(connection: http.client.HTTPConnection, body: bytes) -> str:
    connection.request("POST", FILES_PATH, body, {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"})
    response = connection.getresponse()
    answer = response.read()
    if response.status != 200:
        raise LoadError(f"{FILES_PATH} answered {response.status}: {answer[:300]!r}")
    return str(json.loads(answer)["text"])


def listen(address: Address, slot: str, pcm: Path, rate: int, utterances: int) -> LiveRun:
    """Speak at the speed of time, until so many utterances are complete. Raises `LoadError`."""
    return asyncio.run(_session(address, slot, pcm.read_bytes(), rate, utterances))


async def _session(address: Address, slot: str, pcm: bytes, rate: int, utterances: int) -> LiveRun:
    url = f"ws://{address.host}:{address.port}{LIVE_PATH}"
    async with aiohttp.ClientSession() as http, http.ws_connect(url) as socket, asyncio.timeout(TIMEOUT_S):
        await socket.send_str(json.dumps({"type": "session.update", "session": session(slot, rate)}))
        while (event := json.loads(await socket.receive_str()))["type"] != "session.updated":
            if event["type"] == "error":
                raise LoadError(f"the session is refused: {event}")
        speaking = asyncio.create_task(_speak(socket, pcm, round(CHUNK_S * rate) * SAMPLE_BYTES))
        shown = await _shown(socket, utterances)
        return LiveRun(sent_s=await speaking, shown=shown)


def session(slot: str, rate: int) -> dict[str, object]:
    heard = {
        "format": {"type": "audio/pcm", "rate": rate},
        "transcription": {"model": slot},
        "turn_detection": {"type": "server_vad", "silence_duration_ms": SILENCE_MS},
    }
    return {"type": "transcription", "audio": {"input": heard}}


async def _speak(socket: aiohttp.ClientWebSocketResponse, pcm: bytes, chunk: int) -> tuple[float, ...]:
    began, sent = time.perf_counter(), []
    for order, at in enumerate(range(0, len(pcm), chunk)):
        audio = base64.b64encode(pcm[at : at + chunk]).decode()
        message = json.dumps({"type": "input_audio_buffer.append", "audio": audio})
        await asyncio.sleep(max(0.0, began + order * CHUNK_S - time.perf_counter()))
        sent.append(time.perf_counter())
        await socket.send_str(message)
    return tuple(sent)


async def _shown(socket: aiohttp.ClientWebSocketResponse, utterances: int) -> tuple[Shown, ...]:
    shown: list[Shown] = []
    while sum(one.kind == "completed" for one in shown) < utterances:
        event = json.loads(await socket.receive_str())
        at_s = time.perf_counter()
        if (one := shown_by(event, at_s)) is not None:
            shown.append(one)
        elif event["type"] == "error" or event["type"].endswith(".failed"):
            raise LoadError(f"the session failed: {event}")
    return tuple(shown)


def shown_by(event: dict[str, str], at_s: float) -> Shown | None:
    kind = KINDS.get(event["type"])
    if kind is None:
        return None
    text = event.get("delta") or event.get("transcript") or ""
    return Shown.model_validate({"at_s": at_s, "kind": kind, "utterance": event["item_id"], "text": text})
