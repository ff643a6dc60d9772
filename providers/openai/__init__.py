"""OpenAI's dialect, which several engines speak in part: checks in its words, and its Responses API over chat."""
