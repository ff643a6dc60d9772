"""Where an engine that speaks answers, beside its health."""

SPEECH_PATH = "/speech"
