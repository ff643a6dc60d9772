"""Voices that clients bring for cloning, kept on this machine's disk."""

from serve_app.voices.sample import Sample
from serve_app.voices.store import VoiceStore
from serve_app.voices.stored import StoredVoice

__all__ = ["Sample", "StoredVoice", "VoiceStore"]
