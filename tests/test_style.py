"""How the product is written gets no worse: the figures of `tests/style.py`, each within its limit."""

from __future__ import annotations

import pytest

from tests.style import FIGURES, Figure, Module, modules


@pytest.fixture(scope="module")
def product() -> list[Module]:
    return modules()


@pytest.mark.slow
@pytest.mark.parametrize("figure", FIGURES, ids=[figure.name for figure in FIGURES])
def test_the_style_gets_no_worse(figure: Figure, product: list[Module]) -> None:
    value = figure.count(product)
    assert figure.allows(value), f"{figure.name}: {value:.1f}, limit {figure.limit:g}, goal {figure.goal:g}"
