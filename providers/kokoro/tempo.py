"""Speech made faster or slower than the model makes it, as high as it was: FFmpeg's filter `atempo`."""

from fractions import Fraction

import numpy as np

from providers.tts.synthesizer import Samples

MODEL_SPEEDS = (0.5, 2.0)
"""What the model speaks at itself; https://github.com/thewh1teagle/kokoro-onnx refuses others."""
_PADDING_S = 0.2
"""Of silence after the end, as the filter keeps a rest to itself."""


def shared(speed: float) -> tuple[float, float]:
    """How fast the model is to speak, and how much faster what it says is to be made."""
    own = min(max(speed, MODEL_SPEEDS[0]), MODEL_SPEEDS[1])
    return own, speed / own


def stretched(samples: Samples, tempo: float, rate: int) -> Samples:
    """`tempo`: 0.5 to 2; of exactly the length that this makes. Pitch stays."""
    if tempo == 1.0 or not len(samples):
        return samples
    from av import AudioFrame
    from av.error import BlockingIOError, EOFError
    from av.filter import Graph

    graph = Graph()
    graph.threads = 1
    source = graph.add_abuffer(format="flt", sample_rate=rate, layout="mono", time_base=Fraction(1, rate))
    filter, sink = graph.add("atempo", str(tempo)), graph.add("abuffersink")
    source.link_to(filter)
    filter.link_to(sink)
    graph.configure()
    padded = np.concatenate((samples, np.zeros(round(_PADDING_S * rate * max(1.0, tempo)), np.float32)))
    frame = AudioFrame.from_ndarray(padded[None].astype(np.float32), format="flt", layout="mono")
    frame.sample_rate, frame.pts = rate, 0
    source.push(frame)
    source.push(None)
    made: list[Samples] = []
    while True:
        try:
            pulled = sink.pull()
        except (BlockingIOError, EOFError):
            break
        assert isinstance(pulled, AudioFrame)
        made.append(pulled.to_ndarray()[0])
    length = round(len(samples) / tempo)
    whole: Samples = np.concatenate(made)[:length]
    return np.pad(whole, (0, length - len(whole)))
