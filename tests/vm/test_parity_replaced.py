# SPDX-License-Identifier: GPL-2.0-or-later
"""RAID4, RAID5 and RAID6: a replacement that is half-filled, in resyncs, recoveries and reads."""
import pytest

from levels import cases, litter, wrong_sectors
from support import Content, reboot, wait_until
from test_interrupted import fill_to
from vmtest import DiskOptions
from vmtest.parity import ParityLayout

pytestmark = pytest.mark.vm(disks=7, disk=DiskOptions(size="96M"), memory="1G")
KIB = 12288                 # of each member
HALF = KIB                  # sectors of a member: so far it is filled


def replaced_in_part(vm, level, disks, slot):
    """An array, what it holds, the member of that slot, and what replaces it. That has the first
    half, and behind it junk."""
    array = vm.create_array(level=level, disks=disks, chunk=16, size=KIB)
    content = Content(array, mib=array.size() >> 20)
    array.flush()
    old, new = vm.disks[slot], vm.disks[disks]
    litter(vm, [new])
    array.set("sync_max", HALF)
    array.add(new)
    vm.run(f"mdadm {array} --replace {old} --with {new}")
    fill_to(array, [new], HALF)
    return array, content, old, new


def cut_while_active(array):
    """What was written last, a resync has to make equal."""
    array.vm.power_cut()
    reboot(array.vm, array)


def all_filled(array, content, olds, news):
    """And what is there is right, with the new members instead of the old ones."""
    vm = array.vm
    wait_until(vm, lambda: all(array.member_state(new) == ["in_sync"] for new in news), 120)
    if array.has("llbitmap"):
        array.wait_in_sync()
    array.wait_sync()
    for old in olds:
        array.members.remove(old)
    try:
        assert array.degraded() == 0
        assert wrong_sectors(array) == []
        assert content.wrong() == []
    finally:
        array.members += olds


@cases("level, disks", (5, 3), long=[(4, 3)])
def test_resync_of_a_half_filled_replacement(vm, level, disks):
    """It gets what the member has, also where that is parity, whose page the check uses up."""
    array, content, old, new = replaced_in_part(vm, level, disks, disks - 1)     # RAID4's parity
    array.set("safe_mode_delay", 0)
    content.write(0)        # other data than in the rest of its chunk: the parity is not zero
    cut_while_active(array)
    array.bring_up()
    all_filled(array, content, [old], [new])


@cases("level, bitmap", (6, "lockless"), long=[(6, "none")])
def test_parity_is_replaced_as_a_spare_is_filled(vm, level, bitmap):
    """P, which is replaced, is checked when Q, which is missing, has been computed."""
    array = vm.create_array(level=level, disks=4, chunk=16, size=KIB, bitmap=bitmap)
    content = Content(array, mib=8)
    old, missing, new, spare = *vm.disks[:2], *vm.disks[4:6]
    assert any(ParityLayout.of_member(array.member_images()[0]).roles(row)[1:] == (0, 1)
               for row in range(4))
    litter(vm, [new, spare])
    array.set("sync_action", "frozen")
    array.fail(missing)
    array.remove(missing)
    array.add(spare)
    array.add(new)
    vm.run(f"mdadm {array} --replace {old} --with {new}")
    array.set("sync_action", "idle")
    wait_until(vm, lambda: array.degraded() == 0)
    all_filled(array, content, [old, missing], [new, spare])


@cases("level, disks", (5, 3), long=[(4, 3), (6, 4)])
def test_read_before_a_resync_is_read_behind_it(vm, level, disks):
    """A write got to the replacement, and not to the member."""
    array, _, old, new = replaced_in_part(vm, level, disks, 0)
    layout = ParityLayout.of_member(array.member_images()[0])
    sector = next(sector for sector in range(0, layout.sectors, layout.chunk)
                  if layout.place(sector)[0] == 0)
    array.set("safe_mode_delay", 0)
    Content(array).write(sector)
    cut_while_active(array)
    with open(old.path, "r+b") as file:     # what it had before
        file.seek((array.member_images()[0].data_offset + layout.place(sector)[1]) * 512)
        file.write(b"\x99" * 4096)
    array.assemble(extra=["--readonly"])
    read = (f"dd if={array} bs=4096 count=1 iflag=direct,skip_bytes status=none "
            f"skip={sector * 512} | md5sum")
    first = vm.run(read).stdout
    array.readwrite()
    wait_until(vm, lambda: array.member_state(new) == ["in_sync"], 120)
    array.wait_in_sync()
    array.wait_sync()
    assert vm.run(read).stdout == first
