import asyncio
import os
import sys
import threading
import time
from functools import partial

import pytest

from registry.errors import OverloadedError
from registry.thread_priority import NICENESS
from serving.executor import QUICK_SECONDS, Executor

MOST = 10


@pytest.fixture
def executor():
    opened = Executor("test", MOST)
    yield opened
    opened.close()


def test_work_runs_in_one_thread_in_order():
    async def scenario():
        executor, seen = Executor("test", 10), []
        names = await asyncio.gather(
            *(
                executor.run(lambda i=i: seen.append(i) or threading.current_thread().name)
                for i in range(5)
            )
        )
        executor.close()
        return names, seen

    names, seen = asyncio.run(scenario())
    assert len(set(names)) == 1
    assert seen == [0, 1, 2, 3, 4]


def test_more_than_the_executor_takes_is_refused_and_room_comes_back():
    async def scenario():
        executor, release = Executor("test", 2), threading.Event()
        waiting = [asyncio.ensure_future(executor.run(lambda: release.wait(5))) for _ in range(2)]
        await asyncio.sleep(0)
        with pytest.raises(OverloadedError, match="MAX_WAITING=2"):
            await executor.run(lambda: None)
        release.set()
        await asyncio.gather(*waiting)
        assert await executor.run(lambda: 7) == 7
        executor.close()
        return executor.waiting

    assert asyncio.run(scenario()) == 0


def test_a_caller_that_gives_up_takes_its_work_out_of_the_queue():
    async def scenario():
        executor, release, ran = Executor("test", 5), threading.Event(), []
        first = asyncio.ensure_future(executor.run(lambda: release.wait(5)))
        second = asyncio.ensure_future(executor.run(lambda: ran.append(1)))
        await asyncio.sleep(0.01)
        second.cancel()
        await asyncio.sleep(0)
        release.set()
        await first
        executor.close()
        return ran, executor.waiting

    assert asyncio.run(scenario()) == ([], 0)


# Quick work ------------------------------------------------------------------------------------


def burn(seconds: float) -> int:
    """Use the processor, and return the thread that did."""
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        pass
    return threading.get_ident()


def paced(executor, *seconds: float, kind="k", n=1) -> list[bool]:
    """Return for each piece of work whether the event loop computed it."""

    async def every():
        here = threading.get_ident()
        return [await executor.run_paced(lambda s=s: burn(s), kind, n) == here for s in seconds]

    return asyncio.run(every())


def test_work_of_an_unknown_kind_goes_to_the_thread_and_quick_work_stays(executor):
    assert paced(executor, 0.0, 0.0, 0.0) == [False, True, True]
    assert paced(executor, 0.0, kind="other") == [False]


def test_work_that_was_slow_goes_to_the_thread_until_it_has_been_quick_for_a_while(executor):
    found = paced(executor, 0.0, QUICK_SECONDS * 1.5, *[0.0] * 40)
    assert found[:3] == [False, True, False]
    assert any(found[3:])


def test_many_pieces_count_as_many(executor):
    paced(executor, QUICK_SECONDS / 10)
    assert paced(executor, 0.0, n=100) == [False]


def test_work_that_waits_for_something_else_holds_the_loop_up_once(executor):
    async def every():
        here = threading.get_ident()

        def wait():
            time.sleep(QUICK_SECONDS * 3)
            return threading.get_ident()

        return [await executor.run_paced(wait, "k", 1) == here for _ in range(5)]

    assert asyncio.run(every()) == [False, True, False, False, False]


def test_while_the_thread_computes_quick_work_waits_for_it(executor):
    """Only one thread at a time may call a predictor."""

    async def every():
        here, release = threading.get_ident(), threading.Event()
        await executor.run_paced(threading.get_ident, "k", 1)
        busy = asyncio.ensure_future(executor.run(lambda: release.wait(5)))
        await asyncio.sleep(0.01)
        quick = asyncio.ensure_future(executor.run_paced(threading.get_ident, "k", 1))
        await asyncio.sleep(0.01)
        assert not quick.done()
        release.set()
        await busy
        return await quick == here

    assert asyncio.run(every())


def test_quick_work_does_not_wait_for_what_came_after_it(executor):
    async def every():
        here, first, second = threading.get_ident(), threading.Event(), threading.Event()
        await executor.run_paced(threading.get_ident, "k", 1)
        busy = [asyncio.ensure_future(executor.run(lambda: first.wait(5)))]
        await asyncio.sleep(0.01)
        quick = asyncio.ensure_future(executor.run_paced(threading.get_ident, "k", 1))
        await asyncio.sleep(0.01)
        busy += [asyncio.ensure_future(executor.run(lambda: second.wait(5))) for _ in range(2)]
        await asyncio.sleep(0.01)
        first.set()
        await busy[0]
        await asyncio.sleep(0.01)
        assert executor.waiting == 3  # it went to the thread
        second.set()
        return await quick == here

    assert not asyncio.run(every())


def test_quick_work_that_waits_counts_like_every_other(executor):
    async def every():
        release = threading.Event()
        await executor.run_paced(threading.get_ident, "k", 1)
        busy = asyncio.ensure_future(executor.run(lambda: release.wait(5)))
        await asyncio.sleep(0.01)
        ask = partial(executor.run_paced, threading.get_ident, "k", 1)
        waiting = [asyncio.ensure_future(ask()) for _ in range(MOST - 1)]
        await asyncio.sleep(0.01)
        with pytest.raises(OverloadedError):
            await ask()
        waiting.pop().cancel()
        await asyncio.sleep(0.01)
        assert executor.waiting == MOST - 1
        release.set()
        await asyncio.gather(busy, *waiting)

    asyncio.run(every())
    assert executor.waiting == 0


def test_an_error_of_quick_work_is_raised_and_its_time_is_known(executor):
    def fail():
        raise ValueError("wrong")

    async def every():
        for _ in range(2):
            with pytest.raises(ValueError, match="wrong"):
                await executor.run_paced(fail, "k", 1)

    asyncio.run(every())
    assert executor.waiting == 0


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no priority per thread")
def test_an_executor_behind_the_loop_has_a_lower_priority_and_no_other_has():
    def niceness():
        return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())

    before = niceness()
    for is_behind, expected in ((True, max(before, NICENESS)), (False, before)):
        executor = Executor("test", 1, is_behind=is_behind)
        assert asyncio.run(executor.run(niceness)) == expected
        executor.close()
    assert niceness() == before
