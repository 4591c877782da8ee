"""Find or fetch real MySQL and MariaDB server programs, and make datadirs with them; `servers.py` runs them.

A program is looked for in this order: the environment (MYREPETL_MYSQLD, MYREPETL_MARIADBD), the PATH, then
the packages of Debian or of the system's distribution, fetched once into `.servers/` (MYREPETL_SERVERS_DIR)
and run from there without root. Another version than that one is fetched from Debian's suite that has it.
"""

from __future__ import annotations

import contextlib
import fcntl
import functools
import hashlib
import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

Flavour = Literal["mysql", "mariadb"]
FLAVOURS: tuple[Flavour, ...] = get_args(Flavour)

_PROGRAMS: dict[Flavour, tuple[str, ...]] = {"mysql": ("mysqld",), "mariadb": ("mariadbd", "mysqld")}
# Debian has the plain names; Ubuntu's releases also have names with a version.
_PACKAGES: dict[Flavour, tuple[str, ...]] = {
    "mysql": ("mysql-server-core", "mysql-server-core-8.4", "mysql-server-core-8.0"),
    "mariadb": ("mariadb-server-core", "mariadb-server-core-10.6"),
}
# The versions that tests ask for by name, and Debian's suite and package that have each.
_SUITES: dict[str, tuple[str, str]] = {
    "10.5": ("bullseye", "mariadb-server-core-10.5"),
    "10.11": ("bookworm", "mariadb-server-core"),
    "11.8": ("trixie", "mariadb-server-core"),
}
_DEBIAN = "http://deb.debian.org/debian"
_KEYRING = "usr/share/keyrings/debian-archive-keyring"
# Options that are fixed when a datadir is made: they belong to the template, not only to the start.
FIXED_AT_BIRTH = (
    "lower-case-table-names",
    "innodb-page-size",
    "innodb-data-file-path",
    "innodb-undo-tablespaces",
)


class ServerFailed(RuntimeError):
    """A server did not start or did not answer; the message ends with its error log."""


class ServerUnavailable(RuntimeError):
    """No server program of this flavour is here or can be fetched; the message says what to install."""


@dataclass(frozen=True)
class Installation:
    """A server program and what its command line has to start with."""

    flavour: Flavour
    binary: Path
    version: str
    banner: str
    command: tuple[str, ...]


def servers_dir() -> Path:
    """The folder of fetched servers and datadir templates."""
    default = Path(__file__).resolve().parent.parent / ".servers"
    return Path(os.environ.get("MYREPETL_SERVERS_DIR") or default).resolve()


def find(flavour: Flavour, version: str | None = None) -> Installation:
    """The server program of this flavour; fetches it when the machine has none.

    `version`: "11.8" for a MariaDB of that version, whatever the machine has; None: the machine's own.
    """
    if version is None or flavour == "mysql":
        return _from_environment(flavour) or _from_path(flavour) or _fetched(flavour) or _fetch(flavour)
    own = _from_environment(flavour) or _from_path(flavour) or _fetched(flavour)
    if own and own.version.startswith(f"{version}."):
        return own
    return _fetched(flavour, version) or _fetch(flavour, version)


def _inspect(binary: Path, command: tuple[str, ...]) -> Installation | None:
    """Ask the program itself what it is: a `mysqld` may well be a MariaDB."""
    try:
        banner = _banner(command, binary.stat().st_mtime_ns)
    except (OSError, subprocess.SubprocessError):
        return None
    match = re.search(r"Ver (\d+\.\d+\.\d+)", banner)
    if match is None:
        return None
    flavour: Flavour = "mariadb" if "mariadb" in banner.lower() else "mysql"
    return Installation(flavour, binary, match[1], banner, command)


@functools.cache
def _banner(command: tuple[str, ...], changed_ns: int) -> str:
    """Asked once of a program, as long as its file stays what it is."""
    done = subprocess.run([*command, "--version"], capture_output=True, text=True, timeout=60, check=True)
    return done.stdout.strip()


def _from_environment(flavour: Flavour) -> Installation | None:
    for name in ("MYREPETL_MYSQLD", "MYREPETL_MARIADBD"):
        if path := os.environ.get(name):
            found = _inspect(Path(path), (path, "--no-defaults"))
            if found is None:  # Someone asked for this very program: using another in silence would mislead.
                raise ServerUnavailable(f"{name}={path} is not a server program that runs here")
            if found.flavour == flavour:
                return found
    return None


def _from_path(flavour: Flavour) -> Installation | None:
    # An ordinary user's PATH lacks the sbin folders, which is where the packages put the servers.
    path = os.pathsep.join([os.environ.get("PATH", ""), "/usr/local/sbin", "/usr/sbin"])
    for name in _PROGRAMS[flavour]:
        # With the distribution's AppArmor profile the program may only write below /var/lib/mysql, so it
        # cannot serve a datadir of ours; a fetched one can.
        confined = Path(f"/etc/apparmor.d/usr.sbin.{name}").exists()
        if (binary := shutil.which(name, path=path)) and not confined:
            found = _inspect(Path(binary), (binary, "--no-defaults"))
            if found is not None and found.flavour == flavour:
                return found
    return None


def _folder(flavour: Flavour, version: str | None) -> Path:
    return servers_dir() / (f"{flavour}-{version}" if version else flavour)


def _fetched(flavour: Flavour, version: str | None = None) -> Installation | None:
    root = _folder(flavour, version)
    binary = next((path for name in _PROGRAMS[flavour] if (path := root / "usr/sbin" / name).exists()), None)
    loader = next((path for lib in ("usr/lib", "lib") for path in root.glob(f"{lib}/*/ld-linux*.so.*")), None)
    errors = next(root.glob("usr/share/*/english/errmsg.sys"), None)
    if binary is None or loader is None or errors is None:
        return None
    # The packages bring their own C library, often newer than the system's: only their own loader can load
    # it. Some builds of MySQL keep libraries in usr/lib/mysql/private and look there by an absolute path.
    folders = ("usr/lib/*-linux-gnu*", "lib/*-linux-gnu*", "usr/lib/mysql/private")
    libraries = [path for folder in folders for path in root.glob(folder)]
    share = errors.parent.parent
    command = (
        *(str(loader), "--library-path", ":".join(map(str, libraries)), str(binary), "--no-defaults"),
        *(f"--lc-messages-dir={share}", f"--character-sets-dir={share}/charsets"),
        f"--plugin-dir={root}/usr/lib/mysql/plugin",
    )
    return _inspect(binary, command)


def _fetch(flavour: Flavour, version: str | None = None) -> Installation:
    """Fetch a server: a version from its suite; else MySQL's newest, from Debian, or what the distribution has."""
    packages = _PACKAGES[flavour]
    suites: tuple[str | None, ...] = ("sid", None) if flavour == "mysql" else (None,)
    if version:
        packages, suites = (_SUITES[version][1],), (_SUITES[version][0],)
    folder, reasons = _folder(flavour, version), []
    for suite in suites:
        try:
            with _locked(servers_dir() / f"{folder.name}.lock"):
                # Another process may have been quicker.
                if not (found := _fetched(flavour, version)):
                    _fetch_into(folder, packages, suite)
                    found = _fetched(flavour, version)
                if found:
                    return found
            reasons.append("the fetched server does not run here")
        except (OSError, subprocess.SubprocessError) as error:
            output = (getattr(error, "stderr", None) or str(error)).strip()
            reasons.append(output.splitlines()[0] if output else repr(error))
    raise ServerUnavailable(
        f"no {flavour} server{f' {version}' if version else ''}: run `apt-get install {packages[0]}`, or set "
        f"MYREPETL_{_PROGRAMS[flavour][0].upper()} to a server program; fetching one, which takes apt-get, "
        f"dpkg and a package mirror, failed: {'; '.join(reasons)}"
    )


def fetched_tool(name: str, packages: Sequence[str], suite: str | None, kept: str = "") -> Path:
    """The folder below `.servers/tools` with one of these packages and all it depends on, unpacked; fetched once.

    `suite` is as in `unpack`. `kept`: the part of the unpacked tree that is kept.
    """
    folder = servers_dir() / "tools" / name
    with _locked(folder.with_name(f"{name}.lock")):
        if not folder.exists():
            _fetch_into(folder, packages, suite, kept)
    return folder


def _fetch_into(folder: Path, packages: Sequence[str], suite: str | None, kept: str = "") -> None:
    partial = folder.with_name(f"{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        unpack(packages, partial, suite)
        shutil.rmtree(folder, ignore_errors=True)
        # Only whole fetches get the final name, so a half finished one is never taken for a server.
        (partial / "root" / kept).rename(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def unpack(names: Sequence[str], partial: Path, suite: str | None) -> None:
    """Download one of the packages with all it depends on and unpack them into partial/root.

    apt-get gets its own state, cache and an empty list of installed packages: so it needs no root, leaves the
    system alone and brings every library along. `suite` is one of Debian's; None: the system's own sources.
    """
    for folder in ("state/lists/partial", "cache/archives/partial", "root"):
        (partial / folder).mkdir(parents=True)
    (partial / "status").touch()
    options = {
        "Dir::State": partial / "state",
        "Dir::State::status": partial / "status",
        "Dir::Cache": partial / "cache",
        "Dir::Etc::preferences": "/dev/null",  # Pins are meant for the system, not for this folder.
        "Dir::Etc::preferencesparts": "/dev/null",
        "Acquire::Check-Valid-Until": "false",  # A mirror may be frozen at some date.
        "Acquire::Languages": "none",
        "APT::Install-Recommends": "false",
        "APT::Sandbox::User": "root",  # The user _apt may be unable to reach this folder.
    }
    if suite:
        (partial / "sources.list").write_text(f"deb [signed-by={_keyring(partial)}] {_mirror()} {suite} main\n")
        options["APT::Update::Error-Mode"] = "any"  # Or a failed update only shows as a missing package.
        options |= {"Dir::Etc::sourcelist": partial / "sources.list", "Dir::Etc::sourceparts": "/dev/null"}
    apt = ["apt-get", "-q", *(f"-o{name}={value}" for name, value in options.items())]
    _run([*apt, "update"])
    _first_of(names, [*apt, "install", "-y", "--download-only"])
    for package in sorted((partial / "cache/archives").glob("*.deb")):
        _run(["dpkg", "-x", package, partial / "root"])


def _first_of(names: Sequence[str], command: list[str]) -> None:
    """Run a command with the first of the names that it accepts."""
    errors = []
    for name in names:
        try:
            return _run([*command, name])
        except subprocess.CalledProcessError as error:
            errors.append(error)
    raise errors[0]


def _run(command: Sequence[str | Path]) -> None:
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C.UTF-8"}
    subprocess.run(command, check=True, capture_output=True, text=True, env=environment, stdin=subprocess.DEVNULL)


def _mirror() -> str:
    """The Debian mirror that the system's apt already uses: it may be the only one in reach."""
    # Not the other files of sources.list.d: an address of another vendor may end in /debian as well.
    for name in ("sources.list", "sources.list.d/debian.sources", "sources.list.d/debian.list"):
        source = Path("/etc/apt") / name
        if source.is_file():
            lines = (line.split("#")[0] for line in source.read_text(errors="replace").splitlines())
            if match := re.search(r"\bhttps?://\S+/debian/?(?=\s|$)", "\n".join(lines)):
                return match[0]
    return _DEBIAN


def _keyring(partial: Path) -> Path:
    """Debian's keyring; Ubuntu has it as a package, vouched for by Ubuntu's own keys."""
    for root in (Path("/"), partial / "keyring/root"):
        for suffix in (".pgp", ".gpg"):
            if (keyring := root / f"{_KEYRING}{suffix}").exists():
                return keyring
        if root == Path("/"):
            unpack(["debian-archive-keyring"], partial / "keyring", None)
    raise FileNotFoundError("Debian's keyring (apt-get install debian-archive-keyring)")


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    path.parent.mkdir(parents=True, exist_ok=True)
    # Wherever the folder is, none of it belongs to a repository.
    (path.parent / ".gitignore").write_text("*\n")
    with path.open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def as_root() -> list[str]:
    """Both servers refuse to run as root unless told to."""
    return ["--user=root"] if os.geteuid() == 0 else []


def _make_datadir(found: Installation, datadir: Path, options: Sequence[str]) -> None:
    """Initialise a datadir whose root has no password; both servers end with a clean shutdown."""
    datadir.mkdir(parents=True)
    command = [*found.command, *as_root(), f"--datadir={datadir}", *options]
    script = None
    if found.flavour == "mysql":
        command += ["--initialize-insecure", "--skip-log-bin", "--innodb-redo-log-capacity=64M"]
    else:  # mariadb-install-db wants more of the system than a folder has; this is what it does at its core.
        (datadir / "mysql").mkdir()
        command += ["--bootstrap", "--innodb-log-file-size=64M"]
        parts = [_bootstrap_script(found, part) for part in ("tables", "performance_tables", "tables_data")]
        script = "\n".join(["create database if not exists mysql;", "use mysql;", *parts])
    done = subprocess.run(command, input=script, capture_output=True, text=True, check=False)
    if done.returncode:
        raise ServerFailed(f"{found.binary} could not make a datadir: {(done.stderr or done.stdout)[-2000:]}")
    (datadir / "auto.cnf").unlink(missing_ok=True)  # Each copy needs a server_uuid of its own.


def _bootstrap_script(found: Installation, part: str) -> str:
    """One of MariaDB's own scripts; MariaDB 11 renamed them from mysql_ to mariadb_."""
    name = "mysql_performance_tables" if part == "performance_tables" else f"mysql_system_{part}"
    share = found.binary.resolve().parent.parent / "share"
    for file in (f"{name}.sql", f"{name.replace('mysql', 'mariadb', 1)}.sql"):
        for path in (*share.glob(f"m*/{file}"), *share.glob(file)):
            return path.read_text()
    raise ServerUnavailable(f"{share} lacks {name}.sql: run `apt-get install mariadb-server-core`")


def new_datadir(found: Installation, datadir: Path, options: Sequence[str]) -> None:
    """Make a datadir as a copy of a template, which takes a fraction of the time."""
    try:
        template = _template(found, options)
    except PermissionError:  # The folder of the servers is another user's.
        _make_datadir(found, datadir, options)
    else:
        subprocess.run(["cp", "-a", template, datadir], check=True)


def _template(found: Installation, options: Sequence[str]) -> Path:
    """A datadir to copy, made once for each program, version and set of options that are fixed at birth."""
    # Another user could not read the files of this one, hence the uid.
    key = hashlib.sha256("\n".join([str(os.geteuid()), str(found.binary), found.banner, *options]).encode())
    folder = servers_dir() / "templates"
    template = folder / f"{found.flavour}-{found.version}-{key.hexdigest()[:12]}"
    if not template.exists():
        with _locked(folder / f"{template.name}.lock"):
            if not template.exists():
                partial = folder / f"{template.name}.partial"
                shutil.rmtree(partial, ignore_errors=True)
                _make_datadir(found, partial, options)
                partial.rename(template)
    return template
