"""Which slot a name means, and what a slot cannot do."""

from typing import Any

import pytest

from providers.capabilities import Capability, Operation
from providers.registry import PROVIDERS
from providers.spec import SlotSpec
from serve_app import directory as module
from serve_app.directory import SlotDirectory
from serve_app.errors import BadRequest


def slot(name: str, *aliases: str, model: str = "m.gguf", capability: Capability = Capability.CHAT) -> SlotSpec:
    return SlotSpec(name=name, aliases=aliases, provider="llama.cpp", model=model, capabilities=(capability,))


CHAT = slot("chat", "gpt", model="hf://a/b")
EMBED = slot("embed", model="hf://a/b", capability=Capability.EMBEDDING)


@pytest.fixture
def directory() -> SlotDirectory:
    return SlotDirectory((CHAT, EMBED))


def refusal_of(directory: SlotDirectory, name: object) -> BadRequest:
    with pytest.raises(BadRequest) as refused:
        directory.find(name, Operation.CHAT)
    return refused.value


@pytest.mark.parametrize("name", ["chat", "hal0/chat", "gpt", "hal0/chat"])
def test_a_slot_is_found_by_every_name(directory: SlotDirectory, name: str) -> None:
    assert directory.find(name, Operation.CHAT) is CHAT


def test_a_model_means_the_first_slot_that_has_it(directory: SlotDirectory) -> None:
    assert directory.find("hf://a/b", Operation.CHAT) is CHAT


def test_a_name_goes_before_another_slots_model() -> None:
    named = slot("x", model="y")
    assert SlotDirectory((slot("a", model="x"), named)).find("x", Operation.CHAT) is named


def test_a_missing_name_is_asked_for(directory: SlotDirectory) -> None:
    error = refusal_of(directory, None)
    assert (error.status, error.code, error.param) == (400, "missing_model", "model")
    assert "chat, embed" in str(error)


@pytest.mark.parametrize("name", [7, ["chat"], {"name": "chat"}, True])
def test_a_name_is_a_string(directory: SlotDirectory, name: object) -> None:
    assert (refusal_of(directory, name).status, refusal_of(directory, name).code) == (400, "invalid_type")


def test_an_unknown_name_is_refused_with_the_known_ones(directory: SlotDirectory) -> None:
    error = refusal_of(directory, "Chat" * 1000)
    assert (error.status, error.code) == (404, "model_not_found")
    assert "chat, embed" in str(error) and len(str(error)) < 400


def test_a_route_is_the_providers(directory: SlotDirectory) -> None:
    expected = PROVIDERS["llama.cpp"].infer(Operation.CHAT)
    assert expected is not None
    assert directory.route(CHAT, Operation.CHAT).path == expected.path


def test_a_slot_without_the_capability_says_who_has_it(directory: SlotDirectory) -> None:
    with pytest.raises(BadRequest) as refused:
        directory.route(EMBED, Operation.CHAT)
    assert (refused.value.status, refused.value.code) == (400, "unsupported_capability")
    assert "Slots that can: chat." in str(refused.value)
    with pytest.raises(BadRequest, match="No slot of this server can"):
        directory.route(EMBED, Operation.RERANK)


def test_what_needs_no_capability_is_open_to_every_slot(directory: SlotDirectory) -> None:
    assert directory.route(EMBED, Operation.TOKENIZE).path


def test_an_engine_without_the_route(monkeypatch: pytest.MonkeyPatch) -> None:
    class Poor:
        def infer(self, operation: Operation) -> Any:
            return None

    monkeypatch.setattr(module, "provider", lambda name: Poor())
    with pytest.raises(BadRequest) as refused:
        SlotDirectory((CHAT,)).route(CHAT, Operation.CHAT)
    assert (refused.value.status, refused.value.code) == (501, "unsupported_operation")


def test_the_name_of_a_role_stands_for_that_alone() -> None:
    both = SlotSpec(
        name="npu",
        role_aliases={"embed-npu": Capability.EMBEDDING},
        provider="llama.cpp",
        model="m.gguf",
        capabilities=(Capability.CHAT, Capability.EMBEDDING),
    )
    directory = SlotDirectory((both,))
    assert directory.find("embed-npu", Operation.EMBEDDINGS) is both
    assert directory.find("npu", Operation.EMBEDDINGS) is directory.find("npu", Operation.CHAT) is both
    with pytest.raises(BadRequest, match="is the embedding of slot 'npu'; name the slot itself for chat") as refused:
        directory.find("embed-npu", Operation.CHAT)
    assert (refused.value.status, refused.value.param) == (400, "model")
