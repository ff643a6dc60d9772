"""configs/hal0.yaml unchanged but for its port, its models served by a local Hub."""

from pathlib import Path

import pytest
import yaml

from providers.tiny import make_demo_models
from tests.e2e.demo import ROOT
from tests.support.hub import Hub
from tests.support.server import ServerPark

pytestmark = pytest.mark.e2e

TINY = {"chat": "tiny-chat", "vision": "tiny-chat", "embed": "tiny-embed", "rerank": "tiny-rerank"}


def repos(text: str, models: Path) -> dict[str, dict[str, Path]]:
    """Every Hub file that the configuration names, as a tiny model of the same kind."""
    found: dict[str, dict[str, Path]] = {}
    for slot in yaml.safe_load(text)["applications"][0]["args"]["slots"]:
        sources = {slot["model"]: TINY[slot["name"]]} | dict.fromkeys(
            slot.get("companions", {}).values(), "tiny-mmproj"
        )
        for source, tiny in sources.items():
            organisation, name, file = source.removeprefix("hf://").split("/", 2)
            found.setdefault(f"{organisation}/{name}", {})[file] = models / f"{tiny}.gguf"
    return found


def test_every_slot_pulls_its_model_and_answers(servers: ServerPark, tmp_path: Path) -> None:
    text = (ROOT / "configs" / "hal0.yaml").read_text()
    make_demo_models(tmp_path / "tiny")
    with Hub(repos(text, tmp_path / "tiny")) as hub:
        env = {"HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path / "hf"), "HF_HUB_DISABLE_XET": "1"}
        server = servers.running(text.replace("port: 8080", "port: PORT"), env)
        assert {slot["state"] for slot in server.get("/api/slots")["slots"]} == {"offline"}
        user = [{"role": "user", "content": "hi"}]
        for path, body in (
            ("/v1/chat/completions", {"model": "chat", "messages": user}),
            ("/v1/chat/completions", {"model": "vision", "messages": user}),
            ("/v1/embeddings", {"model": "embed", "input": "hello world"}),
            ("/v1/rerank", {"model": "rerank", "query": "hello", "documents": ["world"]}),
        ):
            status, answer, _ = server.post(path, body)
            assert status == 200, answer
        servers.stop()


def test_a_hub_that_cannot_be_reached_is_said(servers: ServerPark, tmp_path: Path) -> None:
    text = (ROOT / "configs" / "hal0.yaml").read_text().replace("port: 8080", "port: PORT")
    env = {"HF_ENDPOINT": "http://127.0.0.1:9", "HF_HOME": str(tmp_path / "hf"), "HF_HUB_DISABLE_XET": "1"}
    server = servers.running(text, env)
    status, answer, _ = server.post("/v1/embeddings", {"model": "embed", "input": "hello"})
    assert (status, answer["error"]["code"]) == (503, "hub_unreachable")
    assert "HF_ENDPOINT" in answer["error"]["message"]
    servers.stop()
