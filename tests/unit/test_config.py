"""The configuration: shipped files load, and every mistake is named with its key path, value and what is allowed."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner
from pydantic import ValidationError

from providers.registry import PROVIDERS
from serve_app.cli import main
from serve_app.config import ConfigError, ServingConfig, load_config_file, parse_config, parse_slot

ROOT = Path(__file__).parents[2]
SHIPPED = sorted((ROOT / "configs").glob("*.yaml"))


def raw_slot(name: str = "chat", **more: object) -> dict[str, Any]:
    return {"name": name, "provider": "llama.cpp", "model": "m.gguf", "capabilities": ["chat"], **more}


def problems_of(args: object) -> tuple[str, ...]:
    with pytest.raises(ConfigError) as refused:
        parse_config(args)
    return refused.value.problems


def problem_of_slot(**more: object) -> str:
    (problem,) = problems_of({"slots": [raw_slot() | more]})
    return problem


def config_file(folder: Path, text: str) -> Path:
    path = folder / "config.yaml"
    path.write_text(text)
    return path


def written(folder: Path, args: object, **more: object) -> Path:
    return config_file(folder, yaml.safe_dump({"applications": [{"name": "hal0", "args": args}], **more}))


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_shipped_files_load_and_their_policy_reads_the_same_slots(path: Path) -> None:
    file = load_config_file(path)
    (application,) = yaml.safe_load(path.read_text())["applications"]
    assert application["autoscaling_policy"]["policy_kwargs"]["config"] == application["args"]
    assert file.serving == parse_config(application["args"])
    host = "0.0.0.0" if path.stem == "cluster" else "127.0.0.1"
    assert (file.host, file.port, file.secure) == (host, 8080, False)


def test_some_files_are_shipped() -> None:
    assert {path.stem for path in SHIPPED} >= {"demo", "hal0"}


def test_what_is_not_given_has_defaults() -> None:
    config = parse_config({"slots": [raw_slot()]})
    assert config.ingress.replicas == 1
    assert not config.ingress.allow_open
    assert config.slots[0].device == "auto"
    assert config.slots[0].names == ("chat", "hal0/chat")


@pytest.mark.parametrize(
    ("mistake", "expected"),
    [
        ({"colour": "red"}, ["slots[0] (chat).colour", "unknown key", "max_replicas"]),
        ({"resources": {"cpus": 1}}, ["slots[0] (chat).resources.cpus", "unknown key", "cpu, custom, gpu, memory_gib"]),
        ({"options": {"thread": 1}}, ["slots[0] (chat).options.thread", "unknown key", "threads"]),
        ({"model": None}, ["slots[0] (chat).model", "None", "string"]),
        ({"context_size": "big"}, ["slots[0] (chat).context_size", "'big'", "integer"]),
        ({"parallel_requests": 0}, ["slots[0] (chat).parallel_requests", "0", "greater than or equal to 1"]),
        ({"capabilities": "chat"}, ["slots[0] (chat).capabilities", "'chat'", "tuple"]),
        ({"capabilities": ["chat", "dance"]}, ["slots[0] (chat).capabilities[1]", "'dance'", "'embedding'"]),
        ({"capabilities": []}, ["slots[0] (chat).capabilities", "[]", "at least 1"]),
        ({"capabilities": ["speech"]}, ["slots[0] (chat).capabilities", "'speech'", "llama.cpp", "chat"]),
        ({"device": "npu"}, ["slots[0] (chat).device", "'npu'", "llama.cpp", "auto", "cpu"]),
        ({"companions": {"voice": "v"}}, ["slots[0] (chat).companions.voice", "'voice'", "mmproj"]),
        ({"resources": {"gpu": 0}}, ["slots[0] (chat).resources.gpu", "0", "greater than 0"]),
        ({"resources": {"custom": {"npu": -1}}}, ["slots[0] (chat).resources.custom.npu", "-1", "greater than 0"]),
        ({"min_replicas": 3, "max_replicas": 2}, ["slots[0] (chat)", "min_replicas 3", "max_replicas 2", "at most"]),
        ({"unload_after_s": -1}, ["slots[0] (chat).unload_after_s", "-1", "greater than or equal to 0"]),
        ({"load_timeout_s": 0}, ["slots[0] (chat).load_timeout_s", "0", "greater than 0"]),
        ({"provider": "magic"}, ["slots[0] (chat).provider", "'magic'", *PROVIDERS]),
        ({"provider": None}, ["slots[0] (chat).provider", "None", *PROVIDERS]),
        ({"options": {"extra_args": ["--port", "1"]}}, ["slots[0] (chat).options.extra_args", "--port"]),
        ({"name": "a b"}, ["slots[0] (a b).name", "'a b'", "pattern"]),
        ({"name": "board"}, ["slots (board).name", "'board'", "reserved"]),
        ({"role_aliases": {"x": "rerank"}}, ["slots[0] (chat)", "role_aliases.x", "'rerank'", "chat"]),
        ({"aliases": ["chat"]}, ["slots (chat)", "'chat'", "once"]),
    ],
    ids=str,
)
def test_a_mistake_in_a_slot_is_named(mistake: dict[str, object], expected: list[str]) -> None:
    problem = problem_of_slot(**mistake)
    assert [part for part in expected if part not in problem] == []


@pytest.mark.parametrize("key", ["name", "model", "capabilities"])
def test_what_is_required_is_missed(key: str) -> None:
    raw = raw_slot()
    del raw[key]
    where = "slots[0]" if key == "name" else "slots[0] (chat)"
    assert problems_of({"slots": [raw]}) == (f"{where}.{key}: required, but not given",)


@pytest.mark.parametrize(
    ("args", "expected"),
    [
        (None, ["args", "None", "mapping"]),
        ([], ["args", "[]", "mapping"]),
        ({"slots": []}, ["slots", "[]", "at least one"]),
        ({"slots": "chat"}, ["slots", "'chat'", "list"]),
        ({"slots": ["chat"]}, ["slots[0]", "'chat'", "mapping"]),
        ({"slots": [raw_slot()], "slot": 1}, ["slot: unknown key", "ingress, scheduling, slots"]),
        ({"slots": [raw_slot()], "ingress": 7}, ["ingress", "7", "dictionary"]),
        ({"slots": [raw_slot()], "ingress": {"port": 1}}, ["ingress.port", "unknown key", "replicas"]),
        ({"slots": [raw_slot()], "ingress": {"replicas": 0}}, ["ingress.replicas", "0", "greater than or equal to 1"]),
        ({"slots": [raw_slot()], "ingress": {"replicas": "each"}}, ["ingress.replicas", "'each'", "'every_node'"]),
        ({"slots": [raw_slot("a"), raw_slot("a")]}, ["slots", "same name"]),
        ({"slots": [raw_slot("a"), raw_slot("b", aliases=["a"])]}, ["slots (b)", "'a'", "slot 'a'"]),
        ({"slots": [raw_slot("a", aliases=["x"]), raw_slot("b", aliases=["x"])]}, ["slots (b)", "'x'", "slot 'a'"]),
        ({"slots": [raw_slot("a"), raw_slot("b", aliases=["hal0/a"])]}, ["slots (b)", "'hal0/a'", "slot 'a'"]),
    ],
    ids=str,
)
def test_a_mistake_around_the_slots_is_named(args: object, expected: list[str]) -> None:
    (problem,) = problems_of(args)
    assert [part for part in expected if part not in problem] == []


def test_all_problems_come_at_once() -> None:
    slots = [raw_slot("a", colour=1, context_size=0), raw_slot("b", provider="magic"), raw_slot("ingress")]
    problems = problems_of({"slots": slots, "ingress": {"replicas": 0}, "more": 1})
    starts = ("more", "ingress.replicas", "slots[0] (a)", "slots[0] (a)", "slots[1] (b)", "slots (ingress)")
    assert len(problems) == len(starts)
    for start in starts:
        assert any(problem.startswith(start) for problem in problems)


def test_a_long_value_is_cut() -> None:
    assert len(problem_of_slot(context_size="x" * 1000)) < 300


def test_one_slot_alone() -> None:
    assert parse_slot(raw_slot()).name == "chat"
    with pytest.raises(ConfigError, match=r"slot \(chat\)\.colour: unknown key"):
        parse_slot(raw_slot(colour=1))


def test_the_configuration_is_frozen() -> None:
    config = parse_config({"slots": [raw_slot()]})
    for target, name in [
        (config, "slots"),
        (config.ingress, "replicas"),
        (config.slots[0], "name"),
        (config.slots[0].resources, "cpu"),
        (config.slots[0].options, "threads"),
    ]:
        with pytest.raises(ValidationError, match="frozen"):
            setattr(target, name, None)


def test_it_survives_a_round_trip() -> None:
    config = parse_config({"slots": [raw_slot(aliases=["a"], options={"threads": 2})], "ingress": {"replicas": 2}})
    raw = {"ingress": config.ingress.model_dump(), "slots": [slot.model_dump(mode="json") for slot in config.slots]}
    assert parse_config(raw) == config
    assert isinstance(config, ServingConfig)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a: [", "is not YAML"),
        ("", "has no application"),
        ("applications: []", "has no application"),
        ("applications: [7]", "has no application"),
        ("applications: [{}]", "applications[0].args.args: None"),
    ],
)
def test_a_file_that_is_no_config(tmp_path: Path, text: str, expected: str) -> None:
    with pytest.raises(ConfigError) as refused:
        load_config_file(config_file(tmp_path, text))
    assert expected in str(refused.value)


def test_a_file_that_is_not_text(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_bytes(b"\xff\xfe\x00x")
    with pytest.raises(ConfigError, match="is not YAML"):
        load_config_file(path)


@pytest.mark.parametrize(("name", "reason"), [("absent.yaml", "No such file"), (".", "Is a directory")])
def test_a_file_that_cannot_be_read(tmp_path: Path, name: str, reason: str) -> None:
    with pytest.raises(ConfigError, match=reason):
        load_config_file(tmp_path / name)


@pytest.mark.parametrize(
    ("http", "expected"),
    [
        ({"port": "many"}, "http_options.port: 'many'"),
        ({"port": 70000}, "http_options.port: 70000"),
        (7, "http_options: 7"),
    ],
)
def test_where_to_listen_is_checked(tmp_path: Path, http: object, expected: str) -> None:
    with pytest.raises(ConfigError) as refused:
        load_config_file(written(tmp_path, {"slots": [raw_slot()]}, http_options=http))
    assert str(refused.value).startswith(expected)


def test_it_listens_on_loopback_by_default(tmp_path: Path) -> None:
    file = load_config_file(written(tmp_path, {"slots": [raw_slot()]}))
    assert (file.host, file.port) == ("127.0.0.1", 8000)


def test_check_lists_the_slots(tmp_path: Path) -> None:
    result = CliRunner().invoke(main, ["check", str(written(tmp_path, {"slots": [raw_slot()]}))])
    assert (result.exit_code, result.stderr) == (0, "")
    assert "1 slots on 127.0.0.1:8000" in result.stdout
    assert "chat" in result.stdout.splitlines()[1]


def test_check_tells_every_problem_on_stderr(tmp_path: Path) -> None:
    path = written(tmp_path, {"slots": [raw_slot(colour=1), raw_slot("b", provider="magic")]})
    result = CliRunner().invoke(main, ["check", str(path)])
    assert (result.exit_code, result.stdout) == (2, "")
    lines = result.stderr.splitlines()
    assert [line.split(":")[1] for line in lines] == [
        " applications[0].args.slots[0] (chat).colour",
        " applications[0].args.slots[1] (b).provider",
    ]


def test_check_does_without_ray(tmp_path: Path) -> None:
    program = (
        "import sys\n"
        "from serve_app.cli import main\n"
        "main(['check', sys.argv[1]], standalone_mode=False)\n"
        "sys.exit('ray' in sys.modules)\n"
    )
    path = written(tmp_path, {"slots": [raw_slot()]})
    subprocess.run([sys.executable, "-c", program, str(path)], cwd=ROOT, check=True, timeout=60, capture_output=True)
