"""Keys, tokens and passwords in a text, line by line, by the plugins of detect-secrets."""

import re
from collections.abc import Iterator
from typing import Any

from gptjax.config import BadInput
from gptjax.privacy.findings import Finding

LEFT_OUT = {"IPPublicDetector"}  # addresses are personal.py's
DASHES = "-----"
PRIVATE_KEY = "Private Key"  # of which a plugin finds the first line alone
END_OF_KEY = re.compile(r"-----END [A-Z0-9 ]*PRIVATE KEY( BLOCK)?-----")


def find(text: str) -> list[Finding]:
    """Raises BadInput without the extra [audit]."""
    try:
        from detect_secrets.filters import heuristic
        from detect_secrets.plugins.base import RegexBasedDetector
        from detect_secrets.settings import default_settings, get_plugins
    except ImportError as error:
        raise BadInput("looking for secrets needs detect-secrets; pip install 'gptjax[audit]'") from error
    harmless = (
        heuristic.is_sequential_string,
        heuristic.is_potential_uuid,
        heuristic.is_templated_secret,
        heuristic.is_prefixed_with_dollar_sign,
        heuristic.is_not_alphanumeric_string,
    )
    found, at = [], 0
    with default_settings():
        plugins = [plugin for plugin in get_plugins() if type(plugin).__name__ not in LEFT_OUT]
        for line in text.splitlines(keepends=True):
            for plugin in plugins:
                for secret in plugin.analyze_line("", line.rstrip("\r\n"), 0):
                    value = secret.secret_value or ""
                    if value and not any(of(value) for of in harmless) and not heuristic.is_indirect_reference(line):
                        whole = [value] if not isinstance(plugin, RegexBasedDetector) else matched(plugin, line, value)
                        found += places(text, line, at, secret.type, whole)
            at += len(line)
    return found


def matched(plugin: Any, line: str, value: str) -> list[str]:
    """All that a pattern matched: its value may be a group, as the `ghp` of a GitHub token."""
    return [match[0] for regex in plugin.denylist for match in regex.finditer(line) if value in match[0]]


def places(text: str, line: str, at: int, kind: str, values: list[str]) -> Iterator[Finding]:
    """Every place of a value in its line; a private key is whole, from its dashes to its end."""
    name = kind.upper().replace(" ", "_")
    for match in (match for value in values for match in re.finditer(re.escape(value), line)):
        start, stop = at + match.start(), at + match.end()
        if kind == PRIVATE_KEY:
            start -= len(DASHES) if text.endswith(DASHES, at, start) else 0
            end = END_OF_KEY.search(text, stop)
            stop = len(text) if end is None else end.end()
        yield Finding(name, start, stop)
