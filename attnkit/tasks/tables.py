"""Tables of a user's own: cells between delimiters, JSON or Parquet, and which column means what."""

import collections
import csv
import dataclasses
import io
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from annotated_types import Ge

from attnkit.errors import ConfigError, DataError
from attnkit.option_class import options
from attnkit.tasks.contract import Task
from attnkit.tasks.plain_files import read_text
from attnkit.tasks.records import DATASET_FILES, JSON_ENDINGS, PARQUET, cell, column, ending_of, records
from attnkit.tasks.wording import hint, listed, shown

#: Usual delimiters, those that are least often part of a text first.
COMMON = "\t;|,"
LOOKED_AT = 20
SPOKEN = {"\t": "tab", ",": "comma", ";": "semicolon", "|": "bar", " ": "space"}
ENDINGS = (*JSON_ENDINGS, PARQUET)


def words(text: str) -> frozenset[str]:
    """The words of a text."""
    return frozenset(text.split())


LANGUAGES = words(
    "ar cs da de el en es et fa fi fr he hi hu it ja ko lt lv nl pl pt ro ru sv th tr uk "
    "vi zh arabic chinese czech dutch english french german greek hindi italian japanese korean "
    "polish portuguese russian spanish swedish turkish"
)


#: A column, by its name or its number from 1.
Column = str | Annotated[int, Ge(1)]


@dataclasses.dataclass(frozen=True)
class Role:
    """A column that a task reads.

    Attributes:
        name: what it is, as in the option `<name>_column`.
        column: the user's name of it, or its number from 1; `None` to find it.
        usual: names that it has in others' files, in small letters.
        classes: whether its cells are names of classes.
        asked: whether a trained network is asked such cells.
        option: what the user names it with, if that is not `<name>_column`.
    """

    name: str
    column: Column | None
    usual: frozenset[str]
    classes: bool = False
    asked: bool = False
    option: str = ""

    def __str__(self) -> str:
        return self.option or f"{self.name}_column"


@options
class TableTask(Task):
    """A task that reads tables: cells between delimiters, a JSON object a line, or Parquet.

    The ending of a file's name says which: `.jsonl`, `.ndjson`, `.json` and `.parquet`; all others have cells
    between delimiters. Columns are found by the names that the user gives, by usual names, or by their order.

    Attributes:
        path: the file to learn from.
        encoding: encoding of the files, such as `cp1252`; by default UTF-8, or what a byte order mark says.
        delimiter: the character between cells; by default the comma, semicolon, bar or tab that a file
            called `.csv` has, and a tab in others.
        quoting: whether cells may stand in double quotes as in CSV; by default in files called
            `.csv`, between other delimiters than tabs, and where all cells of a column stand in them.
        header: whether the first line names the columns; by default where the user names one, or the line
            has usual names.
    """

    path: str | None = None
    encoding: str | None = None
    delimiter: str | None = None
    quoting: bool | None = None
    header: bool | None = None

    def roles(self) -> tuple[Role, ...]:
        """Columns to read, in the order of those without names."""
        raise NotImplementedError


@dataclasses.dataclass(frozen=True)
class Table:
    """The cells of a file that a task reads.

    Attributes:
        rows: the cells of each line or record in the order of the roles, and its place; cells of a blank line
            are empty.
        facts: of the file; `columns` is the column of each role, `header` whether the file names them.
        wide: how many rows had more cells than there are roles, in a file without a header.
    """

    rows: list[tuple[tuple[str, ...], str]]
    facts: dict[str, Any]
    wide: int = 0


@dataclasses.dataclass(frozen=True)
class Grid:
    """A file of cells between delimiters.

    Attributes:
        cells: of each line, with the number of the line; none of a blank one.
        delimiter: what is between them.
        quoted: whether quotes around cells were taken off.
        facts: of the file.
    """

    cells: list[tuple[list[str], int]]
    delimiter: str
    quoted: bool
    facts: dict[str, Any]


def read(
    task: TableTask, path: str, roles: Sequence[Role], extra: Literal["join", "error", "ignore"] = "join"
) -> Table:
    """The cells of a file for the `roles` of its columns.

    Args:
        task: how to read files.
        path: the file.
        roles: what to read, in the order of columns without names.
        extra: what to do, in a file without header and quotes, with cells after the last role's: they belong
            to it, are an error, or are left out.

    Raises:
        ConfigError: for an option that cannot be, or a package that is missing.
        DataError: with file and line for what is no table, and if it is not clear which column is which.
    """
    if any((Path(path) / name).is_file() for name in DATASET_FILES):
        raise DataError(f"{path}: a folder of Hugging Face datasets; read it with task.kind = 'hub_dataset'")
    if ending_of(path) in ENDINGS:
        return of_records(task, path, roles)
    grid = grid_of(task, path)
    return of_grid(task, path, grid, roles, extra)


def of_records(task: TableTask, path: str, roles: Sequence[Role]) -> Table:
    """The table of a file of records."""
    facts: list[dict[str, Any]] = []
    found = list(records(path, task.encoding, facts))
    first: dict[str, Any] = next((record for record, _ in found if record is not None), {})
    if not first:
        return Table([(("",) * len(roles), place) for _, place in found], facts[0])
    outer = [dataclasses.replace(role, column=outer_key(role.column, first)) for role in roles]
    at = positions(path, list(first), outer)
    keys = [
        role.column if isinstance(role.column, str) else list(first)[place]
        for role, place in zip(roles, at, strict=True)
    ]
    rows = [
        (
            tuple(
                ""
                if record is None
                else cell(column(record, str(key), place), str(key), place, () if role.classes else None)
                for role, key in zip(roles, keys, strict=True)
            ),
            place,
        )
        for record, place in found
    ]
    return Table(rows, {**facts[0], "columns": named(roles, keys)})


def outer_key(wanted: Column | None, record: Mapping[str, Any]) -> Column | None:
    """The key of a record that has the value of the column `a.b`: `a`, if `a.b` is no key itself."""
    return wanted.split(".")[0] if isinstance(wanted, str) and wanted not in record else wanted


def named(roles: Sequence[Role], keys: Sequence[Any]) -> dict[str, Any]:
    """Name of each role -> its column."""
    return {role.name: key for role, key in zip(roles, keys, strict=True)}


def grid_of(task: TableTask, path: str) -> Grid:
    """The cells of a file with delimiters."""
    if task.delimiter is not None and (len(task.delimiter) != 1 or task.delimiter in '"\r\n'):
        raise ConfigError(
            f"delimiter = {task.delimiter!r}: expected one character that is no quote or line end"
        )
    file = read_text(path, encoding=task.encoding)
    delimiter = task.delimiter or (usual_delimiter(file.text) if ending_of(path) == ".csv" else "\t")
    plain = [
        (line.split(delimiter) if line.strip() else [], number)
        for number, line in enumerate(file.lines, start=1)
    ]
    usual = ending_of(path) == ".csv" or delimiter != "\t" or has_quoted_column(plain)
    quoted = usual if task.quoting is None else task.quoting
    cells = list(unquoted(path, file.text, delimiter)) if quoted else plain
    return Grid(cells, delimiter, quoted, file.facts)


def usual_delimiter(text: str) -> str:
    """The delimiter of a CSV file: one that its first lines have equally often, or that the first has most.

    >>> usual_delimiter("name;what it says\\nann;well, so, so"), usual_delimiter('"a;b",c\\nd,e\\n')
    (';', ',')
    """
    lines = [re.sub(r'"[^"]*"', "", line) for line in text.split("\n", LOOKED_AT)[:LOOKED_AT] if line.strip()]
    counts = {one: [line.count(one) for line in lines] for one in COMMON}
    even = {one: min(found, default=0) > 0 and len(set(found)) == 1 for one, found in counts.items()}
    return max(COMMON, key=lambda one: (even[one], counts[one][:1]))


def has_quoted_column(rows: Sequence[tuple[list[str], int]]) -> bool:
    """Whether all cells of a column, but for one that names it, stand in double quotes."""
    below = [cells for cells, _ in rows if cells][1:]
    width = min(map(len, below), default=0)
    return any(
        all(len(cells[at]) > 1 and cells[at][0] == cells[at][-1] == '"' for cells in below)
        for at in range(width)
    )


def unquoted(path: str, text: str, delimiter: str) -> Iterator[tuple[list[str], int]]:
    """The cells of each row of CSV and the line where it begins. A cell in quotes may hold line ends."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    begin = 1
    try:
        for cells in reader:
            yield (cells if any(one.strip() for one in cells) else []), begin
            begin = reader.line_num + 1
    except csv.Error as error:
        raise DataError(
            f"{path}:{begin}: quotes of the row that begins here do not close ({error}); quotes inside "
            "a cell are written twice; quoting = false takes quotes for text"
        ) from None


def of_grid(task: TableTask, path: str, grid: Grid, roles: Sequence[Role], extra: str) -> Table:
    """The table of a file with delimiters."""
    filled = [(cells, number) for cells, number in grid.cells if cells]
    first = [one.strip() for one in filled[0][0]] if filled else []
    named_first = has_header(first, filled[1:], roles) if task.header is None else task.header
    header = named_first and bool(filled)
    facts = {**grid.facts, "delimiter": SPOKEN.get(grid.delimiter, grid.delimiter)}
    facts |= {"quotes_removed": True} if grid.quoted and grid.delimiter == "\t" else {}
    joined = not header and not grid.quoted
    width = len(roles) if joined else len(first)
    if not filled:
        at = list(range(len(roles)))
    elif header or any(role.column for role in roles):
        at, width, joined = positions(path, first if header else len(first), roles), len(first), False
    elif width < len(roles) or (width > len(roles) and extra != "ignore" and not joined):
        first_place = f"{path}:{filled[0][1]}"
        raise DataError(f"{first_place}: {problem(filled[0][0], True, grid, len(roles), roles, extra)}")
    else:
        at = list(range(len(roles)))
    if header:
        facts |= {"header": first}
    elif task.header is None and filled and is_like_header(first, filled[1:], roles):
        facts |= {"header_suspected": first}
    facts["columns"] = named(roles, [first[place] if header else place + 1 for place in at])
    rows, wide = [], 0
    begin = filled[0][1] if header else None
    for cells, number in grid.cells:
        place = f"{path}:{number}"
        if number == begin:
            continue
        if not cells:
            rows.append((("",) * len(roles), place))
            continue
        fits = extra == "ignore" or (joined and extra == "join") or len(cells) == width
        if len(cells) < width or not fits:
            raise DataError(f"{place}: {problem(cells, False, grid, width, roles, extra)}")
        wide += len(cells) > width
        if joined and extra == "join":
            cells = [*cells[: width - 1], grid.delimiter.join(cells[width - 1 :])]
        rows.append((tuple(cells[place] for place in at), place))
    return Table(rows, facts, wide)


def problem(
    cells: list[str], is_first: bool, grid: Grid, width: int, roles: Sequence[Role], extra: str
) -> str:
    """Why a row does not have `width` cells."""
    spoken = SPOKEN.get(grid.delimiter, repr(grid.delimiter))
    if len(cells) == 1:
        other = next((one for one in COMMON if one != grid.delimiter and one in cells[0]), None)
        advice = f"; for cells between others set delimiter = {other!r}" if other else ""
        between = f" {spoken.upper()} " if grid.delimiter == "\t" else grid.delimiter
        expected = between.join(role.name for role in roles)
        return f"no {spoken}; expected {expected!r}, found {shown(cells[0])}{advice}"
    found = f"{len(cells)} columns; expected {width}"
    if extra in ("error", "ignore") and len(cells) > width and not grid.quoted:
        return f"{found}; extra_columns = 'ignore' uses the first two"
    choices = ", ".join(map(str, roles))
    if is_first:
        return f"{found}; choose them by name or number with {choices}, or quote a cell with a {spoken} in it"
    return f"{found}, as in the first line; put a cell with a {spoken} in it in double quotes"


def has_header(first: Sequence[str], rows: Sequence[tuple[list[str], int]], roles: Sequence[Role]) -> bool:
    """Whether the first line names the columns: the user names one, or it has usual names.

    A usual name of a class is none if it is the class of another line; of roles without classes all must have
    usual names.
    """
    if any(isinstance(role.column, str) for role in roles):
        return True
    names = [name.lower() for name in first]
    matched = match(names, roles)
    if not any(role.classes for role in roles):
        return len(matched) == len(roles)
    if not matched:
        return False
    where = next((matched[role.name] for role in roles if role.classes and role.name in matched), None)
    if where is None:  # only the text has a usual name: the class, in the other column, must occur once
        where = next((place for place in range(len(first)) if place not in matched.values()), None)
    if where is None:
        return False
    below = collections.Counter(cells[where].strip() for cells, _ in rows if len(cells) > where)
    return first[where] not in below and len(below) <= max(len(rows) // 2, 2)


def is_like_header(
    first: Sequence[str], rows: Sequence[tuple[list[str], int]], roles: Sequence[Role]
) -> bool:
    """Whether the first line, taken for data, may be a header: a usual name in it, or a class of its own."""
    below = collections.Counter(cells[0].strip() for cells, _ in rows)
    alone = roles[0].classes and first[0] not in below and min(below.values(), default=1) > 1
    return alone or bool(match([name.lower() for name in first], roles))


def match(names: Sequence[str], roles: Sequence[Role]) -> dict[str, int]:
    """Name of each role -> the first column, that no role before it has, with one of its usual names."""
    found: dict[str, int] = {}
    for role in roles:
        free = (place for place, name in enumerate(names) if place not in found.values())
        place = next((place for place in free if names[place] in role.usual), None)
        if place is not None:
            found[role.name] = place
    return found


def positions(path: str, header: Sequence[str] | int, roles: Sequence[Role]) -> list[int]:
    """The column of each role, counted from 0, where `header` names the columns or says how many there are.

    Raises:
        DataError: for a column that is not there, and if it is not clear which column is which.
    """
    names = [] if isinstance(header, int) else [str(name) for name in header]
    count = header if isinstance(header, int) else len(names)
    found: dict[str, int] = {}
    for role in roles:
        if role.column is None:
            continue
        if isinstance(role.column, int) and role.column <= count:
            found[role.name] = role.column - 1
        elif isinstance(role.column, str) and names.count(role.column) == 1:
            found[role.name] = names.index(role.column)
        else:
            has = f"it has {listed(names)}" if names else f"it has {count} and no header"
            why = "there are several" if role.column in names else "no such column"
            near = hint(str(role.column), set(names) - {role.column})
            raise DataError(f"{path}: {role} = {role.column!r}: {why}{near}; {has}")
    rest = [role for role in roles if role.name not in found]
    lowered = ["" if place in found.values() else name.lower() for place, name in enumerate(names)]
    found |= match(lowered, rest)
    rest = [role for role in rest if role.name not in found]
    free = [place for place in range(count) if place not in found.values()]
    if len(free) < len(rest) or (len(free) > len(rest) > 0 and names):
        wanted = " and ".join(map(str, rest))
        told = listed(names) if names else f"{count} of them, without names"
        raise DataError(f"{path}: columns are {told}; which to read? Set {wanted} to a name or number")
    found |= {role.name: place for role, place in zip(rest, free, strict=False)}
    return [found[role.name] for role in roles]
