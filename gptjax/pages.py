"""Pages that are one file: their data, their scripts and their style are in it, and they load nothing.

What a page shows (names of runs, samples, prompts) is not to be trusted: it goes in as JSON in which `<` is spelled
out, and the page puts it there as text. Its policy allows the scripts of this file, by their hashes, and no other.
"""

import base64
import hashlib
import json
import pathlib
import re
from collections.abc import Sequence
from typing import Any

BASE = pathlib.Path(__file__).parent / "page"  # the head, the style and the functions that all pages share


def filled(title: str, folder: pathlib.Path, scripts: Sequence[str], data: Any, libraries: Sequence[str] = ()) -> str:
    """A page, whole: `page.html` of a folder in the head of all pages, with its `style.css`, its scripts, the data that
    they read and the text of libraries that they need."""
    own = "\n".join(text_of(file) for file in (BASE / "base.js", *(folder / name for name in scripts)))
    code = [*libraries, f'"use strict";\n{own}']
    hashes = " ".join(f"'sha256-{digest(script)}'" for script in code)
    parts = {
        "title": title,
        "policy": f"default-src 'none'; script-src {hashes}; style-src 'unsafe-inline'; img-src data: blob:; "
        "base-uri 'none'; form-action 'none'",
        "style": "\n".join(text_of(file) for file in (BASE / "base.css", folder / "style.css")),
        "body": text_of(folder / "page.html"),
        "data": safe_json(data),
        "scripts": "\n".join(f"<script>{script}</script>" for script in code),
    }
    return re.sub(r"\{\{(\w+)\}\}", lambda match: parts[match[1]], text_of(BASE / "base.html"))


def text_of(file: pathlib.Path) -> str:
    return file.read_text(encoding="utf-8").strip()


def digest(script: str) -> str:
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()


def safe_json(value: Any) -> str:
    """JSON in which nothing ends a script element, opens a comment in it, or is no ASCII."""
    return json.dumps(value, allow_nan=False, separators=(",", ":")).replace("<", r"\u003c").replace(">", r"\u003e")
