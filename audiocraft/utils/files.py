"""Writing files so that a reader sees the old one or the whole new one, never half of it."""

from __future__ import annotations

import errno
import os
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from audiocraft.errors import InvalidInput


@contextmanager
def atomic_path(target: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary path beside `target`: fill it inside the block, and it takes the target's place at the end.

    When the block raises, the temporary file is removed and the target is as it was.
    """
    target = Path(target)
    if target.is_dir():
        raise IsADirectoryError(errno.EISDIR, "it is a folder, not a file", str(target))
    try:
        # The suffix stays last, because some writers choose the format by it. A name may be as long as it can be.
        handle, name = tempfile.mkstemp(
            dir=target.parent, prefix=f".{target.stem[:32]}-", suffix=f".part{target.suffix}"
        )
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(target)) from error
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        # mkstemp makes files private; a new file should be as readable as any other the user creates.
        mode = target.stat().st_mode & 0o777 if target.exists() else 0o666 & ~_umask()
        temporary.chmod(mode)
        os.replace(temporary, target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def atomic_write(target: str | os.PathLike[str], content: bytes | str) -> None:
    """Write a whole file at once; text is encoded as UTF-8."""
    data = content.encode("utf-8") if isinstance(content, str) else content
    with atomic_path(target) as temporary, open(temporary, "wb") as file:
        file.write(data)
        file.flush()
        # A full disk must show here, before the old file is replaced.
        os.fsync(file.fileno())


def make_folder_of(target: str | os.PathLike[str]) -> None:
    """Make the folder that a file will be in, where it is not there yet."""
    folder = Path(target).parent
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        raise InvalidInput(
            f"cannot write {target}: {folder} is not a folder; name another place", field="output"
        ) from error


def check_apart(
    outputs: Iterable[str | os.PathLike[str]],
    inputs: Iterable[str | os.PathLike[str] | None],
    *,
    field: str = "output",
) -> None:
    """Refuse to write over what is read, by whatever name: another way to it, or a link to it.

    Args:
        outputs: where a command or a function will write.
        inputs: what it reads, whether it is there or not; None is nothing.
        field: what the refusal is about.

    Raises:
        InvalidInput: an output is one of the inputs.
    """
    read = [Path(one) for one in inputs if one is not None]
    for output in map(Path, outputs):
        found = next((one for one in read if _is_same(output, one)), None)
        if found is not None:
            known = "" if os.path.abspath(found) == os.path.abspath(output) else f", as {found}"
            raise InvalidInput(f"{output} is read{known}, and would be lost; name another file", field=field)


def _is_same(one: Path, other: Path) -> bool:
    """Return whether two paths lead to the same file; those that are not there yet count by where they would be."""
    try:
        return os.path.samefile(one, other)
    except OSError:
        return os.path.realpath(one) == os.path.realpath(other)


def file_state(path: str | os.PathLike[str]) -> str:
    """Return what tells a file from the one that was there before: its size and the time of its last change."""
    try:
        status = os.stat(path)
    except OSError:
        return "absent"
    return f"{status.st_size}-{status.st_mtime_ns}"


def _umask() -> int:
    """Return the process's file mode mask, from /proc where there is one: asking the system would set it for a
    moment."""
    try:
        with open("/proc/self/status", encoding="ascii") as status:
            for line in status:
                if line.startswith("Umask:"):
                    return int(line.split()[1], 8)
    except OSError:
        pass
    return 0o022
