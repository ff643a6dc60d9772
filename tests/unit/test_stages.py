"""What Serve is told to reserve for each replica of a slot."""

from typing import Any

from providers.devices import Device
from providers.spec import SlotSpec
from serve_app.app import _slot
from serve_app.config import parse_slot
from serve_app.placement import Claim
from tests.unit.test_fit import raw_slot

CLAIM = Claim(2, 1, 0, {"vram_gib": 20})


class Staged(SlotSpec):
    @property
    def stages(self) -> int:
        return 3


def replica_of(slot: SlotSpec) -> Any:
    """Serve's own configuration of it, which Serve has checked."""
    return _slot(slot, {}, Device.CUDA, CLAIM, None)._bound_deployment._replica_config


def test_the_replica_of_most_slots_claims_for_itself() -> None:
    config = replica_of(parse_slot(raw_slot()))
    assert config.placement_group_bundles is None
    assert config.resource_dict == {"CPU": 2, "GPU": 1, "vram_gib": 20}


def test_every_stage_has_a_bundle_and_the_replica_takes_nothing_of_them() -> None:
    config = replica_of(Staged.model_validate(raw_slot()))
    assert config.placement_group_bundles == [{"CPU": 2, "GPU": 1, "vram_gib": 20}] * 3
    assert config.placement_group_strategy == "PACK"
    assert not any(config.resource_dict.values())
