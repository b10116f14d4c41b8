"""Reading the user's text files; errors name the file, line and byte, and say what to do."""

import codecs
import contextlib
import dataclasses
import gzip
import hashlib
import io
import os
import re
import stat
import zlib
from pathlib import Path
from typing import Any

from attnkit.errors import ConfigError, DataError
from attnkit.tasks.wording import hint

ALWAYS_UNPACKED = 64 * 2**20
UNPACKED_RATIO = 100
GZIP = b"\x1f\x8b"
#: Byte order marks of encodings that are read without being named.
WIDE_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
#: Characters that no text has, but for U+0085, which ends lines: bytes of Windows-1252 read as Latin-1.
C1_CONTROLS = re.compile("[\x80-\x84\x86-\x9f]")
#: Two characters that may be one in UTF-8 read as Windows-1252.
TWICE = re.compile("[\xc2-\xc5\xd0\xd1\xe2](?:[\xa1-\xbf]|[^\x00-\xff\\s])")
GUESSED_FROM = 1 << 16
#: Encodings that fit any bytes without NUL, so that nothing tells for them.
WIDE = ["utf_16", "utf_16_le", "utf_16_be", "utf_32", "utf_32_le", "utf_32_be", "utf_7"]


@dataclasses.dataclass(frozen=True)
class TextFile:
    r"""The text of one file, with `\n` line ends and no byte order mark.

    Attributes:
        path: the file, as the user named it.
        text: its text.
        facts: `file`, `bytes`, `sha256` (of the unpacked bytes), `lines`, and where there are any `encoding`
            (other than UTF-8), `byte_order_mark`, `crlf_lines` and `cr_lines` (line ends rewritten),
            `replaced_bytes`, `c1_controls` and `decoded_twice` (signs of a wrong encoding), with the first
            place of each.
    """

    path: str
    text: str
    facts: dict[str, Any]

    @property
    def lines(self) -> list[str]:
        r"""Its lines, split at `\n` only: other characters that Unicode calls line ends are text."""
        return self.text.removesuffix("\n").split("\n")


def read_text(path: str, replace_invalid: bool = False, encoding: str | None = None) -> TextFile:
    r"""The text of a file, which is UTF-8 unless a byte order mark or `encoding` says otherwise.

    Files in gzip format are unpacked. Lines end in `\n`, `\r\n`, or `\r` where the file has no `\n`.

    Args:
        path: the file.
        replace_invalid: put U+FFFD where bytes are not UTF-8, and count them, instead of raising.
        encoding: a name that Python knows, such as `cp1252`.

    Raises:
        ConfigError: for an unknown `encoding`.
        DataError: if there is no such file, it is no regular file, is empty, cannot be read or unpacked,
            holds a NUL byte, or (unless `replace_invalid`) is not of its encoding.
    """
    data = content(path)
    if not data:
        raise DataError(f"{path}: the file is empty; expected lines of UTF-8 text")
    facts = facts_of(path, data)
    used = encoding or next((name for mark, name in WIDE_MARKS if data.startswith(mark)), None)
    if used is None:
        text, replaced = utf8(data, path, replace_invalid)
    else:
        text, replaced = in_encoding(data, path, used), 0
        facts["encoding"] = used
    if text.startswith("\ufeff"):
        text = text[1:]
    if text.startswith("\ufeff") or used != encoding or data.startswith(codecs.BOM_UTF8):
        facts["byte_order_mark"] = True
        if not text:
            raise DataError(
                f"{path}: the file is empty but for a byte order mark; expected lines of UTF-8 text"
            )
    if returns := text.count("\r\n"):
        text = text.replace("\r\n", "\n")
        facts["crlf_lines"] = returns
    if "\r" in text and "\n" not in text:
        facts["cr_lines"] = text.count("\r")
        text = text.replace("\r", "\n")
    if replaced:
        facts["replaced_bytes"] = replaced
    facts["lines"] = text.count("\n") + (not text.endswith("\n"))
    return TextFile(path, text, facts | wrong_signs(text))


def facts_of(path: str, data: bytes) -> dict[str, Any]:
    """Identity of a file: its name, and size and digest of its unpacked bytes."""
    return {"file": Path(path).name, "bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}


def wrong_signs(text: str) -> dict[str, Any]:
    """Signs that a text was decoded wrongly before: how many, and line and code points of the first."""
    found: dict[str, Any] = {}
    if text.isascii():
        return found
    signs = {
        "c1_controls": list(C1_CONTROLS.finditer(text)),
        "decoded_twice": [match for match in TWICE.finditer(text) if is_utf8(match[0])],
    }
    for name, matches in signs.items():
        if matches:
            line = 1 + text.count("\n", 0, matches[0].start())
            points = " ".join(f"U+{ord(letter):04X}" for letter in matches[0][0])
            found[name] = {"count": len(matches), "line": line, "first": points}
    return found


def is_utf8(text: str) -> bool:
    """Whether the bytes of `text` in Windows-1252 are UTF-8 of something."""
    try:
        return bool(text.encode("cp1252").decode("utf-8"))
    except UnicodeError:
        return False


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


def utf8(data: bytes, path: str, replace_invalid: bool) -> tuple[str, int]:
    """The text of `data`, and how many pieces of it were not UTF-8 and replaced."""
    if (zero := data.find(b"\0")) >= 0:
        raise DataError(f"{path}:{place(data, zero)}: a NUL byte; {without_mark(data)}")
    try:
        return data.decode("utf-8"), 0
    except UnicodeDecodeError as error:
        if not replace_invalid:
            raise DataError(
                f"{path}:{place(data, error.start)}: byte 0x{data[error.start]:02x} is not UTF-8; "
                f"{guessed(data)}"
            ) from None
    text = data.decode("utf-8", errors="replace")
    return text, text.count("\ufffd") - data.count("\ufffd".encode())


def in_encoding(data: bytes, path: str, encoding: str) -> str:
    """The text of `data`, which is in `encoding`."""
    try:
        text = data.decode(encoding)
    except (LookupError, ValueError) as error:
        if not isinstance(error, UnicodeDecodeError):
            raise ConfigError(
                f"encoding = {encoding!r}: no such encoding of text; some are utf-8, cp1252, latin-1, "
                "utf-16, shift_jis and gb18030"
            ) from None
        line = 1 + data[: error.start].decode(encoding, "replace").count("\n")
        raise DataError(
            f"{path}:{line}: byte 0x{data[error.start]:02x} is not {encoding}; {guessed(data)}"
        ) from None
    if (zero := text.find("\0")) >= 0:
        raise DataError(
            f"{path}:{1 + text.count(chr(10), 0, zero)}: a NUL character in {encoding}; expected a text file"
        )
    return text


def without_mark(data: bytes) -> str:
    """Advice on text that holds NUL bytes: every other one in UTF-16."""
    piece = data[: GUESSED_FROM & ~1]
    halves = [piece[start::2].count(0) / max(len(piece) // 2, 1) for start in (0, 1)]
    if max(halves) > 0.4 and min(halves) < 0.05:
        name = "utf-16-be" if halves[0] > halves[1] else "utf-16-le"
        return f"it looks like UTF-16 without a byte order mark: set encoding = {name!r}"
    return "expected a text file, this one is binary"


def guessed(data: bytes) -> str:
    """Advice on bytes in another encoding, with its name, where the package that tells it is there."""
    try:
        from charset_normalizer import from_bytes
    except ImportError:
        return (
            "name the file's encoding, for example encoding = 'cp1252', or convert it to UTF-8; with "
            "attnkit[data] a message like this guesses it"
        )
    best = from_bytes(data[:GUESSED_FROM], cp_exclusion=WIDE).best()
    name = best.encoding if best and "cp1252" not in best.could_be_from_charset else "cp1252"
    likely = "it looks like" if best else "no encoding fits well; one to try is"
    return (
        f"{likely} {name}: set encoding = {name!r} (predict: --encoding {name}), look at attnkit data, or "
        "convert it to UTF-8"
    )


def place(data: bytes, offset: int) -> str:
    """`line:byte` of an offset, both counted from 1."""
    line = data.count(b"\n", 0, offset) + 1
    byte = offset - data.rfind(b"\n", 0, offset)
    return f"{line}:{byte}"
