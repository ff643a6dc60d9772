"""Which engine a prompt goes to."""

import random
from collections import Counter
from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from serve_app.affinity import Affinity
from serve_app.affinity_prompt import Prompt, prompt_of


@dataclass(eq=False)
class Engine:
    replica: str
    capacity: int = 8
    in_flight: int = 0
    start: int = 1

    @property
    def engine(self) -> str:
        return f"{self.replica}/{self.start}"


def three(**more: int) -> list[Engine]:
    return [Engine(name, **more) for name in ("r1", "r2", "r3")]


def prompt(*texts: str) -> Prompt:
    told = prompt_of({"messages": [{"role": "user", "content": text} for text in texts]})
    assert told is not None
    return told


STORY = "Once upon a time there was a king who had three daughters. " * 20


def test_a_prompt_goes_where_its_beginning_went() -> None:
    for engine in three():
        affinity = Affinity()
        affinity.note(prompt(STORY), engine.engine)
        assert affinity.choose(prompt(STORY, "And then?"), [*three()]).replica == engine.replica


def test_unless_that_one_is_much_busier() -> None:
    affinity, engines = Affinity(), three()
    affinity.note(prompt(STORY), engines[1].engine)
    engines[1].in_flight = 2
    assert affinity.choose(prompt(STORY), engines) is engines[1], "a quarter of its eight"
    engines[1].in_flight = 3
    assert affinity.choose(prompt(STORY), engines) is not engines[1]


def test_of_several_that_have_it_the_less_busy_one() -> None:
    affinity, engines = Affinity(), three()
    for engine in engines[:2]:
        affinity.note(prompt(STORY), engine.engine)
    engines[0].in_flight = 1
    assert affinity.choose(prompt(STORY), engines) is engines[1]


def test_the_one_that_has_read_more_of_it() -> None:
    affinity, engines = Affinity(), three()
    affinity.note(prompt(STORY, STORY), engines[0].engine)
    affinity.note(prompt(STORY), engines[2].engine)
    assert affinity.choose(prompt(STORY, STORY, "And then?"), engines) is engines[0]


def test_a_beginning_that_is_little_of_the_prompt_does_not_count() -> None:
    affinity, engines = Affinity(), three()
    affinity.note(prompt(STORY[:600]), engines[0].engine)
    engines[0].in_flight = 1
    assert affinity.choose(prompt(STORY[:600] + "Now for something different. " * 60), engines) is not engines[0]


def test_ingresses_that_know_nothing_of_each_other_agree() -> None:
    """Each with leases of its own on the same replicas."""
    for number in range(50):
        told = prompt(f"conversation {number}", STORY)
        homes = {Affinity().choose(told, random.sample(three(), 3)).replica for _ in range(5)}
        assert len(homes) == 1


def test_and_go_on_agreeing_when_a_replica_comes_or_goes_but_for_its_own_share() -> None:
    told = [prompt(f"conversation {number}") for number in range(600)]
    before = [Affinity().choose(one, three()).replica for one in told]
    after = [Affinity().choose(one, three()[:2]).replica for one in told]
    assert all(new == old for new, old in zip(after, before, strict=True) if old != "r3")
    assert min(Counter(before).values()) > 150


def test_an_engine_that_was_started_anew_has_read_nothing() -> None:
    affinity, engines = Affinity(), three()
    affinity.note(prompt(STORY), engines[0].engine)
    engines[0].start, engines[0].in_flight = 2, 1
    assert affinity.choose(prompt(STORY), engines) is not engines[0]


def test_what_was_not_seen_for_long_is_forgotten() -> None:
    affinity = Affinity(most_marks=100)
    for number in range(200):
        affinity.note(prompt(f"{number} {STORY}"), "r1/1")
        assert len(affinity) <= 100
    engines = three()
    engines[0].in_flight = 1
    assert affinity.choose(prompt(f"199 {STORY}"), engines) is engines[0]
    assert affinity.choose(prompt(f"0 {STORY}"), engines) is not engines[0]


@given(
    st.lists(
        st.tuples(st.integers(0, 5), st.integers(0, 4), st.lists(st.integers(0, 8), min_size=3, max_size=3)),
        max_size=30,
    )
)
def test_nobody_is_ever_sent_to_an_engine_that_is_much_busier(steps: list[tuple[int, int, list[int]]]) -> None:
    affinity, engines = Affinity(), three()
    for story, turns, busy in steps:
        for engine, in_flight in zip(engines, busy, strict=True):
            engine.in_flight = in_flight
        told = prompt(*[f"{story} {STORY}"] * (turns + 1))
        chosen = affinity.choose(told, engines)
        assert chosen.in_flight <= min(busy) + 2
        affinity.note(told, chosen.engine)


CLIENTS, TURNS = 40, 12


def test_conversations_stay_with_their_engine_and_engines_are_equally_busy() -> None:
    """Many clients, who take a turn, are answered after some time, think, and take the next one; each conversation
    begins with the same long system message, and ends at some time, after which its client begins another."""
    dice = random.Random(7)
    affinity, engines = Affinity(), three(capacity=16)
    system = "You are the assistant of a bank, and never give advice on investments. " * 15
    conversations: dict[int, list[str]] = {}
    homes: dict[int, str] = {}
    ends: list[tuple[int, int, Engine]] = []
    hits = turns = 0
    load: Counter[str] = Counter()
    for now in range(4000):
        for _, _, engine in (one for one in ends if one[0] <= now):
            engine.in_flight -= 1
        ends = [one for one in ends if one[0] > now]
        speaking = {client for _, client, _ in ends}
        for client in range(CLIENTS):
            if client in speaking or dice.random() > 0.02:
                continue
            said = conversations.setdefault(client, [])
            said.append(f"{client} {dice.random()} " + "some words of a client " * dice.randint(1, 30))
            chosen = affinity.choose(prompt(system, *said), [one for one in engines if one.in_flight < one.capacity])
            affinity.note(prompt(system, *said), chosen.engine)
            if len(said) > 1:
                turns += 1
                hits += homes[client] == chosen.engine
            homes[client] = chosen.engine
            chosen.in_flight += 1
            ends.append((now + dice.randint(5, 60), client, chosen))
            said.append("and an answer of the engine " * dice.randint(1, 30))
            if dice.random() < 1 / TURNS:
                del conversations[client]
        load.update({engine.replica: engine.in_flight for engine in engines})
    busiest, mean = max(load.values()), sum(load.values()) / len(engines)
    assert turns > 1000
    assert hits / turns >= 0.9, (hits, turns)
    assert busiest / mean <= 1.3, load
