"""The benchmarks' own arithmetic and words, and the load model's shape. Nothing here is timed."""

import asyncio
import json
from pathlib import Path

import pytest

from benchmarks import throttled_engine
from benchmarks.cases import CASES, METRICS, Measure, figures
from benchmarks.engines import pairs
from benchmarks.load import Job, Seen, request_bytes, work
from benchmarks.report import TARGETS, Measurement, as_record, markdown, met, result_text, target_text
from benchmarks.servers import HAPROXY, PLAIN, SWITCHES, haproxy_environment, serve_config
from benchmarks.statistics import Comparison, Spread, compare, percentile, spread

TOKENS = 5


@pytest.mark.parametrize(
    ("percent", "expected"),
    [(0, 1), (1, 1), (50, 2), (75, 3), (99, 4), (100, 4)],
)
def test_percentile_is_a_measured_figure(percent: float, expected: float) -> None:
    assert percentile([4, 1, 3, 2], percent) == expected


def test_spread() -> None:
    assert spread([3, 1, 2]) == Spread(2, 1, 3)


def test_comparison_is_round_by_round() -> None:
    assert compare([10, 100], [5, 100], Comparison.RATIO) == Spread(0.75, 0.5, 1)
    assert compare([10, 100], [11, 104], Comparison.DIFFERENCE) == Spread(2.5, 1, 4)


def test_comparison_needs_both_sides_of_every_round() -> None:
    with pytest.raises(ValueError):
        compare([1, 2], [1], Comparison.RATIO)


def added(path: str, *ours: float) -> Measurement:
    return Measurement(
        "first-byte", "First byte", 1, "median", "ms", Comparison.DIFFERENCE, path, (10.0,) * len(ours), ours
    )


def rate(path: str, *ours: float) -> Measurement:
    return Measurement(
        "embeddings", "Embeddings", 16, "rate", "requests/s", Comparison.RATIO, path, (100.0,) * len(ours), ours
    )


@pytest.mark.parametrize(
    ("measurement", "expected"),
    [
        (added(HAPROXY, 13.0), True),
        (added(HAPROXY, 13.1), False),
        (added(PLAIN, 25.0), True),
        (added("elsewhere", 1000.0), None),
        (rate(HAPROXY, 60.0), True),
        (rate(HAPROXY, 59.0), False),
        (rate(PLAIN, 1.0), None),
    ],
)
def test_targets(measurement: Measurement, expected: bool | None) -> None:
    assert met(measurement) is expected


def test_every_target_belongs_to_something_measured() -> None:
    measured = {
        (case.name, clients, metric) for case in CASES for clients in case.clients for metric in METRICS[case.measure]
    }
    assert set(TARGETS) <= measured
    assert {path for bounds in TARGETS.values() for path in bounds} <= set(SWITCHES)


def test_words() -> None:
    assert result_text(rate(HAPROXY, 70.0, 80.0, 50.0)) == "**0.70** (0.50 to 0.80), met"
    assert result_text(added(HAPROXY, 15.0, 14.0)) == "**+4.5 ms** (+4.0 to +5.0), missed"
    assert result_text(added("elsewhere", 9.0)) == "**-1.0 ms** (-1.0 to -1.0)"
    assert target_text(added(PLAIN, 1.0)) == f"{HAPROXY} ≤ 3 ms; {PLAIN} ≤ 15 ms"


def test_table_puts_paths_side_by_side_and_ratios_first() -> None:
    record = {"date": "2026-01-01", "quick": True, "rounds": 1, "machine": {"cores": 2}}
    text = markdown(record, [rate(PLAIN, 50.0), added(PLAIN, 20.0), rate(HAPROXY, 70.0)], ["ratio.png"])
    lines = text.splitlines()
    assert f"| Case | Clients | {PLAIN} | {HAPROXY} | Target |" in lines
    ratios = "| Embeddings, rate, requests/s | 16 | **0.50** (0.50 to 0.50) | **0.70** (0.70 to 0.70), met | "
    figures_row = "| Embeddings, rate, requests/s | 16 | 50.0 (50.0 to 50.0) | 70.0 (70.0 to 70.0) | 100 (100 to 100) |"
    found = next(index for index, line in enumerate(lines) if line.startswith(ratios))
    assert found < lines.index(figures_row)
    assert "![ratio](ratio.png)" in lines


def test_record_is_json_with_its_result() -> None:
    record = json.loads(json.dumps(as_record(rate(HAPROXY, 70.0))))
    assert record["result"] == {"median": 0.7, "low": 0.7, "high": 0.7}
    assert (record["target"], record["met"]) == (0.6, True)


def test_figures_of_a_load() -> None:
    seen = Seen(requests=30, events=101, event_span_s=2, first_byte_s=[0.002, 0.001, 0.003], seconds=3)
    assert figures(Measure.REQUESTS, seen) == {"rate": 10}
    assert figures(Measure.TOKENS, seen) == {"rate": 50}
    assert figures(Measure.FIRST_BYTE, seen) == {"median": 2, "p99": 3}


def test_presets_name_switches_as_the_router_reads_them() -> None:
    arguments = ("--model", "a.gguf", "--no-webui", "--slots", "--gpu-layers", "0", "--jinja")
    expected = [("model", "a.gguf"), ("webui", "off"), ("slots", "on"), ("gpu-layers", "0"), ("jinja", "on")]
    assert list(pairs(arguments)) == expected


def test_policy_and_application_see_the_same_slots() -> None:
    (application,) = serve_config([{"name": "chat"}], 8080)["applications"]
    assert application["autoscaling_policy"]["policy_kwargs"]["config"] == application["args"]


def test_haproxy_keeps_to_its_folder(tmp_path: Path) -> None:
    places = [value for value in haproxy_environment(tmp_path).values() if not value.isdigit()]
    assert all(place.startswith(str(tmp_path)) for place in places)


def test_throttled_engine_takes_the_arguments_of_llama_server() -> None:
    served = ("--alias", "big", "--host", "127.0.0.2", "--port", "9")
    argv = ("--model", "m.gguf", *served, "--ctx-size", "8", "--no-webui", "--tokens-per-second", "20")
    settings = throttled_engine.parse_arguments(argv, {"LLAMA_API_KEY": "a,b"})
    assert settings == throttled_engine.Settings("127.0.0.2", 9, "big", 20.0, frozenset({"a", "b"}))


def test_throttled_engine_streams_as_llama_cpp_does() -> None:
    *streamed, done = b"".join(throttled_engine.events("big", TOKENS)).split(b"\n\n")[:-1]
    assert done == b"data: [DONE]"
    chunks = [json.loads(line.removeprefix(b"data: ")) for line in streamed]
    choices = [chunk["choices"][0] for chunk in chunks]
    assert choices[0]["delta"] == {"role": "assistant", "content": None}
    assert [choice["delta"]["content"] for choice in choices[1:-1]] == [f" word{index}" for index in range(TOKENS)]
    assert [choice["finish_reason"] for choice in choices] == [None] * (TOKENS + 1) + ["length"]
    assert {chunk["object"] for chunk in chunks} == {"chat.completion.chunk"}


async def exchange(path: str, body: dict[str, object], key: str) -> tuple[int, bytes]:
    """Status and raw body of one answer of a throttled engine that is not slow."""
    server = await throttled_engine.serve(throttled_engine.Settings("127.0.0.1", 0, "big", 1e6, frozenset({"secret"})))
    async with server:
        port = server.sockets[0].getsockname()[1]
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(request_bytes(Job("127.0.0.1", port, key, path, json.dumps(body), 1, 0)))
        writer.write_eof()
        answer = await reader.read()
        writer.close()
        await writer.wait_closed()
    head, _, rest = answer.partition(b"\r\n\r\n")
    return int(head.split()[1]), rest


async def test_throttled_engine_sends_one_event_a_token() -> None:
    body: dict[str, object] = {"stream": True, "max_tokens": TOKENS}
    status, answer = await exchange("/v1/chat/completions", body, "secret")
    assert (status, answer.count(b"data: ")) == (200, TOKENS + 3)
    assert answer.endswith(b"\r\n0\r\n\r\n")


async def test_throttled_engine_answers_in_whole() -> None:
    status, answer = await exchange("/v1/chat/completions", {"max_tokens": TOKENS}, "secret")
    assert status == 200
    assert json.loads(answer)["usage"]["completion_tokens"] == TOKENS


@pytest.mark.parametrize(
    ("path", "key", "expected"), [("/v1/chat/completions", "wrong", 401), ("/v1/embeddings", "secret", 404)]
)
async def test_throttled_engine_refuses(path: str, key: str, expected: int) -> None:
    status, answer = await exchange(path, {}, key)
    assert (status, json.loads(answer)["error"]["code"]) == (expected, expected)


async def test_load_generator_counts_events_of_every_client() -> None:
    server = await throttled_engine.serve(throttled_engine.Settings("127.0.0.1", 0, "big", 1e6, frozenset()))
    async with server:
        port = server.sockets[0].getsockname()[1]
        body = json.dumps({"stream": True, "max_tokens": TOKENS})
        seen = await work(Job("127.0.0.1", port, "", "/v1/chat/completions", body, clients=2, seconds=0.2))
    assert seen.failures == []
    # The window may cut the first and the last answer of each client.
    assert abs(seen.events - seen.requests * (TOKENS + 3)) <= 2 * 2 * (TOKENS + 3)
    assert seen.requests > 0 and len(seen.first_byte_s) > 0


async def test_load_generator_reports_refusals() -> None:
    server = await throttled_engine.serve(throttled_engine.Settings("127.0.0.1", 0, "big", 1e6, frozenset({"secret"})))
    async with server:
        port = server.sockets[0].getsockname()[1]
        seen = await work(Job("127.0.0.1", port, "wrong", "/v1/chat/completions", "{}", clients=1, seconds=0))
    assert len(seen.failures) == 1 and seen.failures[0].startswith("401")


async def test_load_generator_reports_that_nobody_listens() -> None:
    server = await throttled_engine.serve(throttled_engine.Settings("127.0.0.1", 0, "big", 1e6, frozenset()))
    port = server.sockets[0].getsockname()[1]
    server.close()
    await server.wait_closed()
    seen = await work(Job("127.0.0.1", port, "", "/v1/chat/completions", "{}", clients=2, seconds=0))
    assert len(seen.failures) == 2 and seen.failures[0].startswith("no connection")
