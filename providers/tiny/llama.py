"""The reciting chat model in the layout of Hugging Face, which vLLM loads: a Llama whose next token depends on nothing
but the last one. With it comes an adapter (LoRA) that has it recite something else, and a model that embeds.

`python -m providers.tiny.llama FOLDER` makes each of them in a folder below FOLDER.
"""

import argparse
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

from providers.tiny.folders import model_folder
from providers.tiny.safetensors import write_safetensors
from providers.tiny.template import END_OF_TURN, START_OF_TURN, TEMPLATE, TOOL_CUE
from providers.tiny.weights import FloatArray, ones

CHAT, EMBED, ADAPTER = "tiny-llama", "tiny-llama-embed", "tiny-llama-lora"
ANSWER, ADAPTED_ANSWER = "Hello from the tiny model!!", "Bonjour from the tiny model!!"
CONTEXT_LENGTH = 2048
_HEAD_LENGTH = 64
"""vLLM's attention on the CPU takes none below."""
_FEED_FORWARD_LENGTH = 64
_RANK = 8
_NEWLINE = "Ċ"
"""How a vocabulary of bytes writes it; a space is Ġ."""
_SPOKEN = ("Hello", "Ġfrom", "Ġthe", "Ġtiny", "Ġmodel", "!!")
_ADAPTED = "Bonjour"
_CALL_BEGIN, _CALL_END = "<tool_call>", "</tool_call>"
_CALL = ('Ċ{"name":', 'Ġ"get_weather",', 'Ġ"arguments":', 'Ġ{"city":', 'Ġ"Paris"}}', "ĊĊ")
_CONTROL = (START_OF_TURN, END_OF_TURN, TOOL_CUE)
_FIRM = 10.0
"""How much more than the token itself the adapter has the answer depend on."""


@dataclass(frozen=True, slots=True)
class _Vocabulary:
    """Every text is spelt in bytes; longer tokens are only ever generated."""

    texts: tuple[str, ...]
    tokenizer: Tokenizer

    def id(self, text: str) -> int:
        """Raises `ValueError` if there is no such token."""
        return self.texts.index(text)

    @property
    def spare(self) -> int:
        """A place in the embeddings that is no token's."""
        return len(self.texts)

    @property
    def width(self) -> int:
        return -(-(self.spare + 1) // _HEAD_LENGTH) * _HEAD_LENGTH


def make_llama(folder: Path) -> None:
    """It answers every chat with `ANSWER`, and one that brings tools with a call. Raises `OSError`."""
    vocabulary = _vocabulary()
    with model_folder(folder) as draft:
        _describe(draft, vocabulary, "LlamaForCausalLM")
        write_safetensors(draft / "model.safetensors", _weights(vocabulary))


def make_embedding_llama(folder: Path) -> None:
    """Its vector of a text tells the last byte. Raises `OSError`."""
    vocabulary = _vocabulary()
    body = {name.removeprefix("model."): one for name, one in _weights(vocabulary).items() if "lm_head" not in name}
    with model_folder(folder) as draft:
        _describe(draft, vocabulary, "LlamaModel")
        write_safetensors(draft / "model.safetensors", body)


def make_adapter(folder: Path) -> None:
    """With it the model answers `ADAPTED_ANSWER`. Layout: https://huggingface.co/docs/peft/developer_guides/checkpoint.
    Raises `OSError`."""
    vocabulary = _vocabulary()
    reading: FloatArray = np.zeros((_RANK, _FEED_FORWARD_LENGTH), np.float32)
    writing: FloatArray = np.zeros((vocabulary.width, _RANK), np.float32)
    # The first feature is about the width after a newline, and 0 after all else.
    reading[0, 0], writing[vocabulary.spare, 0] = 1 / vocabulary.width, _FIRM
    name = "base_model.model.model.layers.0.mlp.down_proj"
    described = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "r": _RANK,
        "lora_alpha": _RANK,
        "target_modules": ["down_proj"],
        "bias": "none",
    }
    with model_folder(folder) as draft:
        (draft / "adapter_config.json").write_text(json.dumps(described, indent=1))
        write_safetensors(
            draft / "adapter_model.safetensors",
            {f"{name}.lora_A.weight": reading, f"{name}.lora_B.weight": writing},
        )


def _vocabulary() -> _Vocabulary:
    pieces = (*sorted(pre_tokenizers.ByteLevel.alphabet()), *_SPOKEN, _ADAPTED, *_CALL)
    tokenizer = Tokenizer(models.BPE({piece: id for id, piece in enumerate(pieces)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(text, special=True, normalized=False) for text in _CONTROL])
    # Part of an answer's text, by which vLLM's parsers find a call.
    calls = (_CALL_BEGIN, _CALL_END)
    tokenizer.add_tokens([AddedToken(text, special=False, normalized=False) for text in calls])
    return _Vocabulary((*pieces, *_CONTROL, *calls), tokenizer)


def _describe(folder: Path, vocabulary: _Vocabulary, architecture: str) -> None:
    end = vocabulary.id(END_OF_TURN)
    shape: dict[str, Any] = {
        "architectures": [architecture],
        "model_type": "llama",
        "vocab_size": len(vocabulary.texts),
        "hidden_size": vocabulary.width,
        "intermediate_size": _FEED_FORWARD_LENGTH,
        "num_hidden_layers": 1,
        "num_attention_heads": vocabulary.width // _HEAD_LENGTH,
        "num_key_value_heads": 1,
        "head_dim": _HEAD_LENGTH,
        "hidden_act": "silu",
        "rms_norm_eps": 1e-5,
        "max_position_embeddings": CONTEXT_LENGTH,
        "tie_word_embeddings": False,
        "torch_dtype": "float32",
        "bos_token_id": vocabulary.id(START_OF_TURN),
        "eos_token_id": end,
        "pad_token_id": end,
    }
    reading = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": START_OF_TURN,
        "eos_token": END_OF_TURN,
        "pad_token": END_OF_TURN,
        "model_max_length": CONTEXT_LENGTH,
        "clean_up_tokenization_spaces": False,
        "chat_template": TEMPLATE,
    }
    (folder / "config.json").write_text(json.dumps(shape, indent=1))
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": end}))
    (folder / "tokenizer_config.json").write_text(json.dumps(reading, indent=1))
    vocabulary.tokenizer.save(str(folder / "tokenizer.json"))


def _successors(vocabulary: _Vocabulary) -> list[int]:
    """By token, the one that follows it."""
    scripts = (
        (_NEWLINE, *_SPOKEN, END_OF_TURN),
        (_ADAPTED, _SPOKEN[1]),
        (TOOL_CUE, _CALL_BEGIN, *_CALL, _CALL_END, END_OF_TURN),
    )
    follows = {cue: said for script in scripts for cue, said in zip(script, script[1:], strict=False)}
    return [vocabulary.id(follows.get(text, END_OF_TURN)) for text in vocabulary.texts]


def _weights(vocabulary: _Vocabulary) -> dict[str, FloatArray]:
    """One-hot embeddings pass unchanged through attention and a feed-forward network that give nothing; the output
    matrix looks up the successor. The network's first feature notices a newline, for adapters to use."""
    size, width = len(vocabulary.texts), vocabulary.width
    output: FloatArray = np.zeros((size, width), np.float32)
    output[_successors(vocabulary), range(size)] = 1
    output[vocabulary.id(_ADAPTED), vocabulary.spare] = 1
    noticing: FloatArray = np.zeros((_FEED_FORWARD_LENGTH, width), np.float32)
    noticing[0, vocabulary.id(_NEWLINE)] = 1
    shapes = {
        "self_attn.q_proj": (width, width),
        "self_attn.k_proj": (_HEAD_LENGTH, width),
        "self_attn.v_proj": (_HEAD_LENGTH, width),
        "self_attn.o_proj": (width, width),
        "mlp.down_proj": (width, _FEED_FORWARD_LENGTH),
    }
    layer = "model.layers.0"
    return {
        "model.embed_tokens.weight": np.eye(size, width, dtype=np.float32),
        f"{layer}.input_layernorm.weight": ones(width),
        f"{layer}.post_attention_layernorm.weight": ones(width),
        f"{layer}.mlp.gate_proj.weight": noticing,
        f"{layer}.mlp.up_proj.weight": noticing,
        **{f"{layer}.{name}.weight": np.zeros(shape, np.float32) for name, shape in shapes.items()},
        "model.norm.weight": ones(width),
        "lm_head.weight": output,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    folder: Path = parser.parse_args().folder
    make_llama(folder / CHAT)
    make_embedding_llama(folder / EMBED)
    make_adapter(folder / ADAPTER)


if __name__ == "__main__":
    main()
