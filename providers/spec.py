"""A slot as its owner describes it: the frozen part of the configuration that providers read."""

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from providers.capabilities import Capability
from providers.devices import SHARED_CLAIM

SlotName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._:-]{0,62}$")]
ModelSource = Annotated[str, StringConstraints(min_length=1, strip_whitespace=True)]


class Frozen(BaseModel):
    """Base of every configuration model: immutable, unknown keys refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())


class ResourceClaim(Frozen):
    """What a replica of the slot claims from Ray while it lives."""

    cpu: float = Field(default=0, ge=0, description="CPUs; 0 claims none and shares them all")
    gpu: float | None = Field(default=None, gt=0, description="GPUs (device cuda); default 0.1")
    memory_gib: float = Field(default=0, ge=0, description="GiB of the node's memory")
    custom: Mapping[str, Annotated[float, Field(gt=0)]] = Field(
        default_factory=dict, description="custom resources, such as vulkan, rocm, npu, vram_gib"
    )


class ProviderOptions(Frozen):
    """Base of the options that only one provider knows."""


class SlotSpec(Frozen):
    """One named model on one provider, with the hardware that it claims and the times of its life."""

    name: SlotName
    aliases: tuple[str, ...] = ()
    role_aliases: Mapping[SlotName, Capability] = Field(
        default_factory=dict, description="names that stand for one capability of the slot alone"
    )
    description: str = ""
    provider: str
    model: ModelSource
    companions: Mapping[str, ModelSource] = Field(
        default_factory=dict, description="further model files by role, such as mmproj"
    )
    capabilities: tuple[Capability, ...] = Field(min_length=1)
    device: Literal["auto", "cpu", "vulkan", "rocm", "cuda", "npu"] = "auto"
    context_size: int = Field(default=4096, ge=1, description="tokens that one request may use")
    parallel_requests: int = Field(default=2, ge=1, le=256, description="requests that the engine answers at once")
    resources: ResourceClaim = ResourceClaim()
    min_replicas: int = Field(default=0, ge=0)
    max_replicas: int = Field(default=1, ge=1)
    pin: bool = Field(default=False, description="load at start, never unload")
    preload: bool = Field(default=False, description="load at start; unload when quiet, as any other slot")
    idle_after_s: float = Field(default=10, ge=0, description="quiet for this long: idle")
    unload_after_s: float | None = Field(
        default=300, ge=0, description="quiet for this long: unloaded; 0 at once, null never"
    )
    load_timeout_s: float = Field(default=600, gt=0, description="a load that takes longer has failed")
    load_wait_s: float = Field(default=120, gt=0, description="a request waits this long for its slot to load")
    request_timeout_s: float | None = Field(
        default=None, gt=0, description="a request that takes longer is ended, waiting included; null never"
    )
    max_queued: int = Field(default=256, ge=1, description="requests that wait at once; one more is refused with 429")
    priority: int = Field(default=0, ge=-100, le=100, description="of its requests; higher ones wait less")
    progress_as_reasoning: bool = Field(
        default=False, description="tell streaming chat clients of a load's progress as reasoning_content"
    )
    options: ProviderOptions = ProviderOptions()

    @model_validator(mode="after")
    def _replicas_in_order(self) -> "SlotSpec":
        if self.min_replicas > self.max_replicas:
            raise ValueError(
                f"min_replicas {self.min_replicas} is above max_replicas {self.max_replicas}; allowed: at most that"
            )
        return self

    @model_validator(mode="after")
    def _roles_it_has(self) -> "SlotSpec":
        for alias, role in self.role_aliases.items():
            if role not in self.capabilities:
                has = ", ".join(self.capabilities)
                raise ValueError(f"role_aliases.{alias}: '{role}' is no capability of the slot; allowed: {has}")
        return self

    def offers(self, capability: Capability) -> bool:
        return capability in self.capabilities

    @property
    def replica_floor(self) -> int:
        """Replicas that are there whether anybody asks or not."""
        return max(self.min_replicas, int(self.pin))

    @property
    def own_names(self) -> tuple[str, ...]:
        """Those of its model as it is, the slot's first."""
        return (self.name, f"hal0/{self.name}", *self.aliases, *self.role_aliases)

    @property
    def adapters(self) -> tuple[str, ...]:
        """Names under which the same engine answers with something added to its model."""
        return ()

    @property
    def names(self) -> tuple[str, ...]:
        """Every name that a client may put in `model`, the slot's own first."""
        return (*self.own_names, *self.adapters)

    @property
    def models(self) -> Mapping[Capability, str]:
        """Which model serves which capability."""
        return dict.fromkeys(self.capabilities, self.model)

    @property
    def device_claim(self) -> float:
        """Units of its device that a replica claims when the configuration names no amount."""
        return SHARED_CLAIM

    @property
    def stages(self) -> int:
        """How many times over its deployment reserves what the slot claims, on one node or several, for an engine that
        is one over all of them. 1: the replica's own claim is all; above, it leaves all of it to the engine's workers,
        which come with actors of their own."""
        return 1
