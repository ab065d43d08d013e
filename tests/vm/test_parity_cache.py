# SPDX-License-Identifier: GPL-2.0-or-later
"""RAID5 and RAID6: blocks that the stripe cache has from before a member was lost, came back or was
replaced do not go together with parity that was never built."""
import pytest

from support import wait_until, write
from test_parity import (KIB, all_comes_back, litter, make, parity_is_right, perform, resync,
                         verify)
from test_parity_members import LOW, crawl, low, read_low
from vmtest import DiskOptions

pytestmark = pytest.mark.vm(disks=7, disk=DiskOptions(size="96M"), memory="1G")


def cached(array, member):
    """All blocks of the low stripes are in the cache, though all members are there again: reads of
    a healthy array go past it."""
    array.set("stripe_cache_size", 2048)
    array.set("llbitmap/daemon_sleep", 3600)
    array.fail(member)
    read_low(array)
    array.remove(member)
    array.re_add(member)
    array.wait_sync()
    wait_until(array.vm, lambda: array.degraded() == 0)
    assert array.bits()["unwritten"] == array.metadata()["chunks"]


@pytest.mark.parametrize("seed", [70, pytest.param(71, marks=pytest.mark.long)])
def test_writes_after_a_loss(vm, seed):
    array = make(vm, 5, 4)
    cached(array, array.members[2])
    array.fail(array.members[1])
    first = low(array, seed, 30)
    perform(array, first)
    all_comes_back(array, first.wanted(), (1,))
    verify(array, first)


@pytest.mark.parametrize("seed", [72, pytest.param(73, marks=pytest.mark.long)])
def test_writes_after_two_losses(vm, seed):
    array = make(vm, 6, 5)
    cached(array, array.members[2])
    array.fail(array.members[0])
    array.fail(array.members[1])
    first = low(array, seed, 30)
    perform(array, first)
    all_comes_back(array, first.wanted(), (0, 1))
    verify(array, first)


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


@pytest.mark.parametrize("level, disks", [(5, 4), pytest.param(6, 5, marks=pytest.mark.long)])
def test_replacement_lost_half_way(vm, level, disks):
    """It counted where the recovery had been, and had something else there."""
    array = make(vm, level, disks)
    member, spare = array.members[0], vm.free_disks()[0]
    litter(vm, [spare], seed=8)
    array.set("stripe_cache_size", 2048)
    array.add(spare)
    array.members.remove(spare)
    try:
        crawl(array)
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
        array.set("sync_speed_max", 1000000)
        array.wait_sync()
        resync(array)
        parity_is_right(array)
        all_comes_back(array, first.wanted())
        verify(array, first)
    finally:
        array.members.append(spare)
