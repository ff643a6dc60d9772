"""The recognizer over faster-whisper."""

import re
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from providers.asr.cutting import BlockCutter, Piece
from providers.asr.dialect import Features
from providers.asr.recognizer import SAMPLE_RATE, Asked, Samples, Segment, Utterance, Word
from providers.asr.refusal import refuse_what_it_cannot
from providers.errors import InvalidRequest, ProviderError, UnsupportedRequest
from providers.whisper.languages import ENGLISH
from providers.whisper.options import WhisperOptions

if TYPE_CHECKING:
    from faster_whisper import WhisperModel  # type: ignore[import-untyped]

LONGEST_PIECE_S = 240.0
"""Bounds the memory of one request. Whisper itself hears windows of `WINDOW_S`, one after the other."""
WINDOW_S = 30.0
MOST_KEYWORD_TOKENS = 100
"""Of the 448 that a window's prompt and text have together: text before may take 223, and the rest is for the text."""
SPECIAL = re.compile(r"<\|.*?\|>")
"""Tokens that steer Whisper, which a client's text must not contain."""


class WhisperRecognizer:
    """`features.languages`: what the model knows; English alone, if it has no choice."""

    longest_piece_s = LONGEST_PIECE_S
    cuts_itself = True

    def __init__(self, model: "WhisperModel", slot: str, options: WhisperOptions, features: Features) -> None:
        self._model: WhisperModel | None = model
        self._slot, self._options, self._features = slot, options, features
        self._translates = features.languages != frozenset({ENGLISH})

    def recognize(self, samples: Samples, asked: Asked) -> Iterator[Segment]:
        """Raises `InvalidRequest` for what the model cannot, at the first step. Each step computes a window, or a batch
        of them, and nothing computes between steps."""
        model = self._model
        if model is None:
            raise ProviderError("The model has been unloaded.")
        self._refuse(asked)
        samples = np.ascontiguousarray(samples, np.float32)
        found, told = self._transcribed(model, samples, asked)
        detected = self._language(asked) is None and self._translates
        # The text's language is what is told, whichever was spoken.
        language = ENGLISH if asked.translate else told.language
        probability = float(told.language_probability) if detected and not asked.translate else None
        for one in found:
            if one.text.strip():
                yield _segment(one, language, probability)

    def utterance(self, asked: Asked) -> Utterance | None:
        return None

    def close(self) -> None:
        """The library frees it when the last call of it has ended."""
        self._model = None

    def _language(self, asked: Asked) -> str | None:
        return asked.language or self._options.language

    def _refuse(self, asked: Asked) -> None:
        refuse_what_it_cannot(asked, self._features, self._slot)
        if asked.translate and not self._translates:
            message = f"The model of slot '{self._slot}' knows English alone; ask one of many languages to translate."
            raise UnsupportedRequest(message, "model", "unsupported_translation")

    def _transcribed(self, model: "WhisperModel", samples: Samples, asked: Asked) -> Any:
        """The library's segments, which are computed while iterating, and what it tells beforehand."""
        options = self._options
        given: dict[str, object] = {
            "task": "translate" if asked.translate else "transcribe",
            "language": self._language(asked),
            "beam_size": options.beam_size,
            "word_timestamps": asked.word_times,
            "initial_prompt": _prompt(asked, options.condition_on_previous_text),
            "hotwords": _hotwords(model, asked.keywords),
            "vad_filter": options.skips_silence,
        }
        if asked.temperature is not None:
            given["temperature"] = asked.temperature
        if options.batch_size > 1 and len(samples) > WINDOW_S * SAMPLE_RATE:
            from faster_whisper import BatchedInferencePipeline

            if not options.skips_silence:
                given["clip_timestamps"] = _windows(samples)
            # It keeps the state of one call.
            return BatchedInferencePipeline(model).transcribe(samples, batch_size=options.batch_size, **given)
        return model.transcribe(samples, condition_on_previous_text=options.condition_on_previous_text, **given)


def _segment(found: Any, language: str, probability: float | None) -> Segment:
    """The library's numbers are NumPy's in places."""
    return Segment(
        text=found.text.strip(),
        start_s=float(found.start),
        end_s=float(found.end),
        words=tuple(
            Word(word.word.strip(), float(word.start), float(word.end), float(word.probability))
            for word in found.words or ()
            if word.word.strip()
        ),
        language=language,
        language_probability=probability,
        tokens=tuple(int(token) for token in found.tokens),
        temperature=None if found.temperature is None else float(found.temperature),
        avg_logprob=float(found.avg_logprob),
        compression_ratio=float(found.compression_ratio),
        no_speech_prob=float(found.no_speech_prob),
    )


def _prompt(asked: Asked, conditioned: bool) -> str | None:
    """Of a text that is too long the library takes the end."""
    parts = (asked.prompt, asked.previous if conditioned else "")
    return " ".join(clean for part in parts if (clean := SPECIAL.sub(" ", part).strip())) or None


def _hotwords(model: "WhisperModel", keywords: Iterable[str]) -> str | None:
    text = ", ".join(clean for keyword in keywords if (clean := SPECIAL.sub(" ", keyword).strip()))
    tokens = len(model.hf_tokenizer.encode(f" {text}", add_special_tokens=False).ids)
    if tokens > MOST_KEYWORD_TOKENS:
        raise InvalidRequest(
            f"The keywords are {tokens} tokens; Whisper has room for {MOST_KEYWORD_TOKENS} of them.",
            "keywords",
            "too_many_keywords",
        )
    return text or None


def _windows(samples: Samples) -> list[dict[str, float]]:
    """Where to cut, in seconds, when nothing tells speech from silence."""
    cutter = BlockCutter(WINDOW_S)
    pieces = (cut for cut in (*cutter.feed(samples), *cutter.finish()) if isinstance(cut, Piece))
    return [{"start": piece.start / SAMPLE_RATE, "end": piece.end / SAMPLE_RATE} for piece in pieces]
