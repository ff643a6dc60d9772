"""Speech at the ingress: files and live audio as clients send them, and what was heard as they want it."""
