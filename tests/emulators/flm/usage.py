"""`usage`, which the server sends in all answers, asked or not."""

import time
from dataclasses import dataclass, field

from tests.emulators.flm.catalogue import Record

PREFILL_TOKENS_PER_S = 1000.0


@dataclass(slots=True)
class Usage:
    """Tokens, and durations in seconds."""

    context: int
    load_s: float
    prompt: int = 0
    cached: int = 0
    generated: int = 0
    reason: str = "stop"
    _started: float = field(default_factory=time.monotonic)

    @property
    def full(self) -> bool:
        return self.prompt + self.generated >= self.context

    def start(self) -> None:
        self._started = time.monotonic()

    def counts(self) -> Record:
        """Of the prompt, only what the cache did not have."""
        fresh = max(1, self.prompt - self.cached)
        return {
            "prompt_tokens": fresh,
            "completion_tokens": self.generated,
            "total_tokens": fresh + self.generated,
        }

    def record(self) -> Record:
        took = max(time.monotonic() - self._started, 1e-6)
        prefill_s = max(1, self.prompt - self.cached) / PREFILL_TOKENS_PER_S
        return self.counts() | {
            "kv_token_occupancy_rate_percentage": (self.prompt + self.generated) / self.context * 100,
            "load_duration": self.load_s,
            "prefill_duration_ttft": prefill_s,
            "decoding_duration": took,
            "prefill_speed_tps": PREFILL_TOKENS_PER_S,
            "decoding_speed_tps": self.generated / took,
        }

    def streamed(self) -> Record:
        return self.record() | {
            "active_kv_tokens": self.prompt + self.generated,
            "max_kv_token_capacity": self.context,
        }
