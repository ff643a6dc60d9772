"""What a slot on llama.cpp may configure beyond what every slot may."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Literal

from pydantic import Field, StringConstraints, field_validator, model_validator

from providers.capabilities import Capability
from providers.container import Container
from providers.spec import ProviderOptions, SlotSpec

CacheType = Literal["f32", "f16", "bf16", "q8_0", "q4_0", "q4_1", "iq4_nl", "q5_0", "q5_1"]
Pooling = Literal["none", "mean", "cls", "last", "rank"]

SET_BY_SLOT: MappingProxyType[str, str] = MappingProxyType(
    {
        flag: key
        for key, flags in {
            "model": (
                "-m --model -mu --model-url -dr --docker-repo -hf -hfr --hf-repo -hff --hf-file -hft --hf-token "
                "-hfd -hfrd --hf-repo-draft --spec-draft-hf --embd-gemma-default --gpt-oss-20b-default "
                "--gpt-oss-120b-default --vision-gemma-4b-default --vision-gemma-12b-default --fim-qwen-1.5b-default "
                "--fim-qwen-3b-default --fim-qwen-7b-default --fim-qwen-7b-spec --fim-qwen-14b-spec "
                "--fim-qwen-30b-default"
            ),
            "companions.mmproj": "-mm --mmproj -mmu --mmproj-url --no-mmproj --mmproj-auto --no-mmproj-auto",
            "context_size": "-c --ctx-size --kv-unified-per-slot",
            "parallel_requests": "-np --parallel",
            "capabilities": "--embedding --embeddings --rerank --reranking",
            "options.devices": "-dev --device --list-devices",
            "name": "-a --alias",
            "options.threads": "-t --threads",
            "options.gpu_layers": "-ngl --gpu-layers --n-gpu-layers",
            "options.batch_size": "-b --batch-size",
            "options.ubatch_size": "-ub --ubatch-size",
            "options.flash_attention": "-fa --flash-attn",
            "options.pooling": "--pooling",
            "options.cache_type_k": "-ctk --cache-type-k",
            "options.cache_type_v": "-ctv --cache-type-v",
            "nothing, since hal0 decides where the engine listens and who may ask it": (
                "--host --port --reuse-port --api-key --api-key-file --api-prefix --path --ssl-key-file "
                "--ssl-cert-file --threads-http"
            ),
            "unload_after_s": "--sleep-idle-seconds",
            "nothing, since a slot is one model": (
                "--models-dir --models-preset --models-max --models-autoload --no-models-autoload"
            ),
            "nothing, since the engine must keep running": (
                "-h --help --usage --version --completion-bash -cl --cache-list"
            ),
        }.items()
        for flag in flags.split()
    }
)
"""Arguments of llama-server that `extra_args` may not hold, and the key that sets each instead."""

OWN_VARIABLES = ("LLAMA_API_KEY", "LLAMA_ARG_")
"""Beginnings of the variables that llama-server reads its arguments from."""

EnvName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]


class LlamaCppOptions(ProviderOptions):
    binary: str | None = Field(default=None, min_length=1, description="a llama-server: a name on PATH, or a path")
    threads: int | None = Field(default=None, ge=1, le=1024)
    devices: tuple[str, ...] = Field(
        default=(), description="llama-server's names of its devices, such as Vulkan1; default the first of its kind"
    )
    gpu_layers: Annotated[int, Field(ge=0)] | Literal["all"] = "all"
    flash_attention: Literal["auto", "on", "off"] = "auto"
    batch_size: int | None = Field(default=None, ge=1)
    ubatch_size: int | None = Field(default=None, ge=1)
    pooling: Pooling | None = None
    cache_type_k: CacheType | None = None
    cache_type_v: CacheType | None = None
    container: Container | None = Field(default=None, description="in an image with a llama-server in it")
    env: Mapping[EnvName, str] = Field(default_factory=dict, description="further environment of the engine")
    extra_args: tuple[str, ...] = Field(default=(), description="further arguments of llama-server")

    @field_validator("extra_args")
    @classmethod
    def _leave_to_the_slot_what_is_its(cls, arguments: tuple[str, ...]) -> tuple[str, ...]:
        for argument in arguments:
            flag = argument.partition("=")[0]
            if flag.startswith("--"):
                flag = flag.replace("_", "-")  # as llama-server reads it
            if key := SET_BY_SLOT.get(flag):
                raise ValueError(f"'{flag}' is set by {key}; allowed: arguments that no key of the slot sets")
        return arguments

    @field_validator("env")
    @classmethod
    def _leave_arguments_to_extra_args(cls, variables: Mapping[str, str]) -> Mapping[str, str]:
        for name in variables:
            if name.startswith(OWN_VARIABLES):
                raise ValueError(f"'{name}' is not for env; allowed: other variables (extra_args holds arguments)")
        return variables

    @model_validator(mode="after")
    def _binary_or_container(self) -> "LlamaCppOptions":
        if self.binary and self.container:
            raise ValueError("binary and container exclude each other; allowed: one (container.program names its own)")
        return self


class LlamaCppSlot(SlotSpec):
    options: LlamaCppOptions = LlamaCppOptions()

    @model_validator(mode="after")
    def _one_kind_of_model(self) -> "LlamaCppSlot":
        kinds = {self._kind(capability) for capability in self.capabilities}
        if len(kinds) > 1:
            raise ValueError(
                f"capabilities {', '.join(self.capabilities)} need different engines; allowed: "
                "chat, completion and vision together, or embedding alone, or rerank alone"
            )
        if Capability.VISION in self.capabilities and "mmproj" not in self.companions:
            raise ValueError("capability vision needs companions.mmproj; allowed: a multimodal projector file there")
        return self

    @staticmethod
    def _kind(capability: Capability) -> Capability:
        text = (Capability.CHAT, Capability.COMPLETION, Capability.VISION)
        return Capability.CHAT if capability in text else capability
