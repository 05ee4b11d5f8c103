"""How long to pause before a request is tried again: exponential, with full jitter, bounded. Chance is injected.

    for attempt in count():
        try: return await request()
        except NotApplied as error:
            pause = backoff.pause(attempt, random(), asked_ms=error.retry_after_ms)
            if pause is None: raise
            await sleep(pause)

Rules
1. A pause is drawn evenly between nothing and a ceiling that doubles with each attempt, up to `most_ms`: many clients
   that were turned away together do not come back together.
2. What the server asks for is the least that is waited; the draw comes on top of it.
3. After `retries` pauses there is none: whoever tries gives up.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Backoff:
    """Milliseconds of the first ceiling and of the highest, and how often a request is tried again."""

    first_ms: int = 1_000
    most_ms: int = 30_000
    retries: int = 5

    def pause(self, attempt: int, chance: float, *, asked_ms: int | None = None) -> int | None:
        """Milliseconds before attempt `attempt` + 1, attempts counting from 0; None where enough was tried.

        `chance`: from 0 to 1, drawn evenly.
        """
        if attempt >= self.retries:
            return None
        return (asked_ms or 0) + round(chance * self.ceiling(attempt))

    def ceiling(self, attempt: int) -> int:
        # 60 doublings are beyond any ceiling; more would only make large numbers
        return min(self.most_ms, self.first_ms << min(attempt, 60))
