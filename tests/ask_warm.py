"""Has `warm.py` run a command line in the place of this process: its arguments but the first, its directory, its
environment and its streams. Ends as that does. Begins in some milliseconds: what `socket` imports takes longer than all
else.
"""

from __future__ import annotations

import _socket
import array
import marshal
import os
import sys

address, *arguments = sys.argv[1:]
asking = _socket.socket(_socket.AF_UNIX)
asking.connect(address)
request = marshal.dumps((os.getcwdb(), dict(os.environb), arguments))  # noqa: PTH109
asking.sendmsg([request], [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, array.array("i", (0, 1, 2)))])
status = int.from_bytes(asking.recv(4), "big")
if os.WIFSIGNALED(status):
    os.kill(os.getpid(), os.WTERMSIG(status))
os._exit(os.waitstatus_to_exitcode(status))
