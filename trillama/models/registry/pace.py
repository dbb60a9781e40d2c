"""Patience: when a connection is given up, when it is tried again, how fast it may go.

``Watch`` and ``Patience`` are plain rules over times that the caller gives; ``Throttle`` waits.
"""

from __future__ import annotations

import math
import random
from collections import deque
from collections.abc import Callable
from statistics import median

import trio

from .errors import Stalled, Transient

LEAST_SILENCE, MOST_SILENCE = 10.0, 60.0
LEAST_RATE, RATE_WINDOW = 1024, 30.0
"""Bytes per second below which a connection is of no use, over so many seconds."""
LAGGING, SAMPLES, LAG_AGE = 10, 5, 10.0
MOST_LAGS = 3
FIRST_DELAY, LAST_DELAY = 0.5, 60.0
CROWDED_RATE = 12 << 20
"""Bytes per second of all downloads while answers are computed: a tenth of a slow core."""
CROWDED_REST = 10
"""Times as long as it hashed a download then rests."""
WORTH = 64 << 10
"""Bytes an attempt must bring to count as progress."""


class Pulse:
    """What is usual for the connections of one download: longest pause survived, rates."""

    def __init__(self) -> None:
        self._longest = 0.0
        self._rates: deque[float] = deque(maxlen=30)

    @property
    def silence(self) -> float:
        """Seconds without a byte that are no longer usual."""
        return min(max(LEAST_SILENCE, 4 * self._longest), MOST_SILENCE)

    def pause(self, seconds: float) -> None:
        """A connection was silent for so long, then went on."""
        self._longest = max(self._longest, seconds)

    def done(self, rate: float) -> None:
        """A connection did its part at ``rate`` bytes per second."""
        self._rates.append(rate)

    def lags(self, rate: float) -> bool:
        """Whether a connection is far slower than the others were."""
        return len(self._rates) >= SAMPLES and rate * LAGGING < median(self._rates)


class Watch:
    """Looks at one connection; times in seconds, of one clock."""

    def __init__(self, pulse: Pulse, now: float, *, may_lag: bool = True) -> None:
        self._pulse = pulse
        self._start = self._last = self._window = now
        self._bytes = self._in_window = 0
        self._may_lag = may_lag

    def feed(self, count: int, now: float, held: float = 0.0) -> None:
        """Bytes have come.

        Args:
            held: seconds that we ourselves made the connection wait, which do not count.

        Raises:
            Transient: too slow to be of any use.
            Stalled: much slower than the others; a new connection may do better.
        """
        self._start, self._window = self._start + held, self._window + held
        self._pulse.pause(max(0.0, now - self._last - held))
        self._last = now
        self._bytes += count
        self._in_window += count
        if now - self._window >= RATE_WINDOW:
            if self._in_window < LEAST_RATE * RATE_WINDOW:
                raise Transient(f"only {self._in_window} bytes in {RATE_WINDOW:.0f} s")
            self._window, self._in_window = now, 0
        if self._may_lag and now - self._start > LAG_AGE and self._pulse.lags(self.rate(now)):
            raise Stalled("much slower than other connections")

    def rate(self, now: float) -> float:
        """Bytes per second so far."""
        return self._bytes / max(now - self._start, 1e-3)

    def close(self, now: float) -> None:
        """The part is done."""
        self._pulse.done(self.rate(now))


class Patience:
    """How long failures are borne: until nothing has come for ``limit`` seconds."""

    def __init__(self, limit: float, now: float) -> None:
        self._limit = limit
        self._since = now

    def progress(self, now: float) -> None:
        """Something has come."""
        self._since = now

    def delay(self, error: Transient, tries: int, now: float) -> float:
        """Seconds until the next try; ``tries`` failed ones lie behind, without progress between.

        Raises:
            Transient: it has been borne long enough; says what the last error was.
        """
        left = self._since + self._limit - now
        if left <= 0:
            raise Transient(f"max retries exceeded: {error.message}")
        # Doubling, with a pinch of chance so that many do not come back together.
        usual = min(math.ldexp(FIRST_DELAY, min(tries, 10)), LAST_DELAY) * random.uniform(
            0.75, 1.25
        )
        return min(max(usual, error.retry_after), max(left, FIRST_DELAY))


class Throttle:
    """A common limit on the bytes per second of many connections; 0 means none.

    Args:
        crowded: whether answers are being computed on the processors that a download needs too.
            It then goes on slowly: the threads of llama.cpp wait for each other, so whatever
            takes one of their cores holds up all of them.
    """

    def __init__(self, rate: int, crowded: Callable[[], bool] = lambda: False) -> None:
        self._rate = rate
        self._crowded = crowded
        self._free_at = -math.inf

    @property
    def crowded(self) -> bool:
        """Whether to go slowly, and to do heavy work in small pieces."""
        return self._crowded()

    async def take(self, count: int) -> float:
        """Wait until ``count`` bytes may pass; returns the seconds it took."""
        rate = min(self._rate or math.inf, CROWDED_RATE if self.crowded else math.inf)
        if rate == math.inf:
            return 0.0
        now = trio.current_time()
        self._free_at = max(self._free_at, now - 0.1) + count / rate
        wait = max(0.0, self._free_at - now)
        await trio.sleep(wait)
        return wait

    async def rest(self, seconds: float) -> None:
        """After a processor was busy for so long: leave it to the others for a while."""
        if self.crowded:
            await trio.sleep(seconds * CROWDED_REST)
