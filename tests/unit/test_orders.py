"""What the board has replicas do."""

import asyncio

from serve_app.orders import Order, OrderBook

PATIENCE_S = 5.0


async def test_an_order_waits_for_its_replica() -> None:
    book = OrderBook()
    book.give("r1", Order.ABORT)
    assert await book.next_for("r2", 0) is None
    assert await book.next_for("r1", 0) is Order.ABORT
    assert await book.next_for("r1", 0) is None


async def test_a_replica_that_waits_has_its_order_at_once() -> None:
    book = OrderBook()
    waiting = asyncio.create_task(book.next_for("r1", PATIENCE_S))
    await asyncio.sleep(0)
    book.give("r1", Order.RELOAD)
    assert await waiting is Order.RELOAD


async def test_orders_come_in_turn_and_none_twice() -> None:
    book = OrderBook()
    for order in (Order.RELOAD, Order.ABORT, Order.RELOAD):
        book.give("r1", order)
    assert [await book.next_for("r1", 0) for _ in range(3)] == [Order.RELOAD, Order.ABORT, None]
    book.give("r1", Order.RELOAD)
    assert await book.next_for("r1", 0) is Order.RELOAD, "it may be given again once it was taken"


async def test_an_order_is_not_lost_with_the_call_that_waited_for_it() -> None:
    book = OrderBook()
    waiting = asyncio.create_task(book.next_for("r1", PATIENCE_S))
    await asyncio.sleep(0)
    book.give("r1", Order.ABORT)
    waiting.cancel()
    await asyncio.wait([waiting])
    assert await book.next_for("r1", 0) is Order.ABORT


async def test_what_a_replica_that_is_gone_was_to_do_is_forgotten() -> None:
    book = OrderBook()
    book.give("r1", Order.ABORT)
    book.forget("r1")
    book.forget("r2")
    assert await book.next_for("r1", 0) is None
    book.give("r1", Order.ABORT)
    assert await book.next_for("r1", 0) is Order.ABORT


async def test_a_replica_that_leaves_is_not_kept_waiting() -> None:
    book = OrderBook()
    waiting = asyncio.create_task(book.next_for("r1", PATIENCE_S))
    other = asyncio.create_task(book.next_for("r2", PATIENCE_S))
    await asyncio.sleep(0)
    book.dismiss("r1")
    await asyncio.wait([waiting, other], return_when=asyncio.FIRST_COMPLETED)
    assert waiting.done() and waiting.result() is None and not other.done()
    other.cancel()
