"""Which of several things to give up for room: the cheapest set that suffices. Pure."""

from collections.abc import Iterator, Sequence
from math import inf

EXACT_LIMIT = 12
"""Up to so many candidates the answer is exact: 2 ** 12 sets at worst. Beyond, it is only free of waste."""
TOLERANCE = 1e-6
"""Ray counts resources in steps of 1e-4."""

Amount = Sequence[float]


def cheapest_sufficient(
    costs: Sequence[float], frees: Sequence[Amount], lack: Amount, limit: float = inf
) -> tuple[int, ...] | None:
    """The candidates (by index, rising) of the least summed cost that together free at least `lack`, and of which none
    could stay. None if all together do not suffice, or not for less than `limit`.

    `frees[i][r]` is what candidate `i` frees of resource `r`, `lack[r]` what is missing of it; costs are at least 0.
    """
    lacking = [r for r, amount in enumerate(lack) if amount > TOLERANCE]
    if not lacking:
        return () if limit > 0 else None
    short = [lack[r] for r in lacking]
    given = [[free[r] for r in lacking] for free in frees]
    useful = sorted((i for i, free in enumerate(given) if costs[i] < limit and any(free)), key=costs.__getitem__)
    if not _suffice(useful, given, short):
        return None
    if len(useful) == 1:
        return tuple(useful)
    search = _exact if len(useful) <= EXACT_LIMIT else _greedy
    found = search(useful, costs, given, short, limit)
    return None if found is None else tuple(sorted(_pruned(found, costs, given, short)))


def _exact(
    order: Sequence[int], costs: Sequence[float], given: Sequence[Amount], short: Amount, limit: float
) -> list[int] | None:
    """Branch and bound over `order` (cheapest first)."""
    rest = list(_sums_from_each(order, given, len(short)))
    best: list[int] | None = None
    best_cost = limit

    def visit(at: int, lack: Amount, cost: float, chosen: list[int]) -> None:
        nonlocal best, best_cost
        if cost >= best_cost:
            return
        if all(amount <= TOLERANCE for amount in lack):
            best, best_cost = list(chosen), cost
            return
        if at == len(order) or any(a > b + TOLERANCE for a, b in zip(lack, rest[at], strict=True)):
            return
        candidate = order[at]
        chosen.append(candidate)
        visit(at + 1, [a - b for a, b in zip(lack, given[candidate], strict=True)], cost + costs[candidate], chosen)
        chosen.pop()
        visit(at + 1, lack, cost, chosen)

    visit(0, short, 0.0, [])
    return best


def _sums_from_each(order: Sequence[int], given: Sequence[Amount], width: int) -> Iterator[Amount]:
    """What the candidates from each place of `order` on free together."""
    sums = [[0.0] * width]
    for candidate in reversed(order):
        sums.append([a + b for a, b in zip(sums[-1], given[candidate], strict=True)])
    return reversed(sums)


def _greedy(
    order: Sequence[int], costs: Sequence[float], given: Sequence[Amount], short: Amount, limit: float
) -> list[int] | None:
    """The cheapest single candidate, or those that free most of what is missing for their cost, if that is less."""
    single = next((i for i in order if _suffice([i], given, short)), None)
    chosen: list[int] = []
    while not _suffice(chosen, given, short):
        lack = [amount - sum(given[i][r] for i in chosen) for r, amount in enumerate(short)]
        chosen.append(max((i for i in order if i not in chosen), key=lambda i: _worth(given[i], lack, costs[i])))
    chosen = _pruned(chosen, costs, given, short)
    if single is not None and costs[single] <= sum(costs[i] for i in chosen):
        chosen = [single]
    return chosen if sum(costs[i] for i in chosen) < limit else None


def _worth(free: Amount, lack: Amount, cost: float) -> float:
    share = sum(min(a, b) / b for a, b in zip(free, lack, strict=True) if b > TOLERANCE)
    return share / (cost + TOLERANCE)


def _pruned(chosen: Sequence[int], costs: Sequence[float], given: Sequence[Amount], short: Amount) -> list[int]:
    """`chosen` without those that may stay, the dearest first."""
    kept = list(chosen)
    for candidate in sorted(chosen, key=costs.__getitem__, reverse=True):
        others = [i for i in kept if i != candidate]
        if _suffice(others, given, short):
            kept = others
    return kept


def _suffice(chosen: Sequence[int], given: Sequence[Amount], short: Amount) -> bool:
    return all(sum([given[i][r] for i in chosen]) >= amount - TOLERANCE for r, amount in enumerate(short))
