"""A real yaml-language-server with our schema: what a person sees while typing.

Runs where `yaml-language-server` (npm) is on the path.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from reconciler.loading.settings_models import SchemaKind, schema_text

SERVER = shutil.which("yaml-language-server")
pytestmark = [pytest.mark.slow, pytest.mark.skipif(SERVER is None, reason="yaml-language-server (npm) is not there")]

MANIFEST = """\
# yaml-language-server: $schema=manifest.schema.json
location: asdrwHvLUxlfw5SqKVCN
contact_sets:
  vip:
    contacts: [no, 012, null]
    tags: [vip, no]
    authority: {authority}
    {key}: [wf-*]
"""


class Editor:
    """Just enough of the language server protocol to open a file and ask about a place in it."""

    def __init__(self, folder: Path) -> None:
        assert SERVER is not None
        self._process = subprocess.Popen([SERVER, "--stdio"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=folder)
        self._number = 0
        self._uri = (folder / "m.yaml").as_uri()
        self.ask("initialize", {"processId": None, "rootUri": folder.as_uri(), "capabilities": {}})
        self._send({"method": "initialized", "params": {}})

    def open(self, text: str) -> list[str]:
        """What the server finds wrong with a file."""
        document = {"uri": self._uri, "languageId": "yaml", "version": 1, "text": text}
        self._send({"method": "textDocument/didOpen", "params": {"textDocument": document}})
        while (message := self._receive()).get("method") != "textDocument/publishDiagnostics":
            self._answer(message)
        return [found["message"] for found in message["params"]["diagnostics"]]

    def at(self, method: str, line: int, column: int) -> Any:
        place = {"textDocument": {"uri": self._uri}, "position": {"line": line, "character": column}}
        return self.ask(f"textDocument/{method}", place)

    def ask(self, method: str, params: dict[str, Any]) -> Any:
        self._number += 1
        self._send({"id": self._number, "method": method, "params": params})
        while (message := self._receive()).get("id") != self._number or "method" in message:
            self._answer(message)
        return message["result"]

    def close(self) -> None:
        self._process.kill()
        self._process.communicate()

    def _answer(self, message: dict[str, Any]) -> None:
        """Requests of the server are answered with nothing: it then goes by its defaults."""
        if "id" in message and "method" in message:
            items = message.get("params", {}).get("items")
            self._send({"id": message["id"], "result": None if items is None else [{} for _ in items]})

    def _send(self, message: dict[str, Any]) -> None:
        body = json.dumps({"jsonrpc": "2.0", **message}).encode()
        assert self._process.stdin is not None
        self._process.stdin.write(b"Content-Length: %d\r\n\r\n%s" % (len(body), body))
        self._process.stdin.flush()

    def _receive(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        length = 0
        while (line := self._process.stdout.readline().strip()) or not length:
            if line.lower().startswith(b"content-length:"):
                length = int(line.split(b":")[1])
        message: dict[str, Any] = json.loads(self._process.stdout.read(length))
        return message


@pytest.fixture
def editor(tmp_path: Path) -> Iterator[Editor]:
    (tmp_path / "manifest.schema.json").write_text(schema_text(SchemaKind.MANIFEST), encoding="utf-8")
    editor = Editor(tmp_path)
    yield editor
    editor.close()


def test_a_sound_manifest_has_no_diagnostics(editor: Editor) -> None:
    assert editor.open(MANIFEST.format(authority="exact", key="ignore")) == []


def test_a_wrong_key_and_a_wrong_value_are_underlined(editor: Editor) -> None:
    found = "\n".join(editor.open(MANIFEST.format(authority="total", key="ignroe")))
    assert "Property ignroe is not allowed" in found
    assert '"additive"' in found


def test_completion_offers_the_keys_and_hover_explains_them(editor: Editor) -> None:
    editor.open(MANIFEST.format(authority="exact", key="ignore") + "    \n")
    offered = editor.at("completion", 8, 4)
    assert {"absent", "from", "until", "on_leave", "allow_empty"} <= {item["label"] for item in offered["items"]}
    hover = editor.at("hover", 5, 5)
    assert "Tags that each of the contacts must carry." in json.dumps(hover)
