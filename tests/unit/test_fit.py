"""Whether slots could ever be loaded: what is refused, and in which words."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from providers.base import MemoryNeeds
from providers.devices import Device
from providers.tiny import make_demo_models
from serve_app import launcher
from serve_app.cli import main
from serve_app.config import ConfigError, parse_config
from serve_app.fit import oversized
from serve_app.fit_check import estimated_needs, this_machine, wants_of
from serve_app.launch.up_run import UpOptions
from serve_app.placement import GIB, claim_of
from serve_app.want import Want, in_words

NODE = {"CPU": 4.0, "memory": 8.0 * GIB}


def raw_slot(name: str = "chat", model: str = "m.gguf", **changes: Any) -> dict[str, Any]:
    return {"name": name, "provider": "llama.cpp", "model": model, "capabilities": ["chat"], **changes}


def problems(
    *slots: Mapping[str, Any],
    nodes: list[dict[str, float]] | None = None,
    needs: MemoryNeeds | None = None,
    device: Device = Device.CPU,
    groups: object = (),
    here_bytes: int = 0,
) -> list[str]:
    config = parse_config({"slots": list(slots), "scheduling": {"groups": groups}})
    wants = [Want(slot, device, claim_of(slot, device), needs) for slot in config.slots]
    return oversized(config, wants, [NODE] if nodes is None else nodes, here_bytes)


def claiming(name: str = "chat", **resources: Any) -> dict[str, Any]:
    return raw_slot(name, resources=resources)


@pytest.mark.parametrize(
    ("resources", "expected"),
    [
        ({"cpu": 5}, "slots[0] (chat).resources.cpu: 5 does not fit; the largest node has 4; allowed: at most that"),
        ({"memory_gib": 8.5}, "slots[0] (chat).resources.memory_gib: 8.5 does not fit; the largest node has 8;"),
        ({"gpu": 2}, "slots[0] (chat).resources.gpu: 2 does not fit; the largest node has 1;"),
        (
            {"custom": {"vram_gib": 24}},
            "slots[0] (chat).resources.custom.vram_gib: 24 does not fit; the largest node has 16;",
        ),
    ],
    ids=str,
)
def test_a_claim_beyond_every_node(resources: Mapping[str, Any], expected: str) -> None:
    nodes = [NODE, {"CPU": 2.0, "GPU": 1.0, "vram_gib": 12.0}, {"vram_gib": 16.0}]
    [problem] = problems(claiming(**resources), nodes=nodes)
    assert problem.startswith(expected)


def test_a_claim_that_no_single_node_holds() -> None:
    slot = claiming(cpu=4, custom={"npu": 1})
    [problem] = problems(slot, nodes=[NODE, {"CPU": 1.0, "npu": 1.0}])
    assert problem == "slots[0] (chat).resources: no single node has cpu 4, npu 1; allowed: what one node has"
    assert problems(slot, nodes=[NODE, {"CPU": 4.0, "npu": 1.0}]) == []


def test_what_no_node_declares_may_come_yet() -> None:
    assert problems(claiming(custom={"npu": 1}, gpu=8), nodes=[NODE]) == []
    assert problems(claiming(cpu=64), nodes=[]) == []


def test_every_slot_is_told_with_its_place() -> None:
    found = problems(claiming("a", cpu=5), claiming("b", cpu=1), claiming("c", cpu=6))
    assert [problem.split(".")[0] for problem in found] == ["slots[0] (a)", "slots[2] (c)"]


NEEDS = MemoryNeeds(24 * GIB, int(6.1 * GIB))


def test_a_model_beyond_the_memory_of_every_node() -> None:
    big = raw_slot("big", context_size=8192, parallel_requests=4)
    [problem] = problems(raw_slot(), big, nodes=[NODE, {"memory": 23.4 * GIB}], needs=NEEDS)[1:]
    assert problem == (
        "slots[1] (big): needs 30.1 GiB (weights 24.0, KV cache 6.1 for 8192 tokens x 4 requests) and the largest node "
        "has 23.4 GiB; lower context_size or parallel_requests, or take a smaller model"
    )


@pytest.mark.parametrize(
    ("nodes", "here_bytes"),
    [
        ([{"memory": 31.0 * GIB}], 0),
        ([{"memory": 20.0 * GIB, "object_store_memory": 11.0 * GIB}], 0),
        ([NODE], 31 * GIB),
        ([{"CPU": 1.0}], 0),
    ],
)
def test_a_model_that_some_node_has_memory_for(nodes: list[dict[str, float]], here_bytes: int) -> None:
    assert problems(raw_slot(), nodes=nodes, needs=NEEDS, here_bytes=here_bytes) == []


def test_memory_of_a_node_that_lacks_what_is_claimed_does_not_count() -> None:
    nodes = [{"npu": 1.0, "memory": 8.0 * GIB}, {"memory": 64.0 * GIB}]
    [problem] = problems(claiming(custom={"npu": 1}), nodes=nodes, needs=NEEDS)
    assert "has 8.0 GiB;" in problem


@pytest.mark.parametrize(
    ("share", "nodes", "expected"),
    [
        (1, [{"vulkan": 1.0, "vram_gib": 24.0}], "needs 30.1 GiB (weights 24.0,"),
        (0.9, [{"vulkan": 1.0, "vram_gib": 24.0}], "needs 27.1 GiB of its 30.1 (weights 24.0,"),
        (1, [{"vulkan": 1.0, "vram_gib": 32.0}], None),
        (1, [{"vulkan": 1.0, "memory": 1.0}], None),
        (1, [{"vulkan": 1.0, "vram_gib": 24.0}, {"vulkan": 1.0}], None),
        (1, [{"vulkan": 1.0, "vram_gib": 24.0}, {"vram_gib": 32.0}], "needs 30.1 GiB (weights 24.0,"),
    ],
)
def test_the_memory_of_devices(share: float, nodes: list[dict[str, float]], expected: str | None) -> None:
    needs = MemoryNeeds(NEEDS.weights_bytes, NEEDS.cache_bytes, share)
    found = problems(raw_slot(), nodes=nodes, needs=needs, device=Device.VULKAN)
    assert [problem.partition(": ")[2].startswith(expected or "") for problem in found] == [True] * bool(expected)
    assert all("the largest node has 24.0 GiB by its vram_gib;" in problem for problem in found)


def vram(name: str, amount: float, **changes: Any) -> dict[str, Any]:
    return raw_slot(name, resources={"custom": {"vram_gib": amount}}, **changes)


@pytest.mark.parametrize(
    ("nodes", "who"),
    [([{"vram_gib": 24.0}], "the one node has 24"), ([{"vram_gib": 14.0}, {"vram_gib": 15.0}], "all 2 nodes have 29")],
)
def test_slots_that_never_give_way_to_each_other(nodes: list[dict[str, float]], who: str) -> None:
    slots = (vram("a", 14), vram("b", 16 if len(nodes) == 1 else 15), vram("c", 1))
    groups = [{"slots": ["a", "b", "c"], "resident": "all"}]
    [problem] = problems(*slots, nodes=nodes, groups=groups)
    total = 31 if len(nodes) == 1 else 30
    assert problem == (
        f"scheduling.groups[0].slots: a, b, c claim custom.vram_gib {total} together, but {who}; "
        "allowed: slots that fit side by side, or resident: one"
    )
    assert problems(*slots, nodes=nodes, groups=[{"slots": ["a", "b"], "resident": "one"}]) == []


def test_slots_that_are_always_there() -> None:
    slots = (vram("a", 8, pin=True), vram("b", 4, min_replicas=2, max_replicas=2), vram("c", 16))
    nodes = [{"vram_gib": 16.0}]
    assert problems(*slots, nodes=nodes) == []
    [problem] = problems(vram("d", 1, preload=True), vram("e", 1, pin=True), *slots, nodes=nodes)
    assert problem == (
        "slots (e, a, b): by pin or min_replicas they claim custom.vram_gib 17 together, but the one node has 16; "
        "allowed: fewer of them, or smaller claims"
    )


def test_ten_shares_of_a_device_are_a_whole_one() -> None:
    slots = [raw_slot(f"s{number}", pin=True) for number in range(10)]
    assert problems(*slots, nodes=[{"vulkan": 1.0}], device=Device.VULKAN) == []
    assert problems(*slots, raw_slot("more", pin=True), nodes=[{"vulkan": 1.0}], device=Device.VULKAN) != []


def test_a_want_in_words() -> None:
    [slot] = parse_config({"slots": [claiming(cpu=2, memory_gib=1.5, custom={"npu": 1})]}).slots
    want = Want(slot, Device.CPU, claim_of(slot, Device.CPU))
    assert in_words(want) == "on cpu; claims cpu 2, memory_gib 1.5, npu 1; needs unknown"
    told = in_words(Want(slot, Device.CPU, claim_of(slot, Device.CPU), MemoryNeeds(10 * 1024**2, 0)))
    assert told.endswith("needs about 0.01 GiB (weights 0.01, KV cache 0.0 for 4096 tokens x 2 requests)")


def test_needs_are_those_of_files_that_are_here(tmp_path: Path) -> None:
    make_demo_models(tmp_path)
    slots = [raw_slot("here", "tiny-chat.gguf"), raw_slot("gone", "gone.gguf"), raw_slot("hub", "hf://a/b/c.gguf")]
    here, gone, hub = wants_of(parse_config({"slots": slots}), [NODE], tmp_path)
    assert here.device is Device.CPU
    assert here.needs is not None and here.needs.weights_bytes == (tmp_path / "tiny-chat.gguf").stat().st_size
    assert (gone.needs, hub.needs) == (None, None)
    (tmp_path / "gone.gguf").write_bytes(b"junk")
    assert estimated_needs(gone.slot, Device.CPU, tmp_path) is None


def test_this_machine_has_what_ray_finds_and_what_is_declared() -> None:
    node = this_machine({"vulkan": 2, "vram_gib": 16})
    assert node["CPU"] >= 1 and node["memory"] > 0
    assert {name: node[name] for name in node if name not in ("CPU", "memory")} == {"vulkan": 2, "vram_gib": 16}
    assert this_machine({"CPU": 64})["CPU"] == 64


def written(tmp_path: Path, *slots: Mapping[str, Any]) -> str:
    path = tmp_path / "hal0.yaml"
    path.write_text(yaml.safe_dump({"applications": [{"args": {"slots": list(slots)}}]}))
    return str(path)


def test_check_refuses_what_this_machine_cannot_hold(tmp_path: Path) -> None:
    path = written(tmp_path, vram("chat", 24), claiming("busy", cpu=100_000))
    result = CliRunner().invoke(main, ["check", path, "--resources", '{"vram_gib": 16}'])
    assert (result.exit_code, result.stdout) == (2, "")
    first, second = result.stderr.splitlines()
    assert first.startswith(
        "error: applications[0].args.slots[0] (chat).resources.custom.vram_gib: 24 does not fit; the largest node has"
    )
    assert "slots[1] (busy).resources.cpu: 100000 does not fit" in second


def test_check_of_a_cluster_looks_at_no_machine(tmp_path: Path) -> None:
    path = written(tmp_path, claiming("busy", cpu=100_000))
    result = CliRunner().invoke(main, ["check", path, "--cluster"])
    assert (result.exit_code, result.stderr) == (0, "")


def test_check_tells_what_each_slot_claims_and_needs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HAL0_HOME", str(tmp_path))
    (tmp_path / "models").mkdir()
    make_demo_models(tmp_path / "models")
    path = written(tmp_path, raw_slot("here", "tiny-chat.gguf", device="cpu"), claiming("gone", cpu=1))
    result = CliRunner().invoke(main, ["check", path])
    assert (result.exit_code, result.stderr) == (0, "")
    _, _, here, _, gone = result.stdout.splitlines()
    assert here.strip().startswith("on cpu; claims nothing; needs about 0.00")
    assert gone.strip() == "on cpu; claims cpu 1; needs unknown"


def test_up_refuses_likewise(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr(launcher, "CURRENT_CLUSTER", tmp_path / "none")
    monkeypatch.setattr(launcher, "Run", lambda *_: pytest.fail("it must not start anything"))
    path = written(tmp_path, vram("chat", 24))
    with pytest.raises(ConfigError, match=r"args\.slots\[0\] \(chat\)\.resources\.custom\.vram_gib: 24 does not fit"):
        launcher.up(Path(path), UpOptions({"vram_gib": 16}))
