"""What the server tells OpenAI's clients of itself: models, health."""

from collections.abc import Awaitable, Callable
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from providers.capabilities import Capability
from serve_app.errors import BadRequest
from serve_app.lifecycle import LOADING, RESIDENT, SlotState

Record = dict[str, Any]
ReadRecords = Callable[[], Awaitable[list[Record]]]

LOADED, LOADS, UNLOADED = "loaded", "loading", "unloaded"


class Admin:
    """`read_records` asks the board; `created` is when the server started, in Unix seconds."""

    def __init__(self, read_records: ReadRecords, created: int) -> None:
        self._read_records, self._created = read_records, created

    async def models(self, _: Request) -> Response:
        """OpenAI's list, with the state of each slot: https://platform.openai.com/docs/api-reference/models"""
        data = []
        for record in await self._read_records():
            data.append(self._model(record))
            data += [self._role(record, alias) for alias in record["role_aliases"]]
            data += [self._adapted(record, adapter) for adapter in record["adapters"]]
        return JSONResponse({"object": "list", "data": data})

    async def model(self, request: Request) -> Response:
        """One model by any of its names."""
        name = request.path_params["name"]
        records = await self._read_records()
        for record in records:
            if name in record["role_aliases"]:
                return JSONResponse(self._role(record, name))
            if name in record["adapters"]:
                return JSONResponse(self._adapted(record, name))
            if name in (record["name"], f"hal0/{record['name']}", record["model"], *record["aliases"]):
                return JSONResponse(self._model(record) | {"id": name})
        known = ", ".join(name for record in records for name in _listed(record))
        message = f"The model '{name[:200]}' does not exist. There are: {known}."
        raise BadRequest(404, message, "model_not_found", "model")

    async def health(self, _: Request) -> Response:
        """Open without a key. Whether slots are loaded does not matter: they load when they are asked for."""
        return JSONResponse({"status": "ok"})

    def _role(self, record: Record, alias: str) -> Record:
        """The slot as it is under the name of one of its capabilities."""
        narrowed = {"name": alias, "aliases": [], "capabilities": [record["role_aliases"][alias]]}
        return self._model(record | narrowed)

    def _adapted(self, record: Record, adapter: str) -> Record:
        """`parent`, as vLLM has it: the model that the adapter adds to."""
        return self._model(record | {"name": adapter, "aliases": []}) | {"parent": record["name"]}

    def _model(self, record: Record) -> Record:
        capabilities, progress = record["capabilities"], record["progress"]
        return {
            "id": record["name"],
            "object": "model",
            "created": self._created,
            "owned_by": "hal0",
            "aliases": record["aliases"],
            "description": record["description"],
            "capabilities": capabilities,
            "context_length": record["context_size"],
            "architecture": modalities(capabilities),
            "state": record["state"],
            "status": {"value": load_status(record["state"])} | ({"progress": progress} if progress else {}),
        }


def _listed(record: Record) -> tuple[str, ...]:
    return (record["name"], *record["role_aliases"], *record["adapters"])


def load_status(state: str) -> str:
    """Serving's states in the three words that clients of llama-server's router know."""
    if SlotState(state) in RESIDENT:
        return LOADED
    return LOADS if SlotState(state) in LOADING else UNLOADED


def modalities(capabilities: list[str]) -> Record:
    inputs = ["text"] if set(capabilities) - {Capability.TRANSCRIPTION, Capability.TRANSLATION} else []
    inputs += ["image"] if Capability.VISION in capabilities else []
    inputs += ["audio"] if {Capability.TRANSCRIPTION, Capability.TRANSLATION} & set(capabilities) else []
    others = {"embedding": Capability.EMBEDDING, "audio": Capability.SPEECH}
    outputs = ["text"] if set(capabilities) - set(others.values()) else []
    outputs += [name for name, capability in others.items() if capability in capabilities]
    return {"input_modalities": inputs, "output_modalities": outputs}
