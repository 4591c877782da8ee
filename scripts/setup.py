"""Make `.venv/` ready: what requirements.lock pins, and this project, editable. Quick when nothing has changed.

Needs Python 3.11 (the Makefile looks) and nothing else. Debian's Python comes without pip; then pip's own wheel is
taken from the system, from Debian's package (without root, without touching the system) or from the package index.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import sys
import urllib.parse
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
STAMP = VENV / "ready"  # written last: a setup that was interrupted has none
CERTIFICATES = VENV / "ca-certificates.crt"


class SetupFailed(Exception):
    """Says what to do."""


def main() -> int:
    try:
        setup()
    except SetupFailed as error:
        print(f"setup: {error}", file=sys.stderr)
        return 1
    except subprocess.CalledProcessError as error:
        print(f"setup: this failed: {' '.join(map(str, error.cmd))}", file=sys.stderr)
        return 1
    return 0


def setup() -> None:
    """Do what is not done yet."""
    with (ROOT / "requirements.lock").open("rb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # two at once: the second finds it done
        # A virtual environment holds its own path and that of its Python.
        environment = _digest(f"{ROOT} {sys.base_prefix} {sys.version}".encode(), lock.read())
        project = _digest((ROOT / "pyproject.toml").read_bytes())
        held = STAMP.read_text().split() if STAMP.exists() and PYTHON.exists() else []
        if held == [environment, project]:
            return
        STAMP.unlink(missing_ok=True)
        if held[:1] != [environment]:
            _make_environment()
        _pip("install", "--no-deps", "--no-build-isolation", "-e", str(ROOT))
        STAMP.write_text(f"{environment}\n{project}\n")
        print("setup: .venv/ is ready")


def _digest(*parts: bytes) -> str:
    return hashlib.sha256(b"\0".join(parts)).hexdigest()[:16]


def _make_environment() -> None:
    print("setup: installing what requirements.lock pins into .venv/ (about a minute)", flush=True)
    # Anew: what the lock no longer names must not stay. The base executable, as .venv itself may be active.
    base = getattr(sys, "_base_executable", sys.executable)
    _run([base, "-m", "venv", "--clear", "--without-pip", VENV])
    wheel = _pip_wheel()
    _run([PYTHON, wheel / "pip", "install", "-q", "--no-index", "--no-warn-script-location", wheel])
    _pip("install", "--no-deps", "-r", str(ROOT / "requirements.lock"))
    _pip("check")


def _pip(*arguments: str) -> None:
    _run([PYTHON, "-m", "pip", "-qq", "--disable-pip-version-check", "--no-input", *arguments])


def _run(command: list[str | Path]) -> None:
    environment = {**os.environ}
    if CERTIFICATES.exists():
        environment.setdefault("PIP_CERT", str(CERTIFICATES))
    subprocess.run(command, check=True, env=environment, stdin=subprocess.DEVNULL)


# ---- pip for a Python that came without ----
def _pip_wheel() -> Path:
    reasons = []
    for find in (_wheel_of_this_python, _wheel_from_apt, _wheel_from_index):
        try:
            if wheel := find():
                return wheel
        except (OSError, subprocess.SubprocessError) as error:
            output = (getattr(error, "stderr", None) or str(error)).strip()
            reasons.append(output.splitlines()[-1] if output else repr(error))
    raise SetupFailed(f"no pip: run `apt-get install python3-venv`; fetching it failed: {'; '.join(reasons)}")


def _wheel_of_this_python() -> Path | None:
    """The one that `ensurepip` would install; Debian keeps it apart, in the package python3-pip-whl."""
    folders = [Path(os.__file__).parent / "ensurepip/_bundled", Path("/usr/share/python-wheels")]
    return _newest([wheel for folder in folders for wheel in folder.glob("pip-*.whl")])


def _wheel_from_apt() -> Path | None:
    from server_binaries import unpack  # only here: it is seldom needed

    print("setup: this Python has no pip, fetching Debian's", flush=True)
    partial = VENV / "pip.partial"
    try:
        unpack(["python3-pip-whl"], partial, None)
        # Debian's pip trusts the system's certificates, which a small system may lack; the package brings them.
        if not Path("/etc/ssl/certs/ca-certificates.crt").exists():
            files = sorted((partial / "root/usr/share/ca-certificates").rglob("*.crt"))
            CERTIFICATES.write_text("\n".join(file.read_text() for file in files))
        wheel = _newest(list((partial / "root/usr/share/python-wheels").glob("pip-*.whl")))
        return Path(shutil.copy(wheel, VENV)) if wheel else None
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _wheel_from_index() -> Path | None:
    page = (os.environ.get("PIP_INDEX_URL") or "https://pypi.org/simple").rstrip("/") + "/pip/"
    with urllib.request.urlopen(page, timeout=30) as answer:
        links = re.findall(
            r'href="([^"]+/(pip-[0-9.]+-py3-none-any\.whl)#sha256=([0-9a-f]{64}))"', answer.read().decode()
        )
    if not links:
        raise OSError(f"{page} names no pip")
    link, name, digest = max(links, key=lambda found: _version(found[1]))
    with urllib.request.urlopen(urllib.parse.urljoin(page, link), timeout=30) as answer:
        data = answer.read()
    if hashlib.sha256(data).hexdigest() != digest:
        raise OSError(f"{link} is not what {page} says it is")
    wheel = VENV / str(name)
    wheel.write_bytes(data)
    return wheel


def _newest(wheels: list[Path]) -> Path | None:
    return sorted(wheels, key=lambda wheel: _version(wheel.name))[-1] if wheels else None


def _version(name: str) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", name.split("-")[1])]


if __name__ == "__main__":
    sys.exit(main())
