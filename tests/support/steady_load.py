"""Clients that ask one after the other without a pause to speak of, on connections that they keep, and try nothing
twice: whatever goes wrong is a failure."""

import http.client
import itertools
import json
import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any, Self
from urllib.parse import urlsplit

PAUSE_S = 0.02
"""Leaves a small machine some time for what is tested."""
TIMEOUT_S = 120.0
LAST_EVENT = b"data: [DONE]"

Question = Mapping[str, Any]


class SteadyLoad:
    """Client number n puts its questions, in turns, to url number n. Runs while it is entered."""

    def __init__(self, urls: Sequence[str], questions: Sequence[Question], key: str) -> None:
        self.failures: list[str] = []
        self._answered = [0] * len(urls)
        self._questions = questions
        self._headers = {"Content-Type": "application/json", "Authorization": f"Bearer {key}"}
        self._stopping = threading.Event()
        self._clients = [
            threading.Thread(target=self._ask, args=(number, url), name=f"client {number}")
            for number, url in enumerate(urls)
        ]

    def __enter__(self) -> Self:
        for client in self._clients:
            client.start()
        return self

    def __exit__(self, *_: object) -> None:
        """What is being answered is answered to the end."""
        self._stopping.set()
        for client in self._clients:
            client.join()

    @property
    def answered(self) -> int:
        return sum(self._answered)

    @property
    def everybody_was_answered(self) -> bool:
        return all(self._answered)

    def mark(self) -> tuple[int, ...]:
        return tuple(self._answered)

    def all_answered_since(self, mark: tuple[int, ...], times: int = 2) -> bool:
        """Whether every client has had so many answers more."""
        return all(now >= then + times for now, then in zip(self._answered, mark, strict=True))

    def _ask(self, number: int, url: str) -> None:
        connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=TIMEOUT_S)
        for question in itertools.cycle(self._questions):
            if self._stopping.wait(PAUSE_S):
                break
            began = time.time()
            try:
                wrong = self._answer_to(connection, question)
            except (OSError, http.client.HTTPException) as error:
                wrong = repr(error)
                connection.close()
            if wrong:
                self.failures.append(f"{url} {dict(question)} {began:.2f} to {time.time():.2f}: {wrong}")
            else:
                self._answered[number] += 1
        connection.close()

    def _answer_to(self, connection: http.client.HTTPConnection, question: Question) -> str:
        """What is wrong with it; empty if nothing is."""
        connection.request("POST", "/v1/chat/completions", json.dumps(question), self._headers)
        response = connection.getresponse()
        text = response.read()
        whole = text.rstrip().endswith(LAST_EVENT) if question.get("stream") else text.endswith(b"}")
        fine = response.status == 200 and whole and b'"error"' not in text
        return "" if fine else f"{response.status} {text[-500:]!r}"
