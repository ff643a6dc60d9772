"""The argv and the environment of `flm`, natively and in containers."""

from pathlib import Path
from typing import Any

import pytest

from providers.base import Command, ModelFiles, Node, Placement
from providers.devices import Device
from providers.errors import ProviderError
from providers.flm.command import models_folder, program_command, program_environment
from providers.flm.options import FlmOptions, FlmSlot
from providers.flm.provider import Flm
from tests.emulators.flm.options import Arguments, parse

FLM = Flm()
TOKEN = "token-of-this-load"
MODEL = ModelFiles(Path("/models/models/Qwen3-4B-NPU2"))
ON_PATH = {"flm": Path("/usr/bin/flm")}
BASE = {"PATH": "/bin", "HOME": "/home/me"}
CAPABILITIES = {
    "qwen3:4b": ["chat"],
    "embed-gemma:300m": ["embedding"],
    "whisper-v3:turbo": ["transcription"],
}


def slot(model: str = "qwen3:4b", capabilities: list[str] | None = None, **more: Any) -> FlmSlot:
    given = {"name": "a:b", "provider": "flm", "model": model, "capabilities": capabilities or CAPABILITIES[model]}
    return FlmSlot.model_validate(given | more)


def placement(**more: Any) -> Placement:
    given: dict[str, Any] = {"host": "127.0.0.1", "port": 9000, "token": TOKEN, "cache_dir": Path("/cache")}
    return Placement(device=Device.NPU, **(given | {"programs": ON_PATH, "base_env": BASE} | more))


def node(**base_env: str) -> Node:
    return Node(ON_PATH, BASE | base_env, Path("/cache"))


def started(one: FlmSlot, **more: Any) -> Command:
    return FLM.start_cmd(one, MODEL, placement(**more))


def understood(one: FlmSlot) -> Arguments:
    """The arguments as flm reads them."""
    return parse(started(one).argv[1:], (0, 9, 45))


def contained(one: FlmSlot, *arguments: str) -> Command:
    return program_command(one, node(), arguments, "hal0-doctor")


def boxed(runtime: str = "podman", **more: Any) -> FlmSlot:
    container = {"image": "flm-image", "runtime": runtime, "extra_args": ["--userns", "keep-id"]}
    return slot(options={"container": container, "env": {"MINE": "hidden-value"}}, **more)


def test_the_whole_argv() -> None:
    assert started(slot(context_size=8192)) == Command(
        (
            *("/usr/bin/flm", "serve", "qwen3:4b", "--host", "127.0.0.1", "--port", "9000", "--cors", "0"),
            *("--ctx-len", "8192", "--asr", "0", "--embed", "0", "--socket", "16", "--q-len", "10"),
            *("--pmode", "performance", "--preemption", "0"),
        )
    )


@pytest.mark.parametrize(
    ("model", "capabilities", "tag", "asr", "embed"),
    [
        ("qwen3:4b", ["chat"], "qwen3:4b", False, False),
        ("gemma3:4b", ["chat", "vision"], "gemma3:4b", False, False),
        ("qwen3:4b", ["chat", "transcription"], "qwen3:4b", True, False),
        ("qwen3:4b", ["chat", "embedding", "transcription"], "qwen3:4b", True, True),
        # With a tag of theirs, flm would load a chat model that nobody named.
        ("embed-gemma:300m", ["embedding"], "", False, True),
        ("whisper-v3:turbo", ["transcription"], "", True, False),
        ("whisper-v3:turbo", ["embedding", "transcription"], "", True, True),
    ],
)
def test_one_process_serves_all_roles(model: str, capabilities: list[str], tag: str, asr: bool, embed: bool) -> None:
    arguments = understood(slot(model, capabilities))
    assert (arguments.text("command"), arguments.text("model_tag")) == ("serve", tag)
    assert (arguments.on("asr"), arguments.on("embed"), arguments.on("cors")) == (asr, embed, False)


def test_options_become_arguments() -> None:
    options = {"power_mode": "turbo", "prefill_chunk": 512, "image_resize": 0, "preemption": True}
    arguments = understood(slot(context_size=1024, options=options | {"extra_args": ["--quiet"]}))
    assert arguments.text("pmode") == "turbo"
    numbers = {name: arguments.number(name) for name in ("ctx-len", "prefill-chunk-len", "img-pre-resize", "port")}
    assert numbers == {"ctx-len": 1024, "prefill-chunk-len": 512, "img-pre-resize": 0, "port": 9000}
    assert arguments.on("preemption") and arguments.on("quiet")
    assert not understood(slot()).on("preemption")


def test_what_exceeds_the_queue_is_told_so_and_not_dropped() -> None:
    arguments = understood(slot(parallel_requests=256))
    assert arguments.number("socket") > arguments.number("q-len") >= 1


@pytest.mark.parametrize(
    ("options", "programs", "program"),
    [
        ({"binary": "/opt/flm"}, ON_PATH, "/opt/flm"),
        ({"binary": "flm-1.0"}, {}, "flm-1.0"),
        ({}, ON_PATH, "/usr/bin/flm"),
    ],
)
def test_the_program_configured_then_on_path(options: dict[str, str], programs: dict[str, Path], program: str) -> None:
    assert started(slot(options=options), programs=programs).argv[0] == program


def test_without_a_program_it_says_what_to_install() -> None:
    with pytest.raises(ProviderError, match=r"no 'flm' is on PATH.*github\.com.*options\.binary.*options\.container"):
        started(slot(), programs={})


@pytest.mark.parametrize("options", [{}, {"binary": "mine"}, {"container": {"image": "i"}}])
def test_the_token_is_nowhere_since_flm_knows_none(options: dict[str, object]) -> None:
    one = slot(options=options)
    command, env = started(one), FLM.build_env(one, MODEL, placement())
    assert not any(TOKEN in text for text in (*command.argv, *command.cleanup, *env.values()))


@pytest.mark.parametrize(
    ("named", "base_env", "folder"),
    [
        ({}, {}, "/home/me/.config/flm"),
        ({}, {"FLM_MODEL_PATH": ""}, "/home/me/.config/flm"),
        ({}, {"FLM_MODEL_PATH": "/data/flm"}, "/data/flm"),
        ({"FLM_MODEL_PATH": "/mine"}, {"FLM_MODEL_PATH": "/data/flm"}, "/mine"),
        ({"FLM_MODEL_PATH": "~/flm"}, {}, "/home/me/flm"),
    ],
)
def test_where_the_models_are(named: dict[str, str], base_env: dict[str, str], folder: str) -> None:
    one = slot(options={"env": named})
    assert models_folder(one, node(**base_env).base_env) == Path(folder)
    # The program must look where the folder is looked at.
    assert program_environment(one, node(**base_env))["FLM_MODEL_PATH"] == folder


def test_the_environment() -> None:
    one = slot(options={"env": {"XILINX_XRT": "/opt/xrt"}})
    expected = BASE | {"XILINX_XRT": "/opt/xrt", "FLM_MODEL_PATH": "/home/me/.config/flm"}
    assert FLM.build_env(one, MODEL, placement()) == expected | {"FLM_DISABLE_UPDATE_CHECK": "1"}
    asked = slot(options={"env": {"FLM_DISABLE_UPDATE_CHECK": "0"}})
    assert program_environment(asked, node())["FLM_DISABLE_UPDATE_CHECK"] == "0"


@pytest.mark.parametrize(
    ("runtime", "groups", "cleanup"),
    [
        ("podman", ("--group-add", "keep-groups"), ("podman", "rm", "--force", "--ignore", "hal0-a-b-9000")),
        ("docker", (), ("docker", "rm", "--force", "hal0-a-b-9000")),
    ],
)
def test_in_a_container(runtime: str, groups: tuple[str, ...], cleanup: tuple[str, ...]) -> None:
    command = started(boxed(runtime), programs={})
    begin = (
        *(runtime, "run", "--rm", "--name", "hal0-a-b-9000", "--network", "host"),
        *("--device", "/dev/accel/accel0", "--security-opt", "label=disable", "--ulimit", "memlock=-1:-1"),
        *(*groups, "--volume", "/home/me/.config/flm:/home/me/.config/flm"),
    )
    image = ("--userns", "keep-id", "--entrypoint", "flm", "flm-image", "serve", "qwen3:4b")
    assert command.argv[: len(begin)] == begin
    at = command.argv.index("--userns")
    variables = command.argv[len(begin) : at]
    assert variables[::2] == ("--env",) * 3
    assert set(variables[1::2]) == {"MINE", "FLM_MODEL_PATH", "FLM_DISABLE_UPDATE_CHECK"}
    assert "hidden-value" not in " ".join(command.argv)
    assert command.argv[at : at + len(image)] == image
    assert command.cleanup == cleanup


@pytest.mark.parametrize(
    ("arguments", "sees_models"),
    [(("pull", "qwen3:4b"), True), (("list", "--json"), True), (("validate", "--json"), False), (("version",), False)],
)
def test_a_command_in_a_container(arguments: tuple[str, ...], sees_models: bool) -> None:
    """A folder that is not there yet would keep a container from starting."""
    command = contained(boxed(), *arguments)
    assert command.argv[command.argv.index("--name") + 1] == "hal0-doctor" == command.cleanup[-1]
    assert ("--volume" in command.argv) is sees_models
    assert command.argv[-len(arguments) :] == arguments


def test_a_container_may_have_another_program() -> None:
    options = FlmOptions.model_validate({"container": {"image": "i", "program": "/opt/flm/flm"}})
    one = slot().model_copy(update={"options": options})
    argv = contained(one, "version").argv
    assert argv[argv.index("--entrypoint") + 1] == "/opt/flm/flm"
