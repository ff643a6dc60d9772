"""The benchmarks' own arithmetic and words. Nothing here is timed."""

import base64
import json
import struct
import zlib
from itertools import combinations
from pathlib import Path
from statistics import median

import pytest

from benchmarks.__main__ import PATH_NAMES, in_order, measurements_of
from benchmarks.bare import AGAIN
from benchmarks.cases import CASES, METRICS, Measure, picture_url, runs_on
from benchmarks.load import Address, LoadError, Seen
from benchmarks.peers import LITELLM, NAIVE, litellm_config, naive_config
from benchmarks.report import (
    PEER_TARGETS,
    PEERS,
    TARGETS,
    Measurement,
    as_record,
    figure_text,
    judged,
    markdown,
    result_text,
    rivalries,
    target_text,
    write,
)
from benchmarks.rounds import FULL, QUICK, SLOT_MEASURES, Effort, figures
from benchmarks.router import pairs
from benchmarks.servers import HAPROXY, PLAIN, UP, WAYS, haproxy_environment, serve_config
from benchmarks.slots import CROWD
from benchmarks.statistics import Comparison, Spread, Verdict, compare, coverage, left_out, percentile, spread, verdict
from serve_app.config import parse_config

ENGINES = {"instant": Address("127.0.0.1", 9, "secret")}
RECORD = {
    "date": "2026-01-01",
    "quick": True,
    "rounds": 1,
    "cold starts": 2,
    "swaps": 3,
    "machine": {"cores": 2},
    "failed": [],
}


@pytest.mark.parametrize(
    ("percent", "expected"),
    [(0, 1), (1, 1), (50, 2), (75, 3), (99, 4), (100, 4)],
)
def test_percentile_is_a_measured_figure(percent: float, expected: float) -> None:
    assert percentile([4, 1, 3, 2], percent) == expected


def test_few_figures_span_all_of_their_range() -> None:
    assert spread([3, 1, 2]) == Spread(2, 1, 3)
    assert spread([5]) == Spread(5, 5, 5)


def test_many_figures_leave_out_the_extremes() -> None:
    assert spread([100, *range(2, 20), -100]) == Spread(10.5, 6, 15)


@pytest.mark.parametrize("count", [5, 7, 8, 12])
def test_coverage_is_counted_out(count: int) -> None:
    """A true median has each figure below it or above it, all ways alike."""
    ways = [sum(1 for _ in combinations(range(count), below)) for below in range(count + 1)]
    for outside in range(count // 2):
        within = sum(ways[below] for below in range(outside + 1, count - outside))
        assert coverage(count, outside) == pytest.approx(within / 2**count)


@pytest.mark.parametrize("count", range(1, 40))
def test_no_more_is_left_out_than_confidence_allows(count: int) -> None:
    outside = left_out(count)
    assert outside < (count + 1) / 2
    assert outside == 0 or coverage(count, outside) >= 0.9 > coverage(count, outside + 1)


def test_comparison_is_round_by_round() -> None:
    assert compare([10, 100], [5, 100], Comparison.RATIO) == Spread(0.75, 0.5, 1)
    assert compare([10, 100], [11, 104], Comparison.DIFFERENCE) == Spread(2.5, 1, 4)


def test_comparison_needs_both_sides_of_every_round() -> None:
    with pytest.raises(ValueError):
        compare([1, 2], [1], Comparison.RATIO)


@pytest.mark.parametrize(
    ("result", "comparison", "expected"),
    [
        (Spread(0.7, 0.6, 0.8), Comparison.RATIO, Verdict.MET),
        (Spread(0.7, 0.5, 0.8), Comparison.RATIO, Verdict.UNDECIDED),
        (Spread(0.5, 0.4, 0.6), Comparison.RATIO, Verdict.MISSED),
        (Spread(0.5, 0.4, 0.6), Comparison.DIFFERENCE, Verdict.MET),
        (Spread(0.7, 0.6, 0.8), Comparison.DIFFERENCE, Verdict.MISSED),
        (Spread(0.6, 0.6, 0.6), Comparison.DIFFERENCE, Verdict.MET),
    ],
)
def test_verdict_on_0_6(result: Spread, comparison: Comparison, expected: Verdict) -> None:
    assert verdict(result, 0.6, comparison) is expected


def added(path: str, *ours: float) -> Measurement:
    bare = (10.0,) * len(ours)
    return Measurement("first-byte", "First byte", 1, "median", "ms", Comparison.DIFFERENCE, path, bare, ours)


def rate(path: str, *ours: float, case: str = "embeddings") -> Measurement:
    bare = (100.0,) * len(ours)
    return Measurement(case, "Embeddings", CROWD, "rate", "requests/s", Comparison.RATIO, path, bare, ours)


@pytest.mark.parametrize(
    ("measurement", "expected"),
    [
        (added(UP, 12.0), Verdict.MET),
        (added(UP, 12.1), Verdict.MISSED),
        (added(UP, 11.0, 14.0), Verdict.UNDECIDED),
        (added("elsewhere", 1000.0), None),
        (rate(UP, 60.0), Verdict.MET),
        (rate(UP, 59.0), Verdict.MISSED),
        (rate(PLAIN, 1.0), None),
    ],
)
def test_targets(measurement: Measurement, expected: Verdict | None) -> None:
    assert judged(measurement) is expected


def test_every_target_belongs_to_something_measured() -> None:
    measured = {
        (case.name, clients, metric): case
        for case in CASES
        for clients in case.clients
        for metric in METRICS[case.measure]
    }
    for targets in (TARGETS, PEER_TARGETS):
        for row, bounds in targets.items():
            assert all(runs_on(measured[row], path) for path in bounds), row
    assert {peer for peers in PEER_TARGETS.values() for peer in peers} <= set(PEERS)


def test_every_path_of_a_case_is_one_that_there_is() -> None:
    assert {path for case in CASES for path in case.also} <= set(PATH_NAMES)
    assert set(WAYS) == {UP, PLAIN, HAPROXY}


def test_words() -> None:
    assert result_text(rate(UP, 70.0, 80.0, 65.0)) == "**0.70** (0.65 to 0.80), met"
    assert result_text(added(UP, 15.0, 14.0)) == "**+4.50 ms** (+4.00 to +5.00), missed"
    assert result_text(added("elsewhere", 9.0)) == "**-1.00 ms** (-1.00 to -1.00)"
    assert result_text(rate("elsewhere", 0.5)) == "**0.0050** (0.0050 to 0.0050)"
    assert target_text(added(PLAIN, 1.0)) == f"{UP} ≤ 2 ms"
    assert [figure_text([figure]) for figure in (0.123, 12.34, 123.4)] == [
        "0.12 (0.12 to 0.12)",
        "12.3 (12.3 to 12.3)",
        "123 (123 to 123)",
    ]


def test_table_puts_paths_side_by_side_and_ratios_first() -> None:
    text = markdown(RECORD, [rate(AGAIN, 50.0), added(AGAIN, 20.0), rate(UP, 70.0)], ["ratio.png"])
    lines = text.splitlines()
    assert f"| Case | Clients | {AGAIN} | {UP} | Target |" in lines
    ratios = (
        f"| Embeddings, rate, requests/s | 16 | **0.50** (0.50 to 0.50) | **0.70** (0.70 to 0.70), met | {UP} ≥ 0.6"
    )
    figures_row = "| Embeddings, rate, requests/s | 16 | 50.0 (50.0 to 50.0) | 70.0 (70.0 to 70.0) | 100 (100 to 100) |"
    found = next(index for index, line in enumerate(lines) if line.startswith(ratios))
    assert found < lines.index(figures_row)
    assert "![ratio](ratio.png)" in lines


def test_peers_are_set_against_ours_each_by_its_own_bare_rounds() -> None:
    ours = rate(UP, 50.0, 40.0, case="chat")
    peer = Measurement("chat", "", CROWD, "rate", "", Comparison.RATIO, NAIVE, (200.0, 100.0), (8.0, 5.0))
    stranger = rate(LITELLM, 5.0, case="another")
    (found,) = rivalries([ours, peer, rate(AGAIN, 1.0, case="chat"), stranger])
    # 0.5 of the bare engine's rate against 0.04, and 0.4 against 0.05.
    assert (found.result, found.target) == (Spread(10.25, 8, 12.5), 10)
    assert found.verdict is Verdict.UNDECIDED
    row = f"| Embeddings, rate | 16 | {NAIVE} | **10.25** (8.00 to 12.50), undecided | ≥ 10 |"
    assert row in markdown(RECORD, [ours, peer], ()).splitlines()


def test_results_are_json_with_their_verdicts(tmp_path: Path) -> None:
    measured = [rate(UP, 70.0, case="chat"), rate(NAIVE, 1.0, case="chat"), added(UP, 15.0)]
    write(tmp_path, RECORD, measured, ())
    record = json.loads((tmp_path / "latest.json").read_text())
    assert [one["verdict"] for one in record["measurements"]] == [None, None, "missed"]
    (peer,) = record["peers"]
    assert (peer["peer"], peer["result"]["median"], peer["verdict"]) == (NAIVE, pytest.approx(70), "met")
    assert (tmp_path / "README.md").read_text() == markdown(RECORD, measured, ())


def test_cases_keep_their_order_and_paths_theirs() -> None:
    found = in_order([rate(UP, 1.0), added(UP, 1.0), rate(PLAIN, 1.0), added(PLAIN, 1.0)])
    assert [(one.case, one.path) for one in found] == [
        ("first-byte", UP),
        ("first-byte", PLAIN),
        ("embeddings", UP),
        ("embeddings", PLAIN),
    ]


def test_failures_are_told() -> None:
    lines = markdown(RECORD | {"failed": ["hal0 up: swap:\nLoadError"]}, [rate(UP, 70.0)], ()).splitlines()
    assert "- hal0 up: swap: LoadError" in lines
    assert not any("failed" in line for line in markdown(RECORD, [rate(UP, 70.0)], ()).splitlines())


def test_record_is_json_with_its_result() -> None:
    record = json.loads(json.dumps(as_record(rate(UP, 70.0))))
    assert record["result"] == {"median": 0.7, "low": 0.7, "high": 0.7}
    assert (record["target"], record["verdict"]) == (0.6, "met")


def test_figures_of_a_load() -> None:
    seen = Seen(
        requests=30,
        events=101,
        event_span_s=2,
        first_byte_s=[0.002, 0.001, 0.003],
        answer_s=[0.02, 0.01, 0.03],
        gap_s=[0.019, 0.02, 0.05],
        seconds=3,
    )
    assert figures(Measure.REQUESTS, seen) == {"rate": 10}
    assert figures(Measure.STREAMS, seen) == {"rate": 50}
    assert figures(Measure.PACED, seen) == {"rate": 50, "gap p50": 20, "gap p99": 50}
    assert figures(Measure.FIRST_BYTE, seen) == {"median": 2, "p99": 3}
    assert figures(Measure.ANSWER, seen) == {"median": 20}


@pytest.mark.parametrize("measure", [Measure.FIRST_BYTE, Measure.ANSWER, Measure.PACED, Measure.STREAMS])
def test_a_load_without_answers_has_no_figures(measure: Measure) -> None:
    with pytest.raises(LoadError):
        figures(measure, Seen(seconds=1))


@pytest.mark.parametrize("effort", [QUICK, FULL])
def test_an_effort_says_how_often_and_how_long(effort: Effort) -> None:
    assert [effort.rounds_of(measure) for measure in SLOT_MEASURES] == [effort.cold_starts, effort.swaps]
    assert effort.rounds_of(Measure.REQUESTS) == effort.rounds
    assert (effort.seconds_of(Measure.PACED), effort.seconds_of(Measure.REQUESTS)) == (
        effort.long_seconds,
        effort.seconds,
    )


def test_every_metric_becomes_a_measurement_round_by_round() -> None:
    case = next(case for case in CASES if case.measure is Measure.FIRST_BYTE)
    rounds = [({"median": 1.0, "p99": 2.0}, {"median": 3.0, "p99": 5.0}), ({"median": 1.0, "p99": 1.0},) * 2]
    first, last = measurements_of(case, UP, 1, rounds)
    assert (first.metric, first.bare, first.ours) == ("median", (1.0, 1.0), (3.0, 1.0))
    assert (last.metric, last.result) == ("p99", Spread(median([3, 0]), 0, 3))


def test_picture_is_a_png_that_nothing_makes_smaller() -> None:
    kind, _, encoded = picture_url(32).partition(",")
    png = base64.b64decode(encoded)
    assert kind == "data:image/png;base64"
    assert png[:8] == b"\x89PNG\r\n\x1a\n" and struct.unpack(">II", png[16:24]) == (32, 32)
    size = struct.unpack(">I", png[33:37])[0]
    data, checksum = png[41 : 41 + size], png[41 + size : 45 + size]
    assert png[37:41] == b"IDAT" and struct.unpack(">I", checksum)[0] == zlib.crc32(b"IDAT" + data)
    assert len(zlib.decompress(data)) == 32 * (1 + 3 * 32) and len(png) > 32 * 32 * 3


def test_presets_name_switches_as_the_router_reads_them() -> None:
    arguments = ("--model", "a.gguf", "--no-webui", "--slots", "--gpu-layers", "0", "--jinja")
    expected = [("model", "a.gguf"), ("webui", "off"), ("slots", "on"), ("gpu-layers", "0"), ("jinja", "on")]
    assert list(pairs(arguments)) == expected


def test_policy_and_application_see_the_same_slots() -> None:
    (application,) = serve_config([{"name": "chat"}], 8080)["applications"]
    assert application["autoscaling_policy"]["policy_kwargs"]["config"] == application["args"]


def test_peers_are_told_where_the_bare_engines_are() -> None:
    (model,) = litellm_config(ENGINES)["model_list"]
    assert (model["model_name"], model["litellm_params"]["api_base"]) == ("instant", "http://127.0.0.1:9/v1")
    (application,) = naive_config(ENGINES, 8080)["applications"]
    assert application["args"] == {"engines": {"instant": ("http://127.0.0.1:9", "secret")}}


def test_haproxy_keeps_to_its_folder(tmp_path: Path) -> None:
    places = [value for value in haproxy_environment(tmp_path).values() if not value.isdigit()]
    assert all(place.startswith(str(tmp_path)) for place in places)


def test_slots_are_a_configuration(tmp_path: Path) -> None:
    from benchmarks.slots import make_slots
    from benchmarks.voice_slots import make_voice_slots

    slots = [*make_slots(tmp_path, None), *make_voice_slots(tmp_path / "models")]
    assert {case.slot for case in CASES} <= {slot.name for slot in parse_config({"slots": slots}).slots}
