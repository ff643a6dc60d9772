"""The documentation against the code: examples run, tables are complete, names exist."""

import inspect
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest
import yaml
from pydantic import BaseModel

from providers.base import HealthState, Provider
from providers.capabilities import Operation
from providers.container import Container
from providers.devices import Device
from providers.f5.options import F5Options
from providers.flm.options import FlmOptions
from providers.kokoro.options import KokoroOptions
from providers.llamacpp.options import LlamaCppOptions
from providers.moonshine.options import MoonshineOptions
from providers.registry import PROVIDERS
from providers.spec import ResourceClaim, SlotSpec
from providers.vllm.options import VllmOptions
from providers.whisper.options import WhisperOptions
from serve_app.cli import main
from serve_app.config import IngressConfig, SchedulingConfig, SlotGroup, load_config_file, parse_config, parse_slot
from serve_app.lifecycle import LEGAL_MOVES, SlotState
from serve_app.paths import AUDIO_PATHS, GET_PATHS, POST_PATHS, REALTIME_PATH, SPEECH_PATH
from tests.unit import test_provider_contract as contract

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]
Row = dict[str, str]

UNITS = {"_s": "s", "_mib": "MiB", "_gib": "GiB", "_replicas": "replicas", "_layers": "layers"}
"""What a key's name says of its unit."""

PAGE_OF: Mapping[type[BaseModel], str] = {FlmOptions: "docs/npu.md", VllmOptions: "docs/vllm.md"}
"""Where the table of a model's keys is, if not with all others."""

each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)


def read(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


def section(text: str, title: str) -> str:
    """What stands under a heading, up to the next one of any level."""
    found = re.search(rf"^#+ {re.escape(title)}\n(.*?)(?=^#+ |\Z)", text, re.MULTILINE | re.DOTALL)
    assert found is not None, title
    return found[1]


def table(text: str) -> Iterator[Row]:
    """The rows of the first table in `text`, by the names of its columns."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    header, _, *rows = ([cell.strip() for cell in line.strip("|").split("|")] for line in lines)
    return (dict(zip(header, row, strict=True)) for row in rows)


def slug(title: str) -> str:
    return re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")


@each_page
def test_links_lead_somewhere(page: Path) -> None:
    for target, anchor in re.findall(r"\]\(([^)#]*)#?([^)]*)\)", page.read_text(encoding="utf-8")):
        if "://" in target:
            continue
        file = page.parent / target if target else page
        assert file.exists(), target
        if anchor:
            titles = re.findall(r"^#+ (.*)$", file.read_text(encoding="utf-8"), re.MULTILINE)
            assert anchor in map(slug, titles), anchor


@each_page
def test_python_examples_compile(page: Path) -> None:
    for block in blocks(page.read_text(encoding="utf-8"), "python"):
        compile(block, page.name, "exec")


@each_page
def test_make_targets_and_commands_exist(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    targets = set(re.findall(r"^\.PHONY: (\S+)", read("Makefile"), re.MULTILINE))
    assert set(re.findall(r"(?:`|^|\s)make ([a-z-]+)(?=`| *#|$)", text, re.MULTILINE)) <= targets
    assert set(re.findall(r"(?:`|^)hal0 ([a-z-]+)", text, re.MULTILINE)) <= set(main.commands)
    known = {name for command in main.commands.values() for option in command.params for name in option.opts}
    for options in re.findall(r"(?:`|^)hal0 [a-z-]+([^`\n]*)", text, re.MULTILINE):
        assert set(re.findall(r"--[a-z-]+", options)) <= known


def test_the_readme_has_every_route_and_no_other() -> None:
    cells = [row["route"] for row in table(section(read("README.md"), "Routes"))]
    named = {re.sub(r"{.*?}", "{}", path) for cell in cells for path in re.findall(r"`(?:[A-Z]+ )?(/[^`]*)`", cell)}
    code = read("serve_app/ingress.py") + read("serve_app/audio/routes.py")
    own = re.findall(r'Route\("([^"]+)", ', code)
    assert own, "the admin routes stand elsewhere now"
    assert named == {
        *POST_PATHS,
        *GET_PATHS,
        *AUDIO_PATHS,
        REALTIME_PATH,
        SPEECH_PATH,
        *(re.sub(r"{.*?}", "{}", path) for path in own),
    }


def test_the_readme_lists_the_slots_of_the_shipped_configuration() -> None:
    shipped = load_config_file(ROOT / "configs" / "hal0.yaml")
    rows = [row["slot"].strip("`") for row in table(section(read("README.md"), "The slots of configs/hal0.yaml"))]
    assert rows == [slot.name for slot in shipped.serving.slots]
    assert f"http://{shipped.host}:{shipped.port}" in read("README.md")


@pytest.mark.parametrize(
    ("title", "model"),
    [
        ("`slots[]`", SlotSpec),
        ("`slots[].resources`", ResourceClaim),
        ("`slots[].options` on llama.cpp", LlamaCppOptions),
        ("`slots[].options` on vllm", VllmOptions),
        ("`slots[].options` on flm", FlmOptions),
        ("`slots[].options` on moonshine", MoonshineOptions),
        ("`slots[].options` on faster-whisper", WhisperOptions),
        ("`slots[].options` on kokoro", KokoroOptions),
        ("`slots[].options` on f5-tts", F5Options),
        ("`slots[].options.container`", Container),
        ("`ingress`", IngressConfig),
        ("`scheduling`", SchedulingConfig),
        ("`scheduling.groups[]`", SlotGroup),
    ],
)
def test_the_tables_of_keys_are_the_models(title: str, model: type[BaseModel]) -> None:
    page = PAGE_OF.get(model, "docs/configuration.md")
    rows = {row["key"].strip("`"): row for row in table(section(read(page), title))}
    assert list(rows) == list(model.model_fields)
    schema = model.model_json_schema()
    for key, field in model.model_fields.items():
        default = "required" if field.is_required() else shown(field.get_default(call_default_factory=True))
        assert rows[key]["default"].strip("`") == default, key
        assert rows[key]["type"] == " or ".join(kinds(schema["properties"][key])), key
        for ending, unit in UNITS.items():
            if key.endswith(ending):
                assert rows[key]["unit"] == unit, key
        assert rows[key]["meaning"], key


def shown(default: object) -> str:
    match default:
        case None:
            return "null"
        case bool():
            return str(default).lower()
        case "":
            return "empty"
        case str() | int() | float():
            return str(default)
        case _:
            return "none"


def kinds(schema: Any) -> list[str]:
    """The type of a key in JSON Schema's words, but for what YAML calls otherwise."""
    if "anyOf" in schema:
        return [kind for one in schema["anyOf"] for kind in kinds(one) if kind != "null"]
    kind = str(schema.get("type", "object"))
    return [{"array": "list", "object": "mapping"}.get(kind, kind)]


@each_page
def test_yaml_examples_are_valid(page: Path) -> None:
    for block in blocks(page.read_text(encoding="utf-8"), "yaml"):
        match yaml.safe_load(block):
            case {"applications": [application]}:
                parse_config(application["args"])
            case [*slots]:
                parse_config({"slots": slots})
            case {"name": _} as slot:
                parse_slot(slot)
            case args:
                parse_config(args)


def test_the_environment_variables_are_read_somewhere() -> None:
    rows = table(section(read("docs/configuration.md"), "Environment"))
    named = {name for row in rows for name in re.findall(r"[A-Z0-9_]{4,}", row["variable"])}
    read_here = set(re.findall(r'environ\.get\("(\w+)"', read("serve_app/settings.py")))
    assert {name for name in named if name.startswith("HAL0_")} == read_here
    assert {"HF_ENDPOINT", "HF_TOKEN", "HF_HUB_OFFLINE", "HF_HOME"} <= named


@pytest.fixture
def example(monkeypatch: pytest.MonkeyPatch) -> Provider[Any]:
    """The provider that docs/providers.md shows, registered."""
    [block] = blocks(read("docs/providers.md"), "python")
    namespace: dict[str, Any] = {"__name__": "my_engine"}
    exec(compile(block, "providers.md", "exec"), namespace)
    one = namespace["MyEngine"]()
    assert isinstance(one, Provider)
    monkeypatch.setattr("providers.registry.PROVIDERS", MappingProxyType({**PROVIDERS, one.name: one}))
    return one


@pytest.mark.parametrize(
    "promise",
    [
        contract.test_the_class_tells_what_it_is,
        contract.test_command_and_environment_are_pure,
        contract.test_the_environment_is_complete_and_its_own,
        contract.test_an_argv_is_for_everybody_to_read,
        contract.test_slots_do_not_share_what_tells_them_apart,
        contract.test_every_operation_has_an_answer,
        contract.test_every_capability_can_be_asked_for,
        contract.test_any_error_of_the_engine_becomes_the_clients,
        contract.test_no_engine_yet_is_a_start_and_no_error,
    ],
)
async def test_the_example_provider_fulfils_the_contract(example: Provider[Any], promise: Callable[..., Any]) -> None:
    given = {"one": example, "device": Device.CPU, "with_programs": True, "status": 500}
    given["route"] = example.infer(Operation.CHAT)
    outcome = promise(**{name: given[name] for name in inspect.signature(promise).parameters})
    if inspect.isawaitable(outcome):
        await outcome


def test_the_page_on_providers_has_every_piece_and_every_state_of_health() -> None:
    text = read("docs/providers.md")
    pieces = {name for name in (*vars(Provider), *Provider.__annotations__) if not name.startswith("_")}
    for name in pieces | {state.name for state in HealthState}:
        assert f"`{name}" in text, name


def test_the_table_of_states_is_the_code() -> None:
    rows = list(table(section(read("docs/lifecycle.md"), "States")))
    told = {SlotState(row["state"]): {SlotState(one) for one in row["next"].split(", ")} for row in rows}
    assert told == {state: set(after) for state, after in LEGAL_MOVES.items()}
