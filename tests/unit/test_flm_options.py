"""What a slot on FastFlowLM may say, and how the rest is refused."""

from typing import Any

import pytest

from providers.capabilities import Capability
from providers.flm.options import SET_BY_SLOT, FlmSlot
from serve_app.config import ConfigError, parse_slot
from tests.emulators.flm.options import OPTIONS, POSITIONS

CHAT, HEARING, EMBEDDING = "qwen3:4b", "whisper-v3:turbo", "embed-gemma:300m"
LEFT_TO_USERS = {"prompt", "quiet"}


def slot(model: str = CHAT, capabilities: tuple[str, ...] = ("chat",), **more: Any) -> FlmSlot:
    given = {"name": "npu", "provider": "flm", "model": model, "capabilities": list(capabilities)}
    parsed = parse_slot(given | more)
    assert isinstance(parsed, FlmSlot)
    return parsed


def refusal(*arguments: Any, **more: Any) -> str:
    with pytest.raises(ConfigError) as refused:
        slot(*arguments, **more)
    (problem,) = refused.value.problems
    return problem


@pytest.mark.parametrize(
    ("capabilities", "models"),
    [
        (("chat",), {"chat": CHAT}),
        (("chat", "vision"), {"chat": CHAT, "vision": CHAT}),
        (("chat", "embedding", "transcription"), {"chat": CHAT, "embedding": EMBEDDING, "transcription": HEARING}),
    ],
)
def test_the_models_of_the_roles_come_by_themselves(capabilities: tuple[str, ...], models: dict[str, str]) -> None:
    assert slot(CHAT, capabilities).models == {Capability(role): model for role, model in models.items()}


@pytest.mark.parametrize(
    ("model", "capabilities"),
    [
        (EMBEDDING, ("embedding",)),
        (HEARING, ("transcription",)),
        (HEARING, ("embedding", "transcription")),
        (EMBEDDING, ("embedding", "transcription")),
    ],
)
def test_without_chat_the_model_is_one_of_the_roles(model: str, capabilities: tuple[str, ...]) -> None:
    assert model in slot(model, capabilities).models.values()


@pytest.mark.parametrize(
    ("model", "capabilities", "expected"),
    [
        # flm would load another model for each of these, without a word.
        ("qwen3", ("chat",), "'qwen3' is not allowed; allowed: the tag of a chat model, family:size"),
        (HEARING, ("chat",), f"'{HEARING}' is not allowed; allowed: the tag of a chat model"),
        (EMBEDDING, ("chat", "embedding"), f"'{EMBEDDING}' is not allowed; allowed: the tag of a chat model"),
        (CHAT, ("vision",), "vision comes with chat"),
        (CHAT, ("embedding",), f"'{CHAT}' is not allowed without capability chat; allowed: {EMBEDDING}"),
        (CHAT, ("transcription",), f"allowed: {HEARING}"),
        (HEARING, ("embedding",), f"allowed: {EMBEDDING}"),
        (CHAT, ("embedding", "transcription"), f"allowed: {EMBEDDING} or {HEARING}"),
        (CHAT, ("speech",), "'speech'"),
    ],
)
def test_a_model_that_cannot_serve_its_slot(model: str, capabilities: tuple[str, ...], expected: str) -> None:
    assert expected in refusal(model, capabilities)


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ({"device": "vulkan"}, ["slot (npu).device", "'vulkan'", "npu"]),
        ({"context_size": 511}, ["slot (npu).context_size", "511", "512"]),
        ({"companions": {"mmproj": "f"}}, ["slot (npu).companions", "mmproj"]),
        ({"options": {"power_mode": "fast"}}, ["options.power_mode", "'fast'", "'turbo'"]),
        ({"options": {"image_resize": 9}}, ["options.image_resize", "9", "8"]),
        ({"options": {"prefill_chunk": 100}}, ["options.prefill_chunk", "100", "512"]),
        ({"options": {"env": {"A B": "x"}}}, ["options.env", "'A B'"]),
        ({"options": {"binary": "flm", "container": {"image": "i"}}}, ["options", "binary and container exclude"]),
        ({"options": {"threads": 2}}, ["options.threads", "unknown key", "power_mode"]),
    ],
)
def test_a_mistake_is_named(more: dict[str, Any], expected: list[str]) -> None:
    problem = refusal(**more)
    assert [word for word in expected if word not in problem] == [], problem


@pytest.mark.parametrize(
    ("argument", "key"),
    [
        ("--ctx-len", "context_size"),
        ("--ctx-len=512", "context_size"),
        ("--ctx", "context_size"),
        ("-c", "context_size"),
        ("-c512", "context_size"),
        ("-pcl", "options.prefill_chunk"),
        ("--prefill", "options.prefill_chunk"),
        ("--asr", "capabilities"),
        ("-e1", "capabilities"),
        ("-p80", "nothing"),
        ("--host=::", "nothing"),
        ("--q-len", "nothing"),
        ("--cors", "nothing"),
    ],
)
def test_arguments_that_a_key_sets_are_refused(argument: str, key: str) -> None:
    problem = refusal(options={"extra_args": ["--quiet", argument]})
    assert f"is set by {key}" in problem and argument.partition("=")[0] in problem


def test_every_argument_of_flm_is_either_a_keys_or_the_users() -> None:
    kept = {name.removeprefix("--") for name in SET_BY_SLOT if name.startswith("--")}
    assert kept | LEFT_TO_USERS == {option.name for option in OPTIONS} - set(POSITIONS)
    assert {f"-{option.short}" for option in OPTIONS if option.short and option.name in kept} <= set(SET_BY_SLOT)
    extra = ("--quiet", "--modelscope", "1", "-i", "prompt.txt")
    assert slot(options={"extra_args": list(extra)}).options.extra_args == extra


def test_it_has_the_npu_alone() -> None:
    assert slot().device_claim == 1.0
