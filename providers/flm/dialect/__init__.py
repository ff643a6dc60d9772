"""FastFlowLM's dialect, put right: what the ingress checks, what FLM gets, and what the client sees of its answers."""
