"""What a slot on vLLM may configure beyond what every slot may."""

import os
import re
from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import Field, JsonValue, StringConstraints, field_validator, model_validator

from providers.capabilities import Capability
from providers.container import Container
from providers.devices import Device
from providers.spec import ProviderOptions, SlotSpec
from providers.vllm.reserved import OWN_VARIABLES, key_that_sets

WHOLE_GPU = 1.0
TEXT = (Capability.CHAT, Capability.COMPLETION, Capability.VISION)
GPUS = (Device.CUDA, Device.ROCM)
ADAPTER_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,62}")

EnvName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]
Word = Annotated[str, StringConstraints(min_length=1)]


class VllmOptions(ProviderOptions):
    binary: Word | None = Field(default=None, description="a `vllm`: a name on PATH, or a path")
    python: Word | None = Field(default=None, description="the Python of a virtual environment with vLLM in it")
    container: Container | None = Field(default=None, description="in an image with vLLM in it")
    tensor_parallel: int | None = Field(default=None, ge=1, le=64, description="GPUs that share each layer")
    pipeline_parallel: int = Field(default=1, ge=1, le=64, description="stages of layers, each on other GPUs")
    dtype: Literal["auto", "float16", "bfloat16", "float32"] = "auto"
    quantization: Word | None = Field(default=None, description="vLLM's name of a method; null: the model's own")
    gpu_memory_utilization: float | None = Field(default=None, gt=0, le=1, description="share of each GPU's memory")
    cpu_cache_gib: int | None = Field(default=None, ge=1, description="device cpu: for keys and values")
    kv_cache_dtype: Word | None = Field(default=None, description="of keys and values, such as fp8")
    prefix_caching: bool | None = Field(default=None, description="keep what prompts have in common")
    chunked_prefill: bool | None = Field(default=None, description="read long prompts piecemeal beside answers")
    enforce_eager: bool = Field(default=False, description="no CUDA graphs: a quicker start, slower answers")
    speculative: Mapping[str, JsonValue] | None = Field(default=None, description="vLLM's --speculative-config")
    chat_template: Word | None = Field(default=None, description="a Jinja file, instead of the model's own")
    tool_call_parser: Word | None = Field(default=None, description="how tool calls are found in an answer")
    reasoning_parser: Word | None = Field(default=None, description="how reasoning is told from an answer")
    max_lora_rank: Literal[1, 8, 16, 32, 64, 128, 256, 320, 512] = Field(
        default=16, description="the highest rank of the adapters in companions"
    )
    sleep_when_idle: bool = Field(
        default=False, description="device cuda: an idle slot leaves the GPU's memory before it is unloaded"
    )
    sleep_level: Literal[1, 2] = Field(default=1, description="1: weights go to the node's memory; 2: are read anew")
    env: Mapping[EnvName, str] = Field(default_factory=dict, description="further environment of the engine")
    extra_args: tuple[str, ...] = Field(default=(), description="further arguments of `vllm serve`")

    @field_validator("python", "chat_template")
    @classmethod
    def _expanded(cls, path: str | None) -> str | None:
        return None if path is None else os.path.expanduser(path)

    @field_validator("extra_args")
    @classmethod
    def _leave_to_the_slot_what_is_its(cls, arguments: tuple[str, ...]) -> tuple[str, ...]:
        for argument in arguments:
            if key := key_that_sets(argument):
                flag = argument.partition("=")[0]
                raise ValueError(f"'{flag}' is set by {key}; allowed: arguments that no key of the slot sets")
        return arguments

    @field_validator("env")
    @classmethod
    def _leave_to_the_slot_its_variables(cls, variables: Mapping[str, str]) -> Mapping[str, str]:
        for name in variables:
            if key := OWN_VARIABLES.get(name):
                raise ValueError(f"'{name}' is set by {key}; allowed: other variables")
        return variables

    @model_validator(mode="after")
    def _one_program(self) -> "VllmOptions":
        given = [name for name in ("binary", "python", "container") if getattr(self, name) is not None]
        if len(given) > 1:
            raise ValueError(f"{' and '.join(given)} exclude each other; allowed: one of binary, python, container")
        return self


class VllmSlot(SlotSpec):
    """`companions` are adapters (LoRA), each under the name by which clients ask for it."""

    options: VllmOptions = VllmOptions()

    @model_validator(mode="after")
    def _one_kind_of_model(self) -> "VllmSlot":
        kinds = {Capability.CHAT if one in TEXT else one for one in self.capabilities}
        if len(kinds) > 1:
            raise ValueError(
                f"capabilities {', '.join(self.capabilities)} need different engines; allowed: "
                "chat, completion and vision together, or embedding alone, or rerank alone"
            )
        return self

    @model_validator(mode="after")
    def _adapters_have_names(self) -> "VllmSlot":
        for name in self.companions:
            if not ADAPTER_NAME.fullmatch(name):
                raise ValueError(f"companions.{name}: '{name}' is not allowed; allowed: a name as a slot's")
            if name in self.own_names:
                raise ValueError(f"companions.{name}: the slot itself has this name; allowed: any other")
        return self

    @model_validator(mode="after")
    def _sleeps_where_it_can(self) -> "VllmSlot":
        if not self.options.sleep_when_idle:
            return self
        if self.device != Device.CUDA.value:
            raise ValueError(f"options.sleep_when_idle: not on device {self.device}; allowed: with device: cuda")
        if self.options.pipeline_parallel > 1:
            raise ValueError("options.sleep_when_idle: not with pipeline_parallel above 1; allowed: one of them")
        if self.options.sleep_level == 2 and self.companions:
            raise ValueError(
                "options.sleep_level: 2 would lose the adapters in companions; allowed: 1, or no companions"
            )
        return self

    @model_validator(mode="after")
    def _gpus_that_it_claims(self) -> "VllmSlot":
        tensor, stages = self.options.tensor_parallel, self.options.pipeline_parallel
        if stages > 1:
            self._check_stages()
        elif tensor is not None and tensor > 1 and tensor > self._claimed:
            raise ValueError(
                f"options.tensor_parallel: {tensor} needs as many GPUs, and {self._claimed:g} is claimed; "
                f"allowed: up to that ({self._claim_key} claims more)"
            )
        return self

    def _check_stages(self) -> None:
        options = self.options
        if self.device not in GPUS:
            raise ValueError(f"options.pipeline_parallel: not on device {self.device}; allowed: with cuda or rocm")
        if options.python is None:
            raise ValueError(
                "options.pipeline_parallel: a slot over several GPUs joins the Ray cluster by vLLM's own Python; "
                "allowed: above 1 with options.python"
            )
        if self._claimed != WHOLE_GPU:
            raise ValueError(
                f"{self._claim_key}: {self._claimed:g} is not allowed with pipeline_parallel above 1, where the slot "
                "reserves one GPU for each worker; allowed: 1 (tensor_parallel says how many workers a stage has)"
            )
        if self.max_replicas > 1:
            raise ValueError(f"max_replicas: {self.max_replicas} is not allowed with pipeline_parallel; allowed: 1")

    @property
    def adapters(self) -> tuple[str, ...]:
        return tuple(self.companions)

    @property
    def device_claim(self) -> float:
        """All of a GPU: vLLM takes what memory is left for keys and values."""
        return WHOLE_GPU

    @property
    def tensor_parallel(self) -> int:
        """GPUs that share each layer."""
        if self.options.tensor_parallel is not None:
            return self.options.tensor_parallel
        return 1 if self.options.pipeline_parallel > 1 else max(1, int(self._claimed))

    @property
    def stages(self) -> int:
        """Pieces of the slot's claim that its deployment reserves: one for each worker, since vLLM takes no bundle of
        more than one GPU. 1: the replica's own claim is all."""
        options = self.options
        return options.pipeline_parallel * self.tensor_parallel if options.pipeline_parallel > 1 else 1

    @property
    def _claimed(self) -> float:
        """GPUs."""
        match self.device:
            case Device.ROCM:
                return self.resources.custom.get("rocm", self.device_claim)
            case Device.CPU:
                return 0.0
            case _:
                return self.device_claim if self.resources.gpu is None else self.resources.gpu

    @property
    def _claim_key(self) -> str:
        return "resources.custom.rocm" if self.device == Device.ROCM.value else "resources.gpu"
