"""Kokoro's synthesizer over the tiny model: what is asked for can be measured in the samples."""

import gc
import tempfile
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
from kokoro_onnx.config import DEFAULT_VOCAB

from providers.base import ModelFiles
from providers.devices import Device
from providers.errors import InvalidRequest, ProviderError
from providers.kokoro.asian import installed
from providers.kokoro.loading import load
from providers.kokoro.names import VOICE_NAMES
from providers.kokoro.synthesizer import KokoroSynthesizer
from providers.tiny.kokoro import make_kokoro, styles
from providers.tts.synthesizer import Manner, Reference, Share
from tests.support.kokoro_voice import RATE, expected, length, loaded, manner, placement, slot, spoken, tones
from tests.support.whisper_slot import files, settle, threads

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::SyntaxWarning")
"""Of what pronounces Japanese and Mandarin."""

WORD = "həlˈO"
"""What "hello" is in Kokoro's symbols, and in American English."""
TEXTS = {
    "a": "hello",
    "b": "hello",
    "e": "hola",
    "f": "bonjour",
    "h": "नमस्ते",
    "i": "ciao",
    "j": "はい",
    "p": "olá",
    "z": "你好",
}
STYLES = styles()


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "tiny-kokoro"
    make_kokoro(folder)
    return folder


@pytest.fixture(scope="module")
def kokoro(tiny: Path) -> Iterator[KokoroSynthesizer]:
    one = loaded(tiny)
    yield one
    one.close()
    one.close()


def tokens(phonemes: str) -> list[int]:
    return [DEFAULT_VOCAB[one] for one in phonemes]


def check_tones(kokoro: KokoroSynthesizer, how: Manner, phonemes: str = WORD, text: str = "hello") -> None:
    heard = spoken(kokoro, text, how)
    assert len(heard) == pytest.approx(length(len(phonemes), how.speed), abs=30)
    rows = [STYLES[share.voice][0] * share.weight for share in how.blend]
    assert tones(heard, len(phonemes)) == pytest.approx(expected(tokens(phonemes), np.sum(rows, axis=0)), abs=2.5)


@pytest.mark.parametrize("voice", VOICE_NAMES)
def test_each_voice_speaks_its_language(kokoro: KokoroSynthesizer, voice: str) -> None:
    language = {"j": "ja", "z": "zh"}.get(voice[0])
    if language and not installed(language):
        with pytest.raises(InvalidRequest, match=r"pip install 'hal0\[(japanese|mandarin)\]'") as caught:
            kokoro.check(manner(voice))
        assert (caught.value.param, caught.value.code) == ("language", "unsupported_language")
        return
    how = manner(voice)
    kokoro.check(how)
    heard = spoken(kokoro, TEXTS[voice[0]], how)
    count = round(len(heard) / length(1))
    assert count >= 3 and len(heard) == pytest.approx(length(count), abs=60)
    of_style = {hz for token in DEFAULT_VOCAB.values() for hz in expected([token], STYLES[voice][0])}
    assert all(min(abs(hz - one) for one in of_style) < 2.5 for hz in tones(heard, count))


@pytest.mark.parametrize("voice", ["af_heart", "am_adam", "af_sky"])
def test_text_and_voice_are_in_the_tones(kokoro: KokoroSynthesizer, voice: str) -> None:
    check_tones(kokoro, manner(voice))


@pytest.mark.parametrize("speed", [0.5, 0.75, 1.25, 2.0])
def test_speeds_of_the_model(kokoro: KokoroSynthesizer, speed: float) -> None:
    check_tones(kokoro, manner("af_bella", speed=speed))


@pytest.mark.parametrize("speed", [0.25, 0.3, 0.49, 2.01, 3.0, 4.0])
def test_speeds_beyond_the_models_keep_the_pitch(kokoro: KokoroSynthesizer, speed: float) -> None:
    text, phonemes = "hello hello hello hello", " ".join([WORD] * 4)
    heard = spoken(kokoro, text, manner("af_bella", speed=speed))
    assert len(heard) == pytest.approx(length(len(phonemes), speed), abs=800)
    heights = [hz for hz in expected(tokens(WORD), STYLES["af_bella"][0]) if hz]
    powers = np.abs(np.fft.rfft(heard)) ** 2
    each = np.fft.rfftfreq(len(heard), 1 / RATE)
    near = np.min([np.abs(each - hz) for hz in heights], axis=0) < 60
    assert powers[near].sum() > 0.85 * powers.sum()
    assert all(powers[np.abs(each - hz) < 60].sum() > 0.05 * powers.sum() for hz in heights)


def test_a_blend_is_the_weighted_mean(kokoro: KokoroSynthesizer) -> None:
    check_tones(kokoro, Manner((Share("af_bella", 0.75), Share("bm_george", 0.25))))
    check_tones(kokoro, Manner((Share("bm_george", 0.2), Share("af_bella", 0.3), Share("af_sky", 0.5))), "həlˈQ")
    many = VOICE_NAMES[:16]
    check_tones(kokoro, manner(*many))


def test_a_blend_across_languages_speaks_the_first_voices(kokoro: KokoroSynthesizer) -> None:
    assert len(spoken(kokoro, "hello", manner("ef_dora", "af_sky"))) != len(spoken(kokoro, "hello", manner("af_sky")))
    check_tones(kokoro, manner("ef_dora", "af_sky", language="en"))


@pytest.mark.parametrize(
    ("voice", "language", "phonemes"),
    [
        ("af_sky", "en", WORD),
        ("af_sky", "en-US", WORD),
        ("af_sky", "en-gb", "həlˈQ"),
        ("bf_emma", "b", "həlˈQ"),
        ("bf_emma", "EN-AU", "həlˈQ"),
    ],
)
def test_a_language_may_be_named(kokoro: KokoroSynthesizer, voice: str, language: str, phonemes: str) -> None:
    check_tones(kokoro, manner(voice, language=language), phonemes)


@pytest.mark.parametrize("language", ["es", "de", "ja", "x", "tlh-Latn"])
def test_a_language_that_the_voice_has_not_is_refused(kokoro: KokoroSynthesizer, language: str) -> None:
    for ask in (kokoro.check, lambda how: next(kokoro.speak("hello", how))):
        with pytest.raises(InvalidRequest, match=f"'af_sky' speaks en-US, not '{language}'") as caught:
            ask(manner("af_sky", language=language))
        assert (caught.value.param, caught.value.code) == ("language", "unsupported_language")


def test_an_unknown_voice_is_refused_with_those_like_it(kokoro: KokoroSynthesizer) -> None:
    with pytest.raises(InvalidRequest, match="'af_bela' does not exist. Did you mean: .*af_bella") as caught:
        kokoro.check(manner("af_sky", "af_bela"))
    assert (caught.value.param, caught.value.code) == ("voice", "unknown_voice")


def test_it_does_not_clone(kokoro: KokoroSynthesizer) -> None:
    with pytest.raises(InvalidRequest, match="clones none"):
        kokoro.check(Manner(reference=Reference(b"\0\0", 24_000, "hello")))


@pytest.mark.parametrize("text", ["", " ", "...", "—", "()", "\0", "\u200b", "\ud800", "?!"])
def test_of_nothing_that_can_be_spoken_nothing_is(kokoro: KokoroSynthesizer, text: str) -> None:
    assert list(kokoro.speak(text, manner("af_sky"))) == []


def test_control_characters_end_nothing(kokoro: KokoroSynthesizer) -> None:
    plain, strange = (
        len(spoken(kokoro, text, manner("af_sky"))) for text in ("hello hello", "hello\0\x1b \ud800hello")
    )
    assert plain == strange


def test_a_text_too_long_for_the_model_is_spoken_whole(kokoro: KokoroSynthesizer) -> None:
    for text, spaces in ((" ".join(["hello"] * 200), 199), ("hello" * 300, 14)):
        parts = list(kokoro.speak(text, manner("af_sky")))
        assert len(parts) > 1 and max(map(len, parts)) <= length(512)
        phonemes = kokoro._pronunciation.phonemes(text, "en-US")
        assert phonemes.count(" ") == spaces and len(phonemes) > 510
        # Spaces where it is cut are not spoken, and silence is taken away to some 50 ms.
        assert sum(map(len, parts)) == pytest.approx(length(len(phonemes)), abs=4000 * len(parts))


def test_work_is_done_while_iterating(kokoro: KokoroSynthesizer) -> None:
    parts = kokoro.speak(" ".join(["hello"] * 300), manner("af_sky"))
    assert len(list(islice(parts, 1))) == 1
    parts.close()  # type: ignore[attr-defined]
    check_tones(kokoro, manner("af_sky"))


def test_many_at_once_do_not_mix(kokoro: KokoroSynthesizer) -> None:
    def speak(number: int) -> None:
        if number % 3:
            check_tones(kokoro, manner(VOICE_NAMES[number % 20]))
        else:
            check_tones(kokoro, manner("ef_dora"), "ˈola", "hola")

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(speak, range(60)))


def test_a_closed_one_says_so(tiny: Path) -> None:
    one = loaded(tiny)
    one.close()
    with pytest.raises(ValueError, match="closed"):
        list(one.speak("hello", manner("af_sky")))


def test_closing_waits_for_what_is_computed(tiny: Path) -> None:
    one = loaded(tiny)
    failures: list[Exception] = []
    begun = threading.Event()

    def speak() -> None:
        try:
            for _ in one.speak(" ".join(["hello"] * 3000), manner("af_sky")):
                begun.set()
        except ValueError as error:
            failures.append(error)

    thread = threading.Thread(target=speak)
    thread.start()
    assert begun.wait(30)
    one.close()
    thread.join(30)
    assert not thread.is_alive() and [str(error) for error in failures] in ([], ["the synthesizer is closed"])


def test_threads_are_as_many_as_it_is_given_and_end(tiny: Path) -> None:
    loaded(tiny).close()
    before = len(threads())
    for given in (1, 4):
        one = loaded(tiny, threads=given)
        spoken(one, "hello", manner("af_sky", speed=3))
        assert len(threads()) == before + given - 1
        one.close()
        gc.collect()
        settle(lambda: len(threads()) == before)


def test_a_closed_one_leaves_no_file(tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    gc.collect()
    before = files()
    one = loaded(tiny)
    for voice in ("af_sky", "ef_dora", "ff_siwis"):
        spoken(one, "hello", manner(voice))
    one.close()
    gc.collect()
    assert list(tmp_path.iterdir()) == []
    assert len(files()) == len(before)


def test_exports_name_tokens_either_way(tiny: Path, tmp_path: Path) -> None:
    """And those of the Hub have a folder of voices."""
    import onnx

    model = onnx.load(tiny / "kokoro-v1.0.onnx")
    for node in model.graph.node:
        node.input[:] = ["input_ids" if name == "tokens" else name for name in node.input]
    model.graph.input[0].name = "input_ids"
    del model.graph.output[1:]
    voices = tmp_path / "voices"
    (tmp_path / "onnx").mkdir()
    voices.mkdir()
    onnx.save(model, tmp_path / "onnx/model.onnx")
    for name in ("af_sky", "af_bella"):
        (voices / f"{name}.bin").write_bytes(STYLES[name].astype("<f4").tobytes())
    for given in (ModelFiles(tmp_path), ModelFiles(tmp_path / "onnx/model.onnx", {"voices": voices})):
        one = load(slot(), given, placement(tmp_path / "cache"))
        check_tones(one, manner("af_sky", "af_bella"))
        with pytest.raises(InvalidRequest, match="Voices are: af_bella, af_sky"):
            one.check(manner("zm_yunxi"))
        one.close()


@pytest.mark.parametrize(
    ("content", "said"),
    [(b"\x08\x09garbage", "cannot open"), (None, "takes audio.*it is no Kokoro"), ("cut", "cannot open")],
)
def test_a_wrong_model_is_named(tiny: Path, tmp_path: Path, content: bytes | str | None, said: str) -> None:
    make_kokoro(tmp_path)
    model = tmp_path / "kokoro-v1.0.onnx"
    if content is None:
        from providers.tiny.moonshine_graph import FLOAT, Graph

        graph = Graph()
        graph.output("text", graph.input("audio", FLOAT, [1]), FLOAT, [1])
        content = graph.model().SerializeToString()
    elif content == "cut":
        content = model.read_bytes()[:-200]
    assert isinstance(content, bytes)
    model.write_bytes(content)
    with pytest.raises(ProviderError, match=said):
        loaded(tmp_path)


def test_a_model_that_cannot_speak_does_not_load(tmp_path: Path) -> None:
    import onnx

    make_kokoro(tmp_path)
    model = onnx.load(tmp_path / "kokoro-v1.0.onnx")
    model.graph.input[1].type.tensor_type.shape.dim[1].dim_value = 128
    onnx.save(model, tmp_path / "kokoro-v1.0.onnx")
    with pytest.raises(ProviderError, match="does not speak on cpu: .*style"):
        loaded(tmp_path)


def test_other_devices_are_refused(tiny: Path) -> None:
    with pytest.raises(ProviderError, match="allowed: cpu, vulkan, cuda"):
        loaded(tiny, Device.ROCM)


def test_the_rate_is_kokoros(kokoro: KokoroSynthesizer) -> None:
    assert kokoro.sample_rate == RATE and kokoro.longest_text >= 100
