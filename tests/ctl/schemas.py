"""The schemas of what --json prints, docs/schema, read more strictly than they are written.

They let a document have more than they name, so that a later version may; our own may not.
"""

from __future__ import annotations

import json
from functools import cache
from typing import Any

from jsonschema import Draft202012Validator
from referencing import Registry, Resource

from tests.recordings import ROOT

FOLDER = ROOT / "docs" / "schema"


def validate(document: dict[str, Any]) -> None:
    """Hold *document* against the schema that it names; raises jsonschema's ValidationError."""
    name, _slash, _version = document["schema"].partition("/")
    _validator(name).validate(document)


@cache
def _validator(name: str) -> Draft202012Validator:
    schemas = {path.name: _read(path.name) for path in FOLDER.glob("*.json")}
    resources = [(key, Resource.from_contents(schema)) for key, schema in schemas.items()]
    registry: Registry[Any] = Registry().with_resources(resources)
    return Draft202012Validator(schemas[f"{name}.json"], registry=registry)


def _read(name: str) -> dict[str, Any]:
    schema: dict[str, Any] = _strict(json.loads((FOLDER / name).read_text(encoding="utf-8")))
    Draft202012Validator.check_schema(schema)
    return schema


def _strict(schema: Any) -> Any:  # noqa: ANN401 (any JSON)
    """Forbid what is not named wherever properties are."""
    if isinstance(schema, list):
        return [_strict(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    strict = {key: _strict(value) for key, value in schema.items()}
    is_object = isinstance(schema.get("properties"), dict) and "required" in schema
    return {"additionalProperties": False, **strict} if is_object else strict
