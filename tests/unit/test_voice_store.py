"""Stored voices: hostile names, limits, killed writers, several processes, damaged disks."""

import json
import logging
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from serve_app.errors import BadRequest
from serve_app.voices import Sample, StoredVoice, VoiceStore
from serve_app.voices.names import LONGEST_NAME, checked_name, key
from serve_app.voices.sample import SAMPLE_RATE
from serve_app.voices.stored import ABOUT, SOUND

PCM = bytes(range(256)) * 600
SAMPLE = Sample(PCM, "alpha bravo")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "home/voices"


@pytest.fixture
def store(folder: Path) -> VoiceStore:
    return VoiceStore(folder)


def refused(store: VoiceStore, name: str, sample: Sample = SAMPLE) -> BadRequest:
    with pytest.raises(BadRequest) as error:
        store.add(name, sample)
    return error.value


def left_over(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.name.startswith((".new-", ".gone-")))


async def test_a_voice_is_had_again_by_another_process(store: VoiceStore, folder: Path) -> None:
    voice = store.add(" Ada ", SAMPLE)
    assert (voice.name, voice.transcript, voice.duration_s) == ("Ada", "alpha bravo", len(PCM) / 2 / SAMPLE_RATE)
    again = VoiceStore(folder)
    assert again.list() == (voice,) and again.find("ADA") == again.find(voice.id) == voice
    for name in ("ada", voice.id):
        found = await again.reference(name)
        assert found is not None and (found.pcm, found.rate, found.text) == (PCM, SAMPLE_RATE, "alpha bravo")
    assert await again.reference("Bob") is None
    assert oct(folder.stat().st_mode)[-3:] == "700"


async def test_a_voice_that_is_removed_is_gone(store: VoiceStore, folder: Path) -> None:
    ada, bob = store.add("Ada", SAMPLE), store.add("Bob", SAMPLE)
    assert store.remove("aDA") == ada
    assert store.remove("Ada") is store.remove(ada.id) is None
    assert store.list() == (bob,) and await store.reference("Ada") is None
    assert sorted(path.name for path in folder.iterdir()) == [".lock", bob.id]
    assert store.add("Ada", SAMPLE).id != ada.id


def test_nothing_is_made_by_looking(store: VoiceStore, folder: Path) -> None:
    assert store.list() == () and store.find("Ada") is None
    assert not folder.exists()


@given(st.text(max_size=130))
@example("../x")
@example("/etc/passwd")
@example("a\0b")
@example("..")
@example("\u202egnp.exe")
@example("x" * 101)
@example("voice_" + "0" * 24)
@example("VOICE_" + "A" * 24)
@example("\u05d3\u05d5\u05d3 \u0645\u0631\u062d\u0628\u0627")
@example("\ufb2c" * 40)
def test_whatever_a_voice_is_called_nothing_leads_out_of_its_folder(name: str) -> None:
    with tempfile.TemporaryDirectory() as root:
        folder = Path(root, "voices")
        store = VoiceStore(folder)
        try:
            voice = store.add(name, SAMPLE)
        except BadRequest as error:
            assert (error.status, error.code, error.param) == (400, "invalid_value", "name")
            assert error.message.isprintable()
            assert store.list() == ()
        else:
            assert 1 <= len(voice.name) <= LONGEST_NAME and voice.name.isprintable()
            assert store.find(name) == store.find(voice.name) == voice
            assert refused(store, name).code == "voice_exists"
            assert {path.name for path in folder.iterdir()} == {".lock", voice.id}
        assert {path.name for path in Path(root).iterdir()} <= {"voices"}


@given(st.text(min_size=1, max_size=50))
def test_a_checked_name_stays_as_it_is(name: str) -> None:
    try:
        checked = checked_name(name)
    except BadRequest:
        return
    assert checked_name(checked) == checked and key(checked) == key(name.strip())


@pytest.mark.parametrize(
    "name",
    [
        "\u05d3\u05d5\u05d3",
        "\u0645\u0631\u062d\u0628\u0627",
        "\u592a\u90ce",
        "O'Brien/2",
        "../x",
        "\U0001f600",
        "x" * 100,
    ],
)
def test_names_of_all_scripts_are_good(store: VoiceStore, name: str) -> None:
    assert store.find(store.add(name, SAMPLE).name) is not None


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("Ada", "aDA"),
        ("Stra\xdfe", "STRASSE"),
        ("caf\xe9", "cafe\u0301"),
        ("\u03a3\u03af\u03c3\u03c5\u03c6\u03bf\u03c2", "\u03a3\u038a\u03a3\u03a5\u03a6\u039f\u03a3"),
    ],
)
def test_names_that_people_take_for_one_are_one(store: VoiceStore, first: str, second: str) -> None:
    store.add(first, SAMPLE)
    error = refused(store, second)
    assert (error.status, error.code, error.param) == (400, "voice_exists", "name")


def test_no_more_voices_than_may_be(folder: Path) -> None:
    store = VoiceStore(folder, most=2)
    store.add("a", SAMPLE)
    store.add("b", SAMPLE)
    assert refused(store, "c").code == "too_many_voices"
    with pytest.raises(BadRequest, match="as many as may be"):
        store.refuse("c")
    store.remove("a")
    store.add("c", SAMPLE)


def damage(folder: Path, kind: str) -> None:
    about, sound = folder / ABOUT, folder / SOUND
    match kind:
        case "no_about":
            about.unlink()
        case "no_sound":
            sound.unlink()
        case "noise":
            about.write_bytes(b"\xff\0{")
        case "other_id":
            about.write_text(json.dumps(json.loads(about.read_text()) | {"id": "voice_" + "0" * 24}))
        case "cut":
            sound.write_bytes(sound.read_bytes()[:-2])
        case "empty":
            sound.write_bytes(b"")
        case "unreadable":
            about.unlink()
            about.mkdir()
        case "a_file":
            for path in folder.iterdir():
                path.unlink()
            folder.rmdir()
            folder.touch()


@pytest.mark.parametrize("kind", ["no_about", "no_sound", "noise", "other_id", "cut", "empty", "unreadable", "a_file"])
async def test_a_damaged_voice_is_passed_over(
    store: VoiceStore, folder: Path, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    broken, whole = store.add("Ada", SAMPLE), store.add("Bob", SAMPLE)
    damage(folder / broken.id, kind)
    with caplog.at_level(logging.WARNING, "hal0.voices"):
        for _ in range(3):
            assert store.list() == (whole,)
            assert await store.reference("Ada") is await store.reference(broken.id) is None
    assert [broken.id in record.getMessage() for record in caplog.records] == [True]
    assert store.add("Ada", SAMPLE) in store.list()


async def test_sound_that_is_as_long_but_broken_is_no_reference(store: VoiceStore, folder: Path) -> None:
    voice = store.add("Ada", SAMPLE)
    sound = folder / voice.id / SOUND
    sound.write_bytes(b"x" * sound.stat().st_size)
    assert await store.reference("Ada") is None


def test_strangers_in_the_folder_are_let_be(store: VoiceStore, folder: Path) -> None:
    folder.mkdir(parents=True)
    (folder / "notes.txt").touch()
    (folder / "voice_mine").mkdir()
    store.add("Ada", SAMPLE)
    store.tidy()
    assert len(store.list()) == 1
    assert (folder / "notes.txt").exists() and (folder / "voice_mine").exists()


def test_leftovers_are_cleared_at_the_start(store: VoiceStore, folder: Path) -> None:
    store.add("Ada", SAMPLE)
    (folder / ".new-voice_1").mkdir()
    (folder / ".new-voice_1" / SOUND).touch()
    (folder / ".gone-voice_2").mkdir()
    VoiceStore(folder).tidy()
    assert left_over(folder) == [] and len(store.list()) == 1


def test_a_folder_that_cannot_be_written_stops_no_start(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "voices").touch()
    VoiceStore(tmp_path / "voices").tidy()
    assert "cannot be tidied" in caplog.text


TRUNCATED = """
import resource, sys
from pathlib import Path
from serve_app.voices import Sample, VoiceStore
store = VoiceStore(Path(sys.argv[1]))
store.add("Ada", Sample(bytes(1000), "a"))
resource.setrlimit(resource.RLIMIT_FSIZE, (5000, 5000))
try:
    store.add("Bob", Sample(bytes(100_000), "b"))
except OSError:
    print("failed")
"""


def test_of_a_write_that_fails_nothing_is_left(folder: Path) -> None:
    assert run(TRUNCATED, str(folder)) == ["failed"]
    assert left_over(folder) == []
    assert [voice.name for voice in VoiceStore(folder).list()] == ["Ada"]


# Each child dies by SIGKILL at its n-th call into the operating system; the first that comes to its end ends the test.
KILLED = """
import os, signal, sys
from pathlib import Path
from serve_app.voices import Sample, VoiceStore
root, what = Path(sys.argv[1]), sys.argv[2]
sample = Sample(bytes(300_000), "alpha")
TOUCHES = {"posix", "fcntl", "_io"}

def touches_the_disk(function):
    owner = getattr(function, "__self__", None)
    return function.__module__ in TOUCHES or type(owner).__module__ in TOUCHES

def work(folder):
    store = VoiceStore(folder)
    if what == "add":
        store.add("Ada", sample)
    else:
        store.remove("Ada")

for step in range(1, 1000):
    folder = root / str(step)
    if what == "remove":
        VoiceStore(folder).add("Ada", sample)
    child = os.fork()
    if child == 0:
        left = step
        def count(frame, event, function):
            global left
            if event == "c_call" and touches_the_disk(function):
                left -= 1
                if left == 0:
                    os.kill(os.getpid(), signal.SIGKILL)
        sys.setprofile(count)
        work(folder)
        sys.setprofile(None)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    print(step, flush=True)
    if os.waitstatus_to_exitcode(status) == 0:
        break
    assert os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
"""


@pytest.mark.parametrize("what", ["add", "remove"])
async def test_killed_at_any_point_no_half_voice_is_there(tmp_path: Path, what: str) -> None:
    steps = [int(line) for line in run(KILLED, str(tmp_path), what)]
    assert len(steps) > 15
    seen, leftovers = set[int](), 0
    for step in steps:
        folder = tmp_path / str(step)
        store = VoiceStore(folder)
        voices = store.list()
        seen.add(len(voices))
        for voice in voices:
            found = await store.reference(voice.name)
            assert voice.name == "Ada" and found is not None and found.pcm == bytes(300_000)
        leftovers += folder.exists() and len(left_over(folder))
        store.tidy()
        assert left_over(folder) == [] and store.list() == voices
        if not voices:
            store.add("ada", SAMPLE)
        assert len(list(folder.glob("voice_*"))) == 1
    assert seen == {0, 1} and leftovers > 3


def run(script: str, *arguments: str) -> list[str]:
    return subprocess.run(
        [sys.executable, "-c", script, *arguments], check=True, capture_output=True, text=True, timeout=120
    ).stdout.split()


RACER = """
import sys
from pathlib import Path
from serve_app.errors import BadRequest
from serve_app.voices import Sample, VoiceStore
store = VoiceStore(Path(sys.argv[1]), most=4)
print("ready", flush=True)
sys.stdin.readline()
for name in sys.argv[2:]:
    try:
        print(store.add(name, Sample(bytes(100_000), name)).id, flush=True)
    except BadRequest as error:
        print(error.code, flush=True)
"""


def race(folder: Path, *names: tuple[str, ...]) -> list[list[str]]:
    """What each process says, all of which begin at once."""
    racers = [
        subprocess.Popen(
            [sys.executable, "-c", RACER, str(folder), *its], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for its in names
    ]
    for racer in racers:
        assert racer.stdout is not None and racer.stdout.readline() == "ready\n"
    for racer in racers:
        assert racer.stdin is not None
        racer.stdin.write("\n")
        racer.stdin.flush()
    return [racer.communicate(timeout=60)[0].split() for racer in racers]


def test_of_two_that_add_one_name_at_once_one_wins(folder: Path) -> None:
    said = race(folder, ("Ada",), ("ADA",), ("ada",))
    voices = VoiceStore(folder).list()
    assert len(voices) == 1
    assert sorted(line for lines in said for line in lines) == sorted([voices[0].id, "voice_exists", "voice_exists"])


def test_several_processes_keep_one_limit(folder: Path) -> None:
    said = race(folder, ("a1", "a2", "a3"), ("b1", "b2", "b3"), ("c1", "c2", "c3"))
    words = [line for lines in said for line in lines]
    voices: tuple[StoredVoice, ...] = VoiceStore(folder).list()
    assert len(voices) == 4 and words.count("too_many_voices") == 5
    assert {voice.id for voice in voices} == set(words) - {"too_many_voices"}
