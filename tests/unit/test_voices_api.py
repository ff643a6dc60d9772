import asyncio
import json
import shutil
from pathlib import Path
from typing import Any

from starlette.requests import Request

from providers.base import ModelFiles
from providers.spec import SlotSpec
from providers.voices import Voice
from serve_app.audio.voices_api import VoicesApi
from serve_app.models.store import ModelStore
from tests.support.speech_bench import Brought, Directory, speaker


class Provider:
    """Counts how often it is asked, and with what."""

    def __init__(self) -> None:
        self.asked: list[ModelFiles | None] = []

    def voices(self, slot: SlotSpec, model: ModelFiles | None) -> tuple[Voice, ...]:
        self.asked.append(model)
        return (Voice("one", "One"),)


def listed(api: VoicesApi) -> Any:
    request = Request({"type": "http", "query_string": b"", "headers": []})
    return json.loads(bytes(asyncio.run(api.voices(request)).body))["voices"]


def api_of(provider: Provider, store: ModelStore, fresh_s: float) -> VoicesApi:
    return VoicesApi(Directory((speaker(),), {}), store, Brought(), provider.voices, fresh_s)


def test_lists_are_kept_for_a_while(tmp_path: Path) -> None:
    kept, fresh = Provider(), Provider()
    for provider, fresh_s in ((kept, 3600.0), (fresh, 0.0)):
        api = api_of(provider, ModelStore(tmp_path), fresh_s)
        assert listed(api) == listed(api)
    assert (len(kept.asked), len(fresh.asked)) == (1, 2)


def test_files_are_told_of_while_they_are_here(tmp_path: Path) -> None:
    provider = Provider()
    api = api_of(provider, ModelStore(tmp_path), 0.0)
    listed(api)
    (tmp_path / "m").mkdir()
    listed(api)
    assert provider.asked == [None, ModelFiles(tmp_path / "m")]


def test_files_that_go_as_they_are_looked_at_are_not_pulled(tmp_path: Path) -> None:
    class Fleeting(ModelStore):
        def present(self, slot: SlotSpec) -> bool:
            present = super().present(slot)
            shutil.rmtree(tmp_path / "m", ignore_errors=True)
            return present

    (tmp_path / "m").mkdir()
    provider = Provider()
    assert len(listed(api_of(provider, Fleeting(tmp_path), 0.0))) == 1
    assert provider.asked == [None]


def test_a_model_of_the_hub_is_not_pulled_for_a_list(tmp_path: Path) -> None:
    class Fleeting(ModelStore):
        def present(self, slot: SlotSpec) -> bool:
            return True

    provider = Provider()
    spec = speaker(model="https://127.0.0.1:1/voices.bin")
    api = VoicesApi(Directory((spec,), {}), Fleeting(tmp_path), Brought(), provider.voices, 0.0)
    assert len(listed(api)) == 1
    assert provider.asked == [None]
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and path.suffix != ".lock"]
