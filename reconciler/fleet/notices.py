"""The notices of a worker's jobs, each to the webhook that the environment names, as of the command that it stands for.

Rule: a notice holds up no job and changes no end; a line tells why one did not arrive.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from uuid import uuid4

from reconciler.core.model.errors import ReconcilerError
from reconciler.core.model.notice import Notice, NotifySettings
from reconciler.fleet.rows import JobEnd
from reconciler.operations.notify import URL_VARIABLE, guess_settings, send_notice
from reconciler.operations.workspace import Workspace
from reconciler.output.fleet import JobStatus
from reconciler.output.notice import SentNotice


class Notices:
    """Sends in the background, in the event loop of the worker."""

    def __init__(self, workspace: Workspace, say: Callable[[str], None]) -> None:
        self._workspace, self._say = workspace, say
        self._sending: set[asyncio.Task[None]] = set()

    def send(self, end: JobEnd) -> None:
        """Nothing of a job that is tried again."""
        if end.status is JobStatus.QUEUED or end.notice is None or end.exit_code is None:
            return
        if self._workspace.environment.get(URL_VARIABLE, "").strip():
            task = asyncio.create_task(self._send(end.notice, end.exit_code))
            # the loop itself would forget it
            self._sending.add(task)
            task.add_done_callback(self._sending.discard)

    async def end(self) -> None:
        """Waits for those under way, which is bounded."""
        if self._sending:
            await asyncio.wait(self._sending)

    def _find_settings(self) -> NotifySettings:
        # a file that a release of ours, or a commit, has broken is a reason to tell
        try:
            return self._workspace.load_settings().notify
        except ReconcilerError:
            return guess_settings(self._workspace.environment)

    async def _send(self, notice: Notice, exit_code: int) -> None:
        try:
            settings = await asyncio.to_thread(self._find_settings)
            if not notice.is_wanted(settings.when, exit_code):
                return
            sent = SentNotice(notice, exit_code, uuid4().hex, self._workspace.clock.now())
            reason = await send_notice(sent, settings, self._workspace)
        except Exception as error:  # noqa: BLE001  the job has ended: whatever a notice meets is a line
            reason = type(error).__name__
        if reason:
            self._say(f"warning: the webhook of {URL_VARIABLE} was not notified: {reason}")
