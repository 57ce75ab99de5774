import asyncio
import threading

import pytest

from registry.errors import OverloadedError
from serving.executor import Executor


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
