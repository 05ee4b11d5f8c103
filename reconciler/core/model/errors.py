"""The one error tree, with the exit code of each branch.

    ReconcilerError            1
      InvalidInput             1   manifests, settings or files with problems, all of them at once
        NeedsPull              1   contact sets whose people were not matched yet, or too long ago
      UsageError              64   a command line that makes no sense
      StateError               1   the state cannot be used
        StateCorrupted         1
        StateTooNew            1
        LockHeld               6
        LeaseLost              1
      PlanFileError            1   a plan file that is damaged or not ours
      StalePlan                4
      GuardRefused             5
      Unfinished               3   a run that stopped with part of the plan not sent
      ApiError                 1   a request to the API that ended without a usable answer
        NotApplied             1   temporary: known not to have had an effect (connection refused)
          RateLimited          1   429: the rate limit is used up for now, by us or by others
          NoWay                1   permanent: nothing can be sent (a certificate that is not trusted, an odd proxy)
        InDoubt                1   its effect is unknown (timeout, reset, 5xx, unreadable body)
        RequestRefused         1   the whole request was refused (400, 404, 422, a redirect); its effect is unknown
        Unread                 1   permanent: an answer that is about another contact than was asked for
        AuthRefused            7   permanent: 401 or 403, or no token
        QuotaExhausted         8
      PortUnavailable          1   the sandbox cannot listen there (defined with it)
      Interrupted          129/130/143   a signal asked us to stop

A message says fact, limit, measure and remedy, in lower case; our own errors never show a traceback. Where it has
several lines, `lines` and `hints` have them apart: a line end within one of them came from outside.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum, StrEnum

from reconciler.core.model.names import Instant, Source
from reconciler.core.model.safe_text import withhold_people

DISTRIBUTION = "tagreconciler"
"""The name by which pip and others install it: `reconciler` on the package index is another project's."""


def install_hint(extra: str) -> str:
    """The remedy where a library of an extra is not installed."""
    return f"pip install '{DISTRIBUTION}[{extra}]', or pip install '.[{extra}]' in a checkout"


class ExitCode(IntEnum):
    """The exit codes of the process; `docs/exit-codes.md` explains each."""

    DONE = 0
    ERROR = 1
    CHANGES = 2
    PARTIAL = 3
    STALE = 4
    GUARD = 5
    LOCKED = 6
    AUTH = 7
    QUOTA = 8
    USAGE = 64


WORST_FIRST = (
    ExitCode.AUTH,
    ExitCode.LOCKED,
    ExitCode.QUOTA,
    ExitCode.GUARD,
    ExitCode.STALE,
    ExitCode.ERROR,
    ExitCode.PARTIAL,
    ExitCode.CHANGES,
    ExitCode.DONE,
)


def worst_code(codes: Iterable[int]) -> int:
    """The exit code of several locations; signals and usage errors, which end the run, rank before all."""
    rank = {int(code): place for place, code in enumerate(WORST_FIRST)}
    return min(codes, key=lambda code: rank.get(int(code), -1), default=int(ExitCode.DONE))


class Severity(StrEnum):
    ERROR = "error"
    WARNING = "warning"
    INFO = "info"


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong with the input: `check` names the rule that found it.

    Neither message nor hint keeps the e-mail address or the phone number of a person, whatever repeated it.
    """

    source: Source
    message: str
    check: str
    severity: Severity = Severity.ERROR
    hint: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "message", withhold_people(self.message))
        object.__setattr__(self, "hint", withhold_people(self.hint))

    def __str__(self) -> str:
        return "\n".join(self.lines)

    @property
    def lines(self) -> tuple[str, ...]:
        """The message with its place, and the hint: texts that may hold a line end from outside."""
        mark = "" if self.severity is Severity.ERROR else f"{self.severity}: "
        hint = (f"  hint: {self.hint}",) if self.hint else ()
        return (f"{self.source}: {mark}{self.message}", *hint)

    @property
    def sort_key(self) -> tuple[Source, str, str]:
        return (self.source, self.check, self.message)


class ReconcilerError(Exception):
    """An end of the process on purpose. `hint` names the remedy."""

    exit_code: int = ExitCode.ERROR

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def reword(self, message: str) -> None:
        """Says the same with a place or an addition that only the caller has."""
        self.message = message
        self.args = (message,)

    @property
    def lines(self) -> tuple[str, ...]:
        return (self.message,)

    @property
    def hints(self) -> tuple[str, ...]:
        return (self.hint,) if self.hint else ()


class InvalidInput(ReconcilerError):
    """Every problem found in the input, sorted by place."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(sorted(problems, key=lambda problem: problem.sort_key))
        super().__init__("\n".join(map(str, self.problems)))

    @property
    def lines(self) -> tuple[str, ...]:
        return tuple(line for problem in self.problems for line in problem.lines)


class NeedsPull(InvalidInput):
    """Contact sets whose people were not matched yet, or too long ago, so that nothing can be planned by them."""


class UsageError(ReconcilerError):
    exit_code = ExitCode.USAGE


class StateError(ReconcilerError):
    pass


class StateCorrupted(StateError):
    pass


class StateTooNew(StateError):
    pass


class LockHeld(StateError):
    exit_code = ExitCode.LOCKED


class LeaseLost(StateError):
    pass


class PlanFileError(ReconcilerError):
    pass


class StalePlan(ReconcilerError):
    exit_code = ExitCode.STALE


class GuardRefused(ReconcilerError):
    """Every refusal, and every way out, each in a line."""

    exit_code = ExitCode.GUARD

    def __init__(self, refusals: Iterable[str], *, hints: Iterable[str]) -> None:
        self._refusals, self._hints = tuple(refusals), tuple(hints)
        super().__init__("\n".join(self._refusals), hint="\n".join(self._hints))

    @property
    def lines(self) -> tuple[str, ...]:
        return self._refusals

    @property
    def hints(self) -> tuple[str, ...]:
        return self._hints


class Unfinished(ReconcilerError):
    exit_code = ExitCode.PARTIAL


class NotYet(Unfinished):
    """Something is not sent now and will be later: nothing is wrong."""


class ApiError(ReconcilerError):
    """`said`: each message of the vendor's error body; none where the answer was no such body."""

    def __init__(self, message: str, *, hint: str = "", said: tuple[str, ...] = ()) -> None:
        super().__init__(message, hint=hint)
        self.said = said

    def withhold(self, message: str) -> None:
        """Says `message` in place of words that may not be told, and keeps none of the server's."""
        self.reword(message)
        self.said = ()


class NotApplied(ApiError):
    """Temporary. `retry_after_ms`: how long the server asked us to wait, if it did; `asked`: by which header."""

    def __init__(self, message: str, *, hint: str = "", retry_after_ms: int | None = None, asked: str = "") -> None:
        super().__init__(message, hint=hint)
        self.retry_after_ms = retry_after_ms
        self.asked = asked


class RateLimited(NotApplied):
    """429. Where it lasts, the wait for it ends in QuotaExhausted."""


class NoWay(NotApplied):
    """Permanent: nothing was sent, and another try would end alike, until the environment is changed."""


class InDoubt(ApiError):
    pass


class RequestRefused(ApiError):
    """`status` is the HTTP status, 0 where nothing was sent."""

    def __init__(self, message: str, *, status: int, hint: str = "", said: tuple[str, ...] = ()) -> None:
        super().__init__(message, hint=hint, said=said)
        self.status = status


class Unread(ApiError):
    """Permanent: the answer is about another contact than was asked for."""


class AuthRefused(ApiError):
    """`status` is the HTTP status, 0 where nothing was asked for want of a token. `page`: a web page said so."""

    exit_code = ExitCode.AUTH

    def __init__(
        self, message: str, *, status: int = 0, hint: str = "", said: tuple[str, ...] = (), page: bool = False
    ) -> None:
        super().__init__(message, hint=hint, said=said)
        self.status, self.page = status, page


class QuotaExhausted(ApiError):
    """A limit does not suffice, the day's or the rate limit; known not applied.

    `resets`: when the day's starts anew, in milliseconds since 1970, None where it is not known.
    """

    exit_code = ExitCode.QUOTA

    def __init__(self, message: str, *, hint: str = "", resets: Instant | None = None) -> None:
        super().__init__(message, hint=hint)
        self.resets = resets


class Interrupted(ReconcilerError):
    """A signal asked us to stop; ends the process with 128 + its number."""

    def __init__(self, signum: int, *, hint: str = "") -> None:
        super().__init__(f"stopped by {_SIGNALS.get(signum, f'signal {signum}')}", hint=hint)
        # as shells do: a CI job can tell a cancelled run from one that failed
        self.exit_code = 128 + signum


_SIGNALS = {1: "SIGHUP (the terminal was closed)", 2: "Ctrl-C", 15: "SIGTERM"}
