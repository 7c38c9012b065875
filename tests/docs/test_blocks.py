"""Pages do what they say: their blocks are run, in order, where somebody would type them."""

import socket

import pytest

from tests.docs import pages, reader, shell
from tests.docs.pages import Block

pytestmark = pytest.mark.filterwarnings("default")  # of the libraries that a block happens to read


@pytest.fixture(scope="session")
def shared(tmp_path_factory):
    """What all pages share: caches, and the runs that they begin with."""
    return tmp_path_factory.mktemp("shared")


def runnable(page: str, labels: tuple[str, ...]) -> list[Block]:
    blocks = [block for block in pages.read(page)[0] if block.label in labels]
    return [block for block in blocks if block.language in (*pages.COMMANDS, pages.PYTHON)]


def with_blocks(*labels: str) -> list[str]:
    """Pages that have a block of the last of these labels."""
    return [page for page in pages.pages() if any(block.label == labels[-1] for block in runnable(page, labels))]


def follow(page: str, blocks: list[Block], folder, shared, scratch) -> None:
    """Runs blocks in order; the Python of a page is one program."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    names: dict[str, object] = {"__name__": "page"}
    with reader.following(page, folder, shared, port) as one:
        for block in blocks:
            text = one.said(shell.typed(block.text, block.language))
            if block.language == pages.PYTHON:
                exec(compile(text, block.name, "exec"), names)
                continue
            for words in shell.started(text, folder, scratch):
                code = one.run(words)
                assert code == (int(block.reason) if block.label == "exits" else 0), f"{block.name}: {words}"


@pytest.mark.parametrize("page", with_blocks("exits", ""))
def test_a_page_does_what_it_says(page, shared, tmp_path):
    (tmp_path / "folder").mkdir()
    follow(page, runnable(page, ("", "exits")), tmp_path / "folder", shared, tmp_path)


@pytest.mark.prove
@pytest.mark.parametrize("page", with_blocks("", "exits", "prove"))
def test_a_whole_page_does_what_it_says(page, shared, tmp_path):
    (tmp_path / "folder").mkdir()
    follow(page, runnable(page, ("", "exits", "prove")), tmp_path / "folder", shared, tmp_path)
