"""A judge of documents by JSON Schema that is not ours.

It is loaded when it judges: beside the libraries of its formats that takes two seconds, in each process with tests.
"""

from __future__ import annotations

from typing import Any


def find_errors(schema: Any, document: object) -> list[str]:
    """What is wrong with a document, each with its place."""
    from jsonschema import Draft202012Validator, FormatChecker

    validator = Draft202012Validator(schema, format_checker=FormatChecker())
    return [f"{error.json_path}: {error.message[:200]}" for error in validator.iter_errors(document)]


def check_schema(schema: Any) -> None:
    """Raises SchemaError where it is no schema."""
    from jsonschema import Draft202012Validator

    Draft202012Validator.check_schema(schema)
