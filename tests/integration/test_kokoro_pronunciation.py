"""What texts sound like in each language, by the packages that are installed."""

import gc
import os
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kokoro_onnx.config import DEFAULT_VOCAB
from kokoro_onnx.tokenizer import Tokenizer

from providers.errors import InvalidRequest, ProviderError
from providers.kokoro import asian
from providers.kokoro.espeak import VOICES
from providers.kokoro.pronunciation import Pronunciation

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::SyntaxWarning")
UNSTRESSED = str.maketrans("", "", "ˈˌ")
needs_japanese = pytest.mark.skipif(not asian.installed("ja"), reason="without the extra japanese")
needs_mandarin = pytest.mark.skipif(not asian.installed("zh"), reason="without the extra mandarin")


@pytest.fixture(scope="module")
def pronunciation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pronunciation]:
    Tokenizer()  # tells `phonemizer` where espeak-ng is, as loading a model does
    one = Pronunciation(DEFAULT_VOCAB, tmp_path_factory.mktemp("cache"))
    yield one
    one.close()


@pytest.mark.parametrize(
    ("language", "text", "phonemes"),
    [
        ("en-US", "Hello, world!", "həlˈO, wˈɜɹld!"),
        ("en-US", "The judge chose five boys.", "ðə ʤˈʌʤ ʧˈOz fˈIv bˈYz."),
        ("en-GB", "Go there, nurse.", "ɡˈQ ðˈɛː, nˈɜːs."),
        ("es", "Mucho gusto. ¡Hola!", "mˈuʧo ɡˈusto ˈola!"),
        ("fr", "Le week-end «grand».", "lˈə wˈiːkˈɛnd “ɡʁˈɑ̃”."),
        ("hi", "नमस्ते।", "nəmˈʌsteː."),
        ("it", "Ciao, pizza.", "ʧˈao, pˈiʦːa."),
        ("pt-BR", "Olá, não.", "olˈa, nˈɐ̃ʊ̃."),
        pytest.param("ja", "東京です。", "toːkʲoː desɨ.", marks=needs_japanese),
        pytest.param("zh", "你好，世界。", "ni↓xau↓, ʂɨ↘ʨje↘.", marks=needs_mandarin),
    ],
)
def test_each_language(pronunciation: Pronunciation, language: str, text: str, phonemes: str) -> None:
    pronunciation.check(language)
    assert pronunciation.phonemes(text, language) == phonemes


@pytest.mark.parametrize(
    ("text", "same"),
    [
        ("3.14", "three point one four"),
        ("10:30", "ten thirty"),
        ("1,000", "one thousand"),
        ("Dr. Smith", "doctor Smith"),
        ("tab\there", "tab here"),
        ("nul\0here", "nul here"),
        ("line\nbreak", "line break"),
        ("[[hello]]", "((hello))"),
        ("<hello>", "hello"),
    ],
)
def test_it_is_said_as(pronunciation: Pronunciation, text: str, same: str) -> None:
    said, meant = (pronunciation.phonemes(one, "en-US") for one in (text, same))
    assert said.translate(UNSTRESSED) == meant.translate(UNSTRESSED) != ""


@pytest.mark.parametrize("text", ["hello" * 300, "9" * 400, "a1" * 300])
def test_words_of_any_length_are_said_whole(pronunciation: Pronunciation, text: str) -> None:
    half = pronunciation.phonemes(text[: len(text) // 2], "en-US")
    assert len(pronunciation.phonemes(text, "en-US")) > 1.8 * len(half)


@needs_japanese
def test_japanese_reads_kanji_numbers_and_latin_words(pronunciation: Pronunciation) -> None:
    assert pronunciation.phonemes("30,000円", "ja") == pronunciation.phonemes("30000円", "ja")
    said = pronunciation.phonemes("中国人 hello ワールド", "ja")
    assert said.startswith("ʨɨːɡokɯ") and "həlˈO" in said


@needs_mandarin
def test_mandarin_has_tones_and_latin_words(pronunciation: Pronunciation) -> None:
    said = pronunciation.phonemes("质量 hello。", "zh")
    assert "↘" in said and said.endswith("həlˈO.")
    assert pronunciation.phonemes("3.14", "zh") == pronunciation.phonemes("三点一四", "zh")


@needs_mandarin
def test_mandarin_keeps_its_cache_where_it_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Anybody could put one into /tmp, and it would be loaded."""
    import jieba  # type: ignore[import-untyped,unused-ignore]

    monkeypatch.setattr(jieba.dt, "initialized", False)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    (tmp_path / "tmp").mkdir()
    asian.phonemizer("zh", str, tmp_path / "cache")("你好")
    assert [path.name for path in (tmp_path / "cache").iterdir()] == ["jieba.cache"]
    assert list((tmp_path / "tmp").iterdir()) == []


@pytest.mark.parametrize(("language", "extra"), asian.EXTRAS.items())
def test_a_language_without_its_package_is_refused(
    pronunciation: Pronunciation, monkeypatch: pytest.MonkeyPatch, language: str, extra: str
) -> None:
    monkeypatch.setattr(asian, "find_spec", lambda name: None)
    for ask in (pronunciation.check, lambda one: pronunciation.phonemes("x", one)):
        with pytest.raises(InvalidRequest, match=rf"pip install 'hal0\[{extra}\]'") as caught:
            ask(language)
        assert (caught.value.param, caught.value.code) == ("language", "unsupported_language")


def test_a_dictionary_that_is_missing_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> asian.Phonemize:
        raise RuntimeError("Failed initializing MeCab")

    monkeypatch.setattr(asian, "_japanese", broken)
    monkeypatch.setattr(asian, "find_spec", lambda name: object())
    Tokenizer()
    one = Pronunciation(DEFAULT_VOCAB, tmp_path)
    with pytest.raises(
        ProviderError, match=r"'ja' does not load: Failed initializing MeCab.*without the package unidic"
    ):
        one.phonemes("はい", "ja")
    one.close()


def test_an_unknown_language_is_refused(pronunciation: Pronunciation) -> None:
    with pytest.raises(InvalidRequest, match="does not speak language 'de'; it speaks: en-US, "):
        pronunciation.phonemes("hallo", "de")


def test_phonemes_that_the_model_has_not_are_counted(caplog: pytest.LogCaptureFixture, tmp_path: Path) -> None:
    Tokenizer()
    one = Pronunciation(set("hlO"), tmp_path)
    with caplog.at_level("INFO", "hal0.kokoro"):
        assert one.phonemes("hello", "en-US") == "hlO"
    assert "2 of 5 phonemes (əˈ) are unknown" in caplog.text
    assert Pronunciation(set("'ˈ.!"), tmp_path).phonemes("hello!", "en-US") == ""
    one.close()


def test_languages_do_not_mix_between_threads(pronunciation: Pronunciation) -> None:
    texts = {"en-US": "hello there", "en-GB": "hello there", "es": "hola", "fr": "bonjour", "it": "ciao"}
    alone = {language: pronunciation.phonemes(text, language) for language, text in texts.items()}

    def check(number: int) -> None:
        language = list(texts)[number % len(texts)]
        assert pronunciation.phonemes(texts[language], language) == alone[language]

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(check, range(400)))


@settings(max_examples=150)
@given(st.text(max_size=60), st.sampled_from(sorted(VOICES)))
def test_any_text_becomes_symbols_of_the_model(pronunciation: Pronunciation, text: str, language: str) -> None:
    said = pronunciation.phonemes(text, language)
    assert set(said) <= set(DEFAULT_VOCAB)
    assert not said or (said == said.strip() and any(one.isalpha() for one in said))


def test_a_closed_one_leaves_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Tokenizer()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    one = Pronunciation(DEFAULT_VOCAB, tmp_path / "cache")
    for language in VOICES:
        one.phonemes("a", language)
    assert os.listdir(tmp_path)
    one.close()
    gc.collect()
    assert os.listdir(tmp_path) == []
