"""The allocators below us: told how long they may keep what is free, and asked for it between steps.

C's own allocator keeps a heap for each of some threads, in which one block that is in use holds back all that were
freed below it. Left alone, a process that went through four ranges of 5,000 rows had 31 MB in use there and 261 MB
free; with few heaps, and large blocks mapped one by one, it is 10 MB after any number of ranges. Polars has jemalloc,
which keeps freed pages for seconds. Elsewhere than on Linux the allocators are others, and do not read this.
"""

from __future__ import annotations

import ctypes
import gc
import os
import sys

__all__ = ["ENVIRONMENT", "give_back", "settle"]

_ARENAS, _MAPPED_FROM = 2, 2**20  # heaps of all threads; bytes from which a block is mapped, and unmapped, by itself
ENVIRONMENT = {
    "MALLOC_ARENA_MAX": str(_ARENAS),
    "MALLOC_MMAP_THRESHOLD_": str(_MAPPED_FROM),
    "_RJEM_MALLOC_CONF": "dirty_decay_ms:100,muzzy_decay_ms:0",
}
"""For the environment of a process that is about to begin."""
_M_MMAP_THRESHOLD, _M_ARENA_MAX = -3, -8  # malloc.h


def settle() -> None:
    """Do the same for this process and those that it starts.

    What the environment says already stays. jemalloc reads it when Polars is imported: call this before. C's allocator
    has read it when the process began, and is told by itself, which it heeds at any time.
    """
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    if (libc := _glibc()) is not None:
        libc.mallopt(_M_ARENA_MAX, int(os.environ["MALLOC_ARENA_MAX"]))
        libc.mallopt(_M_MMAP_THRESHOLD, int(os.environ["MALLOC_MMAP_THRESHOLD_"]))


def give_back() -> None:
    """Let go of frames that only refer to each other, and of the pages that C's allocator keeps."""
    gc.collect()
    if (libc := _glibc()) is not None:
        libc.malloc_trim(0)


def _glibc() -> ctypes.CDLL | None:
    """C's library, where it is GNU's; musl has neither call."""
    if sys.platform != "linux":
        return None
    libc = ctypes.CDLL(None)
    return libc if hasattr(libc, "malloc_trim") and hasattr(libc, "mallopt") else None
