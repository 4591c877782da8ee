"""Transforms: functions on values, found by the names in a pipeline file before any connection is opened.

A name is looked up in this order:

    /dir/file.py:function      that file; a relative path starts beside the pipeline file
    module.function            module.py beside the pipeline file, then an importable module
    transform.uppercase|lowercase|trim|length
                               built in, unless a module `transform` defines them

A function gets as many of (value, row_data, source_table) as it accepts by position. Keyword-only `row_data` and
`source_table` are passed by name; with `**kwargs` both are. User code runs here only when it is loaded.
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
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Any

from ..model.errors import ReplicationError
from .function_code import function_code

Function = Callable[..., Any]
ARGUMENTS = ("value", "row_data", "source_table")


class TransformError(ReplicationError):
    """A transform cannot be found, loaded or called. The error names its file and the failure, but no values."""


@dataclass(frozen=True, slots=True)
class Transform:
    """A function, and how it is called.

    `arity`: the number of arguments passed by position (of value, row_data, source_table). `keywords`: the arguments
    passed by name. `builtin`: its name if it is built in. `digest` changes with the text of the function's file; it is
    empty for a function of an installed module. `code` changes with the function's own code (`function_code.py`); it is
    empty if that cannot be read.
    """

    spec: str
    function: Function
    arity: int
    builtin: str | None = None
    keywords: tuple[str, ...] = ()
    digest: str = ""
    code: str = ""

    @property
    def needs_row(self) -> bool:
        """Whether it looks at more than the column's own value."""
        return self.arity > 1 or "row_data" in self.keywords

    def of_value(self, source_table: str) -> Function:
        """The function to be called with the value alone. Only for a transform that needs no row."""
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
    """As in the original tool, NULL has the length 0 and a number that of its digits."""
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
    transform = _transform(spec, loaded.module, name, where=str(path), digest=loaded.digest)
    return _with_code(transform, loaded.source, path, name)


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
    transform = _transform(spec, module, name, where=f"module {module_name!r}")
    file = Path(getattr(module, "__file__", None) or "")
    return _with_code(transform, file.read_bytes() if file.suffix == ".py" and file.is_file() else None, file, name)


def _with_code(transform: Transform, source: bytes | None, path: Path, name: str) -> Transform:
    """The transform with its code: of the file that has it by this name, and of another one in which it is defined."""
    if transform.builtin:
        return transform
    codes = [] if source is None else [function_code(source, name)]
    function = inspect.unwrap(transform.function)
    file = Path(getattr(getattr(function, "__code__", None), "co_filename", ""))
    if file.suffix == ".py" and file.is_file() and file.resolve() != path.resolve():
        own_name = str(getattr(function, "__qualname__", "")).partition(".")[0]
        codes.append(function_code(file.read_bytes(), own_name))
    code = codes[0] if len(codes) == 1 else hashlib.sha256("\n".join(codes).encode()).hexdigest()[:16] if codes else ""
    return replace(transform, code=code)


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
    return Transform(spec, BUILTINS[name], arity=1, builtin=name, code="built in")


def _arguments(function: Function, name: str, where: str) -> tuple[int, tuple[str, ...]]:
    """(Number of arguments that are passed by position, names of those passed by name)."""
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
    source: bytes
    digest: str


_loaded: dict[Path, _Loaded] = {}
_loading = threading.RLock()  # loading changes sys.path and sys.modules, which all threads share


def _load(path: Path, import_dir: Path) -> _Loaded:
    """The file as a module. A file that has not changed is run once."""
    with _loading:
        known = _loaded.get(path)
        if known and known.mtime_ns == path.stat().st_mtime_ns:
            return known
        _loaded[path] = _run(path, import_dir)
        return _loaded[path]


def _run(path: Path, import_dir: Path) -> _Loaded:
    # A name of its own, so that each of two pipelines can have a transform.py.
    name = f"_myrepetl_{hashlib.sha256(str(path).encode()).hexdigest()[:12]}_{path.stem}"
    module = ModuleType(name)
    module.__file__ = str(path)
    before = sys.modules.get(name)
    try:
        mtime_ns, source = path.stat().st_mtime_ns, path.read_bytes()
        # Compiled here, not by an import: that would take a .pyc from before an edit within the same second.
        code = compile(source, str(path), "exec")
        sys.modules[name] = module  # dataclasses and pickle look up their module
        with _importable(import_dir):
            exec(code, module.__dict__)
    except (Exception, SystemExit) as error:
        sys.modules.pop(name, None)
        if before is not None:
            sys.modules[name] = before
        raise _import_failed(str(path), error) from None
    return _Loaded(module, mtime_ns, source, hashlib.sha256(source).hexdigest())


@contextmanager
def _importable(folder: Path) -> Iterator[None]:
    """Let a file import its neighbours. They are forgotten afterwards: another folder may have the same names."""
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
    """An error with the kind of failure and its line, but without its text, which may quote the file."""
    line: int | None = error.lineno if isinstance(error, SyntaxError) else None
    trace = error.__traceback__
    while trace and not isinstance(error, SyntaxError):
        if trace.tb_frame.f_code.co_filename == what:
            line = trace.tb_lineno
        trace = trace.tb_next
    at = f" at line {line}" if line else ""
    missing = f" ({error.name})" if isinstance(error, ModuleNotFoundError) and error.name else ""
    return TransformError(f"loading {what!r} raised {type(error).__name__}{missing}{at}")
