"""Confines the process that runs a learner's code, as far as the system lets an ordinary user.

On Linux: Landlock (5.13 and newer) lets it write in its own folder and read the installed libraries,
nothing else; where namespaces are allowed it sees no network and no other process; and limits hold
its memory, the size of its files and its core dumps. Each layer may be missing; `available` says
which there are, in words. Elsewhere only the limits and the keeper's watch remain.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import itertools
import os
import site
import struct
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

LINUX = sys.platform == "linux"
CREATE_RULESET, ADD_RULE, RESTRICT_SELF = 444, 445, 446  # the same on every architecture
SET_NO_NEW_PRIVS, SET_DUMPABLE, SET_PDEATHSIG, SET_CHILD_SUBREAPER = 38, 4, 1, 36
CAPBSET_DROP = 24
NEWUSER, NEWPID, NEWNET, NEWIPC = 0x10000000, 0x20000000, 0x40000000, 0x08000000
EXECUTE, WRITE_FILE, READ_FILE, READ_DIR = 1 << 0, 1 << 1, 1 << 2, 1 << 3
FILE_RIGHTS = EXECUTE | WRITE_FILE | READ_FILE | 1 << 14 | 1 << 15  # truncate, ioctl
ALL_RIGHTS = {1: (1 << 13) - 1, 2: (1 << 14) - 1, 3: (1 << 15) - 1, 4: (1 << 15) - 1}
LARGEST_FILE = 256 * 2**20
PEEKING = frozenset(
    (
        *("gc.get_objects", "gc.get_referrers", "gc.get_referents", "sys._current_frames"),
        *("sys._current_exceptions", "sys.addaudithook", "ctypes.cdata", "ctypes.PyObj_FromPtr"),
        *("ctypes.string_at", "ctypes.memoryview_at", "ctypes.addressof"),
    )
)


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def landlock_version() -> int:
    """The version of Landlock that the kernel offers; 0 where there is none."""
    if not LINUX:
        return 0
    return max(int(_libc().syscall(CREATE_RULESET, None, ctypes.c_size_t(0), 1)), 0)


class Readable(NamedTuple):
    """What a worker may read.

    Attributes:
        files: paths whose files may be read, folders with all that is below them.
        folders: folders whose entries may be listed, and no more.
    """

    files: list[str]
    folders: list[str]


def readable(package: Path | None = None) -> Readable:
    """What a worker may read: the interpreter, the installed libraries, and mmlib but its checks.

    The checks hold the reference answers; they are imported before the worker is confined. Where
    mmlib stands among the installed libraries, those are named one by one around it.
    """
    package = package or Path(__file__).resolve().parents[1]
    installed = {sys.prefix, sys.base_prefix, *sysconfig.get_paths().values()}
    with contextlib.suppress(AttributeError):
        installed |= {*site.getsitepackages(), site.getusersitepackages()}
    installed |= {path for path in sys.path if path and Path(path).resolve() != package.parent}
    found = sorted(installed)
    found += ["/usr", "/lib", "/lib64", "/bin", "/etc/ld.so.cache", "/etc/localtime", "/etc/fonts"]
    found += ["/dev/null", "/dev/zero", "/dev/urandom", "/proc/cpuinfo", "/proc/meminfo"]
    found += ["/sys/devices/system/cpu"]
    files: list[str] = []
    folders: list[str] = []
    for path in map(Path, found):
        if path.exists() and package.is_relative_to(path.resolve()):
            files += _around(path.resolve(), package)
            folders.append(str(path))
        elif path.exists():
            files.append(str(path))
    hidden = {"checks", "grading", "__pycache__"}
    files += [str(path) for path in package.iterdir() if path.name not in hidden]
    # A link that leads nowhere, such as an editor's lock, is nothing that could be read.
    there = [path for path in dict.fromkeys(files) if os.path.exists(path)]
    return Readable(there, list(dict.fromkeys(folders)))


def _around(folder: Path, package: Path) -> Iterator[str]:
    """Name everything below a folder but the package in it."""
    for child in folder.iterdir():
        if not child.exists():
            continue
        if not package.is_relative_to(child.resolve()):
            yield str(child)
        elif child.resolve() != package and not child.is_symlink():
            yield from _around(child, package)


def landlock(read: Readable, write: str) -> bool:
    """Let this process and its children write in one folder and read what is named, for good."""
    version = landlock_version()
    if not version:
        return False
    libc = _libc()
    handled = ALL_RIGHTS.get(version, (1 << 16) - 1)
    network = 0b11 if version >= 4 else 0  # bind and connect by TCP
    scoped = 0b11 if version >= 6 else 0  # abstract sockets; signals to processes outside
    attributes = struct.pack("=QQQ", handled, network, scoped)[
        : 8 if version < 4 else 16 if version < 6 else 24
    ]
    ruleset = libc.syscall(CREATE_RULESET, attributes, ctypes.c_size_t(len(attributes)), 0)
    if ruleset < 0:
        return False
    rules = [(path, READ_FILE | READ_DIR) for path in read.files]
    rules += [(path, READ_DIR) for path in read.folders]
    rules += [("/dev/null", READ_FILE | WRITE_FILE), (write, handled & ~EXECUTE)]
    try:
        for path, rights in rules:
            if not os.path.isdir(path):
                rights &= FILE_RIGHTS
            handle = os.open(path, os.O_PATH | os.O_CLOEXEC)
            try:
                rule = struct.pack("=Qi", rights & handled, handle)
                if libc.syscall(ADD_RULE, ruleset, 1, rule, 0):
                    return False
            finally:
                os.close(handle)
        libc.prctl(SET_NO_NEW_PRIVS, 1, 0, 0, 0)
        return bool(libc.syscall(RESTRICT_SELF, ruleset, 0) == 0)
    finally:
        os.close(ruleset)


def unshare() -> bool:
    """Give the children of this process processes and a network of their own; say if it worked.

    The first child is then the first process of its world, and when it ends, all others in it end.
    """
    if not LINUX:
        return False
    libc = _libc()
    apart = NEWPID | NEWNET | NEWIPC
    user, group = os.geteuid(), os.getegid()
    if user == 0 and libc.unshare(apart) == 0:
        return True
    if libc.unshare(NEWUSER | apart) != 0:
        return False
    try:
        for name, text in (
            ("setgroups", "deny"),
            ("uid_map", f"{user} {user} 1"),
            ("gid_map", f"{group} {group} 1"),
        ):
            Path(f"/proc/self/{name}").write_text(text, encoding="ascii")
    except OSError:
        return False
    return True


def adopt_orphans() -> None:
    """Become the parent of every descendant whose own parent ends, so that none is lost."""
    if LINUX:
        _libc().prctl(SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def end_with_parent() -> None:
    """Let the kernel end this process when its parent ends."""
    if LINUX:
        _libc().prctl(SET_PDEATHSIG, 9, 0, 0, 0)


def hide() -> None:
    """Keep other processes of this user from reading this one's memory."""
    if LINUX:
        _libc().prctl(SET_DUMPABLE, 0, 0, 0, 0)


def limit(memory: int) -> None:
    """Limit the memory that this process may ask for, in bytes, its files and its core dumps."""
    import resource

    limits = {
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_FSIZE: LARGEST_FILE,
        resource.RLIMIT_NOFILE: 256,
    }
    # Not the address space, of which libraries reserve far more than they use.
    limits[resource.RLIMIT_DATA] = memory
    for kind, most in limits.items():
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(kind, (most, most))


def drop_powers() -> None:
    """Give up what root may do beyond an ordinary user, where a grader runs as root in a container."""
    if not LINUX or os.geteuid() != 0:
        return
    libc = _libc()
    for capability in range(41):
        libc.prctl(CAPBSET_DROP, capability, 0, 0, 0)
    header = struct.pack("=Ii", 0x20080522, 0)
    libc.capset(header, struct.pack("=6I", *(0,) * 6))


def blindfold() -> None:
    """Refuse this process the ways by which Python finds objects that nobody handed to it.

    What exists by now is hidden from the garbage collector's lists too. Both are for good.
    """
    gc.freeze()

    def refuse(event: str, _: tuple[object, ...]) -> None:
        if event in PEEKING:
            raise RuntimeError(f"{event} is not available while a notebook is graded")

    sys.addaudithook(refuse)


def close_files(keep: set[int]) -> None:
    """Close every open file but those of the given numbers."""
    edges = [-1, *sorted(keep), 4096]
    for low, high in itertools.pairwise(edges):
        if high - low > 1:  # an empty range would mean all of them
            os.closerange(low + 1, high)


def missing() -> list[str]:
    """What this system does not offer, in words; empty where all layers are there."""
    if not LINUX:
        return ["no Landlock, no namespaces (they are Linux's)"]
    found = [] if landlock_version() else ["no Landlock (it can read your files, write elsewhere)"]
    child = os.fork()
    if child == 0:
        os._exit(0 if unshare() else 1)
    if os.waitpid(child, 0)[1]:
        found.append("no namespaces (it sees the network and your processes)")
    return found
