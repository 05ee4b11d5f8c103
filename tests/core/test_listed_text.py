"""The text of a list of ids is that of JSON, whatever stands in it."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from reconciler.core.model.safe_text import list_text

TEXTS = st.one_of(st.text(max_size=4), st.from_regex(r"[A-Za-z0-9]{1,4}", fullmatch=True))


@given(st.lists(TEXTS), st.sampled_from([",", ", "]))
def test_a_list_of_texts_reads_as_json_has_it(texts: list[str], comma: str) -> None:
    assert list_text(texts, comma) == json.dumps(texts, separators=(comma, ":"))
