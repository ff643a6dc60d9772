"""F5-TTS in a Python of its own that has it, on a tiny model, by the messages that the ingress sends."""

import json
import pickle
import shutil
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import yaml
from safetensors.numpy import load_file, save_file

from providers.base import ModelFiles
from providers.tts.synthesizer import Reference, Samples
from tests.support.f5_child import RATE, Child, child, model, python_with_f5, run, slot, told, voice
from tests.support.server import eventually

pytestmark = pytest.mark.engine

TEXT = "Hello there, this is a cloned voice."
REFERENCE_BYTES, REFERENCE_S = len("This is the reference text. "), 3.05
"""Of `told()`, with the pause that is put behind it."""
FRAME_S = 256 / RATE
OTHER = told(voice(frequency=440))


@pytest.fixture(scope="module")
def python() -> str:
    return python_with_f5()


@pytest.fixture(scope="module")
def folder(python: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "tiny-f5"
    run(python, "-m", "providers.tiny.f5", str(folder))
    return folder


@pytest.fixture(scope="module")
def seeded(python: str, folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Child]:
    options = slot(seed=7, nfe_step=2)
    with child(python, model(folder), tmp_path_factory.mktemp("seeded"), options) as made:
        yield made


@pytest.fixture(scope="module")
def free(python: str, folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Child]:
    with child(python, model(folder), tmp_path_factory.mktemp("free"), slot(nfe_step=2)) as made:
        yield made


def natural_s(text: str) -> float:
    return len(text.encode()) / REFERENCE_BYTES * REFERENCE_S


def seconds(samples: Samples) -> float:
    return len(samples) / RATE


@pytest.mark.parametrize("speed", [0.5, 1.0, 2.0])
def test_speech_is_as_long_as_the_reference_speaks(seeded: Child, speed: float) -> None:
    assert seconds(seeded.speak(TEXT, speed=speed)) == pytest.approx(natural_s(TEXT) / speed, abs=4 * FRAME_S)


def test_a_slower_reference_makes_slower_speech(seeded: Child) -> None:
    slow = seeded.speak(TEXT, told(voice(6)))
    assert seconds(slow) == pytest.approx(natural_s(TEXT) * 6.05 / 3.05, abs=4 * FRAME_S)


def test_a_reference_of_any_rate_is_the_same(seeded: Child) -> None:
    for rate in (8000, 44_100, 48_000):
        other = seeded.speak(TEXT, told(rate=rate))
        assert seconds(other) == pytest.approx(natural_s(TEXT), abs=4 * FRAME_S)


def test_voice_and_text_are_heard_in_it(seeded: Child) -> None:
    one = seeded.speak(TEXT)
    assert np.array_equal(one, seeded.speak(TEXT))
    assert not np.array_equal(one, seeded.speak(TEXT, OTHER))
    assert not np.array_equal(one, seeded.speak(TEXT.replace("cloned", "closed")))


def test_a_faint_reference_makes_faint_speech(seeded: Child) -> None:
    loud, faint = (float(np.abs(seeded.speak(TEXT, told(voice(loudness=one)))).mean()) for one in (0.2, 0.02))
    assert faint == pytest.approx(loud / 10, rel=0.2)


def test_clients_at_once_do_not_mix(seeded: Child) -> None:
    asked = [(f"{TEXT} Number {number}.", OTHER if number % 2 else told()) for number in range(6)]
    alone = [seeded.speak(*one) for one in asked]
    with ThreadPoolExecutor(len(asked)) as pool:
        together = list(pool.map(lambda one: seeded.speak(*one), asked))
    for one, other in zip(alone, together, strict=True):
        assert np.array_equal(one, other)


def test_without_a_seed_no_two_are_alike(free: Child) -> None:
    one, other = free.speak(TEXT), free.speak(TEXT)
    assert len(one) == len(other) and not np.array_equal(one, other)


def test_clients_at_once_all_get_their_speech(free: Child) -> None:
    with ThreadPoolExecutor(6) as pool:
        spoken = list(pool.map(lambda number: free.speak(TEXT, speed=1 + number % 2), range(12)))
    for number, one in enumerate(spoken):
        assert seconds(one) == pytest.approx(natural_s(TEXT) / (1 + number % 2), abs=4 * FRAME_S)


def test_threads_do_not_grow_with_requests_and_nothing_is_left_open(free: Child) -> None:
    def load() -> tuple[int, int]:
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda number: free.speak(TEXT, told(voice(2 + number / 10))), range(16)))
        eventually("connections are closed", lambda: sum("socket" in one for one in free.files) <= 12)
        return free.threads, sum("socket" not in one for one in free.files)

    assert load() == load()


def test_a_long_text_is_spoken_whole_however_slowly(seeded: Child) -> None:
    text = "This sentence goes on and on, and it does not end where others do, but goes on for a while after that. " * 3
    long = told(voice(12), "One two three four five, six seven eight nine ten, eleven twelve and so on.")
    spoken = seeded.speak(text, long, speed=0.5)
    natural = len(text.encode()) / len(long.text.encode()) * 12.05 / 0.5
    assert seconds(spoken) == pytest.approx(natural, rel=0.1)


def test_chinese_is_spoken_and_unknown_letters_are_not(seeded: Child) -> None:
    # The tiny model knows two syllables of Pinyin.
    assert seconds(seeded.speak("你好你好你好你好")) > 1
    refused = seeded.ask("मानक हिन्दी")
    assert refused.status_code == 400 and refused.json()["error"]["param"] == "input"


@pytest.mark.parametrize(
    ("reference", "why"),
    [
        (told(np.zeros(3 * RATE, np.float32)), "is silent"),
        (told(voice(loudness=0.0005)), "is silent"),
        (told(voice(0.5)), "is 0.5 s of speech; it takes at least 1 s"),
        (told(text="..."), "has no transcript"),
        (told(text="Word after word after word. " * 30), "cannot be"),
        (told(text="A"), "cannot be"),
        (Reference(b"", RATE, "None."), "is silent"),
    ],
)
def test_a_reference_that_is_none_is_refused(seeded: Child, reference: Reference, why: str) -> None:
    refused = seeded.ask(TEXT, reference)
    assert refused.status_code == 400
    error = refused.json()["error"]
    assert why in error["message"] and error["param"] == "voice" and error["code"] == "invalid_reference"


def test_a_voice_of_its_own_it_has_not(seeded: Child) -> None:
    refused = seeded.http.post("/speech", json={"text": TEXT, "blend": [{"voice": "af_bella", "weight": 1}]})
    assert refused.status_code == 400 and "POST /v1/audio/voices" in refused.json()["error"]["message"]


def test_the_licence_is_told_when_it_loads(seeded: Child) -> None:
    assert "CC-BY-NC 4.0: not for commercial use" in seeded.log.read_text()


def test_stopping_while_it_speaks_ends_the_process(python: str, folder: Path, tmp_path: Path) -> None:
    with child(python, model(folder), tmp_path, slot(nfe_step=128)) as made, ThreadPoolExecutor(1) as pool:
        speaking = pool.submit(made.ask, TEXT * 40)
        eventually("it speaks", lambda: made.process.poll() is None and not speaking.done())
        made.process.terminate()
        assert made.process.wait(20) == 0
        assert speaking.exception() is not None or speaking.result().status_code == 503


def copy(folder: Path, tmp_path: Path, name: str) -> Path:
    return Path(shutil.copytree(folder, tmp_path / name))


def test_what_is_wrong_with_files_is_told_and_the_network_never_asked(
    python: str, folder: Path, tmp_path: Path
) -> None:
    """All in one process, since starting one takes long."""
    made = {
        name: copy(folder, tmp_path, name)
        for name in (
            *("good", "old", "cut", "stranger", "narrow", "partial", "vocab", "letters", "twins"),
            *("bare", "config", "danger", "noise", "pickle"),
        )
    }
    weights = load_file(folder / "tiny-f5.safetensors")
    (made["old"] / "options.json").write_text('{"architecture": "v0"}')
    whole = (folder / "tiny-f5.safetensors").read_bytes()
    (made["cut"] / "tiny-f5.safetensors").write_bytes(whole[: len(whole) // 2])
    save_file({"encoder.weight": np.zeros((2, 2), np.float32)}, made["stranger"] / "tiny-f5.safetensors")
    narrow = {name: one[:, :-40] if name.endswith("input_embed.proj.weight") else one for name, one in weights.items()}
    save_file(narrow, made["narrow"] / "tiny-f5.safetensors")
    some = {name: one for name, one in weights.items() if "proj_out" not in name}
    save_file(some, made["partial"] / "tiny-f5.safetensors")
    (made["vocab"] / "vocab.txt").write_text("a\nb\n")
    (made["letters"] / "vocab.txt").write_bytes(b"\xff\xfe\n")
    shutil.copy(made["twins"] / "tiny-f5.safetensors", made["twins"] / "other.safetensors")
    shutil.rmtree(made["bare"] / "vocos")
    (made["config"] / "vocos/config.yaml").write_text("{")
    marker = tmp_path / "started"
    config = yaml.safe_load((folder / "vocos/config.yaml").read_text())
    config["backbone"] = {"class_path": "subprocess.Popen", "init_args": {"args": ["touch", str(marker)]}}
    (made["danger"] / "vocos/config.yaml").write_text(yaml.safe_dump(config))
    (made["noise"] / "vocos/pytorch_model.bin").write_bytes(b"noise")
    (made["pickle"] / "vocos/pytorch_model.bin").write_bytes(pickle.dumps(Starter(marker)))

    found = json.loads(run(python, "-m", "tests.support.f5_trial", *map(str, made.values())).splitlines()[-1])
    assert found.pop("good") == pytest.approx(REFERENCE_S, abs=0.1)
    assert found.pop("old") == pytest.approx(REFERENCE_S, abs=0.1)
    told = {
        "cut": "tiny-f5.safetensors cannot be read",
        "stranger": "has the weights of another model: it has no transformer.input_embed.proj.weight",
        "narrow": "its spectra have 80 bands, not 100",
        "partial": "does not fit F5-TTS's network",
        "vocab": "has 2 characters, and the weights know",
        "letters": "vocab.txt cannot be read",
        "twins": "has several weights: other.safetensors, tiny-f5.safetensors",
        "bare": "the slot has no vocoder",
        "config": "config.yaml describes no Vocos",
        "danger": "backbone is subprocess.Popen; allowed: vocos.models.VocosBackbone",
        "noise": "pytorch_model.bin cannot be loaded",
        "pickle": "pytorch_model.bin cannot be loaded",
    }
    for name, text in told.items():
        assert text in found[name], name
    assert not marker.exists()


class Starter:
    """Unpickled, it starts a program."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return subprocess.call, (["touch", str(self.marker)],)


def test_a_python_without_it_says_what_to_do(tmp_path: Path) -> None:
    """As a child, since it is where slots on F5-TTS run."""
    with child(sys.executable, ModelFiles(tmp_path), tmp_path) as made:
        health = made.health()
        assert health is not None and health.status_code == 500
        message = health.json()["error"]["message"]
        assert "needs the packages torch, f5_tts, vocos" in message and "scripts/f5-venv" in message
        assert made.ask(TEXT).status_code == 500
