"""What a slot claims, which device it gets, and what is said when no node has it."""

import pytest

from providers.capabilities import Capability
from providers.devices import Device
from providers.spec import ResourceClaim, SlotSpec
from serve_app.placement import GIB, Claim, advice_if_unplaceable, claim_of, fits, resolve_device

ALL = frozenset(Device)
PLAIN = {"CPU": 4.0, "memory": 8.0 * GIB}


def slot(device: str = "auto", **resources: object) -> SlotSpec:
    return SlotSpec(
        name="chat",
        provider="llama.cpp",
        model="m.gguf",
        capabilities=(Capability.CHAT,),
        device=Device(device) if device != "auto" else "auto",
        resources=ResourceClaim.model_validate(resources),
    )


@pytest.mark.parametrize(
    ("device", "expected"),
    [
        (Device.CPU, {}),
        (Device.CUDA, {"GPU": 0.1}),
        (Device.VULKAN, {"vulkan": 0.1}),
        (Device.ROCM, {"rocm": 0.1}),
        (Device.NPU, {"npu": 0.1}),
    ],
)
def test_a_slot_that_names_no_amount_claims_a_share_of_its_device(device: Device, expected: dict[str, float]) -> None:
    assert claim_of(slot(), device).as_resources() == expected


def test_what_it_names_is_claimed() -> None:
    claim = claim_of(slot(cpu=2, memory_gib=1.5, custom={"vulkan": 0.5, "vram_gib": 4}), Device.VULKAN)
    assert claim.as_resources() == {"CPU": 2, "memory": 1.5 * GIB, "vulkan": 0.5, "vram_gib": 4}


def test_the_named_share_of_a_gpu_is_claimed() -> None:
    assert claim_of(slot(gpu=2), Device.CUDA).gpus == 2


def test_the_configured_device_is_taken_whatever_the_nodes_have() -> None:
    assert resolve_device(slot("vulkan"), ALL, [PLAIN]) is Device.VULKAN


@pytest.mark.parametrize(
    ("nodes", "expected"),
    [
        ([], Device.CPU),
        ([PLAIN], Device.CPU),
        ([PLAIN, PLAIN | {"npu": 1.0}], Device.NPU),
        ([PLAIN | {"npu": 1.0, "vulkan": 1.0}], Device.VULKAN),
        ([PLAIN | {"rocm": 1.0, "vulkan": 1.0}], Device.ROCM),
        ([PLAIN | {"GPU": 1.0, "cuda": 1.0}, PLAIN | {"rocm": 1.0}], Device.CUDA),
        ([PLAIN | {"GPU": 1.0}], Device.CPU),
        ([PLAIN | {"GPU": 1.0, "rocm": 1.0}], Device.ROCM),
        ([PLAIN | {"vulkan": 0.05}], Device.CPU),
    ],
    ids=str,
)
def test_auto_takes_the_best_that_some_node_has(nodes: list[dict[str, float]], expected: Device) -> None:
    assert resolve_device(slot(), ALL, nodes) is expected


def test_auto_takes_only_what_the_provider_supports() -> None:
    node = PLAIN | {"GPU": 1.0, "vulkan": 1.0}
    assert resolve_device(slot(), frozenset({Device.VULKAN, Device.CPU}), [node]) is Device.VULKAN
    assert resolve_device(slot(), frozenset({Device.NPU, Device.ROCM}), [node]) is Device.ROCM


def test_auto_looks_at_the_whole_claim() -> None:
    small_gpu_node, big_node = {"CPU": 1.0, "GPU": 1.0}, {"CPU": 8.0}
    assert resolve_device(slot(cpu=4), ALL, [small_gpu_node, big_node]) is Device.CPU


def test_a_claim_fits_where_every_part_does() -> None:
    claim = Claim(2, 0, GIB, {"npu": 1})
    assert fits(claim, {"CPU": 2, "memory": GIB, "npu": 1})
    assert not fits(claim, {"CPU": 2, "memory": GIB})
    assert not fits(claim, {"CPU": 2, "memory": GIB - 1, "npu": 1})


def test_no_advice_where_it_fits() -> None:
    assert advice_if_unplaceable(Claim(1, 0, 0, {}), [{}, PLAIN]) is None
    assert advice_if_unplaceable(Claim(0, 0, 0, {}), [{}]) is None


def test_advice_on_a_resource_that_no_node_declares() -> None:
    advice = advice_if_unplaceable(Claim(1, 0, 0, {"vulkan": 0.1, "vram_gib": 12}), [PLAIN])
    assert advice is not None
    assert "vulkan: 0.1, vram_gib: 12, which no node declares" in advice
    assert """--resources '{"vulkan": 1, "vram_gib": 12}'""" in advice


def test_advice_on_what_cannot_be_declared() -> None:
    advice = advice_if_unplaceable(Claim(64, 0, 0, {}), [PLAIN])
    assert advice is not None and "CPU: 64" in advice and "Claim less" in advice


def test_advice_where_only_the_combination_is_missing() -> None:
    advice = advice_if_unplaceable(Claim(4, 0, 0, {"npu": 1}), [{"CPU": 4.0}, {"CPU": 1.0, "npu": 1.0}])
    assert advice is not None and "no single node" in advice


def test_advice_without_any_node() -> None:
    advice = advice_if_unplaceable(Claim(1, 0, 0, {}), [])
    assert advice is not None and "CPU: 1" in advice


def test_several_stages_fit_over_several_nodes() -> None:
    claim = Claim(0, 1, 0, {})
    one, two = {"GPU": 1.0}, {"GPU": 2.0}
    assert advice_if_unplaceable(claim, [one, two], stages=3) is None
    assert advice_if_unplaceable(claim, [{"GPU": 4.0}], stages=4) is None
    assert advice_if_unplaceable(claim, [one, two], stages=4) == (
        "it needs GPU: 1 for each of 4 stages, and all nodes together have that 3 times. "
        "Add a node, or take fewer stages."
    )
    assert "which no node declares" in str(advice_if_unplaceable(claim, [PLAIN], stages=2))
