"""What every provider promises to the slots, whichever engine it knows. A new one is tested by being registered."""

import copy
import json
import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from providers.base import Command, Endpoint, HealthState, ModelFiles, Node, Placement, Provider
from providers.capabilities import NEEDED_CAPABILITY, Capability, Operation
from providers.devices import Device
from providers.errors import EngineError, ProviderError
from providers.registry import PROVIDERS, provider
from providers.spec import SlotSpec

TOKEN = "token-of-this-load"
PAIRS = [(one, device) for one in PROVIDERS.values() for device in sorted(one.devices)]
ROUTES = [
    pytest.param(route, id=f"{one.name}-{operation}")
    for one in PROVIDERS.values()
    for operation in Operation
    if (route := one.infer(operation)) is not None
]
ASKED_BY: dict[Capability, Capability] = {Capability.VISION: Capability.CHAT}
"""Capabilities without an operation of their own, and the one whose operations ask for them."""
MODELS: dict[str, dict[Capability, str]] = {
    "flm": {
        Capability.CHAT: "qwen3:4b",
        Capability.EMBEDDING: "embed-gemma:300m",
        Capability.TRANSCRIPTION: "whisper-v3:turbo",
    }
}
"""A model for each capability, where a provider knows its models by name and refuses others."""

each_provider = pytest.mark.parametrize("one", PROVIDERS.values(), ids=list(PROVIDERS))
each_placement = pytest.mark.parametrize(("one", "device"), PAIRS, ids=lambda value: getattr(value, "name", str(value)))
AnyProvider = Provider[Any]


def slot(one: AnyProvider, capability: Capability) -> SlotSpec:
    asked = ASKED_BY.get(capability, capability)
    name = MODELS.get(one.name, {}).get(asked, "model")
    given = {"name": "s", "provider": one.name, "model": name, "capabilities": sorted({asked, capability})}
    return one.spec.model_validate(given | {"companions": {role: "file" for role in one.companions}})


def slots(one: AnyProvider) -> list[SlotSpec]:
    return [slot(one, capability) for capability in sorted(one.capabilities)]


def model(one: AnyProvider) -> ModelFiles:
    return ModelFiles(Path("/models/model"), {role: Path("/models", role) for role in one.companions})


def told(one: AnyProvider, given: SlotSpec) -> str:
    """How an engine is told of its model: by its files, or by its name, where the engine finds the files itself."""
    own = one.own_models(given, Node({}, {}, Path("/nowhere/cache")))
    return str(model(one).main) if own is None else given.model


def placement(one: AnyProvider, device: Device, with_programs: bool = True) -> Placement:
    return Placement(
        device=device,
        host="127.0.0.1",
        port=9000,
        token=TOKEN,
        cache_dir=Path("/nowhere/cache"),
        accelerator_ids=("1",),
        programs={name: Path("/nowhere/bin", name) for name in one.programs} if with_programs else {},
        base_env={"PATH": "/bin", "HOME": "/nowhere"},
    )


@contextmanager
def no_world() -> Iterator[None]:
    """No file, no socket, no process."""

    def refuse(*arguments: object, **_named: object) -> None:
        raise AssertionError(f"not pure: {arguments}")

    with pytest.MonkeyPatch.context() as patch:
        for touching in ("builtins.open", "io.open", *(f"os.{name}" for name in ("open", "stat", "mkdir", "listdir"))):
            patch.setattr(touching, refuse)
        patch.setattr(socket, "socket", refuse)
        patch.setattr(subprocess, "Popen", refuse)
        yield


@each_provider
def test_the_class_tells_what_it_is(one: AnyProvider) -> None:
    assert provider(one.name) is one
    assert one.name and one.name == one.name.strip()
    assert isinstance(one.spec, type) and issubclass(one.spec, SlotSpec)
    assert one.capabilities and all(isinstance(capability, Capability) for capability in one.capabilities)
    assert one.devices and all(isinstance(device, Device) for device in one.devices)
    assert all(isinstance(name, str) and name for name in (*one.companions, *one.programs))
    assert vars(one) == {}, "a provider is stateless"


def test_an_unknown_provider_is_a_key_error() -> None:
    with pytest.raises(KeyError):
        provider("none such")


@pytest.mark.parametrize("with_programs", [True, False])
@each_placement
def test_command_and_environment_are_pure(one: AnyProvider, device: Device, with_programs: bool) -> None:
    for given in slots(one):
        arguments = (given, model(one), placement(one, device, with_programs))
        before = copy.deepcopy(arguments)
        with no_world():
            answers = [(one.build_env(*each), _command_or_advice(one.start_cmd, *each)) for each in (arguments, before)]
        assert answers[0] == answers[1]
        assert arguments == before


@each_placement
def test_the_environment_is_complete_and_its_own(one: AnyProvider, device: Device) -> None:
    for given in slots(one):
        where = placement(one, device)
        env = one.build_env(given, model(one), where)
        assert all(isinstance(text, str) and "\0" not in text for pair in env.items() for text in pair)
        assert {"PATH", "HOME"} <= set(env)
        env["PATH"] = "changed"
        assert where.base_env["PATH"] == "/bin"


@each_placement
def test_an_argv_is_for_everybody_to_read(one: AnyProvider, device: Device) -> None:
    for given in slots(one):
        command = one.start_cmd(given, model(one), placement(one, device))
        assert command.argv and all(isinstance(argument, str) for argument in (*command.argv, *command.cleanup))
        assert not any(TOKEN in argument for argument in (*command.argv, *command.cleanup))


@each_placement
def test_slots_do_not_share_what_tells_them_apart(one: AnyProvider, device: Device) -> None:
    given = slots(one)[0]
    command = one.start_cmd(given, model(one), placement(one, device))
    assert told(one, given) in command.argv
    assert any("9000" in argument for argument in command.argv)


@each_placement
def test_needs_never_raise_whatever_the_files_are(one: AnyProvider, device: Device, tmp_path: Path) -> None:
    for content in (None, b"", b"GGUF", b"\xff" * 10_000):
        files = {role: tmp_path / role for role in ("main", *one.companions)}
        for path in files.values():
            if content is not None:
                path.write_bytes(content)
        given = ModelFiles(files.pop("main"), files)
        for each in slots(one):
            needs = one.memory_needs(each, given, device)
            assert needs is None or (needs.total_bytes >= 0 and 0 <= needs.device_share <= 1)


@each_provider
def test_progress_is_a_share_or_unknown(one: AnyProvider) -> None:
    with no_world():
        for output in ("", "\n", "x" * 10_000, "." * 50, "a\nb\n.....", "50%", '{"value": 0.5}', "\0\ufffd"):
            progress = one.load_progress(output)
            assert progress is None or 0 <= progress <= 1
            assert progress == one.load_progress(output)


@each_provider
def test_every_operation_has_an_answer(one: AnyProvider) -> None:
    routes = {operation: one.infer(operation) for operation in Operation}
    assert routes == {operation: one.infer(operation) for operation in Operation}
    for route in filter(None, routes.values()):
        assert route.path.startswith("/") and "?" not in route.path
        assert route.method in ("GET", "POST")


@each_provider
def test_every_capability_can_be_asked_for(one: AnyProvider) -> None:
    offered = {NEEDED_CAPABILITY[operation] for operation in Operation if one.infer(operation) is not None}
    assert {ASKED_BY.get(capability, capability) for capability in one.capabilities} <= offered


ENVELOPES: tuple[object, ...] = (
    {"error": "text"},
    {"error": None},
    {"error": ["a", "list"]},
    {"error": {"code": 400, "message": "m", "type": "invalid_request_error"}},
    {"error": {"message": None, "type": 7, "code": None}},
    {"error": {"message": {"not": "text"}}},
    {"error": {}},
    {"message": "m"},
    {"detail": "m"},
    {"detail": [{"loc": ["body"], "msg": "m", "type": "missing"}]},
    {"object": "error", "message": "m", "code": 400},
    None,
    [],
    "text",
    {},
)
BODIES = (
    b"",
    b"\xff\xfe\x00",
    b"<html><body>502 Bad Gateway</body></html>",
    b"x" * 100_000,
    *(json.dumps(envelope).encode() for envelope in ENVELOPES),
)


@pytest.mark.parametrize("status", [400, 401, 403, 404, 405, 413, 415, 422, 429, 499, 500, 501, 502, 503, 504, 599])
@pytest.mark.parametrize("route", ROUTES)
def test_any_error_of_the_engine_becomes_the_clients(route: Any, status: int) -> None:
    for body in BODIES:
        error = route.error(status, body)
        assert isinstance(error, EngineError), body
        assert 400 <= error.status < 600
        assert error.type and isinstance(error.type, str)
        assert error.message and isinstance(error.message, str)
        assert error.code is None or isinstance(error.code, str)
        assert error.param is None or isinstance(error.param, str)


@each_provider
async def test_no_engine_yet_is_a_start_and_no_error(one: AnyProvider) -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))  # bound, but nobody listens
        health = await one.health(Endpoint(f"http://127.0.0.1:{bound.getsockname()[1]}", TOKEN))
    assert health.state is HealthState.STARTING


def _command_or_advice(start: Callable[..., Command], *arguments: Any) -> Command | str:
    try:
        return start(*arguments)
    except ProviderError as refusal:
        assert str(refusal)
        return str(refusal)
