# SPDX-License-Identifier: GPL-2.0-or-later
"""The largest bitmap is small in memory, quickly assembled, and quickly found to need no sync."""
import pytest

import largest

pytestmark = pytest.mark.vm(**largest.VM)


@pytest.mark.long
def test_memory(vm):
    none, classic, ours = largest.memory(vm)
    print(f"bytes: array {none:.0f}, bitmap: classic {classic:.0f}, llbitmap {ours:.0f}")
    assert ours > largest.CHUNKS, "not even the states"
    assert ours <= largest.BYTES_PER_CHUNK * largest.CHUNKS + largest.BYTES_MORE


def test_assembling(vm):
    largest.load_ramdisks(vm, 2)
    none, ours = (largest.assemble_of(vm, bitmap) for bitmap in ("none", "llbitmap"))
    print(f"instructions: {none}, with the bitmap {ours - none} more")
    assert none > 1_000_000, "the clock does not count instructions"
    assert ours - none <= largest.ASSEMBLE_MOST


@pytest.mark.long
def test_sync_pass_with_nothing_to_do(vm):
    largest.load_ramdisks(vm, 2)
    half, whole = (largest.sync_pass(vm, chunks)
                   for chunks in (largest.CHUNKS // 2, largest.CHUNKS))
    print(f"instructions: {half} for half of the chunks, {whole} for all")
    assert half > 10_000, "there was no pass"
    assert whole <= largest.SYNC_MOST * half and whole <= largest.PASS_MOST
