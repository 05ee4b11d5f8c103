"""Pictures of every document as a web page, for a person to look at: light, dark, on a phone, in print.

python -m tests.browser.pictures DIRECTORY [DOCUMENT ...]
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from reconciler.output.document import spell
from tests.browser.chromium import Page, chromium, find_chromium
from tests.render.documents import ANSWERS


@dataclass(frozen=True, slots=True)
class Look:
    width: int
    scheme: str = "light"
    media: str = ""


LOOKS: Mapping[str, Look] = {
    "light": Look(1280),
    "dark": Look(1280, "dark"),
    "phone": Look(390),
    "print": Look(794, media="print"),
}
TALLEST = 4_000


def main(directory: Path, names: list[str]) -> None:
    found = find_chromium()
    if found is None:
        sys.exit("Chromium is not there")
    directory.mkdir(parents=True, exist_ok=True)
    with chromium(found) as page:
        for name in names or list(ANSWERS):
            path = (directory / f"{name}.html").resolve()
            path.write_text("".join(spell(ANSWERS[name](), "html", whole=False)), encoding="utf-8")
            for called, look in LOOKS.items():
                (directory / f"{name}-{called}.png").write_bytes(picture(page, path, look))


def picture(page: Page, path: Path, look: Look) -> bytes:
    """The whole page, as far down as `TALLEST`."""
    features = [{"name": "prefers-color-scheme", "value": look.scheme}]
    page.call("Emulation.setEmulatedMedia", media=look.media, features=features)
    page.size(look.width, 900)
    page.open(path)
    height = page.run("document.documentElement.scrollHeight")
    page.size(look.width, min(TALLEST, max(300, height)))
    return page.picture()


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
