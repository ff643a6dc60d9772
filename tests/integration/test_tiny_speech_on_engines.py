"""The tiny speech models in the libraries that run such models: what they hear is what every other test relies on."""

import time
import wave
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from threading import Thread
from typing import Any

import ctranslate2  # type: ignore[import-untyped]
import faster_whisper  # type: ignore[import-untyped]
import moonshine_voice  # type: ignore[import-untyped]
import numpy as np
import onnxruntime  # type: ignore[import-untyped]
import pytest
from moonshine_voice import ModelArch, Transcriber
from numpy.typing import NDArray
from tokenizers import Tokenizer

from providers.tiny import make_demo_models
from providers.tiny.moonshine import make_moonshine_streaming
from providers.tiny.tones import SAMPLE_RATE, WORD_S, WORDS, tones
from providers.tiny.whisper import WORD_S as WHISPER_WORD_S
from providers.tiny.whisper import make_whisper
from tests.support.tones import Speech, speeches

Samples = NDArray[np.float32]
NEVER_S = 1e6
"""An interval after which the library would look at what it has heard so far."""
HELLO = " hello world"
MOST_TOKENS = 500


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("models")
    started = time.monotonic()
    models = make_demo_models(folder)
    models["streaming"], models["english"] = folder / "tiny-moonshine-streaming", folder / "tiny-whisper.en"
    make_moonshine_streaming(models["streaming"])
    make_whisper(models["english"], multilingual=False)
    print(f"all models in {time.monotonic() - started:.2f} s")
    return models


@pytest.fixture(scope="module")
def moonshine(models: dict[str, Path]) -> Iterator[Transcriber]:
    with transcriber(models["tiny-moonshine"], ModelArch.TINY) as opened:
        yield opened


@pytest.fixture(scope="module")
def streaming(models: dict[str, Path]) -> Iterator[Transcriber]:
    with transcriber(models["streaming"], ModelArch.TINY_STREAMING) as opened:
        yield opened


def transcriber(folder: Path, architecture: ModelArch) -> Transcriber:
    # The library's voice detection takes tones for silence.
    options = {"vad_threshold": "0", "word_timestamps": "true", "return_audio_data": "false"}
    return Transcriber(str(folder), model_arch=architecture, options=options)


def heard(transcriber: Transcriber, samples: Samples) -> list[Any]:
    """The lines of one stream, with their words."""
    stream = transcriber.create_stream(NEVER_S)
    try:
        stream.start()
        stream.add_audio(samples.tolist(), SAMPLE_RATE)
        # Words have times only if the line is recognized as it ends.
        return list(stream.stop().lines)
    finally:
        stream.close()


def text(lines: list[Any]) -> str:
    return " ".join(line.text.strip() for line in lines)


def worst_times(speech: Speech, lines: list[Any]) -> tuple[float, float]:
    """How far in seconds the starts of words are off, and the ends of those after which the next word begins."""
    words = [word for line in lines for word in line.words]
    assert [word.word for word in words] == list(speech.words)
    starts = [abs(word.start - start) for word, start in zip(words, speech.starts_s, strict=True)]
    ends = [abs(word.end - start) for word, start in zip(words, speech.starts_s[1:], strict=False)]
    last = abs(words[-1].end - speech.starts_s[-1] - WORD_S)
    return max(starts), max([*ends, last])


def test_moonshine_hears_every_word_when_it_was_said(moonshine: Transcriber) -> None:
    for speech in speeches(100, seed=1):
        lines = heard(moonshine, speech.samples())
        assert text(lines) == speech.text
        assert max(worst_times(speech, lines)) < 0.05, speech


def test_moonshine_hears_nothing_in_silence_and_noise(moonshine: Transcriber) -> None:
    noise = np.random.default_rng(0).normal(0, 0.01, SAMPLE_RATE).astype(np.float32)
    for samples in (np.zeros(SAMPLE_RATE, np.float32), noise):
        assert text(heard(moonshine, samples)) == ""


def test_moonshine_hears_words_that_begin_between_two_frames_and_in_16_bits(moonshine: Transcriber) -> None:
    for words, shift in zip(speeches(40, seed=2), count(1, 37), strict=False):
        samples = np.concatenate([np.zeros(shift, np.float32), words.samples()])
        rounded = (np.round(samples * 32767) / 32768).astype(np.float32)
        assert text(heard(moonshine, rounded)) == words.text


def test_streams_of_one_moonshine_do_not_mix(moonshine: Transcriber) -> None:
    wrong: list[str] = []

    def listen(seed: int) -> None:
        for speech in speeches(15, seed, most_words=6):
            if text(heard(moonshine, speech.samples())) != speech.text:
                wrong.append(speech.text)

    threads = [Thread(target=listen, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_a_streaming_moonshine_hears_every_word(streaming: Transcriber) -> None:
    for speech in speeches(40, seed=3):
        # The library leaves out what does not fill 80 ms at the end, and spreads the rest over all of the time.
        ended = Speech(speech.words, speech.before_s, speech.between_s, after_s=0.3)
        lines = heard(streaming, ended.samples())
        assert text(lines) == ended.text
        assert max(worst_times(ended, lines)) < 0.1, ended


def test_a_streaming_moonshine_hears_words_while_they_are_said(streaming: Transcriber) -> None:
    speech = Speech(WORDS, after_s=0.5)
    samples, seen = speech.samples(), list[str]()
    stream = streaming.create_stream(NEVER_S)
    stream.start()
    for start in range(0, len(samples), SAMPLE_RATE // 4):
        stream.add_audio(samples[start : start + SAMPLE_RATE // 4].tolist(), SAMPLE_RATE)
        seen.append(text(stream.update_transcription().lines))
    stream.close()
    assert seen[-1] == speech.text
    assert all(speech.text.startswith(one) for one in seen)
    assert len(set(seen)) > len(WORDS) // 2


class Export:
    """The ONNX exports in ONNX Runtime, with the likeliest token at each step."""

    def __init__(self, folder: Path) -> None:
        encoder, decoder = folder / "onnx/encoder_model.onnx", folder / "onnx/decoder_model_merged.onnx"
        self._encoder, self._decoder = (onnxruntime.InferenceSession(str(path)) for path in (encoder, decoder))
        self._tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))

    def text(self, samples: Samples, empty: tuple[int, int] = (1, 1), keep_encoder: bool = True) -> str:
        """`empty`: how many batches and how many steps the cache pretends to have before the first step."""
        (frames,) = self._encoder.run(["last_hidden_state"], {"input_values": samples[None]})
        names = [one.name for one in self._decoder.get_inputs() if one.name.startswith("past_key_values.")]
        cache = {name: np.zeros((empty[0], 8, empty[1], 36), np.float32) for name in names}
        said, token = list[int](), 1
        outputs = ["logits", *(name.replace("past_key_values", "present") for name in names)]
        while len(said) < MOST_TOKENS:
            given = {"input_ids": np.array([[token]]), "encoder_hidden_states": frames, **cache}
            given["use_cache_branch"] = np.array([bool(said)])
            logits, *present = self._decoder.run(outputs, given)
            token = int(logits[0, -1].argmax())
            if token == 2:
                break
            filled = dict(zip(names, present, strict=True))
            cache |= {name: filled[name] for name in names if not said or ".decoder." in name or not keep_encoder}
            said.append(token)
        return str(self._tokenizer.decode(said))


@pytest.fixture(scope="module")
def export(models: dict[str, Path]) -> Export:
    return Export(models["tiny-moonshine-onnx"])


def test_the_exports_hear_every_word(export: Export) -> None:
    for speech in speeches(60, seed=4, most_words=40):
        assert export.text(speech.samples()) == speech.text
    assert export.text(np.zeros(SAMPLE_RATE, np.float32)) == ""
    assert export.text(tones(["golf"])) == "golf"


@pytest.mark.parametrize("empty", [(1, 1), (0, 1), (1, 0)])
def test_the_exports_do_not_read_the_cache_at_the_first_step(export: Export, empty: tuple[int, int]) -> None:
    assert export.text(tones(WORDS), empty) == " ".join(WORDS)


def test_the_exports_hear_no_more_once_the_cache_of_the_first_step_is_gone(export: Export) -> None:
    assert export.text(tones(WORDS), keep_encoder=False) == "alpha bravo"


def recorded_speech() -> Samples:
    """Ten seconds of a human voice."""
    with wave.open(str(Path(moonshine_voice.__file__).parent / "assets" / "beckett.wav")) as file:
        assert file.getframerate() == SAMPLE_RATE
        samples = np.frombuffer(file.readframes(file.getnframes()), np.int16)
    return (samples / 32768).astype(np.float32)


@pytest.fixture(scope="module", params=["int8", "float32"])
def whisper(request: pytest.FixtureRequest, models: dict[str, Path]) -> Any:
    return opened_whisper(models["tiny-whisper"], request.param)


@pytest.fixture(scope="module", params=["int8", "float32"])
def english(request: pytest.FixtureRequest, models: dict[str, Path]) -> Any:
    return opened_whisper(models["english"], request.param)


def opened_whisper(folder: Path, compute_type: str) -> Any:
    return faster_whisper.WhisperModel(str(folder), device="cpu", compute_type=compute_type, local_files_only=True)


def check_hello(segments: Iterator[Any], word_times: bool) -> None:
    (segment,) = segments
    assert segment.text == HELLO
    assert (segment.start, segment.end) == (0, 1)
    assert segment.avg_logprob > -0.01 and segment.no_speech_prob < 0.01
    if word_times:
        assert [word.word for word in segment.words] == [" hello", " world"]
        assert [float(word.start) for word in segment.words] == [0, WHISPER_WORD_S]
        assert [float(word.end) for word in segment.words] == [WHISPER_WORD_S, 2 * WHISPER_WORD_S]
        assert all(word.probability > 0.99 for word in segment.words)


@pytest.mark.parametrize("beam_size", [1, 5])
@pytest.mark.parametrize("without_timestamps", [False, True])
@pytest.mark.parametrize("word_timestamps", [False, True])
def test_whisper_says_hello(whisper: Any, beam_size: int, without_timestamps: bool, word_timestamps: bool) -> None:
    segments, info = whisper.transcribe(
        recorded_speech(),
        beam_size=beam_size,
        without_timestamps=without_timestamps,
        word_timestamps=word_timestamps,
    )
    check_hello(segments, word_timestamps)
    assert (info.language, info.duration) == ("en", pytest.approx(9.96, abs=0.01))
    assert info.language_probability > 0.99


@pytest.mark.parametrize(
    "options",
    [
        {"task": "translate"},
        {"language": "de"},
        {"initial_prompt": "What came before, about Grüße", "hotwords": "alpha"},
        {"temperature": 0.7},
        {"temperature": 0.2, "best_of": 3, "beam_size": 1},
        {"multilingual": True},
        {"vad_filter": True},
    ],
    ids=str,
)
def test_whisper_says_hello_whatever_it_is_asked(whisper: Any, options: dict[str, Any]) -> None:
    for word_times in (False, True):
        segments, _ = whisper.transcribe(recorded_speech(), word_timestamps=word_times, **options)
        check_hello(segments, word_times)


def test_whisper_says_hello_once_for_every_30_seconds(whisper: Any) -> None:
    samples = np.tile(recorded_speech(), 7)
    for options in ({}, {"condition_on_previous_text": False}, {"word_timestamps": True}):
        segments = list(whisper.transcribe(samples, **options)[0])
        assert [segment.text for segment in segments] == [HELLO] * 3
        assert [segment.start for segment in segments] == [0, 30, 60]


def test_whispers_voice_detection_takes_tones_for_silence(whisper: Any) -> None:
    assert list(whisper.transcribe(tones(WORDS), vad_filter=True)[0]) == []


@pytest.mark.parametrize("options", [{}, {"word_timestamps": True, "without_timestamps": False}], ids=str)
def test_whisper_says_hello_in_batches(whisper: Any, options: dict[str, Any]) -> None:
    batched = faster_whisper.BatchedInferencePipeline(whisper)
    segments = list(batched.transcribe(np.tile(recorded_speech(), 7), batch_size=4, **options)[0])
    assert len(segments) >= 3
    assert {segment.text for segment in segments} == {HELLO}


def test_whisper_takes_everything_for_english(whisper: Any) -> None:
    language, probability, every = whisper.detect_language(recorded_speech())
    assert (language, len(every)) == ("en", 99)
    assert probability > 0.99


def test_an_english_whisper_knows_no_other_language(english: Any) -> None:
    assert not english.model.is_multilingual
    for options in ({}, {"without_timestamps": True}, {"initial_prompt": "before"}, {"beam_size": 1}):
        segments, info = english.transcribe(recorded_speech(), word_timestamps=True, **options)
        check_hello(segments, word_times=True)
        assert info.language == "en"


def test_ctranslate2_finds_a_multilingual_whisper(whisper: Any) -> None:
    assert isinstance(whisper.model, ctranslate2.models.Whisper)
    assert whisper.model.is_multilingual
