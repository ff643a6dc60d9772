"""faster-whisper, with what it gets wrong put right. Importing it takes a second."""

from collections.abc import Sequence
from typing import Any

from providers.deferred import deferring

with deferring("av"):  # 15 MB that decode files; slots get samples
    from faster_whisper import WhisperModel  # type: ignore[import-untyped]

FEWEST_FRAMES = 2
"""Of 10 ms. CTranslate2 aligns words with pairs of them; where there is not one pair, as may be in the last window of a
file of any length, the library fails (1.2.1), and older releases of CTranslate2 end the process.
https://github.com/SYSTRAN/faster-whisper/pull/1460"""


class Whisper(WhisperModel):  # type: ignore[misc]
    def find_alignment(
        self,
        tokenizer: Any,
        text_tokens: Any,
        encoder_output: Any,
        num_frames: int | Sequence[int],
        *rest: Any,
        **more: Any,
    ) -> Any:
        if isinstance(num_frames, int):
            enough: int | list[int] = max(num_frames, FEWEST_FRAMES)
        else:
            enough = [max(one, FEWEST_FRAMES) for one in num_frames]
        return super().find_alignment(tokenizer, text_tokens, encoder_output, enough, *rest, **more)
