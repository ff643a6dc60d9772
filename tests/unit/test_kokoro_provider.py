"""What a slot on Kokoro may say, what it declares, and what it will take."""

from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from providers.base import JsonObject, ModelFiles, Placement
from providers.capabilities import Operation
from providers.devices import Device
from providers.errors import InvalidRequest
from providers.kokoro.memory import SENTENCE_BYTES
from providers.kokoro.names import DEFAULT_VOICE, language_of, voice_of
from providers.kokoro.provider import Kokoro
from providers.kokoro.synthesizer import language
from providers.tts.messages import SpeechRequest
from providers.tts.synthesizer import Share
from providers.voices import Voice
from tests.support.kokoro_voice import placement, slot

PROVIDER = Kokoro()
MODEL = ModelFiles(Path("/models/m.onnx"), {"voices": Path("/models/v.bin")})


def translated(options: dict[str, object] | None = None, **request: object) -> SpeechRequest:
    route = PROVIDER.infer(Operation.SPEECH)
    assert route and route.translate
    made = route.translate({"input": "hello", **request}, slot(options)).request  # type: ignore[dict-item]
    return SpeechRequest.model_validate(made)


def test_there_are_54_voices_in_nine_languages() -> None:
    voices = PROVIDER.voices(slot(), None)
    assert len(voices) == len({voice.id for voice in voices}) == 54
    assert {voice.language for voice in voices} == {"en-US", "en-GB", "es", "fr", "hi", "it", "ja", "pt-BR", "zh"}
    assert {voice.gender for voice in voices} == {"female", "male"}
    assert DEFAULT_VOICE in {voice.id for voice in voices}


@pytest.mark.parametrize(
    ("name", "known", "title", "gender"),
    [
        ("af_heart", "en-US", "Heart (en-US, female)", "female"),
        ("zm_009", "zh", "009 (zh, male)", "male"),
        ("af", "en-US", "af (en-US, female)", "female"),
        ("somebody", None, "somebody", ""),
        ("xf_new", None, "xf_new", ""),
        ("a", None, "a", ""),
        ("", None, "", ""),
    ],
)
def test_a_name_tells_what_it_can(name: str, known: str | None, title: str, gender: str) -> None:
    voice = voice_of(name)
    assert (language_of(name), voice.name, voice.gender) == (known, title, gender)
    assert voice.language == (known or "")


def test_voices_are_those_of_the_file_and_aliases(tmp_path: Path) -> None:
    silent = np.zeros((510, 1, 256), np.float32)
    np.savez(tmp_path / "v.npz", af_sky=silent, my_own=silent, af=silent)
    model = ModelFiles(tmp_path / "m.onnx", {"voices": tmp_path / "v.npz"})
    (tmp_path / "m.onnx").write_bytes(b"\x08")
    aliases = {"nova": "af_nova", "mix": "af_sky(2)+bm_lewis"}
    listed = PROVIDER.voices(slot({"voice_aliases": aliases, "further_voices": ["my_own"]}), model)
    assert [voice.id for voice in listed] == ["af_sky", "my_own", "mix", "nova"]
    assert listed[2] == Voice("mix", "mix (af_sky(2)+bm_lewis)", "en-US")
    assert listed[3] == Voice("nova", "nova (af_nova)", "en-US", "female")


@pytest.mark.parametrize("content", [None, b"", b"PK\3\4broken", b"<html>"])
def test_voices_of_a_broken_file_are_the_usual_ones(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "voices-v1.0.bin").write_bytes(content)
        (tmp_path / "kokoro-v1.0.onnx").write_bytes(content)
    assert len(PROVIDER.voices(slot(), ModelFiles(tmp_path))) == 54


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"default_voice": "af_bela"}, "default_voice: Kokoro has no voice 'af_bela'"),
        ({"voice_aliases": {"nova": "af_nova+nobody"}}, "voice_aliases.nova: Kokoro has no voice 'nobody'"),
        ({"voice_aliases": {"nova": "af_nova(0)"}}, r"voice_aliases.nova: 'af_nova\(0\)' is no voice: a ratio"),
    ],
)
def test_a_voice_that_is_not_there_is_refused_when_configured(options: dict[str, object], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        slot(options)


def test_defaults_may_be_blends_aliases_and_further_voices() -> None:
    further: dict[str, object] = {
        "further_voices": ["my_own"],
        "default_voice": "me",
        "voice_aliases": {"me": "my_own"},
    }
    assert translated(further).blend[0].voice == "my_own"
    assert len(translated({"default_voice": "af_sky+af_bella"}).blend) == 2
    assert translated().blend[0].voice == DEFAULT_VOICE


def test_requests_are_checked_before_the_model_is_woken() -> None:
    asked = translated({"voice_aliases": {"alloy": "af_alloy"}}, voice="alloy(1)+bm_george(3)", speed=2, lang_code="en")
    assert [(share.voice, share.weight) for share in asked.blend] == [("af_alloy", 0.25), ("bm_george", 0.75)]
    assert (asked.speed, asked.language) == (2.0, "en")
    with pytest.raises(InvalidRequest, match="'af_bela' does not exist. Did you mean: .*af_bella"):
        translated(voice="af_bela")


def test_it_speaks_and_does_nothing_else() -> None:
    assert {operation for operation in Operation if PROVIDER.infer(operation)} == {Operation.SPEECH}


@pytest.mark.parametrize(
    ("voices", "wanted", "meant"),
    [
        (["af_sky"], None, "en-US"),
        (["bf_emma", "ef_dora"], None, "en-GB"),
        (["af_sky"], "en", "en-US"),
        (["bf_emma"], "en", "en-GB"),
        (["bf_emma"], "en-us", "en-US"),
        (["bf_emma"], "en-AU", "en-GB"),
        (["pf_dora"], "pt", "pt-BR"),
        (["pf_dora"], "pt-PT", "pt-BR"),
        (["zf_xiaoni"], "cmn", "zh"),
        (["zf_xiaoni"], "zh-Hant-TW", "zh"),
        (["ef_dora"], "e", "es"),
        (["af_sky", "ef_dora"], "es-MX", "es"),
        (["my_own"], None, "en-US"),
        (["my_own"], "fr-CA", "fr"),
    ],
)
def test_the_language_that_is_meant(voices: list[str], wanted: str | None, meant: str) -> None:
    assert language([Share(voice, 1 / len(voices)) for voice in voices], wanted) == meant


@pytest.mark.parametrize(
    ("voices", "wanted", "said"),
    [
        (["af_sky"], "fr", "Voice 'af_sky' speaks en-US, not 'fr'"),
        (["af_sky", "ef_dora"], "de", "Voice 'af_sky' and 'ef_dora' speak en-US, es, not 'de'"),
        (["my_own"], "de", "Voice 'my_own' speaks en-GB, en-US, es, fr, hi, it, ja, pt-BR, zh, not 'de'"),
    ],
)
def test_languages_that_are_not_spoken(voices: list[str], wanted: str, said: str) -> None:
    with pytest.raises(InvalidRequest, match=said):
        language([Share(voice, 1 / len(voices)) for voice in voices], wanted)


def test_it_is_a_part_of_the_actor_unless_it_is_told_otherwise() -> None:
    assert PROVIDER.native(slot(), MODEL, placement(Path("/cache"))) is not None
    apart = slot({"own_process": True})
    assert PROVIDER.native(apart, MODEL, placement(Path("/cache"))) is None
    argv = PROVIDER.start_cmd(apart, MODEL, placement(Path("/cache"))).argv
    assert "voices=/models/v.bin" in argv and "token" not in argv
    assert PROVIDER.build_env(apart, MODEL, placement(Path("/cache")))["HAL0_ENGINE_TOKEN"] == "token"


@pytest.mark.parametrize(("device", "seen"), [(Device.CUDA, "2,3"), (Device.VULKAN, None), (Device.CPU, None)])
def test_a_process_of_its_own_sees_the_slots_gpus(device: Device, seen: str | None) -> None:
    where = Placement(device, "127.0.0.1", 1, "token", Path("/cache"), accelerator_ids=("2", "3"))
    apart = slot({"own_process": True})
    assert PROVIDER.build_env(apart, MODEL, where).get("CUDA_VISIBLE_DEVICES") == seen
    own = slot({"own_process": True, "env": {"CUDA_VISIBLE_DEVICES": "0"}})
    assert PROVIDER.build_env(own, MODEL, where)["CUDA_VISIBLE_DEVICES"] == "0"


def test_memory_is_that_of_weights_voices_and_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "kokoro-v1.0.onnx").write_bytes(b"\x08" * 1000)
    (tmp_path / "voices-v1.0.bin").write_bytes(b"PK" * 50)
    needs = PROVIDER.memory_needs(slot(), ModelFiles(tmp_path), Device.CPU)
    assert needs and (needs.weights_bytes, needs.cache_bytes, needs.device_bytes) == (1100, SENTENCE_BYTES, 0)
    (tmp_path / "voices").mkdir()
    for name in ("af_sky", "af_bella"):
        (tmp_path / "voices" / f"{name}.bin").write_bytes(b"x" * 30)
    apart = ModelFiles(tmp_path / "kokoro-v1.0.onnx", {"voices": tmp_path / "voices"})
    needs = PROVIDER.memory_needs(slot(), apart, Device.CUDA)
    assert needs and needs.weights_bytes == 1060 and needs.node_bytes == 0
    assert PROVIDER.memory_needs(slot(), ModelFiles(tmp_path / "none"), Device.CPU) is None


def test_a_request_is_json_all_through() -> None:
    made: JsonObject = translated(voice={"id": "af_sky"}).model_dump(mode="json")
    assert made["blend"] == [{"voice": "af_sky", "weight": 1.0}]
