"""What a slot on faster-whisper may say, what it declares, and what it will take."""

import json
from pathlib import Path

import pytest
from pydantic import ValidationError

from providers.base import ModelFiles, Placement
from providers.capabilities import Operation
from providers.devices import Device
from providers.errors import InvalidRequest
from providers.whisper.computing import WIDTHS, Sharing, shared
from providers.whisper.languages import named_english
from providers.whisper.memory import PIECE_BYTES
from providers.whisper.options import WhisperSlot
from providers.whisper.provider import FasterWhisper
from tests.unit.test_whisper_folder import VARIABLES, whisper

PROVIDER = FasterWhisper()
MODEL = ModelFiles(Path("/models/m"))


def slot(source: str = "m", requests: int = 2, **options: object) -> WhisperSlot:
    given = {"name": "s", "provider": "faster-whisper", "model": source, "capabilities": ["transcription"]}
    return WhisperSlot.model_validate(given | {"parallel_requests": requests, "options": options})


def placement(device: Device = Device.CPU, ids: tuple[str, ...] = ()) -> Placement:
    return Placement(device, "127.0.0.1", 1234, "secret", Path("/cache"), ids, cpu_threads=3)


@pytest.mark.parametrize("language", ["english", "EN", "xx", ""])
def test_an_unknown_language_is_refused_when_configured(language: str) -> None:
    with pytest.raises(ValidationError, match="knows no language .* allowed: af, am, "):
        slot(language=language)


def test_silence_is_skipped_where_speech_is_told_by_a_model() -> None:
    assert slot().options.skips_silence
    assert not slot(voice_detector="level").options.skips_silence
    assert slot(voice_detector="level", vad_filter=True).options.skips_silence
    assert not slot(vad_filter=False).options.skips_silence


def test_it_transcribes_translates_and_hears_live() -> None:
    assert all(PROVIDER.infer(one) for one in (Operation.TRANSCRIPTION, Operation.TRANSLATION, Operation.REALTIME))
    assert PROVIDER.infer(Operation.CHAT) is None


def test_requests_are_checked_before_their_audio_is_heard() -> None:
    route = PROVIDER.infer(Operation.TRANSCRIPTION)
    assert route and route.translate
    route.translate({"language": "yue", "word_times": True, "keywords": ["hal0"]}, slot())
    route.translate({"language": None}, slot("hf://Systran/faster-whisper-tiny.en"))
    for language, source in (("xx", "m"), ("fr", "hf://Systran/faster-whisper-tiny.en")):
        with pytest.raises(InvalidRequest) as refused:
            route.translate({"language": language}, slot(source))
        assert refused.value.param == "language"


@pytest.mark.parametrize(
    ("source", "english"),
    [
        ("hf://Systran/faster-whisper-small.en", True),
        ("hf://Systran/faster-whisper-small.en@main", True),
        ("/models/small.en/", True),
        ("hf://Systran/faster-whisper-small", False),
        ("hf://some.enterprise/whisper", False),
        ("/models/whisper.english", False),
    ],
)
def test_some_names_say_that_a_model_is_english(source: str, english: bool) -> None:
    assert named_english(source) is english


def test_it_is_a_part_of_the_actor_unless_it_is_told_otherwise() -> None:
    assert PROVIDER.native(slot(), MODEL, placement()) is not None
    apart = slot(own_process=True, beam_size=2)
    assert PROVIDER.native(apart, MODEL, placement()) is None
    argv = PROVIDER.start_cmd(apart, MODEL, placement()).argv
    inner = WhisperSlot.model_validate(json.loads(argv[argv.index("--slot") + 1]))
    assert inner == slot(beam_size=2) and "secret" not in " ".join(argv)
    environment = PROVIDER.build_env(apart, MODEL, placement())
    assert environment == {"HAL0_ENGINE_TOKEN": "secret", "HF_HUB_OFFLINE": "1"}


def test_a_child_process_sees_the_gpus_of_its_slot_alone() -> None:
    apart, where = slot(own_process=True), placement(Device.CUDA, ("2", "5"))
    assert PROVIDER.build_env(apart, MODEL, where)["CUDA_VISIBLE_DEVICES"] == "2,5"
    assert "CUDA_VISIBLE_DEVICES" not in PROVIDER.build_env(apart, MODEL, placement(Device.CUDA))
    named = slot(own_process=True, env={"CUDA_VISIBLE_DEVICES": "7"})
    assert PROVIDER.build_env(named, MODEL, where)["CUDA_VISIBLE_DEVICES"] == "7"


def test_a_container_sees_the_gpus_of_its_slot_alone(tmp_path: Path) -> None:
    apart = slot(container={"image": "hal0"})
    argv = PROVIDER.start_cmd(apart, ModelFiles(whisper(tmp_path)), placement(Device.CUDA, ("2",))).argv
    assert ("--env", "CUDA_VISIBLE_DEVICES") in zip(argv, argv[1:], strict=False)


@pytest.mark.parametrize(
    ("threads", "requests", "expected"),
    [(1, 1, (1, 1)), (1, 8, (1, 1)), (2, 8, (2, 1)), (8, 2, (2, 4)), (8, 3, (3, 2)), (8, 1, (1, 8))],
)
def test_threads_are_shared_out(threads: int, requests: int, expected: tuple[int, int]) -> None:
    assert shared(threads, requests) == Sharing(*expected)


@pytest.mark.parametrize(
    ("computed", "device", "as_good_as"),
    [("auto", Device.CPU, "int8"), ("auto", Device.CUDA, "float16"), *((one, Device.CPU, one) for one in WIDTHS)],
)
def test_memory_of_weights_is_that_of_the_numbers_computed_with(
    tmp_path: Path, computed: str, device: Device, as_good_as: str
) -> None:
    needs = PROVIDER.memory_needs(slot(compute_type=computed), ModelFiles(whisper(tmp_path)), device)
    matrices = 100 * 128 + 384 * 128 + 512 * 128
    rest = 384 + 1 + 128 * 80 * 3 + 1500 * 128
    width = next(width for name, width in WIDTHS.items() if name == as_good_as)
    assert needs and needs.weights_bytes == matrices * width.matrices + rest * width.rest


def test_memory_of_requests_grows_with_them(tmp_path: Path) -> None:
    model = ModelFiles(whisper(tmp_path))

    def cache(requests: int = 1, batch_size: int = 1, beam_size: int = 5) -> int:
        given = slot(requests=requests, batch_size=batch_size, beam_size=beam_size)
        needs = PROVIDER.memory_needs(given, model, Device.CPU)
        assert needs and needs.device_bytes == 0
        return needs.cache_bytes

    length, layers, heads = VARIABLES["decoder/embeddings/weight"][1], 2, 2
    window = 4 * (heads * 1500**2 + 2 * length * layers * (1500 + 5 * 448))
    assert cache() == PIECE_BYTES + window
    assert cache(3) == 3 * cache()
    assert cache(batch_size=4) == PIECE_BYTES + 4 * window
    assert cache(beam_size=1) < cache()


def test_memory_on_a_gpu_is_the_gpus(tmp_path: Path) -> None:
    needs = PROVIDER.memory_needs(slot(), ModelFiles(whisper(tmp_path)), Device.CUDA)
    assert needs and needs.node_bytes == 0 and needs.device_bytes == needs.total_bytes


def test_memory_of_what_is_no_model_is_unknown(tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "model.bin").write_bytes(b"\x06\0\0\0\x0c\0Whisper")
    for path in (tmp_path, tmp_path / "none", broken, broken / "model.bin"):
        assert PROVIDER.memory_needs(slot(), ModelFiles(path), Device.CPU) is None
