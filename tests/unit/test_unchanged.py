"""Which replicas a changed configuration leaves alone, by Serve's own comparison."""

import re
from pathlib import Path
from typing import Any

import pytest
from ray.serve._private.config import DeploymentConfig
from ray.serve._private.version import DeploymentVersion

from providers.devices import Device
from providers.spec import SlotSpec
from serve_app import unchanged
from serve_app.unchanged import OF_THE_POLICY, fingerprint, leave_unchanged_alone

ROOT = Path(__file__).parents[2]
SLOT = {"name": "chat", "provider": "llama.cpp", "model": "m.gguf", "capabilities": ["chat"], "unload_after_s": 5}


@pytest.fixture(autouse=True)
def wrapped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(DeploymentVersion, "requires_actor_restart", DeploymentVersion.requires_actor_restart)
    leave_unchanged_alone()
    leave_unchanged_alone()


def version(code: str, slot: dict[str, Any] | None, device: Device = Device.CPU, cpus: float = 0) -> Any:
    mark = None if slot is None else dict(fingerprint(slot, device))
    return DeploymentVersion(code, DeploymentConfig(user_config=mark), {"num_cpus": cpus})


def test_a_slot_that_is_as_it_was_stays() -> None:
    assert not version("old", SLOT).requires_actor_restart(version("new", dict(reversed(SLOT.items()))))


def test_what_only_the_policy_reads_is_no_change() -> None:
    assert not version("old", SLOT).requires_actor_restart(version("new", SLOT | {"unload_after_s": 9, "pin": True}))


@pytest.mark.parametrize("change", [{"model": "n.gguf"}, {"context_size": 8}, {"aliases": ["a"]}, {"options": {}}])
def test_a_slot_that_is_not_goes(change: dict[str, Any]) -> None:
    assert version("old", SLOT).requires_actor_restart(version("new", SLOT | change))


def test_neither_does_one_on_another_device_or_with_another_claim() -> None:
    assert version("old", SLOT).requires_actor_restart(version("new", SLOT, Device.VULKAN))
    assert version("old", SLOT).requires_actor_restart(version("new", SLOT, cpus=1))


def test_what_has_no_fingerprint_is_serves_affair() -> None:
    for before, after in ((None, None), (None, SLOT), (SLOT, None)):
        assert version("old", before).requires_actor_restart(version("new", after))
    assert not version("same", None).requires_actor_restart(version("same", None))


def test_serve_is_told_the_truth_about_its_own_version() -> None:
    """Which it goes on to write down."""
    after = version("new", SLOT)
    version("old", SLOT).requires_actor_restart(after)
    assert after.code_version == "new"


def test_it_is_wrapped_once() -> None:
    inner: Any = DeploymentVersion.requires_actor_restart
    assert not hasattr(inner.__wrapped__, "__wrapped__")


def test_no_replica_reads_what_is_left_out() -> None:
    """Nor does any provider, but to check a configuration."""
    assert frozenset(SlotSpec.model_fields) >= OF_THE_POLICY
    reads = re.compile(rf"\bslot\.({'|'.join(OF_THE_POLICY)})\b")
    files = [ROOT / "serve_app" / name for name in ("slot.py", "engine.py", "sleeper.py", "gate.py")]
    for file in (*files, *(ROOT / "providers").rglob("*.py")):
        assert not reads.findall(file.read_text()), file
    assert unchanged.KEY in fingerprint(SLOT, Device.CPU)
