"""What a slot's replica needs, imported. Workers take this in before they are needed (`warm_workers.py`)."""

import aiohttp.web
import anyio._backends._asyncio
import ray.serve._private.controller
import ray.serve._private.replica

import serve_app.slot

NEEDED = (
    serve_app.slot,
    ray.serve._private.replica,
    ray.serve._private.controller,
    anyio._backends._asyncio,
    aiohttp.web,
)
"""The slot's own, Serve's shell around it, and what that imports late: the class of the controller, which every replica
looks up, and the event loop's side of anyio; and the client and server of what an engine is asked by."""
