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


def filled(folder: pathlib.Path, scripts: Sequence[str], data: Any, libraries: dict[str, str] | None = None) -> str:
    """`page.html` of a folder with its `style.css`, its scripts and the data where it says {{style}}, {{script}} and
    {{data}}; scripts of others, by name, where it says that."""
    own = "\n".join(text_of(folder / name) for name in scripts)
    code = {"script": f'"use strict";\n{own}', **(libraries or {})}
    hashes = " ".join(f"'sha256-{digest(script)}'" for script in code.values())
    policy = (
        f"default-src 'none'; script-src {hashes}; style-src 'unsafe-inline'; img-src data: blob:; "
        "base-uri 'none'; form-action 'none'"
    )
    parts = code | {"style": text_of(folder / "style.css"), "data": safe_json(data), "policy": policy}
    return re.sub(r"\{\{(\w+)\}\}", lambda match: parts[match[1]], text_of(folder / "page.html"))


def text_of(file: pathlib.Path) -> str:
    return file.read_text(encoding="utf-8").strip()


def digest(script: str) -> str:
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()


def safe_json(value: Any) -> str:
    """JSON in which nothing ends a script element, opens a comment in it, or is no ASCII."""
    return json.dumps(value, allow_nan=False, separators=(",", ":")).replace("<", r"\u003c").replace(">", r"\u003e")
