"""What a provider has to say about a slot that asks too much."""

from typing import Any

import pytest

from providers.conformity import complaints
from providers.registry import PROVIDERS
from providers.spec import SlotSpec

LLAMA_CPP = PROVIDERS["llama.cpp"]


def told(**more: Any) -> list[tuple[str, str]]:
    given: dict[str, Any] = {"name": "s", "provider": "llama.cpp", "model": "m", "capabilities": ["chat"]}
    return complaints(LLAMA_CPP, SlotSpec.model_validate(given | more))


@pytest.mark.parametrize("device", ["auto", *sorted(LLAMA_CPP.devices)])
def test_nothing_to_complain_about(device: str) -> None:
    assert told(device=device, capabilities=["chat", "vision"], companions={"mmproj": "p"}) == []


@pytest.mark.parametrize(
    ("more", "key", "message"),
    [
        ({"device": "npu"}, "device", "'npu' is not allowed for llama.cpp; allowed: auto, cpu, cuda, rocm, vulkan"),
        (
            {"capabilities": ["chat", "speech"]},
            "capabilities",
            "'speech' is not allowed for llama.cpp; allowed: chat, completion, embedding, rerank, vision",
        ),
        ({"companions": {"voice": "v"}}, "companions.voice", "'voice' is not allowed for llama.cpp; allowed: mmproj"),
    ],
)
def test_a_complaint_names_the_key_and_what_is_allowed(more: dict[str, Any], key: str, message: str) -> None:
    assert told(**more) == [(key, message)]


def test_all_complaints_at_once() -> None:
    several = told(device="npu", capabilities=["speech", "transcription"], companions={"voice": "v"})
    assert [key for key, _ in several] == ["device", "capabilities", "capabilities", "companions.voice"]
