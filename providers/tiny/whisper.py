"""A tiny Whisper that hears "hello world" in everything, in the format of CTranslate2 and `faster-whisper`."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

from providers.tiny.folders import model_folder

if TYPE_CHECKING:
    from ctranslate2.specs.whisper_spec import WhisperConfig  # type: ignore[import-untyped]

    from providers.tiny.whisper_tokens import WhisperTokens
    from providers.tiny.whisper_weights import Recital

TRANSCRIPT = ("hello", "world")
WORD_S = 0.5
"""How long each word is said to last. They follow each other from the beginning of the audio."""
LANGUAGE = "en"
"""What a multilingual model takes all audio for."""
_FRAMES_PER_S = 50


def make_whisper(folder: Path, multilingual: bool = True) -> None:
    """Make a model that says the transcript once for every 30 s that it is given, silence included.

    It says the same for every task, prompt and language. Raises `OSError` if the folder cannot be written.
    """
    from providers.tiny.whisper_tokens import whisper_tokens
    from providers.tiny.whisper_weights import MEL_BANDS, reciting_whisper

    tokens = whisper_tokens(TRANSCRIPT, multilingual)
    spec = reciting_whisper(_recital(tokens, multilingual))
    spec.register_vocabulary(tokens.texts)
    _configure(spec.config, tokens)
    spec.validate()
    spec.optimize()
    with model_folder(folder) as draft:
        spec.save(str(draft))
        tokens.tokenizer.save(str(draft / "tokenizer.json"))
        (draft / "preprocessor_config.json").write_text(json.dumps(_features(MEL_BANDS), indent=1))


def _recital(tokens: "WhisperTokens", multilingual: bool) -> "Recital":
    """After a prompt the transcript between two timestamps, the first of which a prompt may rule out."""
    from providers.tiny import whisper_tokens as whisper
    from providers.tiny.whisper_weights import Recital

    begin, end = whisper.timestamp(0), whisper.timestamp(len(TRANSCRIPT) * WORD_S)
    words = [whisper.SPACE + word for word in TRANSCRIPT]
    follows = dict(zip([begin, *words, end], [*words, end, whisper.END], strict=True))
    follows[whisper.NO_TIMESTAMPS] = words[0]
    if multilingual:
        # What follows the first token of a prompt is the language that is detected.
        follows[whisper.START] = whisper.language_token(LANGUAGE)
        follows |= {whisper.TRANSCRIBE: begin, whisper.TRANSLATE: begin}
    else:
        follows[whisper.START] = begin
    # Words are aligned by where the model looks before it says them, after a prompt without timestamps.
    before = [whisper.NO_TIMESTAMPS, *words]
    return Recital(
        size=len(tokens),
        successors={tokens.id(token): tokens.id(following) for token, following in follows.items()},
        # Beam search tries other tokens too; a default that ended the text would end the search.
        default=tokens.id(words[0]),
        looks={tokens.id(token): part for part, token in enumerate(before)},
        part_frames=round(WORD_S * _FRAMES_PER_S),
    )


def _configure(config: "WhisperConfig", tokens: "WhisperTokens") -> None:
    """What a converted model of OpenAI's has there: https://huggingface.co/Systran/faster-whisper-tiny"""
    from providers.tiny import whisper_tokens as whisper
    from providers.tiny.whisper_weights import HEADS, LAYERS

    never = (
        whisper.START,
        whisper.TRANSLATE,
        whisper.TRANSCRIBE,
        whisper.START_OF_LM,
        whisper.START_OF_PREVIOUS,
        whisper.NO_SPEECH,
    )
    config.suppress_ids = [tokens.id(token) for token in never]
    config.suppress_ids_begin = [tokens.id(whisper.SPACE), tokens.id(whisper.END)]
    config.lang_ids = [tokens.id(whisper.language_token(language)) for language in whisper.LANGUAGES]
    config.alignment_heads = [[layer, head] for layer in range(LAYERS) for head in range(HEADS)]


def _features(bands: int) -> dict[str, int]:
    return {"feature_size": bands, "sampling_rate": 16_000, "hop_length": 160, "chunk_length": 30, "n_fft": 400}
