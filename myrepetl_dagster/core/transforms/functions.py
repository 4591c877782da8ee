"""Transforms: from the name in a pipeline file to a function, found before any connection is opened.

A name is looked up in this order:

    /dir/file.py:function      that file; a relative path starts beside the pipeline file
    module.function            module.py beside the pipeline file, then an importable module
    transform.uppercase|lowercase|trim|length
                               built in, where no `transform` module defines them

A function is called with as many of (value, row_data, source_table) as it accepts by position; `row_data`
and `source_table` are passed by name where they are keyword-only, and both where it takes `**kwargs`.
User code runs here only to be loaded; nothing in this file knows about rows, files of data or servers.
"""

from __future__ import annotations

import difflib
import hashlib
import importlib
import inspect
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from ..model.errors import ReplicationError

Function = Callable[..., Any]
ARGUMENTS = ("value", "row_data", "source_table")


class TransformError(ReplicationError):
    """A transform cannot be found, loaded or called; names the file and the kind of error, no values."""


@dataclass(frozen=True, slots=True)
class Transform:
    """A function with the way to call it.

    `arity` counts the arguments passed by position (of value, row_data, source_table), `keywords` names
    those passed by name. `digest` changes with the text of the function's file ("" for what is installed).
    """

    spec: str
    function: Function
    arity: int
    builtin: str | None = None
    keywords: tuple[str, ...] = ()
    digest: str = ""

    @property
    def needs_row(self) -> bool:
        """Whether the column's own value is not all that it looks at."""
        return self.arity > 1 or "row_data" in self.keywords

    def of_value(self, source_table: str) -> Function:
        """The function of one that needs no row, to be called with the value alone."""
        assert not self.needs_row
        if self.arity == 1 and not self.keywords:
            return self.function
        return lambda value: self.call(value, {}, source_table)

    def call(self, value: object, row_data: Mapping[str, object], source_table: str) -> Any:
        given = (value, row_data, source_table)
        if not self.keywords:
            return self.function(*given[: self.arity])
        named = {name: given[ARGUMENTS.index(name)] for name in self.keywords}
        return self.function(*given[: self.arity], **named)


# ---- built in --------------------------------------------------------------------------------------
def _uppercase(value: object) -> object:
    return value.upper() if isinstance(value, str) else value


def _lowercase(value: object) -> object:
    return value.lower() if isinstance(value, str) else value


def _trim(value: object) -> object:
    return value.strip() if isinstance(value, str) else value


def _length(value: object) -> int:
    """The original counts NULL as 0, and the digits of a number."""
    if value is None:
        return 0
    return len(value) if isinstance(value, str | bytes) else len(str(value))


BUILTINS: dict[str, Function] = {
    "uppercase": _uppercase,
    "lowercase": _lowercase,
    "trim": _trim,
    "length": _length,
}


_BUILT_IN = f"built in: {', '.join(f'transform.{name}' for name in BUILTINS)}"


# ---- from name to function -------------------------------------------------------------------------
def resolve(spec: str, base_dir: Path) -> Transform:
    """The transform that `spec` names.

    Raises:
        TransformError: no such file, module or function; the file failed to load; it cannot be called.
    """
    if ":" in spec:
        place, _, name = spec.rpartition(":")
        path = (base_dir / Path(place).expanduser()).resolve()
        if not path.is_file():
            raise TransformError(f"no file {str(path)!r}", hint="the form is /dir/file.py:function")
        return _from_file(spec, path, name, path.parent)
    module_name, _, name = spec.rpartition(".")
    if not module_name or not all(part.isidentifier() for part in spec.split(".")):
        raise TransformError(
            f"{spec!r} is not the name of a function",
            hint="the form is module.function or /dir/file.py:function",
        )
    path = (base_dir / Path(*module_name.split("."))).with_suffix(".py").resolve()
    if path.is_file():
        return _from_file(spec, path, name, base_dir.resolve())
    return _from_installed(spec, module_name, name, path)


def _from_file(spec: str, path: Path, name: str, import_dir: Path) -> Transform:
    loaded = _load(path, import_dir)
    return _transform(spec, loaded.module, name, where=str(path), digest=loaded.digest)


def _from_installed(spec: str, module_name: str, name: str, path: Path) -> Transform:
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module_name}.".startswith(f"{error.name}."):
            raise _import_failed(module_name, error) from None  # a module that it imports
        if _is_builtin(spec):
            return _builtin(spec)
        hint = _BUILT_IN if module_name == "transform" else ""
        raise TransformError(f"no file {str(path)!r} and no module {module_name!r}", hint=hint) from None
    except (Exception, SystemExit) as error:
        raise _import_failed(module_name, error) from None
    return _transform(spec, module, name, where=f"module {module_name!r}")


def _transform(spec: str, module: ModuleType, name: str, *, where: str, digest: str = "") -> Transform:
    function = getattr(module, name, None)
    if function is None and _is_builtin(spec):
        return _builtin(spec)
    if function is None:
        names = [one for one, thing in vars(module).items() if callable(thing) and not one.startswith("_")]
        close = difflib.get_close_matches(name, names, n=1)
        hint = f"did you mean {close[0]!r}?" if close else ""
        raise TransformError(f"{where} has no function {name!r}", hint=hint)
    if not callable(function):
        raise TransformError(f"{name!r} in {where} is not a function but {type(function).__name__}")
    arity, keywords = _arguments(function, name, where)
    return Transform(spec, function, arity, keywords=keywords, digest=digest)


def _is_builtin(spec: str) -> bool:
    module_name, _, name = spec.rpartition(".")
    return module_name == "transform" and name in BUILTINS


def _builtin(spec: str) -> Transform:
    name = spec.rpartition(".")[2]
    return Transform(spec, BUILTINS[name], arity=1, builtin=name)


def _arguments(function: Function, name: str, where: str) -> tuple[int, tuple[str, ...]]:
    """How many arguments go by position, and which by name."""
    try:
        parameters = list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):
        return 1, ()  # written in C without a signature
    positional = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    takes_any = any(p.kind is p.VAR_POSITIONAL for p in parameters)
    arity = len(ARGUMENTS) if takes_any else min(len(positional), len(ARGUMENTS))
    rest = ARGUMENTS[arity:]
    named = {p.name for p in parameters if p.kind is p.KEYWORD_ONLY}
    takes_all = any(p.kind is p.VAR_KEYWORD for p in parameters)
    keywords = tuple(one for one in rest if one in named or takes_all)
    needed = [p for p in parameters if p.default is p.empty]
    unmet = [p.name for p in needed if p in positional[arity:]]
    unmet += [p.name for p in needed if p.kind is p.KEYWORD_ONLY and p.name not in rest]
    if unmet or not (arity or "value" in keywords):
        raise TransformError(
            f"{name!r} in {where} " + (f"needs more: {', '.join(unmet)}" if unmet else "takes no value"),
            hint="it is called with (value), (value, row_data) or (value, row_data, source_table)",
        )
    return arity, keywords


# ---- loading a file --------------------------------------------------------------------------------
@dataclass(frozen=True, slots=True)
class _Loaded:
    module: ModuleType
    mtime_ns: int
    digest: str


_loaded: dict[Path, _Loaded] = {}
_loading = threading.RLock()  # sys.path and sys.modules are shared by the whole process


def _load(path: Path, import_dir: Path) -> _Loaded:
    """The file as a module, run once for each version of the file."""
    with _loading:
        known = _loaded.get(path)
        if known and known.mtime_ns == path.stat().st_mtime_ns:
            return known
        _loaded[path] = _run(path, import_dir)
        return _loaded[path]


def _run(path: Path, import_dir: Path) -> _Loaded:
    # The name is one that nobody else uses, so that two pipelines can each have their transform.py.
    name = f"_myrepetl_{hashlib.sha256(str(path).encode()).hexdigest()[:12]}_{path.stem}"
    module = ModuleType(name)
    module.__file__ = str(path)
    before = sys.modules.get(name)
    try:
        mtime_ns, source = path.stat().st_mtime_ns, path.read_bytes()
        # Compiled here, not by an import: a .pyc is not refreshed by an edit within the same second.
        code = compile(source, str(path), "exec")
        sys.modules[name] = module  # dataclasses and pickle look their module up
        with _importable(import_dir):
            exec(code, module.__dict__)
    except (Exception, SystemExit) as error:
        sys.modules.pop(name, None)
        if before is not None:
            sys.modules[name] = before
        raise _import_failed(str(path), error) from None
    return _Loaded(module, mtime_ns, hashlib.sha256(source).hexdigest())


@contextmanager
def _importable(folder: Path) -> Iterator[None]:
    """Let a file import its neighbours, and forget them after: another folder may have the same names."""
    before = set(sys.modules)
    importlib.invalidate_caches()
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        sys.path.remove(str(folder))
        for name in set(sys.modules) - before:
            file = Path(getattr(sys.modules[name], "__file__", None) or "/")
            if file.resolve().is_relative_to(folder) and "site-packages" not in file.parts:
                del sys.modules[name]


def _import_failed(what: str, error: BaseException) -> TransformError:
    """Names the kind of error and its line, never its text, which may quote what the file holds."""
    line: int | None = error.lineno if isinstance(error, SyntaxError) else None
    trace = error.__traceback__
    while trace and not isinstance(error, SyntaxError):
        if trace.tb_frame.f_code.co_filename == what:
            line = trace.tb_lineno
        trace = trace.tb_next
    at = f" at line {line}" if line else ""
    missing = f" ({error.name})" if isinstance(error, ModuleNotFoundError) and error.name else ""
    return TransformError(f"loading {what!r} raised {type(error).__name__}{missing}{at}")
