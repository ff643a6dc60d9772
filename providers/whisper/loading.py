"""How a slot's Whisper is loaded, without ever asking the network."""

import logging
from typing import TYPE_CHECKING

from providers.asr.dialect import Features
from providers.base import ModelFiles, Placement
from providers.capabilities import Capability
from providers.devices import Device
from providers.errors import ProviderError
from providers.whisper.computing import PREFERRED, shared
from providers.whisper.folder import (
    ADVICE,
    AGAIN,
    CONFIG,
    EXAMPLE,
    FEATURES,
    TOKENIZER,
    WEIGHTS,
    WhisperFolder,
    inspect,
)
from providers.whisper.languages import ENGLISH, LANGUAGES
from providers.whisper.options import ComputeType, WhisperSlot
from providers.whisper.recognizer import WhisperRecognizer

if TYPE_CHECKING:
    from faster_whisper import WhisperModel  # type: ignore[import-untyped]

START = "<|startoftranscript|>"


def load(slot: WhisperSlot, model: ModelFiles, placement: Placement) -> WhisperRecognizer:
    """Takes seconds. Raises `ProviderError`, which says what is wrong with the files or the device."""
    folder = inspect(model.main)
    devices = _devices(placement.device)
    computed = _computed(slot.options.compute_type, placement.device)
    # What it logs of each request is of no use to a slot's owner.
    logging.getLogger("faster_whisper").setLevel(logging.WARNING)
    loaded = _loaded(slot, folder, placement, devices, computed)
    languages = _checked_languages(slot, folder, loaded)
    features = Features(languages=languages, word_times=folder.tells_words, keywords=True)
    return WhisperRecognizer(loaded, slot.name, slot.options, features)


def _devices(device: Device) -> list[int]:
    """Numbers of all that are visible: those that Ray assigned, counted from 0."""
    if device is Device.CPU:
        return [0]
    import ctranslate2  # type: ignore[import-untyped]

    try:
        count = ctranslate2.get_cuda_device_count()
    except RuntimeError as error:
        raise ProviderError(f"CUDA does not work here: {error}; set device: cpu, or mend the driver") from error
    if count == 0:
        raise ProviderError("CTranslate2 finds no CUDA device here; set device: cpu, or mend the driver")
    return list(range(count))


def _computed(wanted: ComputeType, device: Device) -> ComputeType:
    import ctranslate2

    offered = ctranslate2.get_supported_compute_types(device.value)
    if wanted == "auto":
        return next((one for one in PREFERRED[device] if one in offered), "float32")
    if wanted not in offered:
        raise ProviderError(
            f"compute_type {wanted} does not run on this {device.value}; allowed: auto, {', '.join(sorted(offered))}"
        )
    return wanted


def _loaded(
    slot: WhisperSlot, folder: WhisperFolder, placement: Placement, devices: list[int], computed: ComputeType
) -> "WhisperModel":
    from providers.whisper.library import Whisper

    sharing = shared(slot.options.threads or placement.cpu_threads, slot.parallel_requests)
    on_cpu = placement.device is Device.CPU
    try:
        return Whisper(
            str(folder.path),
            device=placement.device.value,
            device_index=devices,
            compute_type=computed,
            cpu_threads=sharing.threads,
            # A GPU's workers hardly use a CPU; there are as many on each GPU.
            num_workers=sharing.workers if on_cpu else -(-slot.parallel_requests // len(devices)),
            local_files_only=True,
        )
    except (RuntimeError, ValueError, MemoryError) as error:
        raise ProviderError(f"CTranslate2 cannot load {folder.path / WEIGHTS}: {error}") from error
    except Exception as error:  # the tokenizer's library raises no other class
        raise ProviderError(f"{folder.path / TOKENIZER} is no tokenizer: {error}; {AGAIN}") from error


def _checked_languages(slot: WhisperSlot, folder: WhisperFolder, model: "WhisperModel") -> frozenset[str]:
    """What the model knows. Raises `ProviderError` if its files do not belong together, or cannot do what the slot is
    to do."""
    if model.hf_tokenizer.token_to_id(START) is None:
        raise ProviderError(f"{folder.path / TOKENIZER} is not a Whisper's; {AGAIN}: {ADVICE}")
    heard, made = model.model.n_mels, model.feature_extractor.mel_filters.shape[0]
    if heard != made:
        raise ProviderError(
            f"{folder.path / FEATURES} {'says' if (folder.path / FEATURES).exists() else 'is missing, which says'} "
            f"how many bands the model hears: it hears {heard}, not {made}; {AGAIN}"
        )
    if model.model.is_multilingual:
        if not folder.tells_languages and slot.options.language is None:
            raise ProviderError(
                f"{folder.path / CONFIG} has no list lang_ids, by which languages are detected; set options.language, "
                f"or take another conversion, such as {EXAMPLE}"
            )
        languages = frozenset(one for one in LANGUAGES if model.hf_tokenizer.token_to_id(f"<|{one}|>") is not None)
    else:
        languages = frozenset({ENGLISH})
        if slot.offers(Capability.TRANSLATION):
            raise ProviderError(
                f"{folder.path} knows English alone and cannot translate; remove translation from the slot's "
                f"capabilities, or take a model of many languages, such as {EXAMPLE}"
            )
    wanted = slot.options.language
    if wanted is not None and wanted not in languages:
        raise ProviderError(f"{folder.path} does not know options.language {wanted}; it knows: {_listed(languages)}")
    return languages


def _listed(languages: frozenset[str]) -> str:
    return ", ".join(sorted(languages))
