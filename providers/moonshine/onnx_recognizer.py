"""The recognizer over ONNX exports of Moonshine."""

import math
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext

from providers.asr.dialect import Features
from providers.asr.recognizer import Asked, Samples, Segment, Utterance
from providers.asr.refusal import refuse_what_it_cannot
from providers.devices import Device
from providers.moonshine.audible import Audible
from providers.moonshine.onnx_model import OnnxModel
from providers.moonshine.recognizer import LONGEST_PIECE_S


class OnnxRecognizer:
    longest_piece_s = LONGEST_PIECE_S
    cuts_itself = False

    def __init__(self, model: OnnxModel, slot: str, language: str, tokens_per_s: float, device: Device) -> None:
        self._model: OnnxModel | None = model
        self._slot, self._language, self._tokens_per_s = slot, language, tokens_per_s
        self._features = Features(languages=frozenset({language}))
        # A GPU's queue is one; sessions on the CPU compute side by side.
        self._turn: AbstractContextManager[object] = nullcontext() if device is Device.CPU else threading.Lock()

    def recognize(self, samples: Samples, asked: Asked) -> Iterator[Segment]:
        refuse_what_it_cannot(asked, self._features, self._slot)
        model = self._model
        if model is None:
            raise ValueError("the recognizer is closed")
        audible = Audible()
        audible.feed(samples)
        with self._turn:
            text = model.text(samples, math.ceil(audible.duration_s * self._tokens_per_s))
        if text:
            yield Segment(text, *audible.bounds_s(), language=self._language)

    def utterance(self, asked: Asked) -> Utterance | None:
        return None

    def close(self) -> None:
        self._model = None
