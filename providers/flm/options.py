"""What a slot on FastFlowLM may configure beyond what every slot may."""

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Literal

from pydantic import Field, StringConstraints, field_validator, model_validator

from providers.asr.options import HearingOptions
from providers.capabilities import Capability
from providers.container import Container
from providers.flm.roles import FIXED, models_of
from providers.spec import SlotSpec

LEAST_CONTEXT = 512
"""Tokens; the program takes no less."""
TAG = re.compile(r"[a-z0-9][a-z0-9._-]*:[a-z0-9][a-z0-9._-]*")
TEXT = frozenset({Capability.CHAT, Capability.VISION})

SET_BY_SLOT: MappingProxyType[str, str] = MappingProxyType(
    {
        flag: key
        for key, flags in {
            "capabilities": "--asr -a --embed -e",
            "context_size": "--ctx-len -c",
            "options.power_mode": "--pmode",
            "options.prefill_chunk": "--prefill-chunk-len -pcl",
            "options.image_resize": "--img-pre-resize -r",
            "options.preemption": "--preemption",
            "nothing, since hal0 decides where the engine listens and how many it answers at once": (
                "--host --port -p --socket -s --q-len -q --cors"
            ),
            "nothing, since the engine must keep running": "--help -h --version -v --json -j --filter --force",
        }.items()
        for flag in flags.split()
    }
)
"""Arguments of `flm serve` that `extra_args` may not hold, and the key that sets each instead."""

EnvName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]


class FlmOptions(HearingOptions):
    binary: str | None = Field(default=None, min_length=1, description="an flm: a name on PATH, or a path")
    power_mode: Literal["default", "powersaver", "balanced", "performance", "turbo"] = Field(
        default="performance", description="the NPU's; without effect on Linux so far"
    )
    prefill_chunk: int | None = Field(default=None, ge=LEAST_CONTEXT, description="tokens of a prompt taken at once")
    image_resize: int | None = Field(default=None, ge=0, le=8, description="flm's --img-pre-resize")
    preemption: bool = Field(default=False, description="let other programs interrupt the NPU's work")
    silence_s: float = Field(
        default=120, gt=0, description="an answer that says nothing for this long, its wait apart, has hung the engine"
    )
    partial_interval_s: float = Field(
        default=1.5, gt=0, le=60, description="live: new audio between two texts of an utterance that is still spoken"
    )
    container: Container | None = Field(default=None, description="in an image with an flm in it")
    env: Mapping[EnvName, str] = Field(default_factory=dict, description="further environment of every flm command")
    extra_args: tuple[str, ...] = Field(default=(), description="further arguments of `flm serve`")

    @field_validator("extra_args")
    @classmethod
    def _leave_to_the_slot_what_is_its(cls, arguments: tuple[str, ...]) -> tuple[str, ...]:
        for argument in arguments:
            flag = argument.partition("=")[0]
            # Unique beginnings of a long option pass for it, and a short one may have its value at once: `-p80`.
            begun = (key for name, key in SET_BY_SLOT.items() if _passes_for(flag, name))
            if key := SET_BY_SLOT.get(flag) or next(begun, None):
                raise ValueError(f"'{flag}' is set by {key}; allowed: arguments that no key of the slot sets")
        return arguments

    @model_validator(mode="after")
    def _binary_or_container(self) -> "FlmOptions":
        if self.binary and self.container:
            raise ValueError("binary and container exclude each other; allowed: one (container.program names its own)")
        return self


def _passes_for(flag: str, name: str) -> bool:
    return name.startswith(flag) if flag.startswith("--") else len(name) == 2 and flag.startswith(name)


class FlmSlot(SlotSpec):
    context_size: int = Field(default=4096, ge=LEAST_CONTEXT, description="tokens that one request may use")
    parallel_requests: int = Field(
        default=4, ge=1, le=256, description="requests that the slot's front has at once; the NPU computes one"
    )
    options: FlmOptions = FlmOptions()

    @model_validator(mode="after")
    def _a_model_for_its_kind(self) -> "FlmSlot":
        if TEXT & set(self.capabilities):
            if Capability.CHAT not in self.capabilities:
                raise ValueError("capability vision comes with chat; allowed: both, or neither")
            if self.model in FIXED.values() or not TAG.fullmatch(self.model):
                raise ValueError(
                    f"model: '{self.model}' is not allowed; allowed: the tag of a chat model, family:size, as "
                    "`flm list` shows it (the models of embedding and transcription come by themselves)"
                )
        elif self.model not in (served := sorted(self.models.values())):
            raise ValueError(
                f"model: '{self.model}' is not allowed without capability chat; allowed: {' or '.join(served)}"
            )
        return self

    @property
    def models(self) -> Mapping[Capability, str]:
        return models_of(self.model, self.capabilities)

    @property
    def device_claim(self) -> float:
        """All of it: a second engine on an NPU gains nothing, and runs out of its contexts."""
        return 1.0
