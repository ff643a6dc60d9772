"""What a slot on a native engine may configure of how it runs."""

import os
from collections.abc import Mapping
from typing import Annotated

from pydantic import Field, StringConstraints, field_validator, model_validator

from providers.container import Container
from providers.spec import ProviderOptions, SlotSpec

EnvName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]


class NativeOptions(ProviderOptions):
    threads: int | None = Field(default=None, ge=1, le=1024, description="default: the CPUs that the slot claims")
    own_process: bool = Field(default=False, description="a child process instead of a part of the slot's actor")
    python: str | None = Field(
        default=None, min_length=1, description="own process: the Python of another virtual environment with hal0 in it"
    )
    container: Container | None = Field(default=None, description="own process: in an image with hal0 in it")
    env: Mapping[EnvName, str] = Field(default_factory=dict, description="own process: further environment")

    @field_validator("python")
    @classmethod
    def _expanded(cls, python: str | None) -> str | None:
        return None if python is None else os.path.expanduser(python)

    @model_validator(mode="after")
    def _only_of_an_own_process(self) -> "NativeOptions":
        if self.python and self.container:
            raise ValueError("python and container exclude each other; allowed: one (container.program names its own)")
        if self.env and not self.is_child:
            raise ValueError("env is the environment of an own process; allowed: with own_process: true")
        return self

    @property
    def is_child(self) -> bool:
        return self.own_process or self.python is not None or self.container is not None


class NativeSlot(SlotSpec):
    options: NativeOptions = NativeOptions()
