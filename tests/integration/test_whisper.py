"""faster-whisper behind the seam of speech recognition, on a tiny model that hears "hello world" in everything."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from providers.asr.recognizer import SAMPLE_RATE, Asked, Segment
from providers.errors import InvalidRequest, ProviderError
from providers.tiny.whisper import TRANSCRIPT, WORD_S, make_whisper
from providers.whisper.languages import LANGUAGES
from providers.whisper.recognizer import LONGEST_PIECE_S, MOST_KEYWORD_TOKENS, WhisperRecognizer
from tests.support.whisper_slot import TEXT, WORDY, Loader, check_words, heard, noise, starts_s, threads

TEXT_S = len(TRANSCRIPT) * WORD_S


@pytest.fixture(scope="module")
def multilingual(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "tiny-whisper"
    make_whisper(folder)
    return folder


@pytest.fixture(scope="module")
def english(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "tiny-whisper.en"
    make_whisper(folder, multilingual=False)
    return folder


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Loader]:
    loader = Loader(tmp_path)
    yield loader
    loader.close()


def check_plain(value: object) -> None:
    """Of Python's own types, all the way: they are written as JSON."""
    if isinstance(value, tuple):
        for one in value:
            check_plain(one)
    else:
        assert value is None or type(value) in (str, int, float), type(value)


def test_a_segment_tells_all_that_whisper_knows(multilingual: Path, make: Loader) -> None:
    (segment,) = heard(make(multilingual), 3)
    check_words(segment)
    assert (segment.start_s, segment.end_s) == pytest.approx((0, TEXT_S), abs=0.021)
    assert segment.language == "en" and segment.language_probability == pytest.approx(1, abs=0.01)
    assert segment.tokens and segment.temperature == 0
    assert segment.avg_logprob == pytest.approx(0, abs=0.01) and segment.no_speech_prob is not None
    assert segment.compression_ratio is not None and 0 < segment.compression_ratio < 2
    for name in Segment.__slots__:
        if name != "words":
            check_plain(getattr(segment, name))
    for word in segment.words:
        check_plain((word.text, word.start_s, word.end_s, word.probability))


def test_words_have_no_times_unless_asked(multilingual: Path, make: Loader) -> None:
    (segment,) = heard(make(multilingual), 3, Asked())
    assert segment.text == TEXT and segment.words == ()


def test_an_english_model_hears_english(english: Path, make: Loader) -> None:
    recognizer = make(english, language="en")
    (segment,) = heard(recognizer, 3)
    check_words(segment)
    assert segment.language == "en" and segment.language_probability is None
    for asked, param in ((Asked(language="fr"), "language"), (Asked(translate=True), "model")):
        with pytest.raises(InvalidRequest) as refused:
            heard(recognizer, 3, asked)
        assert refused.value.param == param
    assert heard(recognizer, 3, Asked(language="en"))[0].text == TEXT


def test_the_language_is_the_requests_or_the_slots_or_detected(multilingual: Path, make: Loader) -> None:
    recognizer = make(multilingual, language="de")
    assert heard(recognizer, 3, Asked())[0].language == "de"
    (segment,) = heard(recognizer, 3, Asked(language="fr"))
    assert segment.language == "fr" and segment.language_probability is None


def test_a_translation_is_english_whatever_was_spoken(multilingual: Path, make: Loader) -> None:
    recognizer = make(multilingual, capabilities=("transcription", "translation"))
    (segment,) = heard(recognizer, 3, Asked(translate=True, language="zh", word_times=True))
    check_words(segment)
    assert segment.language == "en" and segment.language_probability is None


def test_a_language_that_this_model_does_not_know_is_refused(multilingual: Path, make: Loader) -> None:
    # The tiny model is from before Cantonese.
    with pytest.raises(InvalidRequest, match="does not understand language 'yue'") as refused:
        heard(make(multilingual), 3, Asked(language="yue"))
    assert refused.value.param == "language"
    with pytest.raises(ProviderError, match=r"does not know options\.language yue"):
        make(multilingual, language="yue")


def test_the_temperature_asked_for_is_the_one_computed_with(multilingual: Path, make: Loader) -> None:
    recognizer = make(multilingual)
    for temperature in (0.0, 0.4, 1.0):
        (segment,) = heard(recognizer, 3, Asked(temperature=temperature))
        assert segment.text == TEXT and segment.temperature == temperature


@pytest.mark.parametrize("previous", ["", "what came before. " * 20])
@pytest.mark.parametrize(
    "prompt",
    ["Dr. Müller", "x y " * 2000, "<|endoftext|> <|startoftranscript|><|5.00|> a <|", "😀\n\x00", " "],
)
def test_any_prompt_is_fine(multilingual: Path, make: Loader, prompt: str, previous: str) -> None:
    recognizer = make(multilingual)
    for batched in (False, True):
        keywords = ("Kubernetes", "<|endoftext|>", "")
        asked = Asked(prompt=prompt, previous=previous, keywords=keywords)
        segments = heard(make(multilingual, batch_size=2) if batched else recognizer, 31, asked)
        assert [segment.text for segment in segments] == [TEXT, TEXT]


class Prompts:
    """The prompts that a model is given; it computes all the same."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        from faster_whisper import WhisperModel  # type: ignore[import-untyped]

        self.given: list[str] = []
        real = WhisperModel.get_prompt

        def spied(model: Any, *args: Any, **kwargs: Any) -> Any:
            prompt = real(model, *args, **kwargs)
            self.given.append(model.hf_tokenizer.decode(prompt, skip_special_tokens=False))
            return prompt

        monkeypatch.setattr(WhisperModel, "get_prompt", spied)


def test_a_prompt_is_what_was_asked_and_heard_before(
    multilingual: Path, make: Loader, monkeypatch: pytest.MonkeyPatch
) -> None:
    prompts = Prompts(monkeypatch)
    asked = Asked(prompt="About hal0.", previous="It said:", keywords=("Ray", "Serve"))
    heard(make(multilingual), 31, asked)
    first, second = prompts.given
    assert first.startswith("<|startofprev|> Ray, Serve About hal0. It said:<|startoftranscript|>")
    assert second.startswith("<|startofprev|> Ray, Serve About hal0. It said:") and TEXT in second
    prompts.given.clear()
    heard(make(multilingual, condition_on_previous_text=False), 31, asked)
    first, second = prompts.given
    assert first.startswith("<|startofprev|> Ray, Serve About hal0.<|startoftranscript|>")
    assert second.startswith("<|startofprev|> Ray, Serve<|startoftranscript|>")


def test_too_many_keywords_are_refused(multilingual: Path, make: Loader) -> None:
    recognizer = make(multilingual)
    assert heard(recognizer, 3, Asked(keywords=("x",) * 30))[0].text == TEXT
    with pytest.raises(InvalidRequest, match=f"room for {MOST_KEYWORD_TOKENS}") as refused:
        heard(recognizer, 3, Asked(keywords=("x",) * 300))
    assert refused.value.param == "keywords"


@pytest.mark.parametrize("seconds", [0, 1 / SAMPLE_RATE, 0.005, 0.01, 0.015, 0.02, 0.1])
def test_audio_may_be_of_no_length(multilingual: Path, make: Loader, seconds: float) -> None:
    for skips in (False, True):
        recognizer = make(multilingual, vad_filter=skips)
        for asked in (Asked(), WORDY):
            assert all(segment.end_s <= 30 for segment in heard(recognizer, seconds, asked))


@pytest.mark.parametrize("rest_s", [0.005, 0.01, 0.02, 0.03])
def test_words_are_aligned_however_little_is_left_of_a_file(multilingual: Path, make: Loader, rest_s: float) -> None:
    check_words(heard(make(multilingual), 30 + rest_s)[0])


def test_what_is_no_speech_is_skipped(multilingual: Path, make: Loader) -> None:
    silence = np.zeros(70 * SAMPLE_RATE, np.float32)
    assert list(make(multilingual, vad_filter=True).recognize(silence, WORDY)) == []
    assert list(make(multilingual, vad_filter=True, batch_size=4).recognize(silence, WORDY)) == []
    assert list(make(multilingual, voice_detector="silero").recognize(silence, WORDY)) == []
    assert len(list(make(multilingual).recognize(silence, WORDY))) == 3


def test_samples_may_lie_anyhow_in_memory(multilingual: Path, make: Loader) -> None:
    every_other = np.repeat(noise(3), 2)[::2]
    assert not every_other.flags.c_contiguous
    (segment,) = make(multilingual).recognize(every_other, WORDY)
    check_words(segment)


def test_long_audio_is_heard_in_windows(multilingual: Path, make: Loader) -> None:
    segments = heard(make(multilingual), LONGEST_PIECE_S)
    assert starts_s(segments) == pytest.approx([30 * window for window in range(8)])
    for segment in segments:
        check_words(segment)


@pytest.mark.parametrize("batch_size", [2, 8])
def test_windows_of_one_file_may_be_computed_at_once(multilingual: Path, make: Loader, batch_size: int) -> None:
    """They are then cut where it is quietest: here, there are but two pauses."""
    samples = noise(100)
    for pause_s in (25, 50):
        samples[pause_s * SAMPLE_RATE : (pause_s + 1) * SAMPLE_RATE] = 0
    segments = list(make(multilingual, batch_size=batch_size).recognize(samples, WORDY))
    assert starts_s(segments)[:3] == pytest.approx([0, 25, 50], abs=1)
    assert len(segments) == 4 and 72.5 <= segments[3].start_s <= 81
    for segment in segments:
        check_words(segment)


def test_requests_at_once_do_not_mix(multilingual: Path, make: Loader) -> None:
    for batch_size in (1, 3):
        recognizer = make(multilingual, requests=4, batch_size=batch_size)

        def work(number: int, recognizer: WhisperRecognizer = recognizer) -> None:
            windows = 1 + number % 4
            language = sorted(LANGUAGES - {"yue"})[number]
            asked = Asked(language=language, word_times=bool(number % 2), temperature=number % 3 / 10)
            for _ in range(4):
                segments = heard(recognizer, 30 * windows - 5, asked)
                assert len(segments) >= windows
                assert {segment.text for segment in segments} == {TEXT}
                assert {segment.language for segment in segments} == {language}
                assert {segment.temperature for segment in segments} == {number % 3 / 10}
                assert {len(segment.words) for segment in segments} == {len(TRANSCRIPT) if number % 2 else 0}

        with ThreadPoolExecutor(8) as pool:
            list(pool.map(work, range(16)))


def test_a_closed_iterator_computes_nothing_more(
    multilingual: Path, make: Loader, monkeypatch: pytest.MonkeyPatch
) -> None:
    from faster_whisper import WhisperModel

    encoded = []
    real = WhisperModel.encode

    def counted(model: WhisperModel, features: object) -> object:
        encoded.append(features)
        return real(model, features)

    monkeypatch.setattr(WhisperModel, "encode", counted)
    segments = make(multilingual).recognize(noise(240), Asked(language="en"))
    before = threads()
    assert next(segments).text == TEXT
    segments.close()  # type: ignore[attr-defined]
    assert len(encoded) == 1 and threads() <= before
    assert list(segments) == [] and len(encoded) == 1
