"""What faster-whisper is loaded from and computes with, what it refuses, and what is left of it."""

import json
import shutil
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from providers.asr.recognizer import Asked
from providers.devices import Device
from providers.errors import ProviderError, UnsupportedRequest
from providers.tiny.whisper import make_whisper
from providers.whisper.languages import LANGUAGES
from providers.whisper.recognizer import WhisperRecognizer
from tests.support.whisper_slot import TEXT, WORDY, Loader, files, heard, noise, settle, threads


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
def copy(multilingual: Path, tmp_path: Path) -> Path:
    """Of a model, to be damaged."""
    folder = tmp_path / "copy"
    shutil.copytree(multilingual, folder)
    return folder


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Loader]:
    loader = Loader(tmp_path)
    yield loader
    loader.close()


def test_the_network_is_not_asked(
    multilingual: Path, copy: Path, make: Loader, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tokenizers import Tokenizer

    def asked(*given: object, **more: object) -> None:
        raise AssertionError(f"the network is asked: {given}")

    for name in ("connect", "connect_ex", "sendto"):
        monkeypatch.setattr(socket.socket, name, asked)
    monkeypatch.setattr(socket, "getaddrinfo", asked)
    monkeypatch.setattr(Tokenizer, "from_pretrained", asked)
    assert heard(make(multilingual, vad_filter=True), 3) == []
    assert heard(make(multilingual), 3)[0].text == TEXT
    (copy / "tokenizer.json").unlink()
    with pytest.raises(ProviderError, match=r"tokenizer\.json is missing"):
        make(copy)


def test_an_english_model_cannot_be_a_slot_that_translates(english: Path, make: Loader) -> None:
    with pytest.raises(ProviderError, match="remove translation from the slot's capabilities"):
        make(english, capabilities=("transcription", "translation"))


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("tokenizer.json", b"{}", r"tokenizer\.json is no tokenizer"),
        (
            "tokenizer.json",
            b'{"version": "1.0", "model": {"type": "BPE", "vocab": {"a": 0}, "merges": []}, "added_tokens": []}',
            r"tokenizer\.json is not a Whisper's",
        ),
        ("preprocessor_config.json", b'{"feature_size": 128}', r"preprocessor_config\.json says .* hears 80, not 128"),
        ("vocabulary.json", b"[", r"model\.bin"),
        ("config.json", b'{"suppress_ids": [], "suppress_ids_begin": []}', r"config\.json has no list lang_ids"),
        ("config.json", b"{}", r"config\.json has no list suppress_ids"),
    ],
)
def test_damaged_files_are_a_failed_load(copy: Path, make: Loader, name: str, content: bytes, told: str) -> None:
    (copy / name).write_bytes(content)
    with pytest.raises(ProviderError, match=told):
        make(copy)


def test_a_model_cut_off_is_a_failed_load(copy: Path, make: Loader) -> None:
    content = (copy / "model.bin").read_bytes()
    for part in (0.01, 0.5, 0.99):
        (copy / "model.bin").write_bytes(content[: int(len(content) * part)])
        with pytest.raises(ProviderError, match=r"model\.bin is cut off; remove the model and pull it again"):
            make(copy)


def without(folder: Path, key: str) -> None:
    config = json.loads((folder / "config.json").read_bytes())
    del config[key]
    (folder / "config.json").write_text(json.dumps(config))


def test_a_model_that_detects_no_language_may_be_told_it(copy: Path, make: Loader) -> None:
    without(copy, "lang_ids")
    assert heard(make(copy, language="de"), 3, Asked())[0].language == "de"


def test_a_model_that_finds_no_words_says_so(copy: Path, make: Loader) -> None:
    without(copy, "alignment_heads")
    recognizer = make(copy)
    assert heard(recognizer, 3, Asked())[0].text == TEXT
    with pytest.raises(UnsupportedRequest, match="does not tell when words are spoken"):
        heard(recognizer, 3)


def test_features_are_whispers_own_unless_told(copy: Path, make: Loader) -> None:
    (copy / "preprocessor_config.json").unlink()
    assert heard(make(copy), 3)[0].text == TEXT


def test_every_compute_type_works_or_is_refused(multilingual: Path, make: Loader) -> None:
    import ctranslate2  # type: ignore[import-untyped]

    offered = ctranslate2.get_supported_compute_types("cpu")
    assert "int8" in offered
    for computed in sorted(offered & {"int8", "int8_float32", "int16", "float32"}):
        assert heard(make(multilingual, compute_type=computed), 3)[0].text == TEXT
    if "float16" not in offered:
        with pytest.raises(ProviderError, match="compute_type float16 does not run .* allowed: auto, .*int8"):
            make(multilingual, compute_type="float16")


def test_without_a_gpu_cuda_is_a_failed_load(multilingual: Path, make: Loader) -> None:
    import ctranslate2

    if ctranslate2.get_cuda_device_count():
        pytest.skip("a GPU is here")
    with pytest.raises(ProviderError, match=r"finds no CUDA device here; set device: cpu"):
        make(multilingual, Device.CUDA)


def test_the_languages_are_the_librarys_own() -> None:
    from faster_whisper.tokenizer import _LANGUAGE_CODES  # type: ignore[import-untyped]

    assert set(_LANGUAGE_CODES) == LANGUAGES


def concurrently(recognizer: WhisperRecognizer, calls: int) -> None:
    """With threads of its own, which have ended after it."""
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: heard(recognizer, 3), range(calls)))


@pytest.fixture
def first_used(multilingual: Path, make: Loader) -> tuple[set[str], set[str]]:
    """The threads and files of a process that has used the library. It keeps some for good, such as those that helped
    the thread which loaded a model."""
    recognizer = make(multilingual, threads=4)
    concurrently(recognizer, 16)
    used = len(threads())
    recognizer.close()
    settle(lambda: len(threads()) < used)
    return threads(), files()


@pytest.mark.parametrize(("given", "requests"), [(1, 1), (1, 8), (2, 8), (4, 2)])
def test_threads_are_as_many_as_the_slot_claims(
    multilingual: Path, make: Loader, first_used: tuple[set[str], set[str]], given: int, requests: int
) -> None:
    before, _ = first_used
    recognizer = make(multilingual, threads=given, requests=requests)
    concurrently(recognizer, 16)
    settle(lambda: len(threads() - before) <= given)
    recognizer.close()
    settle(lambda: threads() <= before)


def test_nothing_is_left_of_a_model(multilingual: Path, make: Loader, first_used: tuple[set[str], set[str]]) -> None:
    threads_before, files_before = first_used
    recognizer = make(multilingual)
    heard(recognizer, 3)
    unfinished = recognizer.recognize(noise(100), WORDY)
    next(unfinished)
    recognizer.close()
    # What is being computed may go on; it holds the model until it ends.
    assert next(unfinished).text == TEXT
    unfinished.close()  # type: ignore[attr-defined]
    del unfinished
    settle(lambda: threads() <= threads_before and files() <= files_before)
    with pytest.raises(ProviderError, match="unloaded"):
        heard(recognizer, 3)
