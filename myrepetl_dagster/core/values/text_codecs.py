"""Text of MySQL's character sets as Python's `str`. Pure.

`tests/server/values/test_parity.py` compares every character of every character set with the server's own conversion.
"""

from __future__ import annotations

import codecs

from .charsets import CORRECTED, EIGHT_BIT

# Python's names of codecs. MySQL's latin1 is not among them: it is cp1252 with the five holes filled.
_CODECS = {
    "utf8mb4": "utf-8",
    "utf8mb3": "utf-8",
    "utf8": "utf-8",
    "ascii": "ascii",
    "cp1250": "cp1250",
    "cp1251": "cp1251",
    "cp1256": "cp1256",
    "cp1257": "cp1257",
    "cp850": "cp850",
    "cp852": "cp852",
    "cp866": "cp866",
    "cp932": "cp932",
    "big5": "cp950",
    "euckr": "cp949",
    "eucjpms": "euc_jp",
    "gb18030": "gb18030",
    "gb2312": "gb2312",
    "gbk": "gbk",
    "greek": "iso8859_7",
    "hebrew": "iso8859_8",
    "koi8r": "koi8_r",
    "koi8u": "koi8_u",
    "latin2": "iso8859_2",
    "latin5": "iso8859_9",
    "latin7": "iso8859_13",
    "macce": "mac_latin2",
    "macroman": "mac_roman",
    "sjis": "shift_jis",
    "tis620": "tis_620",
    "ucs2": "utf-16-be",
    "ujis": "euc_jp",
    "utf16": "utf-16-be",
    "utf16le": "utf-16-le",
    "utf32": "utf-32-be",
}

# In these, bytes below 0x80 are ASCII.
_ASCII_IS_ASCII = frozenset({"utf8mb4", "utf8mb3", "latin1", "ascii"})


def decode_text(data: bytes, charset: str | None) -> str:
    """Text of a column's character set as `str`; None stands for utf8mb4.

    Raises:
        ValueError: the bytes are not text of that character set, or Python has no codec for it.
    """
    if charset in _ASCII_IS_ASCII and data.isascii():  # most text is; and this takes a third of the time
        return data.decode()
    if charset == "latin1":
        try:
            return data.decode("cp1252")
        except UnicodeDecodeError:
            return "".join(chr(b) if b in (0x81, 0x8D, 0x8F, 0x90, 0x9D) else bytes([b]).decode("cp1252") for b in data)
    if charset in EIGHT_BIT:
        return codecs.charmap_decode(data, "strict", EIGHT_BIT[charset])[0]
    codec = _CODECS.get(charset or "utf8mb4")
    if codec is None:
        raise ValueError(f"no Python codec for the character set {charset}")
    text = data.decode(codec)
    corrected = CORRECTED.get(charset or "")
    return text.translate(corrected) if corrected else text
