"""The parser must not care where the network cuts."""

from collections.abc import Iterator

import pytest

from providers.sse import EventTranslator, ServerSentEvent, SseParser

STREAM = (
    'event: a\ndata: {"x":"é"}\n\n: ping\n\ndata: one\r\ndata: two\r\n\r\nid: 7\nevent: b\rdata:3\r\rdata: last'
).encode()
EVENTS = [
    ServerSentEvent('{"x":"é"}', "a"),
    ServerSentEvent(comment=" ping"),
    ServerSentEvent("one\ntwo"),
    ServerSentEvent("3", "b"),
    ServerSentEvent("last"),
]


@pytest.mark.parametrize("size", [1, 2, 3, 7, len(STREAM)])
def test_events_are_the_same_however_cut(size: int) -> None:
    parser = SseParser()
    events = [event for i in range(0, len(STREAM), size) for event in parser.feed(STREAM[i : i + size])]
    assert [*events, *parser.finish()] == EVENTS


def test_what_is_encoded_parses_again() -> None:
    parser = SseParser()
    assert [*parser.feed(b"".join(event.encode() for event in EVENTS))] == EVENTS


class Shout(EventTranslator):
    def translate(self, event: ServerSentEvent) -> Iterator[ServerSentEvent]:
        yield ServerSentEvent(event.data.upper(), event.event)

    def end(self) -> Iterator[ServerSentEvent]:
        yield ServerSentEvent("end")


def test_translator_sees_events_and_lets_comments_pass() -> None:
    shout = Shout()
    assert shout.feed(b": hm\n\ndata: a") == b": hm\n\n"
    assert shout.feed(b"b\n\n") == b"data: AB\n\n"
    assert shout.finish() == b"data: end\n\n"
