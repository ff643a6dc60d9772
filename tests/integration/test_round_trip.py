"""Text to tones by a slot that speaks, tones to text by slots that hear: whole ingresses, real engines, tiny models.

The tiny Kokoro says each phoneme as a tone. The tiny Moonshines here have phonemes for words: what they write is what
espeak-ng makes of the text, in the order in which it was spoken.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
import openai
import pytest
from kokoro_onnx.config import DEFAULT_VOCAB

from providers.base import Endpoint, HealthState, ModelFiles, NativeEngine, Provider
from providers.kokoro.provider import Kokoro, book
from providers.moonshine.options import MoonshineSlot
from providers.moonshine.provider import Moonshine, features
from providers.spec import SlotSpec
from providers.tiny.folders import RECORD
from providers.tiny.kokoro import PHONEME_S, hertz, make_kokoro, styles
from providers.tiny.moonshine import make_moonshine, make_moonshine_onnx, make_moonshine_streaming
from providers.tiny.tones import FRAMES_A_SECOND, Alphabet
from serve_app.models.store import ModelStore
from tests.support.audio_bench import PATIENCE_S, audio_bench
from tests.support.kokoro_voice import placement
from tests.support.kokoro_voice import slot as kokoro_slot
from tests.support.realtime_bench import SlotBench
from tests.support.server import free_port
from tests.support.speech_bench import speech_bench

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::SyntaxWarning")
PHONEMES = ".AOdinszəɡɪŋθʃʌˈ"
"""Any two of their tones are 60 Hz apart or more."""
SLOW, FASTER = 0.625, 0.75
"""A phoneme lasts six frames, and five."""
TEXTS = {
    "No.": "nˈO.",
    "She goes": "ʃi ɡˈOz",
    "Dizzy geese": "dˈɪzi ɡˈis",
    "Uneasy oasis": "ʌnˈizi OˈAsɪs",
    "Thinness in thin things.": "θˈɪnnəs ˈɪn θˈɪn θˈɪŋz.",
    "Sudden oceans in insane days.": "sˈʌdən ˈOʃənz ˈɪn ɪnsˈAn dˈAz.",
    "Daisy is showing shady daisies.": "dˈAzi ɪz ʃˈOɪŋ ʃˈAdi dˈAziz.",
}
TALE = """Show seeds. Seasoning is going. Sing.

Daisy is showing shady daisies. Is singing a sin in zany zones. A diocese seizing zones. A sane ocean.
Sudden oceans in insane days."""
TALE_PHONEMES = (
    "ʃˈO sˈidz. sˈizənɪŋ ɪz ɡˈOɪŋ. sˈɪŋ. dˈAzi ɪz ʃˈOɪŋ ʃˈAdi dˈAziz. ɪz sˈɪŋɪŋ ˈA sˈɪn ˈɪn zˈAni zˈOnz. "
    "ˈA dɪOsˈiz sˈizɪŋ zˈOnz. ˈA sˈAn ˈOʃən. sˈʌdən ˈOʃənz ˈɪn ɪnsˈAn dˈAz."
)
"""More than one piece of speech: some 30 seconds."""


@dataclass(frozen=True)
class Ears:
    """A model that understands one voice, or voices blended alike, at one speed."""

    voices: tuple[str, ...]
    speed: float = SLOW
    make: Callable[[Path, Alphabet], None] = make_moonshine

    @property
    def alphabet(self) -> Alphabet:
        every = styles()
        style = np.mean([every[voice][0] for voice in self.voices], axis=0)
        tones = {phoneme: hertz(DEFAULT_VOCAB[phoneme], style) for phoneme in PHONEMES}
        return Alphabet(tones, round(PHONEME_S / self.speed * FRAMES_A_SECOND))


EARS: Mapping[str, Ears] = {
    "heart": Ears(("af_heart",)),
    "santa": Ears(("am_santa",)),
    "both": Ears(("af_heart", "am_santa")),
    "faster": Ears(("af_heart",), FASTER),
    "streaming": Ears(("am_santa",), make=make_moonshine_streaming),
    "exported": Ears(("am_santa",), make=make_moonshine_onnx),
}


@dataclass
class Native:
    """A slot's engine, as its provider makes it."""

    provider: Provider[Any]
    spec: Any
    model: Path
    cache_dir: Path

    async def start(self) -> Endpoint:
        where = replace(placement(self.cache_dir), port=free_port())
        engine = self.provider.native(self.spec, ModelFiles(self.model), where)
        assert engine is not None
        self._engine: NativeEngine = engine
        await engine.start()
        endpoint = Endpoint(f"http://127.0.0.1:{where.port}", where.token)
        async with asyncio.timeout(PATIENCE_S):
            while (await self.provider.health(endpoint)).state is not HealthState.READY:
                await asyncio.sleep(0.01)
        return endpoint

    async def stop(self) -> None:
        await self._engine.stop()


@dataclass(frozen=True)
class Said:
    """A text, who is to understand it, and who says it how fast, if not as those ears understand it."""

    text: str
    ears: str
    voice: str | None = None
    speed: float | None = None
    format: str = "wav"


class RoundTrip:
    def __init__(self, models: Path, folder: Path) -> None:
        self._models, self._folder = models, folder

    async def __call__(self, *said: Said) -> list[str]:
        """What is heard of each, all at once."""
        files = await self._spoken(said)
        slots = [hearing_slot(name) for name in {one.ears for one in said}]
        benches = (self._bench(Moonshine(), slot) for slot in slots)
        async with audio_bench(*benches, features={slot.name: features(slot) for slot in slots}) as bench:
            create = bench.client.audio.transcriptions.create
            answers = await asyncio.gather(
                *(create(model=one.ears, file=file) for one, file in zip(said, files, strict=True))
            )
        return [answer.text for answer in answers]

    async def _spoken(self, said: Sequence[Said]) -> list[bytes]:
        slot = kokoro_slot()
        store, books = ModelStore(self._folder), {slot.name: book(slot)}
        async with speech_bench(self._bench(Kokoro(), slot), store=store, books=books) as bench:
            return list(await asyncio.gather(*(speech_file(bench.client, slot.name, one) for one in said)))

    def _bench(self, provider: Provider[Any], slot: SlotSpec) -> SlotBench:
        engine = Native(provider, slot, self._models / slot.name, self._folder)
        return SlotBench(slot, [engine], capacity=slot.parallel_requests)


async def speech_file(client: openai.AsyncOpenAI, slot: str, said: Said) -> bytes:
    ears = EARS[said.ears]
    format = cast(Literal["mp3", "opus", "aac", "flac", "wav"], said.format)
    voice = said.voice or "+".join(ears.voices)
    answer = await client.audio.speech.create(
        model=slot, input=said.text, voice=voice, speed=said.speed or ears.speed, response_format=format
    )
    return answer.content


def words(phonemes: str) -> str:
    """As they are heard: spaces are silence, and silence is no word."""
    return " ".join(phonemes.replace(" ", ""))


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    make_kokoro(folder / "tts")
    for name, ears in EARS.items():
        ears.make(folder / name, ears.alphabet)
    return folder


@pytest.fixture
def heard(models: Path, tmp_path: Path) -> RoundTrip:
    return RoundTrip(models, tmp_path)


def hearing_slot(name: str) -> MoonshineSlot:
    given = {"name": name, "provider": "moonshine", "model": "m", "capabilities": ["transcription"]}
    # Of a language in Latin script a model writes 6.5 words a second at most.
    options = {"language": "uk", "voice_detector": "level"}
    return MoonshineSlot.model_validate(given | {"parallel_requests": 4, "options": options})


@pytest.mark.parametrize("ears", EARS)
async def test_what_is_heard_are_the_phonemes_of_the_text(heard: RoundTrip, ears: str) -> None:
    assert await heard(*(Said(text, ears) for text in TEXTS)) == [words(phonemes) for phonemes in TEXTS.values()]


@pytest.mark.parametrize("ears", ["heart", "streaming"])
async def test_a_long_text_is_heard_to_its_end(heard: RoundTrip, ears: str) -> None:
    assert await heard(Said(TALE, ears)) == [words(TALE_PHONEMES)]


@pytest.mark.parametrize("format", ["mp3", "opus", "aac", "flac"])
async def test_every_format_carries_it(heard: RoundTrip, format: str) -> None:
    said = [Said(text, "santa", format=format) for text in TEXTS]
    assert await heard(*said) == [words(phonemes) for phonemes in TEXTS.values()]


async def test_voices_at_once_are_not_mixed_up(heard: RoundTrip) -> None:
    said = [Said(text, ears) for text in TEXTS for ears in ("heart", "santa", "both")]
    assert await heard(*said) == [words(TEXTS[one.text]) for one in said]


async def test_another_text_or_voice_is_another_sound(heard: RoundTrip) -> None:
    own, *others = await heard(
        Said("Dizzy geese", "heart"),
        Said("Dizzy season", "heart"),
        Said("Dizzy geese", "heart", voice="am_santa"),
        Said("Dizzy geese", "both", voice="am_santa"),
    )
    assert own == words("dˈɪzi ɡˈis") and own not in others


async def test_at_half_the_speed_each_phoneme_lasts_as_long_as_two(heard: RoundTrip) -> None:
    said = [Said(text, "heart", speed=SLOW / 2) for text in TEXTS]
    twice = ["".join(phoneme * 2 for phoneme in phonemes) for phonemes in TEXTS.values()]
    assert await heard(*said) == [words(phonemes) for phonemes in twice]


def test_a_model_of_another_alphabet_is_made_anew(tmp_path: Path) -> None:
    made: dict[str, bytes] = {}
    for name in ("heart", "santa", "faster"):
        make_moonshine(tmp_path, EARS[name].alphabet)
        made[name] = (tmp_path / RECORD).read_bytes()
    assert len(set(made.values())) == len(made)
    make_moonshine(tmp_path, EARS["faster"].alphabet)
    assert (tmp_path / RECORD).read_bytes() == made["faster"]
