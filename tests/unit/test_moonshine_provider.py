"""What a slot on Moonshine may say, what it declares, and what it will take."""

import os
from pathlib import Path

import pytest
from pydantic import ValidationError

from providers.base import ModelFiles, Placement
from providers.capabilities import Operation
from providers.devices import Device
from providers.errors import InvalidRequest
from providers.moonshine.memory import WORK_BYTES
from providers.moonshine.options import MoonshineSlot
from providers.moonshine.provider import Moonshine
from providers.moonshine.threads import SINGLE_VARIABLE, Sharing, loading, shared
from tests.unit.test_moonshine_folder import exported, plain

PROVIDER = Moonshine()


def slot(requests: int = 2, **options: object) -> MoonshineSlot:
    given = {"name": "s", "provider": "moonshine", "model": "m", "capabilities": ["transcription"]}
    return MoonshineSlot.model_validate(given | {"parallel_requests": requests, "options": options})


def placement() -> Placement:
    return Placement(Device.CPU, "127.0.0.1", 1234, "secret", Path("/cache"), cpu_threads=3)


def test_other_languages_say_more_tokens_a_second() -> None:
    assert slot().options.tokens_per_s == slot(language="es").options.tokens_per_s == 6.5
    assert slot(language="zh").options.tokens_per_s == 13


def test_an_unknown_language_is_refused_when_configured() -> None:
    with pytest.raises(ValidationError, match="language"):
        slot(language="fr")


def test_it_transcribes_and_does_not_translate() -> None:
    assert PROVIDER.infer(Operation.TRANSCRIPTION) and PROVIDER.infer(Operation.REALTIME)
    assert PROVIDER.infer(Operation.TRANSLATION) is None


def test_a_request_in_another_language_is_refused_before_its_audio_is_heard() -> None:
    route = PROVIDER.infer(Operation.TRANSCRIPTION)
    assert route and route.translate
    route.translate({"language": "uk", "word_times": True, "keywords": ["hal0"]}, slot(language="uk"))
    with pytest.raises(InvalidRequest, match="understands: uk"):
        route.translate({"language": "en"}, slot(language="uk"))


def test_it_is_a_part_of_the_actor_unless_it_is_told_otherwise() -> None:
    model = ModelFiles(Path("/models/m"), {"tokenizer": Path("/models/t")})
    assert PROVIDER.native(slot(), model, placement()) is not None
    apart = slot(own_process=True)
    assert PROVIDER.native(apart, model, placement()) is None
    argv = PROVIDER.start_cmd(apart, model, placement()).argv
    assert "tokenizer=/models/t" in argv and "secret" not in " ".join(argv)
    assert PROVIDER.build_env(apart, model, placement())["HAL0_ENGINE_TOKEN"] == "secret"


@pytest.mark.parametrize(
    ("given", "requests", "expected"),
    [(1, 4, Sharing(1, True)), (2, 4, Sharing(2, True)), (6, 4, Sharing(4, True)), (8, 4, Sharing(1, False))],
)
def test_threads_are_shared_out(monkeypatch: pytest.MonkeyPatch, given: int, requests: int, expected: Sharing) -> None:
    monkeypatch.setattr("os.cpu_count", lambda: 8)
    assert shared(given, requests) == expected


@pytest.mark.parametrize("before", [None, "0", "1"])
def test_the_environment_is_as_it_was_after_a_load(monkeypatch: pytest.MonkeyPatch, before: str | None) -> None:
    monkeypatch.delenv(SINGLE_VARIABLE, raising=False)
    if before is not None:
        monkeypatch.setenv(SINGLE_VARIABLE, before)
    with pytest.raises(RuntimeError), loading(Sharing(1, True)):
        assert os.environ[SINGLE_VARIABLE] == "1"
        raise RuntimeError
    assert os.environ.get(SINGLE_VARIABLE) == before


def test_memory_counts_what_is_loaded_as_often_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.cpu_count", lambda: 8)
    model = ModelFiles(plain(tmp_path))
    (tmp_path / "unused.ort").write_bytes(b"x" * 9999)
    size = sum((tmp_path / name).stat().st_size for name in ("encoder_model.ort", "decoder_model_merged.ort"))
    needs = PROVIDER.memory_needs(slot(threads=3), model, Device.CPU)
    assert needs and (needs.weights_bytes, needs.cache_bytes) == (2 * size, 2 * WORK_BYTES)
    assert needs.device_bytes == 0


def test_memory_of_single_files_and_of_a_gpu(tmp_path: Path) -> None:
    exported(tmp_path)
    model = ModelFiles(
        tmp_path / "onnx/encoder_model.onnx", {"decoder_model_merged": tmp_path / "onnx/decoder_model_merged.onnx"}
    )
    needs = PROVIDER.memory_needs(slot(), model, Device.VULKAN)
    assert needs and needs.weights_bytes == 4 and needs.node_bytes == 0


def test_memory_of_what_is_no_model_is_unknown(tmp_path: Path) -> None:
    missing = ModelFiles(Path("/none/encoder_model.ort"), {"tokenizer": Path("/none/t")})
    foreign = ModelFiles(tmp_path / "e.ort", {"config": tmp_path})
    for model in (ModelFiles(tmp_path), ModelFiles(tmp_path / "none"), missing, foreign):
        assert PROVIDER.memory_needs(slot(), model, Device.CPU) is None
