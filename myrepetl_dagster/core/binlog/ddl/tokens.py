"""A statement's tokens, as the server that wrote it into its log has read them. Pure.

What a byte means depends on the session: on its sql_mode, on its character set, and on the server's flavour. The log
tells all three. Tokens no longer depend on them: a quoted name is in backquotes, a string in single quotes without
backslashes that escape something, and every other token stands as it is.

Facts that rest on servers (`tests/server/schema/test_statements_read.py`): of sql_mode, ANSI_QUOTES,
NO_BACKSLASH_ESCAPES and MariaDB's MSSQL (names in brackets) decide where a token ends. In five character sets the
second byte of a character may be one of ASCII, such as a quote or a backslash. A server that does not run the content
of an executable comment makes an ordinary comment of it in the log. So what the log shows as executable was run.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence
from dataclasses import dataclass

from ...values.text_codecs import decode_text

# Bits of sql_mode, on both flavours.
ANSI_QUOTES = 0x4
ORACLE, MSSQL, MAXDB = 0x200, 0x400, 0x1000  # MariaDB's
NO_BACKSLASH_ESCAPES = 0x100000
EMPTY_STRING_IS_NULL = 0x100000000  # MariaDB's; MySQL has another mode there, which changes nothing here

# Characters of two or four bytes of which not all are above ASCII.
_MULTIBYTE = {
    "big5": r"[\xa1-\xf9][\x40-\x7e\xa1-\xfe]",
    "cp932": r"[\x81-\x9f\xe0-\xfc][\x40-\x7e\x80-\xfc]",
    "sjis": r"[\x81-\x9f\xe0-\xfc][\x40-\x7e\x80-\xfc]",
    "gbk": r"[\x81-\xfe][\x40-\x7e\x80-\xfe]",
    "gb18030": r"[\x81-\xfe](?:[\x40-\x7e\x80-\xfe]|[0-9][\x81-\xfe][0-9])",
}
_NO_CHARACTER = r"(?!)"
# Bytes above ASCII that are white space; all others are letters there.
_SPACES = {
    **dict.fromkeys(("cp852", "cp866", "keybcs2"), "\xff"),
    **dict.fromkeys(
        ("armscii8", "cp1250", "dec8", "geostd8", "greek", "hebrew", "latin1", "latin2", "latin5", "latin7"), "\xa0"
    ),
}
_LETTERS_ABOVE = {"": r"\x80-\xff", "\xff": r"\x80-\xfe", "\xa0": r"\x80-\x9f\xa1-\xff"}
_LETTERS_OF_SWE7 = r"\[\]\\^{}~"  # letters stand where ASCII has these
_ESCAPED = {"0": "\0", "b": "\b", "n": "\n", "r": "\r", "t": "\t", "Z": "\x1a", "%": "\\%", "_": "\\_"}
_BEGINNINGS = frozenset("'\"`")
UNREADABLE = "\ufffd"  # a name or string that is no text of the character set


@dataclass(frozen=True, slots=True)
class Sql:
    """A statement of the log, and what decides how it reads.

    `charset`: of the client that sent it. `sql_mode`: that of its session, as bits.
    """

    text: bytes
    charset: str = "utf8mb4"
    sql_mode: int = 0
    mariadb: bool = False

    def has_mode(self, bits: int) -> bool:
        """Whether any of these modes is set."""
        return bool(self.sql_mode & bits)


def tokens_of(sql: Sql) -> list[str]:
    """The tokens of a statement, without white space and comments. What executable comments hold is among them."""
    found: list[str] = []
    pattern = _pattern(sql.charset, sql.mariadb, sql.sql_mode & (ANSI_QUOTES | MSSQL | NO_BACKSLASH_ESCAPES))
    text = sql.text.decode("latin-1")  # each byte is taken for a character: so does the server, but for _MULTIBYTE
    at = 0
    runs = False  # what is read stands in an executable comment
    while match := pattern.match(text, at):
        token, at = match[0], match.end()
        match match.lastgroup:
            case "string":
                value = _decoded(_value(token, sql), sql.charset)
                if found and len(found[-1]) > 1 and found[-1][0] == "'":
                    value = found.pop()[1:-1].replace("''", "'") + value  # strings side by side are one
                found.append("'" + value.replace("'", "''") + "'")
            case "name":
                name = _decoded(token[1:-1].replace(token[-1] * 2, token[-1]), sql.charset)
                found.append("`" + name.replace("`", "``") + "`")
            case "word":  # swe7's own letters, too, are kept as they are sent
                found.append(token if token.isascii() else _decoded(token, sql.charset))
            case "mark":
                found.append(token)
            case "executable":
                runs = True
            case "end" if runs:
                runs = False
            case "end":  # a product, and whatever the slash begins
                found.append("*")
                at -= 1
    return found


def is_broken(tokens: Sequence[str]) -> bool:
    """Whether a string or a quoted name has no end, which no server would have taken."""
    return any(token in _BEGINNINGS for token in tokens)


def unquoted(token: str) -> str:
    """A name without its quotes."""
    return token[1:-1].replace("``", "`") if len(token) > 1 and token[0] == "`" else token


def is_name(token: str) -> bool:
    """Whether a token can be a name."""
    return len(token) > 2 if token[0] == "`" else token[0] in "_$" or token[0].isalnum() or token[0] > "\x7f"


@functools.cache
def _pattern(charset: str, mariadb: bool, sql_mode: int) -> re.Pattern[str]:
    """Matches one token, or what stands between two."""
    whole = _MULTIBYTE.get(charset, _NO_CHARACTER)
    spaces = _SPACES.get(charset, "")
    space = rf"[\t-\r {spaces}]"
    letters = "0-9A-Za-z_$" + _LETTERS_ABOVE[spaces] + (_LETTERS_OF_SWE7 if charset == "swe7" else "")
    executable = "M?!" if mariadb else "!"

    def enclosed(first: str, last: str, escape: str = _NO_CHARACTER) -> str:
        return rf"{first}(?:{whole}|{escape}|{last}{last}|[^{last}])*+{last}"

    escape = _NO_CHARACTER if sql_mode & NO_BACKSLASH_ESCAPES else r"\\."
    strings, names = [enclosed("'", "'", escape)], [enclosed("`", "`")]
    if sql_mode & ANSI_QUOTES:
        names.append(enclosed('"', '"'))
    else:
        strings.append(enclosed('"', '"', escape))
    if mariadb and sql_mode & MSSQL and charset != "swe7":
        names.append(enclosed(r"\[", r"\]"))
    return re.compile(
        rf"{space}+|/\*(?!{executable}).*?\*/|--(?=[\0-\x20\x7f]|{space}|\Z)[^\n]*|\#[^\n]*"
        rf"|(?P<executable>/\*{executable}(?:\d{{5,6}})?)|(?P<end>\*/)"
        rf"|(?P<string>{'|'.join(strings)})|(?P<name>{'|'.join(names)})|(?P<word>(?:{whole}|[{letters}])+)|(?P<mark>.)",
        re.DOTALL,
    )


def _value(text: str, sql: Sql) -> str:
    """What a string's bytes stand for."""
    inner, quote = text[1:-1], text[0]
    if quote not in inner and "\\" not in inner:
        return inner
    escape = "" if sql.has_mode(NO_BACKSLASH_ESCAPES) else r"|\\(?P<escaped>.)"
    parts = re.compile(rf"(?P<whole>{_MULTIBYTE.get(sql.charset, _NO_CHARACTER)})|{quote}{quote}{escape}", re.DOTALL)

    def meant(match: re.Match[str]) -> str:
        if match.lastgroup == "whole":
            return match[0]
        return _ESCAPED.get(match["escaped"], match["escaped"]) if match.lastgroup == "escaped" else quote

    return parts.sub(meant, inner)


def _decoded(text: str, charset: str) -> str:
    if text.isascii() and charset != "swe7":
        return text
    try:
        return decode_text(text.encode("latin-1"), "utf8mb4" if charset == "binary" else charset)
    except (ValueError, LookupError):
        return UNREADABLE
