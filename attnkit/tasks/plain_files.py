"""Reading the user's text files; errors name the file, line and byte, and say what to do."""

import contextlib
import dataclasses
import gzip
import hashlib
import io
import os
import stat
import zlib
from pathlib import Path
from typing import Any

from attnkit.errors import DataError
from attnkit.tasks.wording import hint

ALWAYS_UNPACKED = 64 * 2**20
UNPACKED_RATIO = 100
GZIP = b"\x1f\x8b"
WIDE_MARKS = {b"\xff\xfe": "UTF-16", b"\xfe\xff": "UTF-16"}


@dataclasses.dataclass(frozen=True)
class TextFile:
    r"""The text of one file, with `\n` line ends and no byte order mark.

    Attributes:
        path: the file, as the user named it.
        text: its text.
        facts: `file`, `bytes`, `sha256` (of the unpacked bytes), `lines`, and where they are not zero
            `crlf_lines` (line ends rewritten), `byte_order_mark` and `replaced_bytes`.
    """

    path: str
    text: str
    facts: dict[str, Any]

    @property
    def lines(self) -> list[str]:
        r"""Its lines, split at `\n` only: other characters that Unicode calls line ends are text."""
        return self.text.removesuffix("\n").split("\n")


def read_text(path: str, replace_invalid: bool = False) -> TextFile:
    """The UTF-8 text of a file; files in gzip format are unpacked.

    Args:
        path: the file.
        replace_invalid: put U+FFFD where bytes are not UTF-8, and count them, instead of raising.

    Raises:
        DataError: if there is no such file, it is no regular file, is empty, cannot be read or unpacked,
            holds a NUL byte, or (unless `replace_invalid`) is not UTF-8.
    """
    data = content(path)
    if not data:
        raise DataError(f"{path}: the file is empty; expected lines of UTF-8 text")
    if data[:2] in WIDE_MARKS:
        raise DataError(
            f"{path}:1:1: the file is {WIDE_MARKS[data[:2]]}; convert it: iconv -f UTF-16 -t UTF-8"
        )
    facts: dict[str, Any] = {
        "file": Path(path).name,
        "bytes": len(data),
        "sha256": hashlib.sha256(data).hexdigest(),
    }
    if (zero := data.find(b"\0")) >= 0:
        raise DataError(f"{path}:{place(data, zero)}: a NUL byte; expected a text file, this one is binary")
    text, replaced = decoded(data, path, replace_invalid)
    if text.startswith("\ufeff"):
        text = text[1:]
        facts["byte_order_mark"] = True
        if not text:
            raise DataError(
                f"{path}: the file is empty but for a byte order mark; expected lines of UTF-8 text"
            )
    if returns := text.count("\r\n"):
        text = text.replace("\r\n", "\n")
        facts["crlf_lines"] = returns
    if replaced:
        facts["replaced_bytes"] = replaced
    facts["lines"] = text.count("\n") + (not text.endswith("\n"))
    return TextFile(path, text, facts)


def content(path: str) -> bytes:
    """The unpacked bytes of a regular file."""
    if "\0" in path or not path:
        raise DataError(f"path = {path!r}: expected the name of a file")
    try:
        kind = os.stat(path).st_mode
        if stat.S_ISDIR(kind):
            raise DataError(f"{path}: a folder; expected a text file")
        if not stat.S_ISREG(kind):
            raise DataError(f"{path}: not a regular file; expected a text file")
        data = Path(path).read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        raise DataError(f"{path}: no such file{neighbors(path)}") from None
    except OSError as error:
        reason = (error.strerror or "").lower()
        raise DataError(f"{path}: cannot be read: {reason}; check the name and its permissions") from None
    return unpacked(data, path) if data.startswith(GZIP) else data


def neighbors(path: str) -> str:
    """A hint at files beside the missing `path` whose names are like it."""
    with contextlib.suppress(OSError):
        return hint(Path(path).name, sorted(os.listdir(Path(path).parent)))
    return "; its folder does not exist"


def unpacked(data: bytes, path: str) -> bytes:
    """The content of a gzip file, which must not unpack to far more than text can."""
    limit = max(ALWAYS_UNPACKED, UNPACKED_RATIO * len(data))
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(data)) as stream:
            text = stream.read(limit + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path}: damaged gzip file ({error}); unpack it by hand to check it") from None
    if len(text) > limit:
        raise DataError(
            f"{path}: unpacks to over {UNPACKED_RATIO} times its size, as no text does; unpack it by hand"
        )
    return text


def decoded(data: bytes, path: str, replace_invalid: bool) -> tuple[str, int]:
    """The text of `data`, and how many pieces of it were not UTF-8 and replaced."""
    try:
        return data.decode("utf-8"), 0
    except UnicodeDecodeError as error:
        if not replace_invalid:
            raise DataError(
                f"{path}:{place(data, error.start)}: byte 0x{data[error.start]:02x} is not UTF-8; "
                "convert the file, for example: iconv -f LATIN1 -t UTF-8"
            ) from None
    text = data.decode("utf-8", errors="replace")
    return text, text.count("\ufffd") - data.count("\ufffd".encode())


def place(data: bytes, offset: int) -> str:
    """`line:byte` of an offset, both counted from 1."""
    line = data.count(b"\n", 0, offset) + 1
    byte = offset - data.rfind(b"\n", 0, offset)
    return f"{line}:{byte}"
