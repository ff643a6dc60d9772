"""The end of an engine, to whoever waits for its answer."""

from providers.errors import ProviderError


class EngineGone(ProviderError):
    """Its process is dying, or is to be started anew: another one may answer."""


class EngineSilent(ProviderError):
    """It has said nothing for too long."""
