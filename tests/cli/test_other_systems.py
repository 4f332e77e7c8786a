"""Windows and macOS: what only Linux or only Unix has is not needed to import any module.

These systems cannot be had here. A fresh interpreter pretends to be Windows towards this package alone: modules of Unix
are not found, and `os`, `signal` and `socket` come without what they lack there.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import audiocraft

_PRETENDING = """
import builtins, importlib, pathlib, sys, types

GONE = {"fcntl", "grp", "posix", "pty", "pwd", "readline", "resource", "syslog", "termios", "tty", "curses"}
LACKS = {
    "os": "chown confstr fchmod fork forkpty getegid geteuid getgid getloadavg getpgid getsid getuid initgroups killpg "
          "mkfifo nice pread pwrite pidfd_open posix_spawn sched_getaffinity sched_setaffinity sched_yield setpriority "
          "setsid setuid statvfs sysconf uname wait3 wait4 WNOHANG O_DIRECTORY O_NOFOLLOW O_CLOEXEC O_NONBLOCK",
    "signal": "SIGALRM SIGCHLD SIGHUP SIGKILL SIGPIPE SIGQUIT SIGSTOP SIGUSR1 SIGUSR2 alarm pause pthread_kill "
              "pthread_sigmask setitimer sigwait",
    "socket": "AF_UNIX SO_REUSEPORT recv_fds send_fds",
}
real = builtins.__import__

def without(name):
    module = types.ModuleType(name)
    found = sys.modules[name]
    module.__dict__.update({key: value for key, value in vars(found).items() if key not in LACKS[name].split()})
    return module

import os, signal, socket
poor = {name: without(name) for name in LACKS}

def pretend(name, globals=None, locals=None, fromlist=(), level=0):
    if globals is not None and level == 0 and str(globals.get("__name__", "")).startswith("audiocraft"):
        if name.split(".")[0] in GONE:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        if name in poor:
            return poor[name]
    return real(name, globals, locals, fromlist, level)

builtins.__import__ = pretend
package = pathlib.Path(sys.argv[1])
for path in sorted(package.rglob("*.py")):
    parts = path.relative_to(package.parent).with_suffix("").parts
    name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
    if parts[-1] == "__main__" or "migrations" in parts:
        continue
    try:
        importlib.import_module(name)
    except Exception as error:
        text = f"{type(error).__name__}: {error}"
        if getattr(error, "name", None) in GONE or not isinstance(error, ImportError):
            print(name, text)

from audiocraft.cli.main import main
try:
    main(["generate", "calm piano", "--duration", "0.5", "--model", "musicgen-nano", "--output", sys.argv[2]])
except SystemExit as end:
    assert not end.code, end.code
assert pathlib.Path(sys.argv[2]).stat().st_size > 1000
"""


def test_nothing_that_only_unix_has_is_needed_to_import_or_to_make_music(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _PRETENDING, str(Path(audiocraft.__file__).parent), str(tmp_path / "out.wav")],
        capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert [line for line in done.stdout.splitlines() if "out.wav" not in line] == []
