"""Memory that a cycle needed for a moment goes back to the system, where allocators would keep it."""

import pyarrow as pa


def use_one_allocator() -> None:
    """Let Arrow take its memory from the C library, as all else does, so that what one frees serves the other."""
    pa.set_memory_pool(pa.system_memory_pool())


def release_memory() -> None:
    """Return what the C library holds and nothing uses: Arrow calls glibc's malloc_trim(3)."""
    pa.system_memory_pool().release_unused()
