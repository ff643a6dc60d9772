"""How many ingresses there are to be, and on which nodes, where every node is to have one."""

from serve_app.fleet import NodeSeen
from serve_app.policy.ingresses import LOST_FOR_S, IngressCount, serving_nodes

NODES = {"a": NodeSeen({"CPU": 2.0}), "b": NodeSeen({"CPU": 2.0, "web": 1.0}), "c": NodeSeen({"web": 0.0})}


def test_every_node_or_those_that_declare_a_resource() -> None:
    assert serving_nodes(NODES, None) == ("a", "b", "c")
    assert serving_nodes(NODES, "web") == ("b",)
    assert serving_nodes(NODES, "elsewhere") == ()


def test_more_at_once() -> None:
    count = IngressCount()
    assert count.target(3, 1, 0.0) == 3
    assert count.target(3, 3, 1.0) == 3


def test_fewer_only_when_serve_must_know_that_the_node_is_gone() -> None:
    count = IngressCount()
    assert count.target(2, 3, 0.0) == 3
    assert count.target(2, 3, LOST_FOR_S - 1) == 3
    assert count.target(2, 3, LOST_FOR_S) == 2


def test_a_node_that_comes_back_in_time_is_not_missed() -> None:
    count = IngressCount()
    count.target(2, 3, 0.0)
    assert count.target(3, 3, 1.0) == 3
    assert count.target(2, 3, LOST_FOR_S) == 3, "it is counted anew"


def test_one_stays_whatever_happens() -> None:
    count = IngressCount()
    assert count.target(0, 1, 0.0) == 1
    count.target(0, 2, 1.0)
    assert count.target(0, 2, 1.0 + LOST_FOR_S) == 1
