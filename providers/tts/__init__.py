"""Speech: what all engines that speak share, whichever library computes.

`synthesizer` is what an engine's library is wrapped in, `messages` the seam between the ingress and an engine, and
`server` the HTTP server that answers it, in the slot's actor or as a process of its own.
"""
