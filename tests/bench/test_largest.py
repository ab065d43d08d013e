# SPDX-License-Identifier: GPL-2.0-or-later
"""The largest bitmap is small in memory, quickly assembled, and quickly found to need no sync."""
import pytest

import largest

pytestmark = pytest.mark.vm(**largest.VM)


@pytest.mark.long
@pytest.mark.parametrize("disks", [1, pytest.param(
    largest.SEVERAL, marks=pytest.mark.vm(**largest.FOUR_CPUS), id="several members and CPUs")])
def test_memory(vm, disks):
    none, classic, ours = largest.memory(vm, disks)
    most = largest.BYTES_PER_CHUNK * largest.CHUNKS + largest.BYTES_MORE
    print(f"bytes, {disks} members: array {none:.0f}, bitmap: classic {classic:.0f}, "
          f"llbitmap {ours:.0f} of {most:.0f}")
    assert ours > largest.CHUNKS, "not even the states"
    assert ours <= most


def test_assembling(vm):
    largest.load_ramdisks(vm, 2)
    none, ours = (largest.assemble_of(vm, bitmap) for bitmap in ("none", "llbitmap"))
    print(f"instructions: {none}, with the bitmap {ours - none} more")
    assert none > 1_000_000, "the clock does not count instructions"
    assert ours - none <= largest.ASSEMBLE_MOST


@pytest.mark.long
@pytest.mark.parametrize("level, disks", [(1, 2), (10, 4), (5, 3)])
def test_sync_pass_with_nothing_to_do(vm, level, disks):
    largest.load_ramdisks(vm, disks)
    half, whole = (largest.sync_pass(vm, chunks, level, disks)
                   for chunks in (largest.CHUNKS // 2, largest.CHUNKS))
    print(f"instructions: {half} for half of the chunks, {whole} for all")
    assert half > 10_000, "there was no pass"
    assert whole <= largest.SYNC_MOST * half and whole <= largest.PASS_MOST


@pytest.mark.long
def test_recovery_with_nothing_to_do(vm):
    """RAID10 asks for each 64 KiB, so that half of the chunks take half as long: a recovery that takes
    the first one that it need not fill for the end does not."""
    largest.load_ramdisks(vm, 4)
    half, whole = (largest.recovery_pass(vm, chunks, 10, 4)
                   for chunks in (largest.CHUNKS // 2, largest.CHUNKS))
    print(f"instructions: {half} for half of the chunks, {whole} for all")
    assert largest.SYNC_LEAST * half <= whole <= largest.SYNC_MOST * half
