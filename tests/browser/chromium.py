"""Just enough of a real Chromium to see a page: it is steered through a pipe, by the DevTools protocol."""

from __future__ import annotations

import base64
import json
import os
import select
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome")
PATIENCE_S = 60
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
    "--remote-debugging-pipe",
)


def find_chromium() -> str | None:
    return next((path for path in map(shutil.which, NAMES) if path), None)


@dataclass(slots=True)
class Page:
    """One tab. `said`: what the page wrote to the console or failed with. `asked`: the addresses it asked for."""

    write: int
    read: int
    session: str = ""
    number: int = 0
    buffer: bytes = b""
    said: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    loaded: bool = False

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Sends a command and waits for its result."""
        self.number += 1
        message = {"id": self.number, "method": method, "params": parameters}
        os.write(self.write, json.dumps(message | self._to()).encode() + b"\0")
        while True:
            told = self._receive()
            if told.get("id") == self.number:
                assert "error" not in told, f"{method}: {told['error']}"
                result: dict[str, Any] = told["result"]
                return result
            self._note(told)

    def _to(self) -> dict[str, str]:
        return {"sessionId": self.session} if self.session else {}

    def _receive(self) -> dict[str, Any]:
        while b"\0" not in self.buffer:
            assert select.select([self.read], [], [], PATIENCE_S)[0], "Chromium says nothing"
            chunk = os.read(self.read, 1 << 20)
            assert chunk, "Chromium has gone"
            self.buffer += chunk
        message, _, self.buffer = self.buffer.partition(b"\0")
        told: dict[str, Any] = json.loads(message)
        return told

    def _note(self, told: dict[str, Any]) -> None:
        method, parameters = told.get("method"), told.get("params", {})
        if method in ("Runtime.consoleAPICalled", "Runtime.exceptionThrown", "Log.entryAdded"):
            self.said.append(json.dumps(parameters)[:500])
        elif method == "Network.requestWillBeSent":
            self.asked.append(parameters["request"]["url"])
        elif method == "Page.loadEventFired":
            self.loaded = True

    def open(self, path: Path) -> None:
        """Loads the file, and waits until it is there."""
        self.loaded = False
        self.said.clear()
        self.asked.clear()
        self.call("Page.navigate", url=path.as_uri())
        while not self.loaded:
            self._note(self._receive())

    def run(self, script: str) -> Any:
        """The value of an expression in the page."""
        told = self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in told, told["exceptionDetails"]
        return told["result"].get("value")

    def colours(self, scheme: str) -> None:
        """`light` or `dark`, as a reader's system prefers."""
        self.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])

    def size(self, width: int, height: int) -> None:
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)

    def picture(self) -> bytes:
        """What is seen now, as PNG."""
        return base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"])

    def typed(self, text: str) -> None:
        self.call("Input.insertText", text=text)

    def click(self, selector: str) -> None:
        """A real click in the middle of an element."""
        place = self.run(
            f"(() => {{ const element = document.querySelector({json.dumps(selector)});"
            "element.scrollIntoView({block: 'center'}); const box = element.getBoundingClientRect();"
            "return {x: box.x + box.width / 2, y: box.y + box.height / 2}; })()"
        )
        for kind in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, button="left", clickCount=1, **place)


@contextmanager
def chromium(path: str) -> Iterator[Page]:
    """A browser with one tab, which ends with the block."""
    to_browser, write = os.pipe()
    read, from_browser = os.pipe()
    with tempfile.TemporaryDirectory(prefix="chromium", ignore_cleanup_errors=True) as profile:
        command = [path, *FLAGS, f"--user-data-dir={profile}", "about:blank"]
        # the protocol is spoken on the descriptors 3 and 4
        script = f'exec "$@" 3<&{to_browser} 4>&{from_browser} 2>/dev/null'
        process = subprocess.Popen(["bash", "-c", script, "bash", *command], pass_fds=(to_browser, from_browser))
        os.close(to_browser)
        os.close(from_browser)
        page = Page(write, read)
        try:
            _attach(page)
            yield page
        finally:
            os.close(write)
            os.close(read)
            process.terminate()
            process.wait(timeout=PATIENCE_S)


def _attach(page: Page) -> None:
    tab = page.call("Target.createTarget", url="about:blank")["targetId"]
    page.session = page.call("Target.attachToTarget", targetId=tab, flatten=True)["sessionId"]
    for domain in ("Page", "Runtime", "Network", "Log", "Accessibility"):
        page.call(f"{domain}.enable")
