"""A line of a program's errors tells no secret that the program was given, nor who a person is."""

from __future__ import annotations

import pytest

from reconciler.operations.ask_queries import LONGEST_LINE, MaskedWords

KEY_FILE = "-----BEGIN KEY-----\nAbCdEf0123\n-----END KEY-----\n"


@pytest.mark.parametrize(
    ("name", "value", "line", "told"),
    [
        ("PGPASSWORD", "hunter22", "tried hunter22, and hunter22", "tried (PGPASSWORD), and (PGPASSWORD)"),
        ("warehouse_token", " abcdef ", "x=abcdef;", "x=(warehouse_token);"),
        ("AWS_SECRET_ACCESS", "s3cr3t", "s3cr3t", "(AWS_SECRET_ACCESS)"),
        ("SNOWSQL_PASSWD", "a.b*c+(", "a.b*c+( aXbbc", "(SNOWSQL_PASSWD) aXbbc"),
        ("GOOGLE_CREDENTIALS", KEY_FILE, "cannot parse AbCdEf0123", "cannot parse (GOOGLE_CREDENTIALS)"),
        ("DATABASE_URL", "postgres://me:p%40ssword@db/x", "no p@ssword", "no (DATABASE_URL)"),
        ("DATABASE_URL", "postgres://me:pa/ss@db/x", "at postgres://me:pa/ss@db/x!", "at (DATABASE_URL)!"),
        # too short to be told from any other word, and no secret by its name
        ("API_KEY", "a-key", "a-key", "a-key"),
        ("PGUSER", "analyst", "role analyst does not exist", "role analyst does not exist"),
        ("PGUSER", "analyst", "row ann@example.com +44 20 7946 0001", "row (not shown) (not shown)"),
    ],
)
def test_a_value_of_a_secret_and_a_person_are_masked(name: str, value: str, line: str, told: str) -> None:
    assert MaskedWords.of((), {name: value}).mask(line) == told


def test_the_longest_goes_first_and_no_name_is_looked_through_again() -> None:
    words = MaskedWords.of(["pit-of-ours-1"], {"A_KEY": "secret-one", "B_KEY": "secret-one-more", "C_KEY": "(B_KEY)"})
    assert words.mask("secret-one-more secret-one pit-of-ours-1") == "(B_KEY) (A_KEY) ***"


def test_a_secret_at_the_end_of_a_long_line_is_masked_before_the_line_is_cut_off() -> None:
    words = MaskedWords.of((), {"A_KEY": "secret-one"})
    told = words.mask("x" * (LONGEST_LINE - 4) + "secret-one")
    assert told == "x" * (LONGEST_LINE - 4) + "(A_K"
