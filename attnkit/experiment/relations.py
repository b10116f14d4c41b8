"""Relations between options that no single field can check, so that they fail before anything is compiled."""

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

Key = tuple[str | int, ...]


@dataclasses.dataclass(frozen=True)
class Divides:
    """`part` must divide `whole`, wherever both are known."""

    part: str
    whole: str

    def broken(self, part: Any, whole: Any) -> bool:
        """Whether these values break it."""
        return isinstance(part, int) and isinstance(whole, int) and part > 0 and whole % part != 0


RELATIONS = (Divides("heads", "model_dim"), Divides("kv_heads", "heads"))


def broken(options: Mapping[str, Any]) -> Iterator[tuple[Key, Any, str]]:
    """Every broken relation, as (key, its value, what is wrong).

    Args:
        options: the resolved config as plain tables. A part is related to the whole of its own table, or of
            the nearest table around it that has one: a pool's heads divide the width of the model.
    """
    for section, table in options.items():
        yield from in_table(table, (section,), {})


def in_table(table: Any, key: Key, around: Mapping[str, Any]) -> Iterator[tuple[Key, Any, str]]:
    """Broken relations of one table and of those inside it."""
    if isinstance(table, list | tuple):
        for place, item in enumerate(table):
            yield from in_table(item, (*key, place), around)
    if not isinstance(table, Mapping):
        return
    seen = {**around, **table}
    for relation in RELATIONS:
        part, whole = seen.get(relation.part), seen.get(relation.whole)
        if relation.part in table and relation.broken(part, whole):
            yield (*key, relation.part), part, f"must divide {relation.whole} = {whole}"
    for name, value in table.items():
        yield from in_table(value, (*key, str(name)), seen)
