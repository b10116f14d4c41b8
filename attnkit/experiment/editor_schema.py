"""The JSON schema of configs, for editors: kinds as discriminated unions."""

from typing import Any

from attnkit.experiment import annotation, catalogue, source

JSON_TYPES = {"int": "integer", "float": "number", "str": "string", "bool": "boolean"}
JSON_LIMITS = {
    "ge": "minimum",
    "gt": "exclusiveMinimum",
    "le": "maximum",
    "lt": "exclusiveMaximum",
    "multiple_of": "multipleOf",
}


def json_schema() -> dict[str, Any]:
    """The schema of a whole config (JSON Schema 2020-12)."""
    definitions: dict[str, Any] = {}
    for base in catalogue.FOLDERS:
        entries = catalogue.catalogue(base)
        kinds = [entry.kind for entry in entries]
        for entry in entries:
            definitions[f"{base}.{entry.kind}"] = table(entry)
        definitions[base] = {
            "description": f"A {base.lower()}: a table with a kind, or just the kind.",
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
        "about": {"type": "string", "description": "What this experiment shows."},
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
        shape = of_type(field.type)
        if field.doc:
            shape = {**shape, "description": field.doc}
        if field.default is source.REQUIRED:
            required.append(field.name)
        else:
            shape = {**shape, "default": plain(field.default)}
        properties[field.name] = shape
    return {
        "type": "object",
        "description": entry.summary,
        "properties": properties,
        "required": required,
        "additionalProperties": False,
    }


def plain(value: Any) -> Any:
    """A default as JSON."""
    if isinstance(value, catalogue.Default):
        return {"kind": value.kind, **{name: plain(item) for name, item in value.options.items()}}
    if isinstance(value, tuple):
        return [plain(item) for item in value]
    return "none" if value is None else value


def of_type(kind: annotation.Type) -> dict[str, Any]:
    """The schema of a field's type."""
    match kind:
        case annotation.Scalar(name=name, limits=limits):
            return {"type": JSON_TYPES[name], **{JSON_LIMITS[limit]: number for limit, number in limits}}
        case annotation.Choice(values=values):
            return {"enum": list(values)}
        case annotation.Part(base=base):
            return {"$ref": f"#/$defs/{base}"}
        case annotation.Items(types=types, endless=True):
            return {"type": "array", "items": of_type(types[0])}
        case annotation.Items(types=types):
            return {"type": "array", "prefixItems": [of_type(t) for t in types], "items": False}
        case annotation.Either(types=types, optional=optional):
            shapes = [of_type(option) for option in types] + ([{"const": "none"}] if optional else [])
            return {"anyOf": shapes}
    raise AssertionError(kind)
