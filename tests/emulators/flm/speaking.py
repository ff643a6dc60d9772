"""Pieces of text, one a token: of the script, or of the server that FLM_EMULATOR_CHAT_URL names."""

import json
import re
import time
import urllib.request
from collections.abc import Iterator

from tests.emulators.flm import faults, settings
from tests.emulators.flm.catalogue import Record
from tests.emulators.flm.faults import Fault

ASKED_S = 0.02
TIMEOUT_S = 600
_COUNT = re.compile(r"(\d+) words")


def pieces(messages: list[Record], prompt: str, limit: int) -> Iterator[str]:
    """Raises `RuntimeError` if that server does not answer. One that hangs does not see that its client leaves."""
    while faults.has(Fault.HANG_IN_GENERATION):
        time.sleep(ASKED_S)
    if faults.has(Fault.EMPTY_ANSWERS):
        return
    url = settings.chat_url()
    if url is not None:
        try:
            yield from _relayed(url, messages, limit)
        except OSError as error:
            raise RuntimeError(f"emulator: {url}: {error}") from error
        return
    for piece in _script(prompt):
        time.sleep(1 / settings.tokens_per_s())
        yield piece


def _script(prompt: str) -> list[str]:
    """The answer; or as many words as the prompt asks for with `7 words`."""
    asked = _COUNT.search(prompt)
    if asked is not None:
        return ["word", *[" word"] * (int(asked[1]) - 1)]
    return re.findall(r"\s*\w+|\W+", settings.answer())


def _relayed(url: str, messages: list[Record], limit: int) -> Iterator[str]:
    body = {"messages": messages, "max_tokens": limit, "stream": True}
    request = urllib.request.Request(
        f"{url}/v1/chat/completions", json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=TIMEOUT_S) as response:
        for line in response:
            data = line.decode().strip().removeprefix("data: ")
            choices = json.loads(data).get("choices") if data.startswith("{") else None
            if choices and (piece := choices[0]["delta"].get("content")):
                yield piece
