"""How the product is written gets no worse: the figures of `tests/style.py`, each within its limit."""

from __future__ import annotations

import pytest

from tests.style import Figure, figures, modules

FIGURES = figures(modules())


@pytest.mark.parametrize("figure", FIGURES, ids=[figure.name for figure in FIGURES])
def test_the_style_gets_no_worse(figure: Figure) -> None:
    assert figure.is_kept, f"{figure.name}: {figure.value:.1f}, limit {figure.limit:g}, goal {figure.goal:g}"
