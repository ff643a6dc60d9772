"""What a slot on F5-TTS may configure beyond what every slot that speaks may."""

from typing import Literal

from pydantic import Field

from providers.native.options import NativeSlot
from providers.tts.options import TtsOptions


class F5Options(TtsOptions):
    architecture: Literal["v1", "v0"] = Field(
        default="v1", description="what the weights do not tell: v1 for F5TTS_v1_*, v0 for F5TTS_Base and F5TTS_Small"
    )
    nfe_step: int = Field(
        default=32, ge=1, le=128, description="steps from noise to speech: 16 take half the time and sound a bit worse"
    )
    cfg_strength: float = Field(
        default=2.0, ge=0, le=10, description="how closely speech keeps to its text and its voice"
    )
    seed: int | None = Field(
        default=None,
        ge=0,
        lt=2**63,
        description="the same text is spoken the same each time; requests are then computed one by one",
    )


class F5Slot(NativeSlot):
    options: F5Options = F5Options()
