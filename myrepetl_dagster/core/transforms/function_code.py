"""What counts as the code of a function: itself, and what it uses of its own file. Pure.

The hash is stored in checkpoints, so its text is a format. It is made of the syntax tree: comments, blank lines,
formatting and docstrings do not count. Nor does what is imported: only that it is.
"""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterator

# With these, a function may use any name of its file: the whole file counts.
_ANY_NAME = {"globals", "vars", "eval", "exec"}
_DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
_IMPORTS = (ast.Import, ast.ImportFrom)
_NOT_CODE = {"ctx", "kind", "type_comment"}  # fields of the tree


def function_code(source: bytes, name: str) -> str:
    """A hash that changes with the code of the function."""
    statements = ast.parse(source).body
    used = _used(statements, name)
    text = "\n".join(_text(statement) for i, statement in enumerate(statements) if i in used)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]


def _used(statements: list[ast.stmt], name: str) -> set[int]:
    """The places of the statements that the function is made of: it, those that bind what it names, and so on."""
    binds = [set(_bound(statement)) for statement in statements]
    mentions = [{n.id for n in ast.walk(statement) if isinstance(n, ast.Name)} for statement in statements]
    everything = set(range(len(statements)))
    if not any(name in bound for bound in binds):
        return everything
    names, used = {name}, set[int]()
    while True:
        found = {
            i
            for i, statement in enumerate(statements)
            if binds[i] & names or "*" in binds[i] or (_does_something(statement, binds[i]) and mentions[i] & names)
        }
        if found == used:
            return used
        used = found
        names = names.union(*(mentions[i] for i in used))
        if names & _ANY_NAME:
            return everything


def _bound(node: ast.AST) -> Iterator[str]:
    """The names of the file that a statement binds."""
    if isinstance(node, _DEFINITIONS):
        yield node.name
        yield from (n for inner in ast.walk(node) if isinstance(inner, ast.Global) for n in inner.names)
        return
    if isinstance(node, _IMPORTS):
        yield from (alias.asname or alias.name.partition(".")[0] for alias in node.names)
    elif isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load):
        yield node.id
    for child in ast.iter_child_nodes(node):
        yield from _bound(child)


def _does_something(statement: ast.stmt, bound: set[str]) -> bool:
    """Whether it may change what others have bound: a call, an item of a table that is set."""
    return not isinstance(statement, (*_DEFINITIONS, *_IMPORTS)) and (
        not bound or not isinstance(statement, ast.Assign | ast.AnnAssign)
    )


def _text(node: object) -> str:
    """The code as text, the same in each version of Python: what is absent or empty is left out."""
    if isinstance(node, list):
        return f"[{','.join(map(_text, node))}]"
    if not isinstance(node, ast.AST):
        return f"{type(node).__name__} {node!r}"
    fields = []
    for field, value in ast.iter_fields(node):
        if field == "body" and isinstance(node, _DEFINITIONS) and _is_text(value[0]):
            value = value[1:]  # without the docstring
        if field not in _NOT_CODE and value is not None and value != []:
            fields.append(f"{field}={_text(value)}")
    return f"{type(node).__name__}({','.join(fields)})"


def _is_text(statement: ast.stmt) -> bool:
    return (
        isinstance(statement, ast.Expr)
        and isinstance(statement.value, ast.Constant)
        and isinstance(statement.value.value, str)
    )
