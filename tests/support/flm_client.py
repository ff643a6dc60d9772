"""What is asked of an emulated `flm`, past the openai client where that hides what came."""

import json
import socket
from http.client import HTTPConnection
from pathlib import Path

from tests.support.flm import Serving, flm

TAG = "qwen3:0.6b"
ANSWER = "Hello from the tiny model!!"
LONG = "Say 100000 words"
ROLES = ("--asr", "1", "--embed", "1")
Record = dict[str, object]


def pulled(home: Path) -> Path:
    """With the models that the tests load."""
    for tag in (TAG, "qwen3:1.7b", "llama3.2:1b", "whisper-v3:turbo", "embed-gemma:300m"):
        assert flm(home, "pull", tag).returncode == 0
    return home


def ask(server: Serving, route: str, body: object = None, **headers: str) -> tuple[int, object]:
    """Method, then target; the status and the body."""
    method, target = route.split(" ", 1)
    data = body if isinstance(body, bytes) else None if body is None else json.dumps(body).encode()
    connection = HTTPConnection("127.0.0.1", server.port, timeout=60)
    try:
        connection.request(method, target, data, {"Content-Type": "application/json"} | headers)
        response = connection.getresponse()
        return response.status, json.loads(response.read())
    finally:
        connection.close()


def chat(server: Serving) -> tuple[int, object]:
    return ask(server, "POST /v1/chat/completions", say("Hi"))


def transcribe(server: Serving, sound: bytes = b"x") -> tuple[int, object]:
    form = b'--B\r\nContent-Disposition: form-data; name="file"\r\n\r\n' + sound + b"\r\n--B--\r\n"
    kind = {"Content-Type": "multipart/form-data; boundary=B"}
    return ask(server, "POST /v1/audio/transcriptions", form, **kind)


def say(text: str, **more: object) -> Record:
    return {"model": TAG, "messages": [{"role": "user", "content": text}], **more}


def open_stream(server: Serving, body: Record) -> socket.socket:
    """A chat whose first bytes have come, and which goes on."""
    connection = socket.create_connection(("127.0.0.1", server.port), timeout=60)
    data = json.dumps(body | {"stream": True}).encode()
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: {len(data)}\r\n"
    connection.sendall(f"{head}Content-Type: application/json\r\n\r\n".encode() + data)
    assert connection.recv(12) == b"HTTP/1.1 200"
    return connection
