"""Limits of the web app: sizes of uploads, and how many uploads one client may send."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass


class RequestError(Exception):
    """A request that cannot be carried out, with a message for the user.

    Args:
        status: HTTP status code.
        message: one or two sentences.
        retry_after: after how many seconds the same request may succeed; None if it never will.
    """

    def __init__(self, status: int, message: str, retry_after: int | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.retry_after = retry_after


@dataclass(frozen=True)
class Limits:
    """Limits of one server.

    Attributes:
        photo_megabytes: size of a photo's file.
        clip_megabytes: size of a clip's file.
        megapixels: size of a photo, after decoding.
        clip_megapixels: size of a frame of a clip.
        clip_seconds: length of a clip.
        upload_seconds: time that an upload may take.
        photo_work_seconds: time until the answer to a photo or a download, in which it may wait for other work.
        clip_work_seconds: time that the analysis of a clip may take, after it began.
        workers: number of photos and clips that are analysed at the same time.
        waiting: number of requests that may wait for a worker.
        uploads_per_minute: number of uploads of one client in a minute.
        result_minutes: how long a result is kept in memory.
        result_megabytes: memory for all results together.
    """

    photo_megabytes: float = 32
    clip_megabytes: float = 96
    megapixels: float = 50
    clip_megapixels: float = 8.5
    clip_seconds: float = 30
    upload_seconds: float = 120
    photo_work_seconds: float = 60
    clip_work_seconds: float = 240
    workers: int = 2
    waiting: int = 32
    uploads_per_minute: int = 60
    result_minutes: float = 30
    result_megabytes: float = 512


class RateLimiter:
    """Count the uploads of each client in a moving window of one minute.

    Args:
        per_minute: number of uploads of one client in a minute.
        clock: returns the time in seconds.

    Example:
        >>> limiter = RateLimiter(1)
        >>> limiter.check("127.0.0.1")
        >>> limiter.check("127.0.0.1")
        Traceback (most recent call last):
        synergy.app.limits.RequestError: Too many uploads in a short time. Try again in 60 seconds.
    """

    def __init__(self, per_minute: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._per_minute = per_minute
        self._clock = clock
        self._times: dict[str, list[float]] = {}

    def check(self, client: str) -> None:
        """Count one upload.

        Args:
            client: address of the client.

        Raises:
            RequestError: the client has sent too many. The refused upload does not count.
        """
        now = self._clock()
        self._times = {
            name: kept for name, times in self._times.items() if (kept := [t for t in times if t > now - 60])
        }
        times = self._times.setdefault(client, [])
        if len(times) >= self._per_minute:
            wait = max(1, math.ceil(times[0] + 60 - now))
            raise RequestError(429, f"Too many uploads in a short time. Try again in {wait} seconds.", wait)
        times.append(now)
