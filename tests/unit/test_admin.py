"""What OpenAI's clients are told of the server: models and health."""

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from starlette.routing import Route, Router
from starlette.types import Receive, Scope, Send

from providers.capabilities import Capability
from providers.spec import SlotSpec
from serve_app.admin import Admin, load_status, modalities
from serve_app.edge import Edge
from serve_app.lifecycle import LOADING, RESIDENT, SlotState
from serve_app.placement import Claim
from serve_app.security import Door, Keys
from serve_app.slot_entry import SlotEntry, record_of


class Adapted(SlotSpec):
    @property
    def adapters(self) -> tuple[str, ...]:
        return tuple(self.companions)


def entry(name: str, *aliases: str, model: str = "hf://a/b") -> SlotEntry:
    capabilities = (Capability.CHAT, Capability.VISION)
    spec = Adapted(
        name=name,
        aliases=aliases,
        role_aliases={f"see-{name}": Capability.VISION} if name == "other" else {},
        companions={"french": "hf://a/lora"} if name == "other" else {},
        provider="p",
        model=model,
        capabilities=capabilities,
        description="d",
    )
    return SlotEntry(spec, "cpu", Claim(0, 0, 0, {}), 0.0)


@pytest.fixture
async def http() -> AsyncIterator[httpx.AsyncClient]:
    """Behind the edge, on records as the board makes them."""

    async def records() -> list[dict[str, Any]]:
        chat = record_of(entry("chat", "gpt")) | {"state": "pulling", "progress": {"fraction": 0.5}}
        return [chat, record_of(entry("other", model="m.gguf")) | {"state": "idle"}]

    admin = Admin(records, created=1000)
    router = Router(
        [
            Route("/v1/models", admin.models),
            Route("/v1/models/{name:path}", admin.model),
            Route("/health", admin.health),
        ]
    )

    async def within_an_application(scope: Scope, receive: Receive, send: Send) -> None:
        await router({**scope, "app": router}, receive, send)

    app = Edge(within_an_application, Keys(()), Door(Keys(()), True, frozenset()))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://hal0") as client:
        yield client


async def test_the_list_has_what_openais_clients_need_and_how_each_slot_stands(http: httpx.AsyncClient) -> None:
    answer = (await http.get("/v1/models")).json()
    assert answer["object"] == "list"
    chat, other, role, adapted = answer["data"]
    assert chat == {
        "id": "chat",
        "object": "model",
        "created": 1000,
        "owned_by": "hal0",
        "aliases": ["gpt"],
        "description": "d",
        "capabilities": ["chat", "vision"],
        "context_length": 4096,
        "architecture": {"input_modalities": ["text", "image"], "output_modalities": ["text"]},
        "state": "pulling",
        "status": {"value": "loading", "progress": {"fraction": 0.5}},
    }
    assert (other["id"], other["status"]) == ("other", {"value": "loaded"})
    assert role == other | {"id": "see-other", "capabilities": ["vision"], "architecture": role["architecture"]}
    assert adapted == other | {"id": "french", "parent": "other"}
    assert (await http.get("/v1/models/french")).json() == adapted


async def test_the_name_of_a_role_is_a_model_that_has_no_other(http: httpx.AsyncClient) -> None:
    answer = (await http.get("/v1/models/see-other")).json()
    assert (answer["id"], answer["capabilities"], answer["state"]) == ("see-other", ["vision"], "idle")


@pytest.mark.parametrize("name", ["chat", "hal0/chat", "gpt", "hf://a/b"])
async def test_a_model_is_found_by_each_of_its_names_and_answers_to_it(http: httpx.AsyncClient, name: str) -> None:
    answer = await http.get(f"/v1/models/{name}")
    assert (answer.status_code, answer.json()["id"], answer.json()["state"]) == (200, name, "pulling")


async def test_an_unknown_model_is_a_404_with_the_known_ones(http: httpx.AsyncClient) -> None:
    answer = await http.get(f"/v1/models/{'x' * 1000}")
    error = answer.json()["error"]
    assert (answer.status_code, error["code"], error["param"]) == (404, "model_not_found", "model")
    assert "chat, other" in error["message"] and len(error["message"]) < 400


async def test_health_needs_no_slot(http: httpx.AsyncClient) -> None:
    assert (await http.get("/health")).json() == {"status": "ok"}


@pytest.mark.parametrize("state", list(SlotState))
def test_every_state_has_a_word_that_other_clients_know(state: SlotState) -> None:
    expected = "loaded" if state in RESIDENT else "loading" if state in LOADING else "unloaded"
    assert load_status(state.value) == expected


@pytest.mark.parametrize(
    ("capabilities", "inputs", "outputs"),
    [
        (["chat"], ["text"], ["text"]),
        (["chat", "vision"], ["text", "image"], ["text"]),
        (["embedding"], ["text"], ["embedding"]),
        (["transcription"], ["audio"], ["text"]),
        (["speech"], ["text"], ["audio"]),
        (["chat", "embedding", "transcription"], ["text", "audio"], ["text", "embedding"]),
    ],
)
def test_what_goes_in_and_what_comes_out(capabilities: list[str], inputs: list[str], outputs: list[str]) -> None:
    assert modalities(capabilities) == {"input_modalities": inputs, "output_modalities": outputs}
