"""Comments and issues of a repository that this action keeps up to date, over GitHub's REST API.

Rules
1. What is ours is told by its first line *and* its author: a marker that nobody else's text can stand in, since text
   from manifests and the CRM never begins a body, and never by somebody else's account, whatever its first line.
2. The token goes to the configured API only; redirects are not followed; plain http is for loopback.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Self
from urllib.parse import quote

import httpx

from reconciler_action.runner import cut

BODY_LIMIT = 65_000
"""A comment or issue has at most 65,536 characters."""
PAGE = 100
PAGES = 50
LOOPBACK = ("127.0.0.1", "localhost", "::1")


class Refused(Exception):
    """GitHub did not do what was asked. The message holds no token."""


def marker(kind: str, name: str = "") -> str:
    """The first line of what is ours: `kind`, such as plan, and the locations that a job was told to plan."""
    return f"<!-- reconciler:{kind}:{quote(name, safe='').replace('-', '%2D').replace('.', '%2E')} -->"


@dataclass(frozen=True, slots=True)
class GitHub:
    """A repository. `author`: the account whose comments and issues are ours."""

    client: httpx.Client
    repository: str
    author: str

    @classmethod
    def of(cls, environment: Mapping[str, str], author: str) -> Self:
        """From the variables of a step: GITHUB_API_URL, GITHUB_REPOSITORY and GITHUB_TOKEN."""
        url = httpx.URL(environment.get("GITHUB_API_URL") or "https://api.github.com")
        if url.scheme != "https" and url.host not in LOOPBACK:
            raise Refused(f"plain http goes to loopback only, not to {url.host}")
        headers = {
            "Authorization": f"Bearer {environment.get('GITHUB_TOKEN', '')}",
            "Accept": "application/vnd.github+json",
            "X-GitHub-Api-Version": "2022-11-28",
        }
        client = httpx.Client(
            base_url=url, headers=headers, follow_redirects=False, timeout=30, trust_env=url.host not in LOOPBACK
        )
        return cls(client, environment["GITHUB_REPOSITORY"], author)

    def comment(self, issue: int, mark: str, text: str, *, create: bool = True) -> None:
        """The one comment that begins with `mark` says `text`; made where there is none and `create`."""
        body = {"body": _body(mark, text)}
        found = self._find(f"issues/{issue}/comments", mark)
        if found is not None:
            self._ask("PATCH", f"issues/comments/{int(found['id'])}", json=body)
        elif create:
            self._ask("POST", f"issues/{issue}/comments", json=body)

    def issue(self, mark: str, title: str, text: str, *, open_: bool) -> None:
        """The one open issue that begins with `mark` says `text`; made where needed, closed where not `open_`."""
        body = {"body": _body(mark, text)}
        found = self._find("issues", mark, state="open", creator=self.author)
        if found is not None:
            closed = {} if open_ else {"state": "closed", "state_reason": "completed"}
            self._ask("PATCH", f"issues/{int(found['number'])}", json=body | {"title": title} | closed)
        elif open_:
            self._ask("POST", "issues", json=body | {"title": title})

    def _find(self, path: str, mark: str, **query: str) -> Mapping[str, Any] | None:
        return next((each for each in self._pages(path, query) if self._is_ours(each, mark)), None)

    def _is_ours(self, item: Mapping[str, Any], mark: str) -> bool:
        lines = str(item.get("body") or "").splitlines()
        author = (item.get("user") or {}).get("login")
        return bool(lines) and lines[0] == mark and author == self.author and "pull_request" not in item

    def _pages(self, path: str, query: Mapping[str, str]) -> Iterator[Mapping[str, Any]]:
        for page in range(1, PAGES + 1):
            items = self._ask("GET", path, params={**query, "per_page": str(PAGE), "page": str(page)})
            yield from items
            if len(items) < PAGE:
                return

    def _ask(self, method: str, path: str, **more: Any) -> Any:
        try:
            response = self.client.request(method, f"/repos/{self.repository}/{path}", **more)
        except httpx.HTTPError as error:
            raise Refused(f"{method} {path}: {type(error).__name__}") from None
        if not response.is_success:
            raise Refused(f"{method} {path}: GitHub answered {response.status_code}")
        return response.json()


def _body(mark: str, text: str) -> str:
    return f"{mark}\n{cut(text, BODY_LIMIT - len(mark))}"
