"""What the emulator of `flm` is made of, without its process."""

import io
import math
import random

import numpy as np
import pytest
import soundfile  # type: ignore[import-untyped]
from hypothesis import given
from hypothesis import strategies as st

from providers.tiny.tones import FREQUENCIES, WORD_S, WORDS
from tests.emulators.flm import hearing
from tests.emulators.flm.embedding import DIMENSIONS, embed
from tests.emulators.flm.hearing import heard
from tests.emulators.flm.multipart import parts
from tests.emulators.flm.options import BadArguments, parse
from tests.emulators.flm.samples import decode
from tests.support.tones import Speech
from tests.support.wav import wav

VERSION = (0, 9, 45)


def test_its_alphabet_is_that_of_the_tiny_models() -> None:
    assert (hearing.WORDS, hearing.FREQUENCIES) == (WORDS, FREQUENCIES)
    assert pytest.approx(WORD_S) == hearing.FRAMES_A_WORD / hearing.FRAMES_A_SECOND


@given(st.lists(st.sampled_from(WORDS), max_size=6), st.integers(0, 2**32))
def test_speech_is_heard_as_it_was_said(words: list[str], seed: int) -> None:
    silences = [round(random.Random(seed + place).uniform(0, 0.4), 3) for place in range(3)]
    speech = Speech(tuple(words), *silences)

    assert heard(*decode(wav(speech.samples()))) == words


@pytest.mark.parametrize("rate", [8000, 16000, 24000, 44100, 48000])
def test_the_rate_does_not_matter(rate: int) -> None:
    from providers.tiny.tones import tones

    words = ["alpha", "hotel", "hotel", "delta"]
    assert heard(*decode(wav(tones(words, between_s=0.1, rate=rate), rate))) == words


def test_stereo_is_heard() -> None:
    samples = Speech(("golf", "echo")).samples()
    out = io.BytesIO()
    soundfile.write(out, np.stack([samples, samples], axis=1), 16000, format="WAV", subtype="PCM_16")

    assert heard(*decode(out.getvalue())) == ["golf", "echo"]


@pytest.mark.parametrize("kind", ["FLAC", "OGG", "MP3"])
def test_what_ffmpeg_takes_is_heard(kind: str) -> None:
    out = io.BytesIO()
    soundfile.write(out, Speech(("bravo", "foxtrot"), 0.1, 0.1, 0.1).samples(), 16000, format=kind)

    assert heard(*decode(out.getvalue())) == ["bravo", "foxtrot"]


@pytest.mark.parametrize("sound", [b"", b"RIFF", b"no sound at all" * 100, wav(Speech(("alpha",)).samples())[:30]])
def test_what_is_no_sound_has_no_words(sound: bytes) -> None:
    assert heard(*decode(sound)) == []


def test_noise_is_not_words() -> None:
    noise = np.random.default_rng(1).normal(0, 0.2, 16000).astype(np.float32)
    assert heard(*decode(wav(noise))) == []


def test_embeddings_are_of_length_one_and_alike_for_alike_texts() -> None:
    cat, again, near, far = (embed(text) for text in ("a black cat", "a black cat", "a white cat", "quantum physics"))

    def likeness(one: list[float], other: list[float]) -> float:
        return sum(a * b for a, b in zip(one, other, strict=True))

    assert cat == again and len(cat) == DIMENSIONS
    assert math.isclose(likeness(cat, cat), 1)
    assert likeness(cat, near) > likeness(cat, far)


def test_a_form_is_taken_apart() -> None:
    body = (
        b'--B\r\nContent-Disposition: form-data; name="model"\r\n\r\nwhisper\r\n'
        b'--B\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\n\r\n\x00\r\n\xff\r\n--B--\r\n'
    )
    assert parts(body, "B") == {"model": b"whisper", "file": b"\x00\r\n\xff"}
    assert parts(body, '"B"') == {}


@pytest.mark.parametrize(
    ("given_arguments", "option", "value"),
    [
        (["--port", "80"], "port", 80),
        (["--port=80"], "port", 80),
        (["-p80"], "port", 80),
        (["-p", "80"], "port", 80),
        (["--po", "80"], "port", 80),
        (["--port", "-1"], "port", -1),
        (["--q", "3"], None, None),
        (["--q-", "3"], "q-len", 3),
        (["--asr", "on"], "asr", True),
        (["--asr", "no"], "asr", False),
        (["-j"], "json", True),
        (["--prefill", "512"], "prefill-chunk-len", 512),
    ],
)
def test_options_are_read_as_boost_reads_them(
    given_arguments: list[str], option: str | None, value: int | bool | None
) -> None:
    if option is None:
        with pytest.raises(BadArguments, match="ambiguous and matches '--quiet', and '--q-len'"):
            parse(given_arguments, VERSION)
    else:
        assert parse(given_arguments, VERSION).given == {option: value}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--x"], "unrecognised option '--x'"),
        (["-x"], "unrecognised option '-x'"),
        (["--port"], "the required argument for option '--port' is missing"),
        (["--port", "x"], r"the argument \('x'\) for option '--port' is invalid"),
        (["-pcl", "512"], r"the argument \('cl'\) for option '--port' is invalid"),
        (["--asr", "2"], r"the argument \('2'\) for option '--asr' is invalid"),
        (["--force=1"], "option '--force' does not take any arguments"),
        (["--port", "1", "-p", "2"], "option '--port' cannot be specified more than once"),
        (["serve", "a", "b"], "too many positional options have been specified on the command line"),
        (["--modelscope", "1"], "unrecognised option '--modelscope'"),
    ],
)
def test_options_that_are_wrong(arguments: list[str], message: str) -> None:
    with pytest.raises(BadArguments, match=f"^{message}$"):
        parse(arguments, VERSION)


def test_a_later_version_knows_modelscope() -> None:
    assert parse(["pull", "qwen3", "--modelscope", "1"], (0, 9, 46)).on("modelscope")
