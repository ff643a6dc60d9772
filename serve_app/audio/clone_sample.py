"""The sound that a client brings to be cloned: decoded, and checked for being worth it."""

from functools import partial
from typing import IO

import numpy as np

from serve_app.audio.decode import opened
from serve_app.audio.threads import in_thread
from serve_app.errors import BadRequest
from serve_app.voices.sample import SAMPLE_BYTES, SAMPLE_RATE

SHORTEST_S, LONGEST_S = 3.0, 30.0
SILENCE_DBFS = -50.0
"""What F5-TTS takes for silence: https://github.com/SWivid/F5-TTS/blob/main/src/f5_tts/infer/utils_infer.py"""
LEAST_SOUND_S = 1.0
"""Clicks and a cough are no voice."""
WINDOW = SAMPLE_RATE // 50
FULL_SCALE = 32768


async def sample_of(file: IO[bytes]) -> bytes:
    """As `Sample.pcm` has it. Raises 400 for what is no sound, too short, too long, or silent."""
    pcm = await _decoded(file)
    seconds = len(pcm) / SAMPLE_BYTES / SAMPLE_RATE
    if seconds < SHORTEST_S:
        raise _refused("audio_too_short", f"The audio is {seconds:.1f} s long")
    sound_s = await in_thread(partial(sound_seconds, pcm))
    if sound_s < LEAST_SOUND_S:
        found = f"only {sound_s:.1f} s of the audio are louder" if sound_s else "none of the audio is louder"
        raise _refused("no_speech", f"Nobody speaks: {found} than {SILENCE_DBFS:g} dBFS")
    return pcm


def sound_seconds(pcm: bytes) -> float:
    """How much is no silence, in windows of 20 ms. A constant level is silence, however high it is."""
    samples = np.frombuffer(pcm, "<i2")
    windows = samples[: len(samples) // WINDOW * WINDOW].reshape(-1, WINDOW)
    loud = windows.std(axis=1) > FULL_SCALE * 10 ** (SILENCE_DBFS / 20)
    return float(np.count_nonzero(loud)) * WINDOW / SAMPLE_RATE


async def _decoded(file: IO[bytes]) -> bytes:
    most = round(LONGEST_S * SAMPLE_RATE) * SAMPLE_BYTES
    pcm = bytearray()
    async with opened(file, rate=SAMPLE_RATE) as audio:
        async for piece in audio.pieces():
            pcm += piece
            if len(pcm) > most:
                raise _refused("audio_too_long", f"The audio is longer than {LONGEST_S:g} s")
    return bytes(pcm)


def _refused(code: str, why: str) -> BadRequest:
    message = f"{why}. To clone a voice takes {SHORTEST_S:g} to {LONGEST_S:g} s of somebody speaking."
    return BadRequest(400, message, code, "file")
