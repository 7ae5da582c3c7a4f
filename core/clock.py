"""The clocks, in one place so that a test can hand in another.

`now` is UNIX time in seconds for what is stored or shown (`*_at`); `monotonic` is for what is measured
(`*_s`) and never goes backwards.
"""

import time
from collections.abc import Callable

Clock = Callable[[], float]

now: Clock = time.time
monotonic: Clock = time.monotonic
