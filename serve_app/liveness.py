"""Which Serve replicas are alive, as Ray's control store knows it.

Ray does not end a streaming call whose caller was killed (measured on 2.60: it stays open for ever), so whoever holds
something for a caller asks here now and then. One look costs about a millisecond and is not on any request's path.
"""

import asyncio

import ray


def living_replicas() -> frozenset[str]:
    """Unique ids of all living Serve replicas: the last part of their actors' names."""
    actors = ray.util.list_named_actors(all_namespaces=True)
    return frozenset(actor["name"].rsplit("#", 1)[-1] for actor in actors)


async def gone_among(replicas: frozenset[str]) -> frozenset[str]:
    """Those of `replicas` that are not alive."""
    if not replicas:
        return frozenset()
    return replicas - await asyncio.to_thread(living_replicas)
