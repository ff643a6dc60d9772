"""Where an engine of speech recognition answers. Apart from its messages: every process knows all providers."""

SESSION_PATH = "/session"
