"""The table of trials: what has happened to each, one object an event, and no server.

`TABLE/<trial>/00001.json`, `00002.json`, ... hold the whole state of the trial after that event. An event is written by
creating its object only if it is absent, so of two who saw the same state one alone can say what follows; the other
looks again. That holds on a local disk, on NFS (a hard link to a whole file) and in a bucket (a conditional put).
Objects are never changed. What is known of a trial is its highest event; a trial without any is waiting.
"""

import contextlib
import dataclasses
import json
import os
import pathlib
import socket
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from gptjax.config import BadInput
from gptjax.runs.faults import StorageFailed

FINAL = ("done", "failed", "cancelled")
LIVE = ("submitted", "queued", "running")  # in the hands of an engine: claimed, told to it, and started
STATES = ("waiting", *LIVE, *FINAL)
CONDITIONAL = ("s3", "gs", "memory")  # stores whose put can be refused where the object is there


@dataclasses.dataclass(frozen=True)
class State:
    """A trial after an event. `event` counts from 1; 0 is a trial that nothing has happened to."""

    state: str = "waiting"
    event: int = 0
    batch: str = ""  # who may start it: the one submission that this name stands for
    job: str = ""  # what the engine calls it there; empty until that is known
    engine: str = ""
    attempt: int = 0  # starts so far
    failures: int = 0  # ends in a row that brought the saved step no further
    saved: int = 0  # newest checkpoint at the last end
    code: int | None = None  # of the last end; None where nobody saw it
    why: str = ""
    result: dict[str, Any] = dataclasses.field(default_factory=dict)  # of a trial that is done: its last numbers
    rung: int = 0  # of a sweep that promotes: how often the trial was made longer
    rungs: list[float | None] = dataclasses.field(default_factory=list)  # its metric at the end of each length
    host: str = ""  # where the event was written, and by which process
    process: int = 0
    at: float = 0.0  # Unix time of the event

    def next(self, state: str, **changes: Any) -> "State":
        """The state after one more event, written here and now; what `changes` does not name stays, but for `why`."""
        made: dict[str, Any] = dict(state=state, event=self.event + 1, at=round(time.time(), 3), why="")
        made |= dict(host=socket.gethostname(), process=os.getpid())
        return dataclasses.replace(self, **(made | changes))


class Table:
    """The events below a folder or a URL that fsspec knows (s3://, gs://)."""

    def __init__(self, root: str):
        self.root = root.rstrip("/")
        self.store = Bucket(self.root) if "://" in root else Folder(self.root)
        self.seen: dict[str, State] = {}  # events never change, so the newest ones are read once

    def latest(self, trials: Iterable[str] | None = None) -> dict[str, State]:
        """The state of each trial that has one; of these trials alone where they are named."""
        newest = self.store.newest(trials)
        unread = [name for name, event in newest.items() if name not in self.seen or self.seen[name].event < event]
        texts = self.store.read([(name, newest[name]) for name in unread])
        self.seen |= {name: self.parsed(name, newest[name], text) for name, text in zip(unread, texts, strict=True)}
        return {name: self.seen[name] for name in newest}

    def get(self, trial: str) -> State:
        """The trial's newest state; State(), event 0, of one that nothing has happened to."""
        return self.latest([trial]).get(trial, State())

    def append(self, trial: str, state: State) -> bool:
        """Whether this became the trial's event `state.event`; False where another was there first."""
        made = self.store.create(trial, state.event, json.dumps(dataclasses.asdict(state)).encode())
        if made:
            self.seen[trial] = state
        return made

    def parsed(self, trial: str, event: int, text: bytes) -> State:
        """The state in an event's object; BadInput where it is damaged, or of another number."""
        try:
            found = State(**json.loads(text))
            if found.state not in STATES or found.event != event:
                raise ValueError
        except (TypeError, ValueError) as error:
            raise BadInput(f"{self.root}/{trial}/{file_name(event)} is damaged; move it away") from error
        return found


class Folder:
    """On a disk or NFS. A file gets its name by a link once it is whole, which is refused where the name is taken."""

    def __init__(self, root: str):
        self.root = root

    def newest(self, trials: Iterable[str] | None) -> dict[str, int]:
        if trials is None:
            with contextlib.suppress(FileNotFoundError):
                trials = [entry.name for entry in os.scandir(self.root)]
        found = {}
        for trial in trials or ():
            with contextlib.suppress(FileNotFoundError):
                if events := [event for name in os.listdir(f"{self.root}/{trial}") if (event := event_of(name))]:
                    found[trial] = max(events)
        return found

    def read(self, events: list[tuple[str, int]]) -> list[bytes]:
        found = []
        for trial, event in events:
            with open(f"{self.root}/{trial}/{file_name(event)}", "rb") as file:
                found.append(file.read())
        return found

    def create(self, trial: str, event: int, content: bytes) -> bool:
        folder = pathlib.Path(self.root, trial)
        folder.mkdir(parents=True, exist_ok=True)
        whole = folder / f".{socket.gethostname()}-{os.getpid()}-{time.monotonic_ns()}"
        with open(whole, "xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(whole, folder / file_name(event))
        except FileExistsError:
            # An NFS server may have made the link and its answer been lost: then it is ours all the same.
            return os.stat(whole).st_nlink == 2
        finally:
            os.unlink(whole)
        return True


class Bucket:
    """In an object store: a put with the condition that there is no such object yet."""

    def __init__(self, root: str):
        from gptjax.runs.log import file_system

        if root.partition("://")[0] not in CONDITIONAL:
            raise BadInput(f"--runs={root}: has no conditional put; use a folder, or one of {', '.join(CONDITIONAL)}")
        try:
            self.fs, self.root = file_system(root)
        except BadInput as error:  # what reads it is not installed
            raise BadInput(str(error).replace("--workdir=", "--runs=", 1)) from error

    def newest(self, trials: Iterable[str] | None) -> dict[str, int]:
        found: dict[str, int] = {}
        for folder in [self.root] if trials is None else [f"{self.root}/{trial}" for trial in trials]:
            self.fs.invalidate_cache(folder)
            for path in self.listed(folder):
                *_, trial, name = path.split("/")
                if event := event_of(name):  # else it may be the folder itself, which s3fs tells of as it comes to be
                    found[trial] = max(found.get(trial, 0), event)
        return found

    def listed(self, folder: str) -> list[str]:
        try:
            return list(self.fs.find(folder))
        except FileNotFoundError:
            return []
        except Exception as error:  # each store has its own for a wrong name, no credentials and no network
            said = " ".join(str(error).split())[:200] or type(error).__name__
            raise StorageFailed(
                f"--runs: {folder} cannot be read ({said}); look at its name and your credentials"
            ) from error

    def read(self, events: list[tuple[str, int]]) -> list[bytes]:
        with ThreadPoolExecutor(16) as pool:
            return list(pool.map(lambda one: self.read_one(f"{self.root}/{one[0]}/{file_name(one[1])}"), events))

    def read_one(self, path: str) -> bytes:
        """Some that speak S3 list an object a moment before they give it."""
        for wait_s in (0.1, 0.5, 2):
            try:
                return self.fs.cat_file(path)
            except FileNotFoundError:
                time.sleep(wait_s)
        return self.fs.cat_file(path)

    def create(self, trial: str, event: int, content: bytes) -> bool:
        path = f"{self.root}/{trial}/{file_name(event)}"
        for tries_left in (2, 1, 0):
            try:
                self.fs.pipe_file(path, content, mode="create")
                return True
            except Exception:  # each store has its own words for "it is there", and for "two at a time, try again"
                self.fs.invalidate_cache(path)
                if self.fs.exists(path):
                    return self.read_one(path) == content  # ours, where the answer to an earlier try was lost
                if not tries_left:
                    raise
        return False


def file_name(event: int) -> str:
    return f"{event:05d}.json"


def event_of(name: str) -> int:
    """The number in an event's name; 0 for other files."""
    return int(name[:5]) if len(name) == 10 and name[:5].isdecimal() and name.endswith(".json") else 0
