"""One comment, one issue about drift: found by marker and author, and nobody else's ever touched."""

from __future__ import annotations

import httpx
import pytest
from reconciler_action.github import GitHub, Refused, marker

from tests.ci.github import BOT, REPOSITORY, TOKEN, FakeGitHub

MARK = marker("plan", "asdrwHvLUxlfw5SqKVCN")


def _github(fake: FakeGitHub, token: str = TOKEN) -> GitHub:
    headers = {"Authorization": f"Bearer {token}"}
    client = httpx.Client(base_url="https://api.github.example", headers=headers, transport=fake.transport())
    return GitHub(client, REPOSITORY, BOT)


def _texts(fake: FakeGitHub, number: int = 7) -> list[str]:
    return [each["body"].partition("\n")[2] for each in fake.comments.get(number, [])]


def test_a_comment_is_made_once_and_then_changed() -> None:
    fake = FakeGitHub()
    for text in ("one", "two", "three"):
        _github(fake).comment(7, MARK, text)
    assert _texts(fake) == ["three"]
    assert fake.asked.count(f"POST /repos/{REPOSITORY}/issues/7/comments") == 1


def test_a_comment_is_changed_but_not_made_where_there_is_nothing_to_say() -> None:
    fake = FakeGitHub()
    _github(fake).comment(7, MARK, "no changes", create=False)
    assert _texts(fake) == []
    _github(fake).comment(7, MARK, "changes")
    _github(fake).comment(7, MARK, "no changes", create=False)
    assert _texts(fake) == ["no changes"]


def test_ours_is_found_on_a_late_page() -> None:
    fake = FakeGitHub()
    talk = [{"id": number, "body": f"talk {number}", "user": {"login": "anna"}} for number in range(250)]
    fake.comments[7] = [*talk[:230], {"id": 999, "body": f"{MARK}\nold", "user": {"login": BOT}}, *talk[230:]]
    _github(fake).comment(7, MARK, "new")
    assert len(fake.comments[7]) == 251
    assert fake.comments[7][230]["body"] == f"{MARK}\nnew"


@pytest.mark.parametrize(
    ("author", "body"),
    [
        ("mallory", f"{MARK}\nwhat a person wrote"),
        (BOT, f"another bot's words\n{MARK}\n"),
        (BOT, f" {MARK}\n"),
        (BOT, f"{MARK} \nx"),
        (BOT, f"> {MARK}\n"),
        (BOT, f"{marker('plan', 'another')}\n"),
        (BOT, ""),
        (BOT, None),
    ],
)
def test_what_is_not_ours_is_never_touched(author: str, body: str | None) -> None:
    theirs = {"id": 1, "body": body, "user": {"login": author}}
    fake = FakeGitHub(comments={7: [dict(theirs)]})
    _github(fake).comment(7, MARK, "ours")
    assert fake.comments[7][0] == theirs
    assert fake.comments[7][1]["body"] == f"{MARK}\nours"


def test_a_marker_is_one_comment_of_html_whatever_the_name() -> None:
    name = "a--> <!-- b\nc.d"
    mark = marker("plan", name)
    assert mark.count("-->") == mark.count("<!--") == 1
    assert "\n" not in mark
    assert marker("plan", "a-b") != marker("plan", "a%2Db")


def test_a_body_fits() -> None:
    fake = FakeGitHub()
    _github(fake).comment(7, MARK, "| row |\n" * 20_000)
    (body,) = [each["body"] for each in fake.comments[7]]
    assert len(body) < 65_536
    assert "cut here" in body


def test_the_issue_is_opened_updated_and_closed() -> None:
    fake, mark = FakeGitHub(), marker("drift")
    fake.issues.append({"number": 1, "state": "open", "body": f"{mark}\nx", "user": {"login": "mallory"}, "title": "x"})
    _github(fake).issue(mark, "Drift", "none", open_=False)
    assert len(fake.issues) == 1
    for text in ("three tags", "four tags"):
        _github(fake).issue(mark, "Drift", text, open_=True)
    assert [(each["state"], each["body"]) for each in fake.issues[1:]] == [("open", f"{mark}\nfour tags")]
    _github(fake).issue(mark, "Drift", "none", open_=False)
    assert [each["state"] for each in fake.issues] == ["open", "closed"]
    _github(fake).issue(mark, "Drift", "again", open_=True)
    assert [each["state"] for each in fake.issues] == ["open", "closed", "open"]


def test_a_pull_request_is_no_issue() -> None:
    fake, mark = FakeGitHub(), marker("drift")
    theirs = {"number": 1, "state": "open", "body": f"{mark}\nx", "user": {"login": BOT}, "pull_request": {}}
    fake.issues.append(theirs)
    _github(fake).issue(mark, "Drift", "text", open_=True)
    assert fake.issues[0]["body"] == f"{mark}\nx"


def test_a_refusal_is_told_without_the_token() -> None:
    with pytest.raises(Refused, match=r"^GET issues/7/comments: GitHub answered 401$"):
        _github(FakeGitHub(), token="ghs_wrong").comment(7, MARK, "x")
    with pytest.raises(Refused, match="answered 403"):
        _github(FakeGitHub(writes=False)).comment(7, MARK, "x")


def test_redirects_are_not_followed_and_plain_http_stays_on_loopback() -> None:
    seen: list[str] = []

    def redirect(request: httpx.Request) -> httpx.Response:
        seen.append(request.url.host)
        return httpx.Response(307, headers={"Location": "https://evil.example/"})

    client = httpx.Client(base_url="https://api.github.example", transport=httpx.MockTransport(redirect))
    with pytest.raises(Refused, match="answered 307"):
        GitHub(client, REPOSITORY, BOT).comment(7, MARK, "x")
    assert seen == ["api.github.example"]
    with pytest.raises(Refused, match="plain http"):
        GitHub.of({"GITHUB_API_URL": "http://github.example", "GITHUB_REPOSITORY": REPOSITORY}, BOT)
