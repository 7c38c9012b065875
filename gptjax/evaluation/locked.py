"""The program that `sandbox.run` starts inside fresh namespaces: locks itself down, then becomes the candidate.

Its text is given to `python -c`, so it imports nothing of gptjax. Words: the user to become (0: nobody else), CPU
seconds, bytes of memory, processes, bytes of a file, bytes of all files, the interpreter, the folder of its library,
the folder that an empty one takes the place of, and what may be read. The candidate's source comes as stdin.
"""

import ctypes
import os
import resource
import sys

NO_NEW_PRIVILEGES = 38  # prctl
CREATE_RULESET, ADD_RULE, RESTRICT_SELF = 444, 445, 446  # Landlock's system calls, alike on every architecture
EXECUTE, WRITE, READ, READ_FOLDER = 1 << 0, 1 << 1, 1 << 2, 1 << 3
FIRST_RIGHTS = (1 << 13) - 1  # of files, since the first version of Landlock
RIGHTS = {1: FIRST_RIGHTS, 2: (1 << 14) - 1, 3: (1 << 15) - 1, 4: (1 << 15) - 1}  # by version
NO_SETUID, NO_DEVICES, NO_PROGRAMS, BIND, RECURSIVE = 2, 4, 8, 4096, 16384  # mount(2)


class Ruleset(ctypes.Structure):
    _fields_ = [("files", ctypes.c_uint64)]


class Beneath(ctypes.Structure):
    _pack_ = 1
    _fields_ = [("rights", ctypes.c_uint64), ("folder", ctypes.c_int32)]


def main(words: list[str]) -> None:
    user, cpu_s, memory, processes, file_bytes, disk_bytes = map(int, words[:6])
    python, library, here, *readable = words[6:]
    source = sys.stdin.buffer.read()
    libc = ctypes.CDLL(None, use_errno=True)
    if user:
        open_way(libc, library)
    empty_folder(libc, here, f"size={disk_bytes},nr_inodes=1000,mode=0700,uid={user},gid={user}")
    os.chdir(here)
    with open("candidate.py", "wb") as file:
        file.write(source)
    os.chmod("candidate.py", 0o444)
    os.dup2(os.open("/dev/null", os.O_RDONLY), 0)
    limits = (
        (resource.RLIMIT_CPU, cpu_s),
        (resource.RLIMIT_AS, memory),
        (resource.RLIMIT_NPROC, processes),
        (resource.RLIMIT_FSIZE, file_bytes),
        (resource.RLIMIT_CORE, 0),
    )
    for which, most in limits:
        resource.setrlimit(which, (most, most))
    if user:
        os.setgroups([])
        os.setgid(user)
        os.setuid(user)
    held(libc.prctl(NO_NEW_PRIVILEGES, 1, 0, 0, 0), "prctl")
    restrict(libc, here, readable)
    sys.stderr.write("gptjax-locked\n")
    sys.stderr.flush()
    os.execve(python, [python, "-IBS", "candidate.py"], {})


def open_way(libc: ctypes.CDLL, library: str) -> None:
    """Lets every user get to Python's folder: the first folder above it that is closed gives way to an empty one, which
    holds Python alone. Only this namespace sees that."""
    parts = library.split("/")
    above = ["/".join(parts[:n]) for n in range(2, len(parts))]
    closed = [folder for folder in above if not os.stat(folder).st_mode & 0o001]
    if closed:
        there = os.open(library, os.O_PATH)
        empty_folder(libc, closed[0], "mode=0755")
        os.makedirs(library)
        held(libc.mount(f"/proc/self/fd/{there}".encode(), library.encode(), None, BIND | RECURSIVE, None), "mount")
        os.close(there)


def empty_folder(libc: ctypes.CDLL, folder: str, options: str) -> None:
    flags = NO_SETUID | NO_DEVICES | NO_PROGRAMS
    held(libc.mount(b"tmpfs", folder.encode(), b"tmpfs", flags, options.encode()), "mount")


def restrict(libc: ctypes.CDLL, here: str, readable: list[str]) -> None:
    """No file but these may be read or run, and none but those beneath `here` written."""
    version = held(libc.syscall(CREATE_RULESET, None, 0, 1), "Landlock")
    handled = RIGHTS[min(version, max(RIGHTS))]
    ruleset = Ruleset(handled)
    rules = held(libc.syscall(CREATE_RULESET, ctypes.byref(ruleset), ctypes.sizeof(ruleset), 0), "Landlock")
    for path in readable:
        of_folder = READ_FOLDER if os.path.isdir(path) else 0
        of_null = WRITE if path == "/dev/null" else 0
        allow(libc, rules, path, EXECUTE | READ | of_folder | of_null)
    allow(libc, rules, here, handled)
    held(libc.syscall(RESTRICT_SELF, rules, 0), "Landlock")
    os.close(rules)


def allow(libc: ctypes.CDLL, rules: int, path: str, rights: int) -> None:
    folder = os.open(path, os.O_PATH | os.O_CLOEXEC)
    beneath = Beneath(rights, folder)
    held(libc.syscall(ADD_RULE, rules, 1, ctypes.byref(beneath), 0), f"Landlock for {path}")
    os.close(folder)


def held(result: int, what: str) -> int:
    """The result of a call; the launch ends where it failed."""
    if result < 0:
        sys.exit(f"{what}: {os.strerror(ctypes.get_errno())}")
    return result


if __name__ == "__main__":
    main(sys.argv[1:])
