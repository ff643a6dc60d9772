"""What a slot on llama.cpp may configure, and that the names of llama-server's arguments are right."""

import re
import shutil
import subprocess
from itertools import combinations
from typing import Any

import pytest
from pydantic import ValidationError

from providers.llamacpp.embedded_arguments import SWITCHES, VALUES
from providers.llamacpp.options import SET_BY_SLOT, LlamaCppSlot

TEXT = ("chat", "completion", "vision")
KINDS = (*TEXT, "embedding", "rerank")
FLAGS_OF_LINE = re.compile(r"-[\w.-]+(?:,\s+-[\w.-]+)*")


def slot(**more: Any) -> LlamaCppSlot:
    given: dict[str, Any] = {"name": "s", "provider": "llama.cpp", "model": "m.gguf", "capabilities": ["chat"]}
    return LlamaCppSlot.model_validate(given | more)


def refusal(**more: Any) -> str:
    with pytest.raises(ValidationError) as caught:
        slot(**more)
    [error] = caught.value.errors()
    return ".".join(str(part) for part in error["loc"]) + ": " + error["msg"]


@pytest.mark.parametrize("form", ["{}", "{}=1"])
@pytest.mark.parametrize(("flag", "key"), SET_BY_SLOT.items())
def test_what_the_slot_sets_extra_args_may_not(flag: str, key: str, form: str) -> None:
    message = refusal(options={"extra_args": ["--temp", "0", form.format(flag)]})
    assert message.startswith("options.extra_args: ")
    assert f"'{flag}' is set by {key}; allowed: " in message


@pytest.mark.parametrize("spelling", ["--ctx_size", "--api_key=x", "--ctx-size=9"])
def test_llama_server_reads_underscores_as_hyphens(spelling: str) -> None:
    assert "is set by" in refusal(options={"extra_args": [spelling, "9"]})


@pytest.mark.parametrize("extra", [["--temp", "0"], ["--no-slots"], ["--seed", "-1"], ["--spec-type=none"], []])
def test_other_arguments_pass(extra: list[str]) -> None:
    assert slot(options={"extra_args": extra}).options.extra_args == tuple(extra)


@pytest.mark.parametrize("name", ["LLAMA_API_KEY", "LLAMA_ARG_HOST", "LLAMA_ARG_CTX_SIZE"])
def test_arguments_do_not_come_by_environment(name: str) -> None:
    message = refusal(options={"env": {name: "x"}})
    assert message.startswith("options.env: ") and f"'{name}'" in message and "extra_args" in message


@pytest.mark.parametrize("name", ["", "A=B", "1A", "A B", "A\0"])
def test_a_variable_has_a_name_that_the_system_takes(name: str) -> None:
    assert refusal(options={"env": {name: "x"}}).startswith("options.env.")


@pytest.mark.parametrize("mix", [mix for size in (1, 2, 3) for mix in combinations(KINDS, size)])
def test_one_engine_has_one_kind_of_model(mix: tuple[str, ...]) -> None:
    given: dict[str, Any] = {"capabilities": mix, "companions": {"mmproj": "p.gguf"}}
    if len(mix) == 1 or set(mix) <= set(TEXT):
        assert slot(**given).capabilities == mix
    else:
        assert f"{', '.join(mix)} need different engines; allowed: " in refusal(**given)


def test_vision_needs_a_projector() -> None:
    assert "companions.mmproj" in refusal(capabilities=["chat", "vision"])


@pytest.mark.parametrize(
    ("options", "where"),
    [
        ({"thread": 1}, "options.thread"),
        ({"container": {"image": "i", "name": "x"}}, "options.container.name"),
        ({"container": {}}, "options.container.image"),
        ({"container": {"image": "i", "runtime": "lxc"}}, "options.container.runtime"),
        ({"threads": 0}, "options.threads"),
        ({"flash_attention": "yes"}, "options.flash_attention"),
        ({"pooling": "max"}, "options.pooling"),
        ({"cache_type_k": "q9"}, "options.cache_type_k"),
        ({"binary": ""}, "options.binary"),
    ],
)
def test_a_wrong_option_is_named(options: dict[str, object], where: str) -> None:
    assert refusal(options=options).startswith(where + ": ")


def test_a_binary_or_a_container() -> None:
    message = refusal(options={"binary": "mine", "container": {"image": "i"}})
    assert "binary and container exclude each other" in message


@pytest.fixture(scope="module")
def spellings() -> list[set[str]]:
    """Of every argument of the llama-server on PATH, all its names."""
    program = shutil.which("llama-server")
    if program is None:
        pytest.skip("no llama-server on PATH to ask for its arguments")
    answer = subprocess.run([program, "--help"], capture_output=True, text=True, timeout=60, check=True)
    lines = [found[0] for line in answer.stdout.splitlines() if (found := FLAGS_OF_LINE.match(line))]
    return [set(re.split(r",\s+", line)) for line in lines if not line.startswith("-----")]


def test_llama_server_has_the_arguments_that_are_named(spellings: list[set[str]]) -> None:
    known = set().union(*spellings)
    embedded = {flag for flags in (*VALUES, *SWITCHES) for flag in flags.split()}
    assert embedded - known == set()
    assert set(SET_BY_SLOT) - known == set()


def test_no_other_name_of_an_argument_slips_through(spellings: list[set[str]]) -> None:
    assert [
        names - set(SET_BY_SLOT) for names in spellings if names & set(SET_BY_SLOT) and names - set(SET_BY_SLOT)
    ] == []
