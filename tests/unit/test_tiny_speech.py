"""The tiny speech models as files; `tests/integration/test_tiny_speech_on_engines.py` runs them."""

import hashlib
import json
import stat
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from tokenizers import Tokenizer

from providers.tiny import ToolsMissing, make_demo_models
from providers.tiny.folders import RECORD, model_folder
from providers.tiny.moonshine import make_moonshine, make_moonshine_onnx, make_moonshine_streaming
from providers.tiny.moonshine_tokens import FIRST_WORD, packed_vocabulary, size
from providers.tiny.tones import ALPHABET, FREQUENCIES, SAMPLE_RATE, WORD_S, WORDS, tones
from providers.tiny.whisper import make_whisper
from providers.tiny.whisper_tokens import LANGUAGES

Maker = Callable[[Path], None]
MOST_BYTES = 3_000_000
FILES: dict[Maker, set[str]] = {
    make_moonshine: {
        "encoder_model.ort",
        "decoder_model_merged.ort",
        "decoder_with_attention.ort",
        "tokenizer.bin",
        "made-from.json",
    },
    make_moonshine_streaming: {
        "frontend.ort",
        "encoder.ort",
        "adapter.ort",
        "cross_kv.ort",
        "decoder_kv.ort",
        "decoder_kv_with_attention.ort",
        "streaming_config.json",
        "tokenizer.bin",
        "made-from.json",
    },
    make_moonshine_onnx: {
        "onnx/encoder_model.onnx",
        "onnx/decoder_model_merged.onnx",
        "tokenizer.json",
        "config.json",
        "generation_config.json",
        "preprocessor_config.json",
    },
    make_whisper: {
        "model.bin",
        "config.json",
        "vocabulary.json",
        "tokenizer.json",
        "preprocessor_config.json",
    },
}
every_maker = pytest.mark.parametrize("make", FILES)
makers_with_onnx = pytest.mark.parametrize("make", [make_moonshine, make_moonshine_streaming, make_moonshine_onnx])


def files(folder: Path) -> dict[str, Path]:
    return {str(path.relative_to(folder)): path for path in folder.rglob("*") if path.is_file()}


def digests(folder: Path) -> dict[str, str]:
    return {name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in files(folder).items()}


def identities(folder: Path) -> dict[str, tuple[int, int]]:
    found = {name: path.stat() for name, path in files(folder).items()}
    return {name: (one.st_ino, one.st_mtime_ns) for name, one in found.items()}


@every_maker
def test_makes_these_files_and_leaves_nothing_beside_them(make: Maker, tmp_path: Path) -> None:
    make(tmp_path / "model")
    made = files(tmp_path / "model")
    assert set(made) == FILES[make]
    assert list(tmp_path.iterdir()) == [tmp_path / "model"]
    assert sum(path.stat().st_size for path in made.values()) < MOST_BYTES
    assert all(path.stat().st_mode & stat.S_IROTH for path in (tmp_path / "model", *made.values()))


@every_maker
def test_a_second_run_keeps_the_files(make: Maker, tmp_path: Path) -> None:
    make(tmp_path)
    before = identities(tmp_path)
    make(tmp_path)
    assert identities(tmp_path) == before


@every_maker
def test_what_is_truncated_changed_or_gone_is_made_again(make: Maker, tmp_path: Path) -> None:
    make(tmp_path / "whole")
    record = tmp_path / "model" / RECORD
    for name in FILES[make]:
        for spoil in (lambda path: path.write_bytes(path.read_bytes()[:100] + b"?"), Path.unlink):
            make(tmp_path / "model")
            broken = tmp_path / "model" / name
            spoil(broken)
            make(tmp_path / "model")
            assert set(files(tmp_path / "model")) == FILES[make]
            if not record.exists():
                assert broken.read_bytes() == (tmp_path / "whole" / name).read_bytes()
            elif broken != record:
                expected = json.loads(record.read_bytes())["files"][name]
                assert hashlib.sha256(broken.read_bytes()).hexdigest() == expected


@pytest.mark.parametrize("make", [make_moonshine_onnx, make_whisper])
def test_two_runs_make_the_same_bytes(make: Maker, tmp_path: Path) -> None:
    for name in ("one", "two"):
        make(tmp_path / name)
    assert digests(tmp_path / "one") == digests(tmp_path / "two")


def test_a_failure_leaves_neither_a_file_nor_a_part_of_it(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="halfway"), model_folder(tmp_path / "model") as draft:
        (draft / "half").write_bytes(b"a model")
        raise RuntimeError("halfway")
    assert files(tmp_path) == {}
    assert list(tmp_path.iterdir()) == [tmp_path / "model"]


@makers_with_onnx
def test_without_onnx_it_says_what_to_install(make: Maker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(ToolsMissing, match=r"pip install 'hal0\[demo\]'"):
        make(tmp_path / "model")
    assert list(tmp_path.iterdir()) == []


def test_the_demo_models_are_all_or_none_without_onnx(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(ToolsMissing):
        make_demo_models(tmp_path / "models")
    assert list(tmp_path.iterdir()) == []


def test_each_word_is_its_tone() -> None:
    for word, frequency in zip(WORDS, FREQUENCIES, strict=True):
        samples = tones([word])
        assert samples.dtype == np.float32 and len(samples) == round(WORD_S * SAMPLE_RATE)
        spectrum = np.abs(np.fft.rfft(samples))
        assert np.fft.rfftfreq(len(samples), 1 / SAMPLE_RATE)[spectrum.argmax()] == pytest.approx(frequency)
        assert np.abs(samples).max() == pytest.approx(0.5, abs=0.01)


@pytest.mark.parametrize("rate", [8000, 16_000, 24_000, 44_100, 48_000])
def test_silence_goes_where_it_is_asked_for(rate: int) -> None:
    samples = tones(["alpha", "hotel"], before_s=0.1, between_s=0.2, after_s=0.3, loudness=1, rate=rate)
    loud = np.abs(samples) > 0
    word, pause = round(WORD_S * rate), round(0.2 * rate)
    first = round(0.1 * rate)
    second = first + word + pause
    assert len(samples) == second + word + round(0.3 * rate)
    assert not loud[:first].any() and not loud[first + word : second].any() and not loud[second + word :].any()
    assert loud[first : first + word].mean() > 0.8 and loud[second : second + word].mean() > 0.8


def test_a_word_must_be_known() -> None:
    assert len(tones([])) == 0
    with pytest.raises(ValueError, match="india"):
        tones(["alpha", "india"])


def test_both_forms_of_the_vocabulary_of_moonshine_agree(tmp_path: Path) -> None:
    packed, tokens = packed_vocabulary(), list[bytes]()
    while packed:
        length = packed[0]
        tokens.append(packed[1 : 1 + length])
        packed = packed[1 + length :]
    make_moonshine_onnx(tmp_path)
    tokenizer = Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    assert len(tokens) == size(ALPHABET) == tokenizer.get_vocab_size()
    assert tokens[:3] == [b"<unk>", b"<s>", b"</s>"]
    assert tokens[3:FIRST_WORD] == [bytes([byte]) for byte in range(256)]
    assert [tokenizer.id_to_token(id) for id in range(FIRST_WORD, size(ALPHABET))] == [
        one.decode() for one in tokens[FIRST_WORD:]
    ]


def test_moonshines_tokenizer_writes_words_with_spaces_between(tmp_path: Path) -> None:
    make_moonshine_onnx(tmp_path)
    tokenizer = Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    silence = size(ALPHABET) - 1
    assert tokenizer.decode([1, silence, *range(FIRST_WORD, silence), 2]) == " ".join(WORDS)
    assert tokenizer.encode("golf hotel").ids == [FIRST_WORD + 6, FIRST_WORD + 7]


def test_the_configuration_of_the_exports_has_the_keys_of_those_on_the_hub(tmp_path: Path) -> None:
    make_moonshine_onnx(tmp_path)
    config = json.loads((tmp_path / "config.json").read_bytes())
    assert config["hidden_size"] // config["num_attention_heads"] == 36
    assert (config["num_hidden_layers"], config["num_key_value_heads"], config["vocab_size"]) == (6, 8, size(ALPHABET))
    generation = json.loads((tmp_path / "generation_config.json").read_bytes())
    assert generation == {"bos_token_id": 1, "decoder_start_token_id": 1, "eos_token_id": 2}


@pytest.mark.parametrize("multilingual", [True, False])
def test_whispers_vocabulary_is_that_of_its_tokenizer(multilingual: bool, tmp_path: Path) -> None:
    make_whisper(tmp_path, multilingual)
    tokens = json.loads((tmp_path / "vocabulary.json").read_bytes())
    tokenizer = Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    assert tokens == [tokenizer.id_to_token(id) for id in range(tokenizer.get_vocab_size())]
    # CTranslate2 takes this token for the sign of a multilingual model.
    assert ("" in tokens) is multilingual
    end = tokens.index("<|endoftext|>")
    special = tokens[end : end + 2 + len(LANGUAGES) + 6]
    assert special[1:3] == ["<|startoftranscript|>", "<|en|>"]
    assert special[-6:-4] == ["<|translate|>", "<|transcribe|>"]
    assert special[-1] == "<|notimestamps|>"
    times = tokens[end + len(special) :]
    assert (times[0], times[-1], len(times)) == ("<|0.00|>", "<|30.00|>", 1501)
    config = json.loads((tmp_path / "config.json").read_bytes())
    assert config["alignment_heads"] == [[0, 0]]
    assert [tokens[id] for id in config["lang_ids"]] == [f"<|{language}|>" for language in LANGUAGES]


def test_whispers_tokenizer_spells_any_text(tmp_path: Path) -> None:
    make_whisper(tmp_path)
    tokenizer = Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    assert tokenizer.encode(" hello world").tokens == ["Ġhello", "Ġworld"]
    for text in ("Grüße, 世界! ♪", " hello, worldly"):
        assert tokenizer.decode(tokenizer.encode(text).ids) == text
