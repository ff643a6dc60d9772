"""What lies beside a Moonshine model's ONNX exports on the Hub.

Source: https://huggingface.co/onnx-community/moonshine-tiny-ONNX
"""

import json

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

from providers.tiny import moonshine_tokens as tokens
from providers.tiny.moonshine_speech import HEAD_LENGTH, HEADS, LAYERS
from providers.tiny.tones import SAMPLE_RATE, Alphabet


def config(alphabet: Alphabet) -> bytes:
    return _json(
        {
            "architectures": ["MoonshineModel"],
            "model_type": "moonshine",
            "is_encoder_decoder": True,
            "bos_token_id": tokens.START,
            "decoder_start_token_id": tokens.START,
            "eos_token_id": tokens.END,
            "hidden_size": HEADS * HEAD_LENGTH,
            "num_attention_heads": HEADS,
            "num_hidden_layers": LAYERS,
            "num_key_value_heads": HEADS,
            "use_cache": True,
            "vocab_size": tokens.size(alphabet),
        }
    )


def generation_config() -> bytes:
    return _json(
        {"bos_token_id": tokens.START, "decoder_start_token_id": tokens.START, "eos_token_id": tokens.END},
    )


def preprocessor_config() -> bytes:
    return _json(
        {"feature_extractor_type": "Wav2Vec2FeatureExtractor", "feature_size": 1, "sampling_rate": SAMPLE_RATE}
    )


def tokenizer(alphabet: Alphabet) -> bytes:
    """A vocabulary that spells in bytes what is none of its words, read by the package `tokenizers`."""
    texts = [
        *tokens.SPECIAL,
        *(f"<0x{byte:02X}>" for byte in range(256)),
        *tokens.word_pieces(alphabet),
        tokens.SILENCE,
    ]
    made = Tokenizer(
        models.BPE(
            {text: id for id, text in enumerate(texts)},
            [],
            unk_token=tokens.SPECIAL[tokens.UNKNOWN],
            byte_fallback=True,
            ignore_merges=True,
        )
    )
    made.pre_tokenizer = pre_tokenizers.Metaspace(replacement=tokens.WORD_START)
    made.decoder = decoders.Sequence(
        [
            decoders.Replace(tokens.WORD_START, " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Strip(" ", 1, 0),
        ]
    )
    special = (*tokens.SPECIAL, tokens.SILENCE)
    made.add_special_tokens([AddedToken(text, special=True, normalized=False) for text in special])
    return made.to_str(pretty=True).encode()


def _json(values: dict[str, object]) -> bytes:
    return json.dumps(values, indent=2).encode()
