"""The `sources`, `targets` and `database` sections: the endpoints to connect to, checked before any connection."""

from __future__ import annotations

from pathlib import Path
from typing import cast

from .pipeline import Endpoint, Flavour, Secret
from .section import Section, Unresolved, kind
from .session_settings import Role, read_session

SERVER_ID_MAX = 2**32 - 1


def read_endpoints(root: Section, role: Role, defaults: Section, base_dir: Path) -> dict[str, Endpoint]:
    """All endpoints of one role, from `sources` (or `targets`), or from a single `source` (or `target`)."""
    plural = root.section(f"{role}s")
    found = dict(plural.data)
    single = root.raw(role)
    if single is not None:  # as in files of the original tool's first versions
        found.setdefault(role, single)
    if not found:
        root.missing(f"{role}s", f"name at least one {role}")
    endpoints = {}
    for name, data in found.items():
        path = plural.at(name) if name in plural.data else role
        if not name or "." in name:
            root.findings.problem(path, "a name must not be empty or hold a dot", "tables are written as name.table")
        section = Section(data if data is not None else {}, path, root.findings, defaults)
        endpoints[name] = _endpoint(name, role, section, base_dir)
        section.finish()
    return endpoints


def read_defaults(root: Section) -> Section:
    """The `database` section. Batch settings at the top, as the original tool's files may have, are its defaults."""
    top = Section(
        {
            "batch_size": root.integer("batch_size", least=1),
            "batch_flush_interval": root.number("batch_timeout"),
        },
        "",
        root.findings,
    )
    return Section(root.raw("database"), "database", root.findings, top)


def _endpoint(name: str, role: Role, section: Section, base_dir: Path) -> Endpoint:
    host, unix_socket, user = section.text("host"), section.text("unix_socket"), section.text("user")
    if host is None and unix_socket is None:
        section.missing("host", "give host and port, or unix_socket")
    if user is None:
        section.missing("user")
    database = section.text("database")
    if database is None and role == "target":
        section.missing("database", "the checkpoints are kept there, beside the tables")
    session = read_session(section, role)
    endpoint = Endpoint(
        name=name,
        role=role,
        host=host or "localhost",
        port=section.integer("port", least=1, most=65_535) or 3306,
        unix_socket=unix_socket,
        user=user or "",
        password=_password(section),
        database=database or "",
        connect_timeout_s=section.number("connect_timeout"),
        read_timeout_s=section.number("read_timeout"),
        write_timeout_s=section.number("write_timeout"),
        ssl_ca=_file(section, "ssl_ca", base_dir),
        ssl_cert=_file(section, "ssl_cert", base_dir),
        ssl_key=_file(section, "ssl_key", base_dir),
        ssl_verify_identity=section.flag("ssl_verify_identity", default=False),
        ssl_disabled=section.flag("ssl_disabled", default=False),
        batch_rows_max=section.integer("batch_size", least=1),
        batch_interval_s=section.number("batch_flush_interval"),
        server_id=section.integer("server_id", least=1, most=SERVER_ID_MAX),
        sql_mode=tuple(session.sql_mode),
        session=session.variables,
        flavour=cast(Flavour, section.choice("flavour", "mysql", "mariadb") or "mysql"),
    )
    _check_ssl(endpoint, section)
    return endpoint


def _password(section: Section) -> Secret:
    """The password; empty if left out, since a socket can authenticate by the operating system's user."""
    value = section.findings.scalar(section.raw("password"), section.at("password"))
    if value is not None and not isinstance(value, str):
        if not isinstance(value, Unresolved):
            section.problem("password", f"must be text, not {kind(value)}", "put it in quotes, or use ${VARIABLE}")
        return Secret()
    return Secret(value or "")


def _file(section: Section, key: str, base_dir: Path) -> str | None:
    """The path of a file that exists; a relative one starts beside the pipeline file."""
    text = section.text(key)
    if text is None:
        return None
    path = base_dir / Path(text).expanduser()
    if not path.is_file():
        section.problem(key, "no such file", "a relative path starts beside the pipeline file")
    return str(path)


def _check_ssl(endpoint: Endpoint, section: Section) -> None:
    wanted = endpoint.ssl_ca or endpoint.ssl_cert or endpoint.ssl_key or endpoint.ssl_verify_identity
    if endpoint.ssl_disabled and wanted:
        section.problem("ssl_disabled", "contradicts the other ssl settings", "leave out one or the others")
    if endpoint.ssl_key and not endpoint.ssl_cert:
        section.problem("ssl_key", "has no effect without ssl_cert", "give both")
