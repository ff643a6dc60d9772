"""An answer that may begin before anybody knows what it will be."""

import json

import pytest
from starlette.types import Message

from serve_app.errors import EngineDied, StillLoading
from serve_app.reply import KEEP_ALIVE, Reply


class Client:
    """What was sent to it."""

    def __init__(self) -> None:
        self.messages: list[Message] = []

    async def send(self, message: Message) -> None:
        self.messages.append(message)

    @property
    def body(self) -> bytes:
        return b"".join(message.get("body", b"") for message in self.messages[1:])

    @property
    def starts(self) -> list[int]:
        return [message["status"] for message in self.messages if message["type"] == "http.response.start"]

    @property
    def ended(self) -> bool:
        return not self.messages[-1].get("more_body", False)


@pytest.fixture
def client() -> Client:
    return Client()


async def test_a_whole_answer(client: Client) -> None:
    reply = Reply(client.send, anthropic=False)
    assert not reply.begun
    await reply.whole(201, [(b"content-type", b"application/json")], b"{}")
    assert reply.begun and client.starts == [201] and client.ended
    assert dict(client.messages[0]["headers"])[b"content-length"] == b"2"
    assert client.body == b"{}"


async def test_a_stream_begins_once_and_is_not_buffered_on_its_way(client: Client) -> None:
    reply = Reply(client.send, anthropic=False)
    await reply.begin_stream()
    await reply.chunk(KEEP_ALIVE)
    await reply.begin_stream(206)
    await reply.chunk(b"data: x\n\n")
    assert not client.ended
    await reply.end()
    assert client.ended and client.starts == [200]
    headers = dict(client.messages[0]["headers"])
    assert headers[b"content-type"].startswith(b"text/event-stream")
    assert headers[b"x-accel-buffering"] == b"no" and b"content-length" not in headers
    assert client.body == b": keep-alive\n\ndata: x\n\n"


async def test_a_whole_answer_to_a_stream_that_has_begun_is_its_one_event(client: Client) -> None:
    reply = Reply(client.send, anthropic=False)
    await reply.begin_stream()
    await reply.whole(200, [], b'{"a": 1}')
    assert client.starts == [200] and client.body == b'data: {"a": 1}\n\n' and client.ended


async def test_an_error_in_a_stream_is_its_last_event(client: Client) -> None:
    reply = Reply(client.send, anthropic=False)
    await reply.begin_stream()
    await reply.chunk(b'data: {"cut')
    await reply.fail(EngineDied("chat", "it fell"))
    event = client.body.rpartition(b"\n\ndata: ")[2]
    assert client.body.startswith(b'data: {"cut\n\n') and client.ended
    assert json.loads(event)["error"] == {
        "message": "The engine of slot 'chat' went away: it fell",
        "type": "server_error",
        "param": None,
        "code": "engine_died",
    }


async def test_a_load_that_took_too_long_is_told_in_the_stream_with_how_far_it_is(client: Client) -> None:
    reply = Reply(client.send, anthropic=False)
    await reply.begin_stream()
    await reply.fail(StillLoading("chat", {"model": "chat", "state": "pulling"}, 5, 2))
    event = json.loads(client.body.rpartition(b"data: ")[2])
    assert (event["error"]["code"], event["loading"]["state"]) == ("model_loading", "pulling")


async def test_anthropics_clients_get_their_own_error_event(client: Client) -> None:
    reply = Reply(client.send, anthropic=True)
    await reply.begin_stream()
    await reply.fail(EngineDied("chat", "it fell"))
    assert client.body.startswith(b"\n\nevent: error\ndata: ") and client.ended
    assert json.loads(client.body.rpartition(b"data: ")[2])["error"]["type"] == "api_error"
