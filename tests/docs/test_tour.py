"""docs/tour.md walks through files and functions that exist, and its picture shows rooms on their floors."""

import re

import pytest

from tests.docs.source import ROOT, lines_of

PAGE = (ROOT / "docs/tour.md").read_text()
STOPS = re.findall(r"^\| \[`(\S+)`\]\(\.\./(\S+)\) ((?:`[\w.]+` )+)\|", PAGE, re.MULTILINE)
TEXT = re.compile(r'<text x="\d+" y="(\d+)"[^>]*>([^<]*)</text>')


@pytest.mark.parametrize("shown, path, names", STOPS, ids=[f"{path}:{names}" for _, path, names in STOPS])
def test_a_stop_is_there(shown, path, names):
    assert shown == path
    for name in re.findall(r"`(.*?)`", names):
        lines_of(path, name)


def test_every_row_is_a_stop():
    rows = [line for line in PAGE.splitlines() if line.startswith("| [")]
    assert len(rows) == len(STOPS) > 40


def texts(group: str) -> list[tuple[int, str]]:
    """Height and words of each text of a group of the picture."""
    found = re.search(rf'<g id="{group}".*?</g>', (ROOT / "docs/house.svg").read_text(), re.DOTALL)
    assert found
    return [(int(y), text) for y, text in TEXT.findall(found[0])]


def test_the_picture_has_each_room_on_its_floor():
    """That of the architecture's table, whose number stands above a room, at its left."""
    table = dict(re.findall(r"^\| (\d) \| (.*) \|$", (ROOT / "docs/architecture.md").read_text(), re.MULTILINE))
    heights = {number: y for y, number in texts("floors")}
    assert heights.keys() == table.keys()
    wrong, n_rooms = [], 0
    for y, words in texts("rooms"):
        floor = max((number for number in heights if heights[number] < y + 20), key=lambda number: heights[number])
        rooms = re.findall(r"[a-z/]+(?:/(?![a-z])|\.py)", words)
        wrong += [(room, floor) for room in rooms if f"`{room}`" not in table[floor]]
        n_rooms += len(rooms)
    assert not wrong
    assert n_rooms == 21
