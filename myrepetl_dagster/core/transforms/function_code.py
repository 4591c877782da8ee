"""What counts as the code of a function: itself, and what it uses of its own file. Pure.

The hash is stored in checkpoints, so its text is a format. It is made of the syntax tree: comments, blank lines,
formatting and docstrings do not count. Nor does what the file imports: only that it does.
"""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterable, Iterator

# With these, a function may use any name of its file: the whole file counts.
_ANY_NAME = {"globals", "vars", "eval", "exec"}
_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
_DEFINITIONS = (*_FUNCTIONS, ast.ClassDef)
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
    mentions = [_mentioned(ast.walk(statement)) for statement in statements]
    changes = [_may_change(i, statements, binds, mentions) for i in range(len(statements))]
    everything = set(range(len(statements)))
    if not any(name in bound for bound in binds):
        return everything
    names, used = {name}, set[int]()
    while True:
        found = {i for i in everything if binds[i] & names or "*" in binds[i] or changes[i] & names}
        if found == used:
            return used
        used = found
        names = names.union(*(mentions[i] for i in used))
        if names & _ANY_NAME:
            return everything


def _mentioned(nodes: Iterable[ast.AST]) -> set[str]:
    return {node.id for node in nodes if isinstance(node, ast.Name)}


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


def _may_change(place: int, statements: list[ast.stmt], binds: list[set[str]], mentions: list[set[str]]) -> set[str]:
    """The names whose objects a statement may change when the file is loaded: by a call, or as an item is set.

    A call may change all that it leads to by way of other functions of the file. Functions themselves and what is
    imported are taken as unchanged, unless a statement of its own names them.
    """
    statement = statements[place]
    if isinstance(statement, _IMPORTS) or _is_for_scripts(statement):
        return set()
    running = list(_running(statement))
    only_binds = isinstance(statement, _DEFINITIONS) or (
        bool(binds[place]) and isinstance(statement, ast.Assign | ast.AnnAssign)
    )
    if only_binds and not any(map(_acts, running)):
        return set()
    reached = _mentioned(running)
    while True:
        more = reached.union(*(mentions[i] for i, bound in enumerate(binds) if bound & reached))
        if more == reached:
            break
        reached = more
    if reached & _ANY_NAME:
        return set().union(*binds)
    objects = {
        name
        for other, bound in zip(statements, binds, strict=True)
        if not isinstance(other, _IMPORTS)
        for name in bound
        if not (isinstance(other, _FUNCTIONS) and name == other.name)
    }
    return (reached & objects) | (set() if only_binds else mentions[place])


def _is_for_scripts(statement: ast.stmt) -> bool:
    """`if __name__ == "__main__":`, which is not run here."""
    return (
        isinstance(statement, ast.If)
        and not statement.orelse
        and ast.dump(statement.test) == ast.dump(ast.parse("__name__ == '__main__'", mode="eval").body)
    )


def _running(node: ast.AST) -> Iterator[ast.AST]:
    """What runs when the file is loaded: of a function that it defines, its decorators and defaults."""
    yield node
    if isinstance(node, _FUNCTIONS):
        inside: Iterable[ast.AST] = (*node.decorator_list, node.args)
    else:
        inside = (node.args,) if isinstance(node, ast.Lambda) else ast.iter_child_nodes(node)
    for child in inside:
        yield from _running(child)


def _acts(node: ast.AST) -> bool:
    """Whether it is more than a value: it may call what others have bound, or sets a part of it."""
    if isinstance(node, ast.Subscript | ast.Attribute):
        return not isinstance(node.ctx, ast.Load)
    if isinstance(node, _DEFINITIONS):
        return bool(node.decorator_list) or (isinstance(node, ast.ClassDef) and bool(node.bases))
    return isinstance(node, ast.Call | ast.AugAssign | ast.Delete)


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
