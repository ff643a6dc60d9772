"""Moonshine's own library behind the seam of speech recognition, on tiny models of tones."""

import asyncio
import os
import random
import shutil
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import aiohttp
import numpy as np
import onnx
import onnxruntime  # type: ignore[import-untyped]
import pytest

from providers.asr.messages import EVENT, Done, End, Heard, Start
from providers.asr.paths import SESSION_PATH
from providers.asr.recognizer import SAMPLE_RATE, Asked, Recognizer, Segment
from providers.base import Endpoint, HealthState, ModelFiles, NativeEngine, Placement
from providers.devices import Device
from providers.errors import InvalidRequest, ProviderError
from providers.moonshine.library import Model
from providers.moonshine.loading import load
from providers.moonshine.names import Architecture
from providers.moonshine.options import MoonshineSlot
from providers.moonshine.provider import Moonshine
from providers.tiny.moonshine import make_moonshine, make_moonshine_streaming
from providers.tiny.moonshine_streaming import frontend
from providers.tiny.tones import WORD_S, WORDS, tones
from tests.support.server import eventually

CLOSE_S = 0.05
"""How near the times of words must be."""
WORDY = Asked(word_times=True)
Make = Callable[..., Recognizer]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "tiny-moonshine"
    make_moonshine(folder)
    return folder


@pytest.fixture(scope="module")
def streaming(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "tiny-moonshine-streaming"
    make_moonshine_streaming(folder)
    return folder


@pytest.fixture(params=["tiny", "streaming"])
def model(request: pytest.FixtureRequest) -> Path:
    found: Path = request.getfixturevalue(request.param)
    return found


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    made: list[Recognizer] = []

    def loaded(model: Path | ModelFiles, device: Device = Device.CPU, **options: object) -> Recognizer:
        files = model if isinstance(model, ModelFiles) else ModelFiles(model)
        made.append(load(slot(**options), files, placement(tmp_path, device)))
        return made[-1]

    yield loaded
    for one in made:
        one.close()
        one.close()


def slot(**options: object) -> MoonshineSlot:
    given = {"name": "s", "provider": "moonshine", "model": "m", "capabilities": ["transcription"]}
    return MoonshineSlot.model_validate(given | {"parallel_requests": 2, "options": {"threads": 1} | options})


def placement(folder: Path, device: Device = Device.CPU, port: int = 0) -> Placement:
    return Placement(device, "127.0.0.1", port, "token", folder / "cache", cpu_threads=1)


def said(seed: int, count: int) -> list[str]:
    return random.Random(seed).choices(WORDS, k=count)


def heard(recognizer: Recognizer, words: list[str], asked: Asked = WORDY, after_s: float = 0.0) -> tuple[Segment, ...]:
    return tuple(recognizer.recognize(tones(words, after_s=after_s), asked))


def check_times(segment: Segment, words: list[str]) -> None:
    assert [word.text for word in segment.words] == words
    for order, word in enumerate(segment.words):
        assert word.start_s == pytest.approx(order * WORD_S, abs=CLOSE_S)
        assert word.end_s == pytest.approx((order + 1) * WORD_S, abs=CLOSE_S)


@pytest.mark.parametrize("count", [1, 2, 7, 30, 60])
def test_words_and_their_times(model: Path, make: Make, count: int) -> None:
    recognizer = make(model)
    for seed in range(3):
        words = said(seed, count)
        (segment,) = heard(recognizer, words)
        assert segment.text == " ".join(words)
        assert segment.start_s == 0 and segment.end_s == pytest.approx(count * WORD_S)
        assert segment.language == "en"
        check_times(segment, words)


def test_silence_around_them_is_no_part_of_words(model: Path, make: Make) -> None:
    samples = tones(["hotel", "golf"], before_s=0.4, after_s=0.5)
    (segment,) = make(model).recognize(samples, WORDY)
    assert segment.text == "hotel golf"
    assert (segment.start_s, segment.words[0].start_s) == pytest.approx((0.4, 0.4), abs=CLOSE_S)
    assert (segment.end_s, segment.words[1].end_s) == pytest.approx((0.88, 0.88), abs=CLOSE_S)


def test_words_have_no_times_unless_asked(model: Path, make: Make) -> None:
    (segment,) = heard(make(model), ["alpha"], Asked())
    assert segment.text == "alpha" and segment.words == ()


def test_the_last_of_the_audio_counts(model: Path, make: Make) -> None:
    """The library drops what is less than 80 ms at the end; here that is the middle of a word."""
    (segment,) = make(model).recognize(tones(["hotel", "golf"])[:-1600], Asked())
    assert segment.text == "hotel golf"


@pytest.mark.parametrize("samples", [0, 1, 1279, 1281, SAMPLE_RATE])
def test_silence_of_any_length_says_nothing(model: Path, make: Make, samples: int) -> None:
    assert list(make(model).recognize(np.zeros(samples, np.float32), WORDY)) == []


def test_samples_may_lie_anyhow_in_memory(model: Path, make: Make) -> None:
    every_other = np.repeat(tones(["golf", "echo"]), 2)[::2]
    assert not every_other.flags.c_contiguous
    (segment,) = make(model).recognize(every_other, Asked())
    assert segment.text == "golf echo"


def test_twenty_at_once_do_not_mix(model: Path, make: Make) -> None:
    recognizer = make(model)

    def work(seed: int) -> None:
        for round_ in range(5):
            words = said(seed * 100 + round_, 8)
            (segment,) = heard(recognizer, words)
            assert segment.text == " ".join(words)
            check_times(segment, words)

    with ThreadPoolExecutor(20) as pool:
        list(pool.map(work, range(20)))


def test_what_the_files_do_not_offer_is_refused(tiny: Path, make: Make, tmp_path: Path) -> None:
    without = tmp_path / "without"
    shutil.copytree(tiny, without)
    (without / "decoder_with_attention.ort").unlink()
    recognizer = make(without)
    for asked, param in (
        (WORDY, "timestamp_granularities[]"),
        (Asked(language="fr"), "language"),
        (Asked(keywords=("hal0",)), "keywords"),
    ):
        with pytest.raises(InvalidRequest) as refused:
            heard(recognizer, ["alpha"], asked)
        assert refused.value.param == param
    (segment,) = heard(recognizer, ["alpha"], Asked(language="en", prompt="hints are fine", temperature=0.2))
    assert segment.text == "alpha"


def test_a_model_in_single_files_works_alike(tiny: Path, make: Make, tmp_path: Path) -> None:
    apart = {}
    for name in ("encoder_model.ort", "decoder_model_merged.ort", "tokenizer.bin"):
        apart[name] = tmp_path / name / "blob"
        apart[name].parent.mkdir()
        shutil.copy(tiny / name, apart[name])
    companions = {"decoder_model_merged": apart["decoder_model_merged.ort"], "tokenizer": apart["tokenizer.bin"]}
    recognizer = make(ModelFiles(apart["encoder_model.ort"], companions))
    assert not list((tmp_path / "cache").iterdir())
    assert heard(recognizer, ["delta"], Asked())[0].text == "delta"


def test_a_streaming_models_weights_may_lie_apart(streaming: Path, make: Make, tmp_path: Path) -> None:
    """As the published ones do: `frontend.model.ort` takes as inputs what `frontend.weights.ort` puts out."""
    apart = tmp_path / "apart"
    shutil.copytree(streaming, apart, ignore=shutil.ignore_patterns("frontend.ort"))
    split_frontend(apart)
    words = said(5, 9)
    (segment,) = heard(make(apart), words)
    check_times(segment, words)


def split_frontend(folder: Path) -> None:
    whole = frontend().model()
    weights = max(whole.graph.initializer, key=lambda one: one.ByteSize())
    whole.graph.initializer.remove(weights)
    value = onnx.helper.make_tensor_value_info(weights.name, weights.data_type, weights.dims)
    whole.graph.input.append(value)
    kept = onnx.helper.make_node("Constant", [], [weights.name], value=weights)
    apart = onnx.helper.make_model(
        onnx.helper.make_graph([kept], "weights", [], [value]),
        opset_imports=whole.opset_import,
        ir_version=whole.ir_version,
    )
    for name, model in (("frontend.model.ort", whole), ("frontend.weights.ort", apart)):
        options = onnxruntime.SessionOptions()
        options.optimized_model_filepath = str(folder / name)
        options.add_session_config_entry("session.save_model_format", "ORT")
        onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def test_a_model_that_the_library_refuses_is_a_failed_load(tiny: Path, make: Make, tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    shutil.copytree(tiny, broken)
    encoder = (broken / "encoder_model.ort").read_bytes()
    (broken / "encoder_model.ort").write_bytes(encoder[: len(encoder) // 2])
    with pytest.raises(ProviderError, match=r"cannot load .*broken"):
        make(broken)


def test_the_format_of_the_cpu_does_not_run_elsewhere(tiny: Path, make: Make) -> None:
    with pytest.raises(ProviderError, match=r"device: cpu, or for vulkan .* hf://onnx-community"):
        make(tiny, Device.VULKAN)


@pytest.mark.parametrize("parts", [1, 3, 40])
def test_an_utterance_grows_as_it_is_spoken(streaming: Path, make: Make, parts: int) -> None:
    words = said(parts, 20)
    utterance = make(streaming).utterance(Asked())
    assert utterance is not None
    texts = []
    for part in np.array_split(tones(words), parts):
        utterance.feed(part)
        texts.append(utterance.text())
    (segment,) = utterance.finish()
    utterance.close()
    utterance.close()
    assert segment.text == " ".join(words) and segment.end_s == pytest.approx(20 * WORD_S)
    for shorter, longer in zip(texts, [*texts[1:], segment.text], strict=True):
        assert longer.startswith(shorter)
    assert parts == 1 or len(set(texts)) > 2


def test_utterances_and_pieces_at_once_do_not_mix(streaming: Path, make: Make) -> None:
    recognizer = make(streaming)

    def live(seed: int) -> None:
        words = said(seed, 15)
        utterance = recognizer.utterance(Asked())
        assert utterance is not None
        for part in np.array_split(tones(words), 10):
            utterance.feed(part)
            assert " ".join(words).startswith(utterance.text())
        assert utterance.finish()[0].text == " ".join(words)
        utterance.close()

    def whole(seed: int) -> None:
        words = said(seed, 8)
        (segment,) = heard(recognizer, words)
        check_times(segment, words)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda seed: (live if seed % 2 else whole)(seed), range(40)))


def test_an_utterance_that_is_given_up_leaves_nothing(streaming: Path, make: Make) -> None:
    recognizer = make(streaming)
    utterance = recognizer.utterance(Asked())
    assert utterance is not None
    utterance.feed(tones(["alpha"]))
    utterance.close()
    with pytest.raises(ValueError, match="closed"):
        utterance.text()
    assert heard(recognizer, ["bravo"])[0].text == "bravo"


def test_where_an_utterance_gains_nothing_there_is_none(tiny: Path, streaming: Path, make: Make) -> None:
    assert make(tiny).utterance(Asked()) is None
    assert make(streaming).utterance(WORDY) is None


def test_a_streaming_model_heeds_keywords_of_one_request(streaming: Path, make: Make) -> None:
    recognizer = make(streaming)
    asked = Asked(keywords=("golf", "Kubernetes, Ceph", "übermäßig"))
    assert heard(recognizer, ["alpha", "golf"], asked)[0].text == "alpha golf"
    assert heard(recognizer, ["alpha"], Asked())[0].text == "alpha"


def threads() -> set[str]:
    return set(os.listdir("/proc/self/task"))


def files() -> set[str]:
    return set(os.listdir("/proc/self/fd"))


def test_one_thread_is_its_callers_own(model: Path, make: Make) -> None:
    before = threads()
    recognizer = make(model, threads=1)
    heard(recognizer, ["alpha"])
    eventually("no thread is left", lambda: threads() <= before)


def test_the_whole_machine_is_pools_that_end_with_the_model(
    tiny: Path, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.cpu_count", lambda: 2)
    before = threads()
    recognizer = make(tiny, threads=2)
    assert heard(recognizer, ["alpha"])[0].text == "alpha"
    recognizer.close()
    eventually("no thread is left", lambda: threads() <= before)


def test_nothing_is_left_of_a_model(model: Path, make: Make) -> None:
    make(model).close()
    before = threads(), files()
    recognizer = make(model)
    heard(recognizer, ["alpha"])
    unfinished = iter(recognizer.recognize(tones(["alpha"]), WORDY))
    next(unfinished)
    unfinished.close()  # type: ignore[attr-defined]
    recognizer.close()
    assert (threads(), files()) == before
    with pytest.raises(ProviderError, match="unloaded"):
        heard(recognizer, ["alpha"])


def test_a_stream_is_freed_once_it_is_closed(tiny: Path) -> None:
    model = Model(tiny, Architecture.TINY, 6.5, word_times=True)
    stream = model.open()
    assert (model.streams, model.understand(stream, ()).text) == (1, "")
    model.end(stream)
    assert model.streams == 0
    with pytest.raises(ProviderError, match="Moonshine failed"):
        model.understand(stream, ())
    model.close()


def test_a_model_is_not_freed_under_a_call(model: Path, make: Make) -> None:
    recognizer = make(model)
    began, ends = threading.Event(), []

    def work() -> None:
        try:
            while True:
                heard(recognizer, said(1, 40))
                began.set()
        except ProviderError as error:
            ends.append(str(error))

    worker = threading.Thread(target=work)
    worker.start()
    assert began.wait(30)
    recognizer.close()
    worker.join(30)
    assert ends == ["The model has been unloaded."]


async def test_a_slot_answers_at_its_port(tiny: Path, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    provider, where = Moonshine(), placement(tmp_path, port=port)
    engine = provider.native(slot(voice_detector="level"), ModelFiles(tiny), where)
    assert engine is not None
    await engine.start()
    try:
        await ready(provider, Endpoint(f"http://127.0.0.1:{port}", "token"))
        words = said(3, 6)
        segments, done = await transcribed(port, tones(words, before_s=1.0, after_s=1.0))
    finally:
        await engine.stop()
    assert " ".join(segment.text for segment in segments) == " ".join(words)
    assert segments[0].words[0].start_s == pytest.approx(1.0, abs=0.1)
    assert done.duration_s == pytest.approx(2 + 6 * WORD_S)


async def test_a_wrong_folder_is_told_as_the_loads_failure(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    provider = Moonshine()
    engine: NativeEngine | None = provider.native(slot(), ModelFiles(tmp_path), placement(tmp_path, port=port))
    assert engine is not None
    await engine.start()
    try:
        async with asyncio.timeout(30):
            while (health := await provider.health(Endpoint(f"http://127.0.0.1:{port}", "token"))).state in (
                HealthState.STARTING,
                HealthState.WARMING,
            ):
                await asyncio.sleep(0.01)
        assert health.state is HealthState.DEAD and "no encoder" in health.detail
    finally:
        await engine.stop()


async def ready(provider: Moonshine, endpoint: Endpoint) -> None:
    async with asyncio.timeout(30):
        while (health := await provider.health(endpoint)).state is not HealthState.READY:
            assert health.state is not HealthState.DEAD, health.detail
            await asyncio.sleep(0.01)


async def transcribed(
    port: int, samples: np.ndarray[tuple[int, ...], np.dtype[np.float32]]
) -> tuple[list[Segment], Done]:
    segments: list[Segment] = []
    async with (
        aiohttp.ClientSession(headers={"Authorization": "Bearer token"}) as http,
        http.ws_connect(f"http://127.0.0.1:{port}{SESSION_PATH}") as session,
    ):
        await session.send_str(Start(asked=WORDY).model_dump_json())
        await session.send_bytes((samples * 32767).astype("<i2").tobytes())
        await session.send_str(End().model_dump_json())
        async for message in session:
            event = EVENT.validate_json(message.data)
            if isinstance(event, Done):
                return segments, event
            assert isinstance(event, Heard), event
            segments.append(event.segment)
    raise AssertionError("the session ended early")
