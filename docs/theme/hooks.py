"""What MkDocs is told beside mkdocs.yml: formulas become MathML, and files outside docs/ that pages link to become
pages, since the site has to be whole without a network."""

import html
import os
import pathlib
import posixpath
import re

import latex2mathml.converter
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = pathlib.Path(__file__).parents[2]
DOCS = "docs/"
SOURCE = "source/"  # where the site keeps what is outside docs/
LINK = re.compile(r"(?<=\]\()(?![a-z]+:|#)([^)\s#]+)")
FENCE = re.compile(r"(^ *```.*?^ *```$)", re.DOTALL | re.MULTILINE)
FORMULA = re.compile(r'<(span|div) class="arithmatex">\\[(\[](.*?)\\[)\]]</\1>', re.DOTALL)
NAMED_PAGE = re.compile(r"(?<![\w/\[])(?<!\]\()(`?)docs/(\w+\.md)\1(?![\w\]])")
SHORT_CODE = re.compile(r"(<t[dh][^>]*>)<code>(?=[^<]{1,36}</code>)")
FUNCTION = re.compile(r"<mi>(?:log|ln|exp|min|max|cos)</mi>(?=<m[^o])")
SPACE = '<mspace width="0.17em"/>'  # which latex2mathml leaves out after the name of a function
IMAGES = (".png", ".svg")


def on_files(files: Files, *, config: MkDocsConfig) -> Files:
    """Adds every file that a page links to, and what those link to in turn."""
    seen = {file.src_uri for file in files}
    waiting = [file for file in files if file.src_uri.endswith(".md")]
    while waiting:
        page = waiting.pop()
        for path in targets(page.content_string, repository_path(page.src_uri)):
            uri = site_path(path)
            if uri in seen or not uri.startswith(SOURCE):
                continue
            seen.add(uri)
            made = of_file(config, uri, path)
            files.append(made)
            if uri.endswith(".md"):
                waiting.append(made)
    return files


def on_page_markdown(markdown: str, *, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Links as the site has them; pages that are only named become links."""
    here = page.file.src_uri

    def relative(path: str) -> str:
        return posixpath.relpath(site_path(path), posixpath.dirname(here) or ".")

    def moved(match: re.Match[str]) -> str:
        path = resolved(match[1], repository_path(here))
        return relative(path) if path else match[1]

    def linked(match: re.Match[str]) -> str:
        path = f"{DOCS}{match[2]}"
        return f"[{match[2]}]({relative(path)})" if (ROOT / path).exists() else match[0]

    parts = FENCE.split(markdown)
    parts[::2] = [NAMED_PAGE.sub(linked, LINK.sub(moved, part)) for part in parts[::2]]
    return "".join(parts)


def on_page_content(content: str, *, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Formulas as MathML, which browsers draw without a script; a flag in a table's cell stays on one line."""

    def drawn(match: re.Match[str]) -> str:
        display = "block" if match[1] == "div" else "inline"
        mathml = latex2mathml.converter.convert(html.unescape(match[2]).strip(), display=display)
        return FUNCTION.sub(lambda name: f"{name[0]}{SPACE}", mathml)

    return SHORT_CODE.sub(r'\1<code class="short">', FORMULA.sub(drawn, content))


def targets(markdown: str, path: str) -> list[str]:
    """The files that a page links to, as paths in the repository."""
    found = (resolved(link, path) for part in FENCE.split(markdown)[::2] for link in LINK.findall(part))
    return [path for path in found if path]


def resolved(link: str, path: str) -> str:
    """The repository's path of a link on a page; empty where there is no such file, which MkDocs then tells."""
    target = posixpath.normpath(posixpath.join(posixpath.dirname(path), link))
    if (ROOT / target).is_dir() and (ROOT / target / "README.md").exists():
        target += "/README.md"
    return target if (ROOT / target).exists() else ""


def site_path(path: str) -> str:
    if path.startswith(DOCS):
        return path.removeprefix(DOCS)
    return SOURCE + path + ("" if path.endswith((".md", *IMAGES)) else ".md")


def repository_path(uri: str) -> str:
    return uri.removeprefix(SOURCE) if uri.startswith(SOURCE) else DOCS + uri


def of_file(config: MkDocsConfig, uri: str, path: str) -> File:
    """A page of a file's text, a folder's list, or the picture itself."""
    if path.endswith(IMAGES):
        return File.generated(config, uri, abs_src_path=str(ROOT / path))
    if path.endswith(".md"):
        return File.generated(config, uri, content=(ROOT / path).read_text())
    if (ROOT / path).is_dir():
        names = sorted(entry.name for entry in os.scandir(ROOT / path) if not entry.name.startswith(("_", ".")))
        return File.generated(config, uri, content=f"# {path}\n\n" + "".join(f"- `{name}`\n" for name in names))
    kind = "python" if path.endswith(".py") else "text"
    text = (ROOT / path).read_text()
    wide = "---\nhide: [navigation, toc]\n---\n"
    return File.generated(config, uri, content=f'{wide}# {path}\n\n````{kind} linenums="1"\n{text}````\n')
