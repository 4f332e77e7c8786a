"""A PostgreSQL server for the tests, where its programs are installed; nothing of it outlives the session."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def program(name: str) -> str | None:
    """Where a program of PostgreSQL is; Debian keeps them out of the path."""
    places = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"))
    return shutil.which(name) or (str(places[-1]) if places else None)


@contextmanager
def running() -> Iterator[str | None]:
    """The address of a fresh server on a socket of its own, or None where there is no PostgreSQL."""
    initdb, control = program("initdb"), program("pg_ctl")
    account = _account()
    if initdb is None or control is None or account is None:
        yield None
        return
    with tempfile.TemporaryDirectory(prefix="audiocraft-pg-") as name:
        folder = Path(name)
        os.chmod(folder, 0o755)
        data = folder / "data"
        data.mkdir()
        os.chown(data, account.pw_uid, account.pw_gid)
        os.chown(folder, account.pw_uid, account.pw_gid)
        options = f"-k {folder} -c listen_addresses='' -c fsync=off -c max_connections=100"
        _run(account, initdb, "-D", str(data), "-U", "tests", "-A", "trust", "-E", "UTF8", "--no-sync")
        _run(account, control, "-D", str(data), "-w", "-l", str(folder / "log"), "-o", options, "start")
        try:
            yield f"postgresql://tests@/postgres?unix_sock={folder}/.s.PGSQL.5432"
        finally:
            _run(account, control, "-D", str(data), "-w", "-m", "immediate", "stop")


def _account() -> pwd.struct_passwd | None:
    """PostgreSQL refuses to run as root."""
    if os.getuid() != 0:
        return pwd.getpwuid(os.getuid())
    try:
        return pwd.getpwnam("postgres")
    except KeyError:
        return None


def _run(account: pwd.struct_passwd, *command: str) -> None:
    other = {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []} if os.getuid() == 0 else {}
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, timeout=120, cwd="/", **other)  # type: ignore[call-overload]
