"""The documentation against the code: examples run, tables are complete, names exist."""

import re
from pathlib import Path

import pytest
import yaml
from pydantic import BaseModel

from providers.base import ModelFiles, Placement, Provider
from providers.capabilities import Capability, Operation
from providers.devices import Device
from providers.llamacpp.options import Container, LlamaCppOptions
from providers.spec import ResourceClaim, SlotSpec
from serve_app.cli import main
from serve_app.config import IngressConfig, parse_config
from serve_app.lifecycle import LEGAL_MOVES, SlotState
from serve_app.paths import GET_PATHS, POST_PATHS

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def read(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text(encoding="utf-8")):
        if "://" not in target:
            assert (page.parent / target).exists(), target


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_python_examples_compile(page: Path) -> None:
    for block in blocks(page.read_text(encoding="utf-8"), "python"):
        compile(block, page.name, "exec")


def test_commands_of_the_readme_exist() -> None:
    text = read("README.md")
    targets = set(re.findall(r"^([a-z-]+):", read("Makefile"), re.MULTILINE))
    assert set(re.findall(r"\bmake ([a-z]+)\b", text)) <= targets
    assert set(re.findall(r"\bhal0 (check|up|demo-models|[a-z-]+ CONFIG)\b", text)) <= {*main.commands, "check CONFIG"}


def test_every_route_is_in_the_readme() -> None:
    text = read("README.md")
    for path in (*POST_PATHS, *GET_PATHS, "/v1/models", "/api/slots", "/health"):
        assert f"{path}`" in text, path


@pytest.mark.parametrize("model", [SlotSpec, ResourceClaim, LlamaCppOptions, Container, IngressConfig])
def test_every_key_is_in_the_configuration_page(model: type[BaseModel]) -> None:
    text = read("docs/configuration.md")
    for key in model.model_fields:
        assert f"| `{key}` |" in text, key


def test_the_configuration_example_is_valid() -> None:
    [example] = blocks(read("docs/configuration.md"), "yaml")
    document = yaml.safe_load(example)
    config = parse_config(document["applications"][0]["args"])
    assert [slot.name for slot in config.slots] == ["chat"]


def test_the_example_provider_fulfils_the_contract() -> None:
    [example] = blocks(read("docs/providers.md"), "python")
    namespace: dict[str, object] = {}
    exec(compile(example, "providers.md", "exec"), namespace)
    kind = namespace["MyEngine"]
    assert isinstance(kind, type) and issubclass(kind, Provider)
    provider = kind()
    slot = SlotSpec(name="mine", provider="my-engine", model="m", capabilities=(Capability.CHAT,))
    placement = Placement(Device.CPU, "127.0.0.1", 9000, "token", ROOT)
    command = provider.start_cmd(slot, ModelFiles(Path("/m")), placement)
    assert "token" not in command.argv
    assert provider.build_env(slot, ModelFiles(Path("/m")), placement)["MY_ENGINE_KEY"] == "token"
    route = provider.infer(Operation.CHAT)
    assert route is not None and route.error(500, b"<html>").status == 500
    assert provider.infer(Operation.RERANK) is None


def test_the_table_of_states_is_the_code() -> None:
    section = read("docs/architecture.md").split("## States")[1].split("## ")[0]
    rows = re.findall(r"^\| (\w+) \| .* \| ([\w, ]+) \|$", section, re.MULTILINE)[1:]
    states = {SlotState(name): {SlotState(one) for one in after.split(", ")} for name, after in rows}
    everywhere = {SlotState.OFFLINE}
    assert {state: after | everywhere for state, after in states.items()} | {
        SlotState.UNLOADING: {SlotState.ERROR, SlotState.OFFLINE},
        SlotState.OFFLINE: states[SlotState.OFFLINE],
    } == {state: set(after) for state, after in LEGAL_MOVES.items()}
