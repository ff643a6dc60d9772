"""The synthesizer over F5-TTS.

https://github.com/SWivid/F5-TTS/blob/main/src/f5_tts/infer/utils_infer.py (infer_batch_process)
"""

import threading
from collections.abc import Iterator
from typing import Any

import numpy as np

from providers.errors import InvalidRequest, ProviderError
from providers.f5.mel import HOP, SAMPLE_RATE
from providers.f5.options import F5Options
from providers.f5.reference import Prepared
from providers.f5.references import References
from providers.tts.sentences_cuts import cut
from providers.tts.synthesizer import Manner, Reference, Samples

LONGEST_S = 22.0
"""Of a reference and a piece of speech together: the model learned little that is longer."""
SHORT_BYTES, SHORT_SPEED = 10, 0.3
"""So short a text gets more time than its length tells, or the model swallows some of it."""
FADE = 120
"""Samples: 5 ms."""
SWAY = -1.0
"""Steps are denser where speech begins to differ from noise: https://arxiv.org/abs/2410.06885, section 3.3."""


class _Closed(Exception):
    """Ends what is being computed."""


class F5Synthesizer:
    """`network` is the library's `CFM`, `vocoder` its `Vocos`. `at_once` requests compute side by side."""

    sample_rate = SAMPLE_RATE
    longest_text = 135

    def __init__(self, network: Any, vocoder: Any, options: F5Options, at_once: int) -> None:
        self._network: Any = network
        self._vocoder: Any = vocoder
        self._options = options
        self._turns = threading.BoundedSemaphore(at_once)
        self._closed = False
        self._references = References()
        for block in network.transformer.transformer_blocks:
            block.register_forward_pre_hook(self._go_on)

    def check(self, manner: Manner) -> None:
        if manner.reference is None:
            raise InvalidRequest(
                "The slot speaks with voices that were added to it alone; POST /v1/audio/voices adds one.",
                "voice",
                "unknown_voice",
            )

    def speak(self, text: str, manner: Manner) -> Iterator[Samples]:
        """Raises `InvalidRequest` for a reference that no voice can be cloned from. Characters that the model does not
        know are skipped."""
        self.check(manner)
        assert manner.reference is not None
        reference = self._references.prepared(manner.reference)
        for part in cut(text, _longest(text, reference, manner.speed)):
            tokens = self._tokens(part.text)
            if tokens:
                frames = _frames(part.text, reference, manner.speed)
                yield _faded(self._spoken(tokens, frames, reference))

    def warm_up(self) -> None:
        """So that files which do not belong together are a failed load, and the first request is no slower."""
        sound = np.sin(np.arange(2 * SAMPLE_RATE) * 0.05) * 8000
        told = Reference(sound.astype("<i2").tobytes(), SAMPLE_RATE, "This is the reference.")
        for _ in self.speak("This is a text.", Manner(reference=told)):
            pass
        self._references.clear()

    def close(self) -> None:
        """What is being computed ends at its next layer: on a CPU, a step of all of them takes long."""
        import torch  # type: ignore[import-not-found]

        self._closed = True
        with self._turns:
            self._network = self._vocoder = None
        self._references.clear()
        if torch.cuda.is_initialized():
            torch.cuda.empty_cache()

    def _tokens(self, text: str) -> list[str]:
        """Characters, and syllables of Pinyin with their tones; none, if the model knows no letter of the text."""
        from f5_tts.model.utils import convert_char_to_pinyin  # type: ignore[import-not-found]

        network = self._network
        if network is None:
            raise ProviderError("The model has been unloaded.")
        (tokens,) = convert_char_to_pinyin([text])
        known = network.vocab_char_map
        return list(tokens) if any(one in known and one[:1].isalnum() for one in tokens) else []

    def _spoken(self, tokens: list[str], frames: int, reference: Prepared) -> Samples:
        import torch

        told = self._tokens(reference.text)
        with self._turns, torch.inference_mode():
            network, vocoder = self._network, self._vocoder
            if network is None or self._closed:
                raise ProviderError("The model has been unloaded.")
            given = torch.from_numpy(reference.spectrum).to(network.device)[None]
            try:
                made, _ = network.sample(
                    cond=given,
                    text=[[*told, *tokens]],
                    duration=given.shape[1] + frames,
                    steps=self._options.nfe_step,
                    cfg_strength=self._options.cfg_strength,
                    sway_sampling_coef=SWAY,
                    seed=self._options.seed,
                )
            except _Closed as error:
                raise ProviderError("The model is being unloaded.") from error
            finally:
                # An error in the middle leaves the text that it keeps for the next of this thread's.
                network.transformer.clear_cache()
            sound = vocoder.decode(made[:, given.shape[1] :].float().permute(0, 2, 1))
            samples: Samples = sound.squeeze(0).cpu().numpy() * np.float32(reference.gain)
            return samples

    def _go_on(self, *_: object) -> None:
        if self._closed:
            raise _Closed


def _bytes_per_s(reference: Prepared) -> float:
    return reference.text_bytes / reference.seconds


def _longest(text: str, reference: Prepared, speed: float) -> int:
    """Characters that are spoken at once."""
    seconds = (LONGEST_S - reference.seconds) * speed
    return max(1, int(_bytes_per_s(reference) * seconds * len(text) / max(1, len(text.encode()))))


def _frames(text: str, reference: Prepared, speed: float) -> int:
    """As long as the reference takes for as many bytes."""
    size = len(text.encode())
    pace = speed * (SHORT_SPEED if size < SHORT_BYTES else 1)
    seconds = size / _bytes_per_s(reference) / pace
    return max(1, round(min(seconds, LONGEST_S - reference.seconds) * SAMPLE_RATE / HOP))


def _faded(samples: Samples) -> Samples:
    """So that parts of a sentence are joined without a click."""
    count = min(FADE, len(samples) // 2)
    ramp = np.linspace(0, 1, count, endpoint=False, dtype=np.float32)
    samples[:count] *= ramp
    samples[len(samples) - count :] *= ramp[::-1]
    return samples
