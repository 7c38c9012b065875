"""What the files of a checkpoint must be: a manifest of sizes and hashes, in the folder before it gets its final name.

Everything in the folder is listed but the manifest itself and what Orbax writes after it (LATER), which nothing of ours
reads. Damage is told from another format, and one name from the next: `problems` says what is wrong with which file.
"""

import concurrent.futures
import errno
import hashlib
import json
import os
import stat
from collections.abc import Collection

import xxhash

from gptjax.config import BadInput
from gptjax.runs.faults import StorageFailed
from gptjax.runs.log import file_system
from gptjax.version import VERSION

FORMAT = 3
MANIFEST = "hashes.json"
LATER = ("_CHECKPOINT_METADATA", "commit_success.txt")
BLOCK_BYTES = 2**19  # read and hashed while it is in a core's cache


class DamagedCheckpoint(BadInput):
    """A checkpoint that should be whole is not; `what` names the file and the fault."""

    def __init__(self, folder: str, what: str):
        super().__init__(f"{folder} is damaged ({what})")
        self.what = what


def seal(folder: str, step: int) -> None:
    """Writes the manifest of the files that lie in a folder."""
    fs, root = file_system(folder)
    names, odd = listed(folder)
    if odd:
        raise OSError(f"{folder}: {odd[0]} is neither a file nor a folder")
    hashes = hashes_of(folder, names)
    files = {name: {"bytes": size, "hash": hashes[name]} for name, size in names.items()}
    content = encoded({"format": FORMAT, "gptjax": VERSION, "step": step, "files": files})
    if "://" in folder:
        fs.pipe_file(f"{root}/{MANIFEST}", content)
        return
    with open(f"{root}/{MANIFEST}", "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def encoded(sealed: dict) -> bytes:
    """The manifest, which holds a hash of itself."""
    body = json.dumps(sealed, sort_keys=True)
    return f'{{"sealed": {body}, "sha256": "{hashlib.sha256(body.encode()).hexdigest()}"}}\n'.encode()


def read_manifest(folder: str) -> dict:
    """The manifest; raises DamagedCheckpoint, or BadInput where another gptjax wrote the checkpoint."""
    fs, root = file_system(folder)
    path = f"{root}/{MANIFEST}"
    if not fs.isfile(path) or os.path.islink(path):
        refuse_first_format(folder)
        raise DamagedCheckpoint(folder, f"{MANIFEST} is missing")
    try:
        content = fs.cat_file(path)
        sealed = json.loads(content)["sealed"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise DamagedCheckpoint(folder, f"{MANIFEST} cannot be read") from error
    if content != encoded(sealed):
        raise DamagedCheckpoint(folder, f"{MANIFEST} has another hash than when it was saved")
    if sealed["format"] != FORMAT:
        raise BadInput(
            f"{folder} has format {sealed['format']}, written by gptjax {sealed['gptjax']}; "
            f"this gptjax ({VERSION}) reads format {FORMAT}"
        )
    if folder.rstrip("/").rsplit("/", 1)[-1] != str(sealed["step"]):
        raise DamagedCheckpoint(folder, f"it holds step {sealed['step']}")
    return sealed


def refuse_first_format(folder: str) -> None:
    """Raises BadInput for a checkpoint of the format that had no manifest."""
    fs, root = file_system(folder)
    try:
        meta = json.loads(fs.cat_file(f"{root}/meta/metadata"))
    except (OSError, ValueError):
        return
    if isinstance(meta, dict) and meta.get("format") == 1:
        raise BadInput(f"{folder} has format 1, without hashes; this gptjax reads format {FORMAT}: start a new run")


def verify(folder: str, items: Collection[str] | None = None) -> dict:
    """The manifest, once every file is as it was when saved, or every file of some items. Raises DamagedCheckpoint."""
    sealed = read_manifest(folder)
    wanted = lambda name: items is None or name.split("/")[0] in items
    names, odd = listed(folder)
    names, odd = {name: size for name, size in names.items() if wanted(name)}, [name for name in odd if wanted(name)]
    expected = {name: file for name, file in sealed["files"].items() if wanted(name)}
    found = [f"{name} is a link or no file" for name in odd]
    found += [f"{name} is missing" for name in expected if name not in names and name not in odd]
    found += [f"{name} was not there when it was saved" for name in names if name not in expected]
    sized = [name for name in expected if name in names and names[name] == expected[name]["bytes"]]
    found += [
        f"{name} has {names[name]:,} bytes, {file['bytes']:,} when it was saved"
        for name, file in expected.items()
        if name in names and name not in sized
    ]
    if not found:
        try:
            hashes = hashes_of(folder, {name: names[name] for name in sized})
        except OSError as error:
            if error.errno in (errno.EIO, errno.ENOENT):
                raise DamagedCheckpoint(folder, f"{error.filename}: {error.strerror}") from error
            raise StorageFailed(f"{error.filename} cannot be read: {error.strerror}") from error
        found = [
            f"{name} has another hash than when it was saved"
            for name in sized
            if hashes[name] != expected[name]["hash"]
        ]
    if found:
        raise DamagedCheckpoint(folder, found[0] + (f"; and {len(found) - 1} more" if len(found) > 1 else ""))
    return sealed


def listed(folder: str) -> tuple[dict[str, int], list[str]]:
    """{name: bytes} of the files in a folder, at any depth; and the names of what is neither file nor folder."""
    fs, root = file_system(folder)
    if "://" in folder:
        sizes = {name[len(root) + 1 :]: info["size"] for name, info in fs.find(root, detail=True).items()}
        odd = []
    else:
        sizes, odd = {}, []
        for where, folders, files in os.walk(root, onerror=raise_it):
            for path in (os.path.join(where, name) for name in folders + files):
                name, state = os.path.relpath(path, root), os.lstat(path)
                if stat.S_ISREG(state.st_mode):
                    sizes[name] = state.st_size
                elif not stat.S_ISDIR(state.st_mode):
                    odd.append(name)
    return {name: sizes[name] for name in sorted(sizes) if name not in (MANIFEST, *LATER)}, sorted(odd)


def raise_it(error: OSError) -> None:
    raise error


def hashes_of(folder: str, sizes: dict[str, int]) -> dict[str, str | None]:
    """The hash of each file; None in an object store, which keeps checksums of its own and bills every byte read."""
    if "://" in folder:
        return dict.fromkeys(sizes)
    with concurrent.futures.ThreadPoolExecutor(4, "hashes") as threads:
        return dict(zip(sizes, threads.map(lambda name: hash_of(os.path.join(folder, name)), sizes), strict=True))


def hash_of(path: str) -> str:
    """XXH3 of a file, 128 bits: as fast as memory is read. It is no defence against an adversary."""
    found, block = xxhash.xxh3_128(), memoryview(bytearray(BLOCK_BYTES))
    with open(path, "rb", buffering=0) as file:  # not mapped: a disk that fails would end the process
        while n := file.readinto(block):
            found.update(block[:n])
    return found.hexdigest()


def quarantine(folder: str) -> str:
    """Renames a damaged checkpoint to `<step>.damaged`, or the first such name that is free; returns the new path."""
    fs, root = file_system(folder)
    taken = lambda number: f"{root}.damaged" + (f"-{number}" if number else "")
    number = 0
    while fs.exists(taken(number)):
        number += 1
    fs.mv(root, taken(number), recursive=True)
    return taken(number)


def quarantined(folder: str) -> list[str]:
    """The names of a run's checkpoints that were put aside."""
    fs, root = file_system(folder)
    return sorted(path.rsplit("/", 1)[-1] for path in fs.glob(f"{root}/*.damaged*"))
