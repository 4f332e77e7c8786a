"""What the site adds to the pages: `{{ help COMMAND }}` becomes the help of a command, and links to files that are not part of
the site become their names."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import PurePosixPath
from typing import Any

_HELP = re.compile(r"^\{\{ help ?([\w ]*?) ?\}\}$", re.MULTILINE)
_LINK = re.compile(r"(?<!!)\[([^\]]*)\]\((?!https?:|mailto:|#)([^)\s]+)\)")


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """MkDocs calls this with the text of every page."""
    folder = PurePosixPath(page.file.src_uri).parent

    def link(found: re.Match[str]) -> str:
        words, target = found.groups()
        place = os.path.normpath(folder / target.partition("#")[0])
        return words if place.startswith("..") else found[0]

    return _HELP.sub(lambda found: _help(found[1].split()), _LINK.sub(link, markdown))


def _help(words: list[str]) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "audiocraft", *words, "--help"],
        capture_output=True, text=True, check=True, env={**os.environ, "COLUMNS": "100", "NO_COLOR": "1", "TERM": "dumb"},
    )
    return f"```text\n{done.stdout.rstrip()}\n```"
