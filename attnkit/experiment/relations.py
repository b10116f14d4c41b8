"""Relations between options that no single field can check, so that they fail before anything is compiled."""

from collections.abc import Iterator, Mapping
from typing import Any

from attnkit.experiment.toml import Key

#: options of which the first must divide the second, wherever both are known
DIVISORS = (("heads", "model_dim"), ("kv_heads", "heads"))


def broken(
    table: Any, key: Key = (), around: Mapping[str, Any] | None = None
) -> Iterator[tuple[Key, Any, str]]:
    """Every broken relation, as (key, its value, what is wrong).

    Args:
        table: the resolved config as plain tables. A part is related to the whole of its own table, or of
            the nearest table around it that has one: a pool's heads divide the width of the model.
        key: where the table is.
        around: options of the tables around it.
    """
    if isinstance(table, list | tuple):
        for place, item in enumerate(table):
            yield from broken(item, (*key, place), around)
    if not isinstance(table, Mapping):
        return
    seen = {**(around or {}), **table}
    for name, whole_name in DIVISORS:
        part, whole = table.get(name), seen.get(whole_name)
        if isinstance(part, int) and isinstance(whole, int) and part > 0 and whole % part != 0:
            yield (*key, name), part, f"must divide {whole_name} = {whole}"
    for name, value in table.items():
        yield from broken(value, (*key, str(name)), seen if key else None)
