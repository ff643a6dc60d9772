"""How a slot's recognizer is loaded: its files decide the library, its device where that computes."""

from contextlib import ExitStack

from providers.asr.dialect import Features
from providers.asr.recognizer import Recognizer
from providers.base import ModelFiles, Placement
from providers.devices import Device
from providers.errors import ProviderError
from providers.moonshine.assembly import model_folder
from providers.moonshine.folder import OrtFolder, inspect
from providers.moonshine.library import Model
from providers.moonshine.names import Architecture
from providers.moonshine.onnx_model import OnnxModel
from providers.moonshine.onnx_recognizer import OnnxRecognizer
from providers.moonshine.options import MoonshineSlot
from providers.moonshine.recognizer import MoonshineRecognizer
from providers.moonshine.threads import loading, shared

ONNX_SOURCE = "hf://onnx-community/moonshine-base-ONNX"


def load(slot: MoonshineSlot, model: ModelFiles, placement: Placement) -> Recognizer:
    """Takes seconds. Raises `ProviderError`, which says what is wrong with the files or the device."""
    threads = slot.options.threads or placement.cpu_threads
    with model_folder(model, placement.cache_dir) as path:
        found = inspect(path)
        if isinstance(found, OrtFolder):
            if placement.device is not Device.CPU:
                raise ProviderError(
                    f"{model.main} is in the .ort format, which runs on the CPU alone; set device: cpu, or for "
                    f"{placement.device} take a model of ONNX exports, such as {ONNX_SOURCE}"
                )
            return _native(slot, found, threads)
        options = slot.options
        onnx = OnnxModel(found, placement.device, threads)
        return OnnxRecognizer(onnx, slot.name, options.language, options.tokens_per_s, placement.device)


def _native(slot: MoonshineSlot, found: OrtFolder, threads: int) -> MoonshineRecognizer:
    options, sharing = slot.options, shared(threads, slot.parallel_requests)
    streaming = found.architecture is Architecture.STREAMING
    with loading(sharing), ExitStack() as undo:
        models = []
        for _ in range(sharing.models):
            models.append(Model(found.path, found.architecture, options.tokens_per_s, found.tells_words))
            undo.callback(models[-1].close)
        undo.pop_all()
    features = Features(frozenset({options.language}), word_times=found.tells_words, keywords=streaming)
    return MoonshineRecognizer(models, slot.name, options.language, features, streaming)
