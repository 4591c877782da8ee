"""What counts as the code of a transform: the function, and what it uses of its file."""

from __future__ import annotations

import pytest

from myrepetl_dagster.core.transforms.function_code import function_code

SOURCE = '''"""A file."""
import re
from decimal import Decimal

PATTERN = re.compile("a")
NAMES = {}
NAMES["x"] = 1
OTHER = 5

def helper(value):
    """What it does."""
    return PATTERN.sub("b", value)

class Table:
    def get(self, key):
        return NAMES.get(key)

def up(value):
    # a comment
    return helper(value).upper() if Table().get(value) is None else None

def unrelated(value):
    return OTHER
'''


def code(*changes: tuple[str, str]) -> str:
    source = SOURCE
    for before, after in changes:
        assert before in source
        source = source.replace(before, after)
    return function_code(source.encode(), "up")


@pytest.mark.parametrize(
    "change",
    [
        ("# a comment", "# another one\n"),
        ('"""What it does."""', "'''Something\n    else.'''"),
        ('"""A file."""', ""),
        ("return helper(value).upper()", "return (\n        helper( value ).upper()\n    )"),
        ("return OTHER", "return OTHER + 1"),
        ("OTHER = 5", "OTHER = 6"),
        ("def unrelated", "def renamed"),
        ('"a"', "'a'"),
        ("OTHER = 5", "OTHER = re.compile('other')"),
        ("OTHER = 5", "OTHER = len('five')"),
        ("OTHER = 5", "OTHER = helper"),
        ("def unrelated", "@re.compile\ndef unrelated"),
        ("def unrelated", "class More:\n    size = 3\n\ndef unrelated"),
        ("def unrelated", "def more(n):\n    NAMES['y'] = n\n\ndef unrelated"),
        ("def unrelated", "if __name__ == '__main__':\n    print(up('x'))\n\ndef unrelated"),
    ],
)
def test_what_does_not_count(change: tuple[str, str]) -> None:
    """Comments, formatting, docstrings, and what the function does not use."""
    assert code(change) == code()


@pytest.mark.parametrize(
    "change",
    [
        (".upper()", ".lower()"),
        ('"b"', '"c"'),
        ('re.compile("a")', 're.compile("x")'),
        ('NAMES["x"] = 1', 'NAMES["x"] = 2'),
        ("NAMES = {}", "NAMES = {1: 2}"),
        ("return NAMES.get(key)", "return NAMES[key]"),
        ("def helper(value):", "def helper(value, more=1):"),
        ("is None", "is not None"),
        ("import re\n", "import regex as re\n"),
        ("def unrelated", "PATTERN = None\n\ndef unrelated"),
        ("def unrelated", "NAMES.update(y=3)\n\ndef unrelated"),
        ("def unrelated", "def reset():\n    global PATTERN\n    PATTERN = 1\n\ndef unrelated"),
        ("def unrelated", "if True:\n    helper = None\n\ndef unrelated"),
        ("def unrelated", "from other import *\n\ndef unrelated"),
        ("def up(value):", "@staticmethod\ndef up(value):"),
        ("def unrelated", "_ = NAMES.setdefault('y', 3)\n\ndef unrelated"),
        ("def unrelated", "LAST = NAMES['y'] = 3\n\ndef unrelated"),
        ("def unrelated", "def fill():\n    NAMES['y'] = 3\nfill()\n\ndef unrelated"),
        ("def unrelated", "def fill(n):\n    NAMES['y'] = n\n    return n\nSIZE = fill(3)\n\ndef unrelated"),
        ("def unrelated", "fill = lambda n: NAMES.update(y=n)\nSIZE = fill(3)\n\ndef unrelated"),
        ("def unrelated", "def add(f):\n    NAMES['y'] = f\n\n@add\ndef unrelated"),
        ("def unrelated", "@NAMES.setdefault\ndef unrelated"),
        ("def unrelated", "class More(Table):\n    pass\n\ndef unrelated"),
        ("def unrelated", "class More:\n    NAMES['y'] = 3\n\ndef unrelated"),
        ("def unrelated", "def more(n=NAMES.pop('x')):\n    return n\n\ndef unrelated"),
        ("def unrelated", "for n in range(3):\n    NAMES[n] = n\n\ndef unrelated"),
        ("def unrelated", "Table.get = None\n\ndef unrelated"),
        ("def unrelated", "def fill():\n    globals()['NAMES'] = 3\nfill()\n\ndef unrelated"),
    ],
)
def test_what_counts(change: tuple[str, str]) -> None:
    """The function, what it names, what that names, and what is done to any of it."""
    assert code(change) != code()


def test_the_whole_file_where_any_name_may_be_used() -> None:
    """A function that looks names up by itself, or is made without a definition, may use all of its file."""
    change = ("OTHER = 5", "OTHER = 6")
    by_name = ("return helper(value)", "return globals()['helper'](value)")
    assert code(by_name, change) != code(by_name)
    made = ("def up(value):", "globals()['up'] = lambda value: 1\ndef down(value):")
    assert code(made, change) != code(made)


def test_a_function_whose_body_is_its_docstring() -> None:
    """It returns None, as one with another docstring."""
    assert function_code(b'def f(v):\n    "a"\n', "f") == function_code(b'def f(v):\n    "b"\n', "f")


def test_the_hash_is_a_format() -> None:
    """Checkpoints hold it: another one would have mappings refused."""
    assert function_code(b"K = 1\ndef f(v, *, w=None):\n    return v or K\n", "f") == "34e8349227e2a7d1"
