"""Memory that is free, returned to the system, so that a large window needs little more of it than a small one."""

import ctypes
from contextlib import suppress


def give_memory_back() -> None:
    """Have glibc return what is free: what is kept lies between what is not, and the heap would grow with each step.

    Another C library has no such call, and does without.
    """
    with suppress(AttributeError, OSError):
        ctypes.CDLL(None).malloc_trim(0)
