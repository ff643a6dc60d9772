"""How far a load is, by what llama-server writes."""

import json

import pytest

from providers.llamacpp.progress import load_progress

BEFORE = "0.00.002 I srv load_model: loading model 'm.gguf'\nload_tensors: CPU_Mapped model buffer size = 1.22 MiB\n"


def report(value: object, current: str = "text_model", stages: object = ("text_model",)) -> str:
    payload = {"stages": stages, "current": current, "value": value}
    return "cmd_child_to_router:state:" + json.dumps({"state": "loading", "payload": payload})


@pytest.mark.parametrize("dots", [1, 37, 100])
@pytest.mark.parametrize("after", ["", "\nllama_context: n_ctx = 4096\n"])
def test_dots_are_percent(dots: int, after: str) -> None:
    assert load_progress(BEFORE + "." * dots + after) == dots / 100


@pytest.mark.parametrize(
    "output",
    ["", BEFORE, "loading model tensors, this can take a while...", "." * 101, "a..", "..a", "cmd_child_to_router:"],
)
def test_other_lines_tell_nothing(output: str) -> None:
    assert load_progress(output) is None


def test_the_last_report_counts() -> None:
    assert load_progress(f"{BEFORE}{report(0.25)}\n{report(0.75)}\nother\n") == 0.75
    assert load_progress(f"....\n{report(0.75)}\n") == 0.75
    assert load_progress(f"{report(0.75)}\n....") == 0.04


def test_stages_count_alike() -> None:
    stages = ["text_model", "mmproj_model"]
    assert load_progress(report(0.5, "text_model", stages)) == 0.25
    assert load_progress(report(0.5, "mmproj_model", stages)) == 0.75
    assert load_progress(report(0.5, stages=None)) == 0.5


def test_a_report_that_is_not_finished_waits_for_its_end() -> None:
    for size in range(len(report(0.75))):
        assert load_progress(f"{report(0.25)}\n{report(0.75)[:size]}") == 0.25


@pytest.mark.parametrize(
    "line",
    [
        'cmd_child_to_router:state:{"state":"ready","payload":{"id":"s"}}',
        'cmd_child_to_router:state:{"state":"loading","payload":{"stage":"mmproj_model"}}',
        "cmd_child_to_router:state:[]",
        "cmd_child_to_router:state:null",
        'cmd_child_to_router:state:{"payload":7}',
        report("x"),
        report(None),
        report(0.5, "other"),
        report(0.5, stages=7),
    ],
)
def test_what_makes_no_sense_tells_nothing(line: str) -> None:
    assert load_progress(line) is None


def test_a_share_stays_between_0_and_1() -> None:
    assert (load_progress(report(-1)), load_progress(report(7))) == (0, 1)
