"""FastFlowLM on AMD's XDNA 2 NPUs: https://github.com/ROCm/FastFlowLM

One `flm serve` process answers chat, embeddings and transcription with a model each, one request at a time. It checks
no token and has a dialect of its own, so a front in the slot's actor stands before it.
"""
