"""What is read in the words of `flm pull`, `flm check` and `flm list`, and what is told of several pulls together."""

import json

import pytest

from providers.flm.listing import close_tags, parsed_listing
from providers.flm.pull_meter import PullMeter
from providers.flm.pull_output import PullOutput
from providers.pulling import PullProgress

MB = 1 << 20
BEGUN = """[FLM]  Model: qwen3:0.6b
[FLM]  Name: Qwen3-0.6B-NPU2
[FLM]  Missing files (2):
  - config.json
  - model.q4nx
[FLM]  Downloading 2 missing files...
[FLM]  Files to download (652.00 MB):\x20
  - config.json (12.00 MB)
  - model.q4nx (640.00 MB)
[FLM]  Downloading 1/2: config.json
\x1b[?25l\x1b[?25h[FLM]  Checking Hash...
[FLM]  Download completed: /m/config.json
\r[FLM]  Overall progress:  1/2 files
[FLM]  Downloading 2/2: model.q4nx
\x1b[?25l"""


def share(now: float, of: float = 640.0) -> str:
    return f"\r\x1b[K[FLM]  Downloading: {100 * now / of:.1f}% ({now:.1f}MB / {of:.1f}MB)"


def read(text: str) -> PullOutput:
    output = PullOutput()
    output.feed(text.encode())
    output.finish()
    return output


def test_how_far_a_pull_is() -> None:
    output = PullOutput()
    assert (output.bytes_total, output.bytes_done, output.file, output.folder) == (None, 0, "", "")
    output.feed(BEGUN.encode())
    assert (output.folder, output.file, output.files) == (
        "Qwen3-0.6B-NPU2",
        "model.q4nx",
        ("config.json", "model.q4nx"),
    )
    assert (output.bytes_total, output.bytes_done, output.counted) == (652 * MB, 12 * MB, False)
    output.feed(share(64).encode())
    assert (output.bytes_done, output.counted) == (76 * MB, True)
    output.feed(share(320).encode())
    assert output.bytes_done == 332 * MB
    output.feed(b"\n[FLM]  Checking Hash...\n[FLM]  Download completed: /m/model.q4nx\n")
    assert (output.bytes_done, output.pulled) == (652 * MB, False)
    output.feed(b"[FLM]  Model downloaded successfully!\n[FLM]  All files verified successfully.\n")
    assert output.pulled


def test_every_division_into_pieces_reads_the_same() -> None:
    text = (BEGUN + share(64) + share(320) + "\n[FLM]  Downloading 3/3: größe.json\n").encode()
    whole = PullOutput()
    whole.feed(text)
    one_by_one = PullOutput()
    for byte in text:
        one_by_one.feed(bytes([byte]))
    for output in (whole, one_by_one):
        assert (output.bytes_total, output.file) == (652 * MB, "größe.json")
        assert output.files == ("config.json", "model.q4nx")


def test_a_resumed_file_is_counted_with_what_was_there() -> None:
    """curl counts what is still to come alone."""
    assert read(BEGUN + share(100, of=140)).bytes_done == (12 + 500 + 100) * MB


def test_a_failed_attempt_takes_back_what_it_had() -> None:
    assert (
        read(BEGUN + share(100) + "\n[FLM]  Download failed (attempt 1/3)\n[FLM]  Retrying...\n").bytes_done == 12 * MB
    )


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("[FLM]  Hash not matched!\nFailed to download: u\n[ERROR]  Failed to pull model: t\n", "Hash not matched!"),
        (
            "CURL error: Timeout was reached\n[ERROR]  Failed to download model files.\n",
            "CURL error: Timeout was reached",
        ),
        ("\x1b[31m[ERROR]  Exception during download: odd\x1b[0m\n", "Exception during download: odd"),
        ("a\n\nb\n", "a / b"),
        ("", ""),
    ],
)
def test_the_reason_of_a_failure(text: str, reason: str) -> None:
    assert read(text).reason == reason


@pytest.mark.parametrize(
    ("text", "network", "room", "checked", "unchecked"),
    [
        (
            "CURL error: Could not resolve hostname\n[ERROR]  Error building download list: x\n",
            False,
            True,
            False,
            False,
        ),
        ("CURL error: Could not connect to server\n", False, True, False, False),
        ("CURL error: Transferred a partial file\n", True, True, False, False),
        ("CURL error: Failed writing received data to disk/application\n", True, False, False, False),
        ("[FLM]  Model check completed successfully. All\n", True, True, True, False),
        ("[ERROR]  Exception during file verification: x\n[FLM]  Model check completed with errors. P\n",)
        + (True, True, False, True),
        ("[FLM]  Model check completed with errors. Please use `flm pull`\n", True, True, False, False),
    ],
)
def test_how_a_command_ended(text: str, network: bool, room: bool, checked: bool, unchecked: bool) -> None:
    output = read(text)
    found = (not output.without_network, not output.without_room, output.checked, output.unchecked)
    assert found == (network, room, checked, unchecked)


def test_a_model_that_is_too_new() -> None:
    assert read("[WARNING]  Local model version: 9.0.0 > 0.9.45\n").too_new == "Local model version: 9.0.0 > 0.9.45"


def listing(*entries: dict[str, object]) -> str:
    return json.dumps({"models": entries})


def test_a_list_with_a_warning_before_it() -> None:
    url = "https://huggingface.co/FastFlowLM/Qwen3-0.6B-NPU2"
    entry = {"model": "qwen3:0.6b", "name": "qwen3:0.6b", "files": ["a"], "footprint": 0.66, "installed": True}
    for at in (url, f"{url}/resolve/v0.9.23", f"{url}/"):
        model = parsed_listing("[WARNING]  odd\n" + listing(entry | {"url": at}))["qwen3:0.6b"]
        assert (model.folder, model.files, model.estimated_bytes) == ("Qwen3-0.6B-NPU2", ("a",), 660_000_000)
        assert model.installed
    bare = parsed_listing(listing({"model": "x:1"}))["x:1"]
    assert (bare.folder, bare.files, bare.estimated_bytes, bare.installed) == ("", (), 0, False)


@pytest.mark.parametrize("text", ["", "no list", "{", "{}", '{"models": 1}', '{"models": [{"name": "x"}]}', "{[}"])
def test_what_is_no_list(text: str) -> None:
    with pytest.raises(ValueError):
        parsed_listing(text)


def test_tags_that_were_perhaps_meant() -> None:
    known = ["llama3.2:1b", "qwen3:0.6b", "qwen3:4b", "whisper-v3:turbo"]
    assert close_tags("qwen3:5b", known)[:2] == ["qwen3:0.6b", "qwen3:4b"]
    assert "llama3.2:1b" in close_tags("lama3.2:1b", known)
    assert close_tags("zzzzzz", known) == []


class Told:
    """A meter of two models, and its clock."""

    def __init__(self, **estimates: int) -> None:
        self.now, self.all = 0.0, list[PullProgress]()
        self.meter = PullMeter(self.all.append, estimates, lambda: self.now)

    def at(self, now: float, tag: str, output: PullOutput, there: int = 0) -> PullProgress:
        self.now = now
        self.meter.pulling(tag, output, there)
        return self.all[-1]


def test_models_together() -> None:
    told, output = Told(a=1000 * MB, b=400 * MB), PullOutput()
    output.feed(BEGUN.encode())
    first = told.at(0, "a", output)
    assert (first.bytes_done, first.bytes_total, first.bytes_per_second) == (12 * MB, 1052 * MB, None)
    assert first.file == "a model.q4nx"
    rates = []
    for second in (1, 2, 3):
        output.feed(share(64 * second).encode())
        rates.append(told.at(second, "a", output).bytes_per_second)
    assert rates == [None, 64 * MB, 64 * MB]
    assert told.all[-1].bytes_done == (12 + 192) * MB
    assert told.all[-1].eta_seconds == (1052 - 204) / 64
    told.meter.here("a", 5)
    estimated = told.at(4, "b", read(BEGUN + share(314)))
    assert (estimated.bytes_done, estimated.bytes_total) == ((652 + 200) * MB, 1052 * MB)
    told.meter.here("b", 5)
    told.meter.tell()
    assert told.all[-1].bytes_done == told.all[-1].bytes_total == 1052 * MB


def test_a_rate_falls_while_nothing_comes() -> None:
    told, output = Told(a=1000 * MB), PullOutput()
    output.feed(BEGUN.encode())
    for second in (1, 2):
        output.feed(share(64 * second).encode())
        told.at(second, "a", output)
    assert [told.at(now, "a", output).bytes_per_second for now in (2.5, 3, 5)] == [64 * MB, 64 * MB, 16 * MB]


def test_what_was_there_is_no_part_of_the_rate() -> None:
    told, output = Told(a=1000 * MB), PullOutput()
    output.feed(BEGUN.encode())
    told.at(0, "a", output)
    output.feed(share(1, of=140).encode())
    told.at(1, "a", output)
    output.feed(share(3, of=140).encode())
    assert told.at(2, "a", output).bytes_per_second == 2 * MB


def test_a_size_that_is_not_known() -> None:
    told, output = Told(a=0, b=0), PullOutput()
    assert (told.at(0, "a", output).bytes_total, told.all[-1].eta_seconds) == (None, None)
    output.feed(BEGUN.encode())
    assert told.at(1, "a", output).bytes_total is None
