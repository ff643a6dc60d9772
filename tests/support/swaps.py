"""How few loads a sequence of requests can do with, where one slot at a time may be loaded."""

from collections import deque


def fewest_swaps(wishes: list[list[str]]) -> int:
    """`wishes` are the slots that each client asks for, one after the other's answer. Loads, the first one included.

    A loaded slot answers every client whose next wish it is, as often as it comes up, so that all that is to choose
    is which slot comes next: a breadth-first search over how far each client has come.
    """
    start = tuple(0 for _ in wishes)
    done = tuple(len(names) for names in wishes)
    frontier, seen, loads = deque([start]), {start}, 0
    while frontier:
        if done in seen:
            return loads
        loads += 1
        for _ in range(len(frontier)):
            place = frontier.popleft()
            for name in {names[at] for names, at in zip(wishes, place, strict=True) if at < len(names)}:
                after = tuple(_served(names, at, name) for names, at in zip(wishes, place, strict=True))
                if after not in seen:
                    seen.add(after)
                    frontier.append(after)
    return loads


def _served(names: list[str], at: int, name: str) -> int:
    while at < len(names) and names[at] == name:
        at += 1
    return at
