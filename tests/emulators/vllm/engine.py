"""What would compute: recites words, sleeps, and dies where a fault says so."""

import argparse
import os
import re
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from tests.emulators.vllm import faults
from tests.emulators.vllm.faults import Fault

ANSWER = "Hello from the emulated vLLM!"
WORDS_ASKED = re.compile(r"Say (\d+) words")


class CoreDied(Exception):
    """vLLM's server answers what it can and ends itself."""


class Engine:
    def __init__(self, arguments: argparse.Namespace) -> None:
        self.arguments = arguments
        self.names = arguments.served_model_name or [arguments.model_tag]
        self.adapters = {one["name"]: one["path"] for one in arguments.lora_modules}
        self.is_sleeping = False
        self.sleep_level = 0
        self.weights_are_gone = False
        self._awake = threading.Event()
        self._awake.set()

    def sleep(self, level: int) -> None:
        if faults.has(Fault.STAYS_AWAKE):
            return
        self.is_sleeping, self.sleep_level = True, level
        self.weights_are_gone = level == 2
        self._awake.clear()

    def wake(self, tags: list[str]) -> bool:
        if faults.has(Fault.STAYS_ASLEEP):
            return False
        if tags and "kv_cache" not in tags:
            return False
        self.is_sleeping = False
        self._awake.set()
        return True

    def reload_weights(self) -> None:
        self.weights_are_gone = False

    def recite(self, prompt: str, model: str) -> Iterator[str]:
        """Token by token. One that sleeps computes nothing until it is woken."""
        asked = WORDS_ASKED.search(prompt)
        words = [f"word{number}" for number in range(int(asked[1]))] if asked else ANSWER.split()
        if model in self.adapters:
            words[0] = "Bonjour"
        pace_s = float(os.environ.get("VLLM_EMULATOR_PACE_S", "0"))
        if faults.has(Fault.CORE_DIES):
            raise CoreDied
        for number, word in enumerate(words):
            self._awake.wait()
            dies_after = faults.number(Fault.CORE_DIES_IN_STREAM)
            if dies_after is not None and number >= dies_after:
                raise CoreDied
            time.sleep(pace_s)
            yield f" {word}" if number else ("!" if self.weights_are_gone else "") + word


def load(arguments: argparse.Namespace) -> Engine:
    """Reads no weights, and writes what vLLM writes. Exits with 1 where vLLM would."""
    print(f"INFO [api_utils.py:286] non-default args: {{'model_tag': '{arguments.model_tag}'}}", flush=True)
    gpus = [one for one in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if one]
    if arguments.enable_sleep_mode and not gpus:
        fail("ValueError: Sleep mode is not supported on current platform.")
    if gpus and len(gpus) < arguments.tensor_parallel_size:
        fail(f"ValueError: World size ({arguments.tensor_parallel_size}) is larger than the number of available GPUs")
    if not (Path(arguments.model_tag) / "config.json").is_file():
        fail(f"OSError: {arguments.model_tag} does not appear to have a file named config.json.")
    for share in (0, 50, 100):
        print(
            f"\rLoading safetensors checkpoint shards: {share:3}% Completed | 0/2", end="", file=sys.stderr, flush=True
        )
        time.sleep((faults.number(Fault.SLOW_LOAD) or 0) / 3)
    print(file=sys.stderr)
    if faults.has(Fault.OUT_OF_MEMORY):
        fail("torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB.")
    if faults.has(Fault.CACHE_TOO_SMALL):
        fail(
            "ValueError: To serve at least one request with the model's max seq len (4096), (2.0 GiB KV cache is "
            "needed, which is larger than the available KV cache memory (1.0 GiB)."
        )
    print("(EngineCore) INFO [default_loader.py:501] Loading weights took 0.03 seconds", flush=True)
    return Engine(arguments)


def fail(reason: str) -> None:
    print(reason, file=sys.stderr, flush=True)
    sys.exit(1)
