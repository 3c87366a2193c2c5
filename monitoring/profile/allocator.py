"""The process's memory allocator: one for all libraries, which returns free memory to the system after a cycle."""

import pyarrow as pa


def use_one_allocator() -> None:
    """Let Arrow allocate from the C library, as all else does, so that memory that one frees serves the other."""
    pa.set_memory_pool(pa.system_memory_pool())


def release_memory() -> None:
    """Return the C library's free memory to the system: Arrow calls glibc's malloc_trim(3)."""
    pa.system_memory_pool().release_unused()
