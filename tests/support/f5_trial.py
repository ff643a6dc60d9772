"""Run by a Python that has F5-TTS: `python -m tests.support.f5_trial FOLDER ...` loads the model in each folder and
speaks, where nothing may be asked of the network. Prints a JSON object: of each folder, what was wrong with it, or the
seconds of its speech."""

import gc
import json
import math
import os
import socket
import sys
import threading
import weakref
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from providers.base import ModelFiles, Placement
from providers.devices import Device
from providers.errors import ProviderError
from providers.f5.loading import load
from providers.f5.options import F5Slot
from providers.f5.synthesizer import F5Synthesizer
from providers.tts.synthesizer import Manner, Reference

RATE = 16_000


def main() -> None:
    for name in ("connect", "connect_ex", "sendto"):
        setattr(socket.socket, name, refused)
    setattr(socket, "getaddrinfo", refused)  # noqa: B010
    os.environ.pop("HF_HUB_OFFLINE", None)
    print(json.dumps({Path(folder).name: tried(Path(folder)) for folder in sys.argv[1:]}))


def refused(*given: object, **more: object) -> None:
    raise AssertionError(f"the network is asked: {given}")


def tried(folder: Path) -> str | float:
    options = folder / "options.json"
    given = {"name": "clone", "provider": "f5-tts", "model": "m", "capabilities": ["speech"]}
    told = json.loads(options.read_text()) if options.exists() else {}
    slot = F5Slot.model_validate(given | {"options": {"nfe_step": 128} | told})
    vocoder = folder / "vocos"
    model = ModelFiles(folder, {"vocoder": vocoder} if vocoder.exists() else {})
    try:
        synthesizer = load(slot, model, Placement(Device.CPU, "127.0.0.1", 1, "", folder))
    except ProviderError as error:
        return str(error)
    # At another rate than the model's.
    tone = b"".join(round(8000 * math.sin(one * 0.1)).to_bytes(2, "little", signed=True) for one in range(3 * RATE))
    manner = Manner(reference=Reference(tone, RATE, "This is the reference text."))
    spoken = list(synthesizer.speak("This is as long, it is true.", manner))
    closed_while_it_speaks(synthesizer, manner)
    return sum(map(len, spoken)) / synthesizer.sample_rate


def closed_while_it_speaks(synthesizer: F5Synthesizer, manner: Manner) -> None:
    """Nothing of the model may be left then."""
    network, began = weakref.ref(synthesizer._network), threading.Event()
    handle = synthesizer._network.transformer.register_forward_hook(lambda *_: began.set())
    with ThreadPoolExecutor(1) as pool:
        speaking = pool.submit(lambda: list(synthesizer.speak("Five words that take long. " * 3, manner)))
        assert began.wait(60)
        synthesizer.close()
        assert "being unloaded" in str(speaking.exception(60))
    del speaking, handle
    gc.collect()
    assert network() is None
    try:
        next(iter(synthesizer.speak("More.", manner)))
    except ProviderError as error:
        assert "has been unloaded" in str(error)
    else:
        raise AssertionError("it speaks without a model")


if __name__ == "__main__":
    main()
