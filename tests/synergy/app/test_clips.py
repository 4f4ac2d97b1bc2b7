import asyncio

import pytest

pytest.importorskip("av")

from synergy.app.clips import ClipJob
from synergy.app.limits import RequestError


def test_progress_goes_from_the_thread_to_the_request():
    async def run():
        loop = asyncio.get_running_loop()
        job = ClipJob(loop)

        def work():
            for fraction in (0.25, 0.5, 1.0):
                job.report(fraction)

        future = loop.run_in_executor(None, work)
        future.add_done_callback(lambda _: job.finish())
        return [fraction async for fraction in job.progress()]

    assert asyncio.run(run()) == [0.25, 0.5, 1.0]


def test_the_thread_ends_when_the_client_has_gone():
    async def run():
        job = ClipJob(asyncio.get_running_loop())
        job.report(0.1)
        job.stop()
        with pytest.raises(RequestError):
            job.report(0.2)

    asyncio.run(run())
