"""The JSON schema of configs, for editors: kinds as discriminated unions."""

from typing import Any

from attnkit.experiment import catalogue
from attnkit.experiment.field_types import FOLDERS, schema


def json_schema() -> dict[str, Any]:
    """The schema of a whole config (JSON Schema 2020-12)."""
    definitions: dict[str, Any] = {}
    for base in FOLDERS:
        entries = catalogue.catalogue(base)
        kinds = [entry.kind for entry in entries]
        for entry in entries:
            definitions[f"{base}.{entry.kind}"] = table(entry)
        definitions[base] = {
            "description": f"A {catalogue.spoken(base)}: a table with a kind, or just the kind.",
            "anyOf": [
                {"enum": kinds},
                {"type": "string", "pattern": ":[A-Za-z_][A-Za-z0-9_]*$"},
                {
                    "type": "object",
                    "oneOf": [{"$ref": f"#/$defs/{base}.{kind}"} for kind in kinds] + [own_kind()],
                    "discriminator": {
                        "propertyName": "kind",
                        "mapping": {kind: f"#/$defs/{base}.{kind}" for kind in kinds},
                    },
                },
            ],
        }
    sections: dict[str, Any] = {
        "about": {"type": "string", "description": "The purpose of this experiment."},
        "task": {"$ref": "#/$defs/Task"},
        "model": {"$ref": "#/$defs/Model"},
        **{section: table(catalogue.fixed(section)) for section in catalogue.FIXED},
    }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "attnkit config",
        "type": "object",
        "properties": sections,
        "required": ["task", "model"],
        "additionalProperties": False,
        "$defs": definitions,
    }


def own_kind() -> dict[str, Any]:
    """A table whose kind is the user's own class, whose options only `validate` knows."""
    kind = {"type": "string", "pattern": ":[A-Za-z_][A-Za-z0-9_]*$"}
    return {"type": "object", "properties": {"kind": kind}, "required": ["kind"]}


def table(entry: catalogue.Entry) -> dict[str, Any]:
    """The schema of one options table."""
    properties: dict[str, Any] = {"kind": {"const": entry.kind}} if entry.kind else {}
    required = ["kind"] if entry.kind else []
    for field in entry.fields:
        shape = schema(field.type)
        if field.doc:
            shape = {**shape, "description": field.doc}
        if field.default is catalogue.REQUIRED:
            required.append(field.name)
        else:
            shape = {**shape, "default": catalogue.plain(field.default)}
        properties[field.name] = shape
    return {
        "type": "object",
        "description": entry.summary,
        "properties": properties,
        "required": required,
        "additionalProperties": False,
    }
