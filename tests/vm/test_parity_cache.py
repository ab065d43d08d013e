# SPDX-License-Identifier: GPL-2.0-or-later
"""RAID5 and RAID6: blocks that the stripe cache has from before a member was lost, came back or was
replaced do not go together with parity that was never built."""
import pytest

from levels import cases, litter
from support import wait_until, write
from test_parity import KIB, all_comes_back, make, parity_is_right, perform, resync, verify
from test_parity_members import CACHED, LOW, low, read_low, write_above
from vmtest import DiskOptions
from vmtest.parity import ParityLayout

pytestmark = pytest.mark.vm(disks=7, disk=DiskOptions(size="96M"), memory="1G")


def cached(array, member):
    """All blocks of the low stripes are in the cache, though all members are there again: reads of
    a healthy array go past it."""
    array.set("stripe_cache_size", CACHED)
    array.set("llbitmap/daemon_sleep", 3600)
    array.fail(member)
    read_low(array)
    array.remove(member)
    array.re_add(member)
    array.wait_sync()
    wait_until(array.vm, lambda: array.degraded() == 0)
    assert array.bits()["unwritten"] == array.metadata()["chunks"]


def cached_alone(array, lost, role):
    """Without one member, of the low stripes only the blocks of another are in the cache, as it has
    them. All of them would be consistent, whatever the members hold."""
    array.set("stripe_cache_size", CACHED)
    array.fail(array.members[lost])
    layout = ParityLayout.of_member(array.member_images()[-1])
    rows = [(row, layout.roles(row)[0]) for row in range(LOW // layout.chunk)]
    chunks = [row * layout.data_disks + data.index(role) for row, data in rows if role in data]
    array.vm.run(f"for chunk in {' '.join(map(str, chunks))}; do dd if={array} of=/dev/null "
                 f"bs={layout.chunk * 512} count=1 skip=$chunk iflag=direct status=none; done")
    assert array.bits()["unwritten"] == array.metadata()["chunks"]


@cases("level, disks, lost, seed", (5, 4, (1,), 70), (6, 5, (0, 1), 72),
       long=[(5, 4, (1,), 71), (6, 5, (0, 1), 73)])
def test_writes_after_a_loss(vm, level, disks, lost, seed):
    array = make(vm, level, disks)
    cached(array, array.members[2])
    for role in lost:
        array.fail(array.members[role])
    first = low(array, seed, 30)
    perform(array, first)
    all_comes_back(array, first.wanted(), lost)
    verify(array, first)


def test_writes_after_the_loss_of_a_cached_member(vm):
    """Read-modify-write is allowed with as many lost as can be, for then parity is right by
    definition; and what it modifies has to be what the parity says, not what the member had."""
    array = make(vm, 6, 5)
    cached_alone(array, 0, 1)
    array.fail(array.members[1])
    first = low(array, 76, 30)
    perform(array, first)
    all_comes_back(array, first.wanted(), (0, 1))
    verify(array, first)


def test_recovery_after_the_loss_of_a_cached_member(vm):
    """The parity says what a spare gets; no resync follows that would mend anything else."""
    array = make(vm, 6, 5)
    spares = vm.free_disks()[:2]
    litter(vm, spares, seed=9)
    cached_alone(array, 0, 1)
    first = low(array, 77, 12)
    perform(array, first)
    assert array.bits()["need sync"] > 2
    lost = array.members[:2]
    array.fail(lost[1])
    for member in lost:
        array.remove(member)
        array.members.remove(member)
    array.set("sync_action", "frozen")          # until both are there
    for spare in spares:
        array.add(spare)
    array.set("sync_action", "idle")
    try:
        wait_until(vm, lambda: array.degraded() == 0)
        array.wait_in_sync()
        parity_is_right(array)
        all_comes_back(array, first.wanted())
    finally:
        array.members += lost


def test_recovery_after_a_loss(vm):
    """What a spare gets is what the parity says; no resync follows that would mend it."""
    array = make(vm, 5, 4)
    member, spare = array.members[1], vm.free_disks()[0]
    litter(vm, [spare], seed=7)
    cached(array, array.members[2])
    first = low(array, 74, 12)
    perform(array, first)
    assert array.bits()["need sync"] > 2
    array.fail(member)
    array.remove(member)
    array.add(spare)
    array.members.remove(member)
    try:
        array.wait_sync()
        wait_until(vm, lambda: array.degraded() == 0)
        resync(array)
        parity_is_right(array)
        all_comes_back(array, first.wanted())
    finally:
        array.members.append(member)


@cases("level, disks", (5, 4), long=[(6, 5)])
def test_replacement_lost_half_way(vm, level, disks):
    """It counted where the recovery had been, and had something else there."""
    array = make(vm, level, disks)
    member, spare = array.members[0], vm.free_disks()[0]
    litter(vm, [spare], seed=8)
    array.set("stripe_cache_size", CACHED)
    array.add(spare)
    array.members.remove(spare)
    try:
        write_above(array)
        array.set("sync_max", LOW)
        array.set("llbitmap/daemon_sleep", 3600)
        vm.run(f"mdadm {array} --replace {member} --with {spare}")
        recovered = f"dev-{str(spare).rpartition('/')[2]}/recovery_start"
        width = array.size() // (KIB * 1024)

        def told():
            write(vm, array, LOW * width)       # and with it, the superblock
            return array.get(recovered) == str(LOW)
        wait_until(vm, told)
        first = low(array, 75, 20)
        perform(array, first)
        assert array.get(recovered) == str(LOW)
        all_comes_back(array, first.wanted())
        array.fail(spare)
        array.set("sync_max", "max")
        array.wait_sync()
        resync(array)
        parity_is_right(array)
        all_comes_back(array, first.wanted())
        verify(array, first)
    finally:
        array.members.append(spare)
