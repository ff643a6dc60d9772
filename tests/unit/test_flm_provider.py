"""What the provider of FastFlowLM declares and wires together."""

from pathlib import Path
from typing import Any

import pytest

from providers.base import Endpoint, JsonObject, Node, Placement
from providers.capabilities import Operation
from providers.devices import Device
from providers.errors import UnsupportedRequest
from providers.flm.front import FlmFront
from providers.flm.library import FlmLibrary
from providers.flm.options import FlmSlot
from providers.flm.provider import Flm
from providers.registry import provider
from serve_app.config import ConfigError, parse_config
from tests.support.flm import FOLDER, environment

FLM = Flm()
OFFERED = {
    Operation.CHAT,
    Operation.RESPONSES,
    Operation.EMBEDDINGS,
    Operation.TRANSCRIPTION,
    Operation.REALTIME,
}


def slot(**more: Any) -> FlmSlot:
    given = {"name": "npu", "provider": "flm", "model": "qwen3:0.6b", "capabilities": ["chat", "transcription"]}
    return FlmSlot.model_validate(given | more)


def test_it_is_registered_under_its_name() -> None:
    assert type(provider("flm")) is Flm


@pytest.mark.parametrize("fault", [None, "driver-missing"])
def test_an_npu_is_where_flm_says_so(fault: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, text in environment(tmp_path, **({"FLM_EMULATOR_FAULT": fault} if fault else {})).items():
        monkeypatch.setenv(name, text)
    assert FLM.devices_of({"flm": FOLDER / "flm"}) == (frozenset() if fault else {Device.NPU})
    assert FLM.devices_of({}) == frozenset()


def test_a_front_stands_before_the_process_and_its_models_are_its_own() -> None:
    placement = Placement(Device.NPU, "127.0.0.1", 9000, "secret", Path("/cache"))
    assert isinstance(FLM.front(slot(), placement, Endpoint("http://127.0.0.1:9001", "")), FlmFront)
    library = FLM.own_models(slot(), Node({}, {"HOME": "/nowhere"}, Path("/nowhere/cache")))
    assert isinstance(library, FlmLibrary) and not library.present()


def test_what_it_can_be_asked() -> None:
    assert {one for one in Operation if FLM.infer(one) is not None} == OFFERED


@pytest.mark.parametrize("asked", [{"word_times": True}, {"keywords": ["hal0"]}])
def test_what_its_whisper_cannot_tell_is_refused(asked: JsonObject) -> None:
    route = FLM.infer(Operation.TRANSCRIPTION)
    assert route and route.translate
    request: JsonObject = {"language": "de", "word_times": False, "keywords": []}
    assert route.translate(request, slot()).request is None
    with pytest.raises(UnsupportedRequest):
        route.translate(request | asked, slot())


def test_role_aliases_name_what_the_slot_offers() -> None:
    raw = {"name": "npu", "provider": "flm", "model": "qwen3:0.6b", "capabilities": ["chat", "embedding"]}
    config = parse_config({"slots": [raw | {"role_aliases": {"embed-npu": "embedding"}}]})
    assert config.slots[0].role_aliases == {"embed-npu": "embedding"}
    with pytest.raises(ConfigError, match="stt-npu"):
        parse_config({"slots": [raw | {"role_aliases": {"stt-npu": "transcription"}}]})
