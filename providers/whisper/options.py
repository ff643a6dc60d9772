"""What a slot on faster-whisper may configure beyond what every slot of speech recognition may."""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from providers.asr.options import AsrOptions
from providers.native.options import NativeSlot
from providers.whisper.languages import LANGUAGES

ComputeType = Literal[
    "auto", "int8", "int8_float32", "int8_float16", "int8_bfloat16", "int16", "float16", "bfloat16", "float32"
]


def _known(language: str) -> str:
    if language not in LANGUAGES:
        raise ValueError(f"Whisper knows no language '{language}'; allowed: {', '.join(sorted(LANGUAGES))}")
    return language


class WhisperOptions(AsrOptions):
    language: Annotated[str, AfterValidator(_known)] | None = Field(
        default=None, description="of requests that name none, as a code such as en; null detects it"
    )
    compute_type: ComputeType = Field(
        default="auto", description="what weights are kept and computed in; auto: int8 on the CPU, float16 on a GPU"
    )
    beam_size: int = Field(default=5, ge=1, le=32, description="texts that are weighed at once; 1 is fastest")
    batch_size: int = Field(
        default=1,
        ge=1,
        le=64,
        description="windows of one long file computed at once: faster on a GPU, but segments are up to 30 s long, "
        "and a doubtful one is not tried again at a higher temperature",
    )
    vad_filter: bool | None = Field(
        default=None, description="skip what is no speech; null: unless voice_detector is level"
    )
    condition_on_previous_text: bool = Field(
        default=True, description="each window knows the text before it: consistent, but repetitions may persist"
    )

    @property
    def skips_silence(self) -> bool:
        return self.vad_filter if self.vad_filter is not None else self.voice_detector == "silero"


class WhisperSlot(NativeSlot):
    options: WhisperOptions = WhisperOptions()
