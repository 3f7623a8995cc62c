"""How many requests a minute: counted in the broker's Redis, so that all API processes count together."""

import math
import time
from dataclasses import dataclass
from typing import Final

import redis
import structlog
from limits import RateLimitItemPerMinute
from limits.storage import RedisStorage
from limits.strategies import MovingWindowRateLimiter

from jobs.queue import connect

logger = structlog.get_logger()
BROKER_SECONDS: Final = 0.25
PAUSE_SECONDS: Final = 5.0
"""How long a broker that did not answer is not asked again: while it is away nobody is limited, and nobody waits."""
WINDOW_SECONDS: Final = 60


@dataclass(frozen=True)
class Rate:
    """Where somebody stands after one more request."""

    admitted: bool
    limit: int
    """requests a minute"""
    remaining: int
    reset_seconds: int
    """until the oldest of the requests that are counted no longer is"""

    def headers(self) -> dict[str, str]:
        """The fields of draft-ietf-httpapi-ratelimit-headers-10, and Retry-After for whom is refused."""
        told = {
            "RateLimit-Policy": f'"requests";q={self.limit};w={WINDOW_SECONDS}',
            "RateLimit": f'"requests";r={self.remaining};t={self.reset_seconds}',
        }
        return told if self.admitted else {**told, "Retry-After": str(max(1, self.reset_seconds))}


class RateLimits:
    """The counts of everybody."""

    def __init__(self, broker_url: str) -> None:
        self._redis = connect(broker_url, seconds=BROKER_SECONDS)
        storage = RedisStorage("redis://", connection_pool=self._redis.connection_pool, key_prefix="requests")
        self._limiter = MovingWindowRateLimiter(storage)
        self._away_until = 0.0

    def count(self, whom: str, *, per_minute: int) -> Rate | None:
        """Count one request; None while the broker is away."""
        if time.monotonic() < self._away_until:
            return None
        item = RateLimitItemPerMinute(per_minute)
        try:
            admitted = self._limiter.hit(item, whom)
            window = self._limiter.get_window_stats(item, whom)
        except (redis.RedisError, OSError) as error:
            self._away_until = time.monotonic() + PAUSE_SECONDS
            logger.warning("the broker does not count requests: nobody is limited", error=str(error))
            return None
        reset_seconds = max(0, math.ceil(window.reset_time - time.time()))
        return Rate(admitted, per_minute, max(0, window.remaining), reset_seconds)

    def close(self) -> None:
        """Close the connections."""
        self._redis.close()
