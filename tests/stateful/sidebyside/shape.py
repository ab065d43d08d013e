# SPDX-License-Identifier: GPL-2.0-or-later
"""What the arrays of these tests look like: small, so that all of them is compared each time."""
import dataclasses

from vmtest.geometry import Layout
from vmtest.parity import ParityLayout

from levels import PARITY, width

CHUNK = 128                         # sectors of a chunk of the bitmap
RAID_CHUNK = 64                     # and of a chunk of the array, if it has any
DISKS = {1: 3, 10: 4, 5: 4, 6: 5}
ALL_DISKS = 6                       # of the VM: with one more than the largest array has
DISK_MIB = 8
SIZES = (1024, 1280, 800, 1120)     # KiB of each member; the first is the one of a new array


@dataclasses.dataclass(frozen=True)
class Shape:
    """An array of one level and size."""
    level: int
    kib: int = SIZES[0]

    @property
    def parity(self):
        return self.level in PARITY

    @property
    def disks(self):
        return DISKS[self.level]

    @property
    def layout(self):
        size = self.kib * 2
        if self.parity:
            return ParityLayout(self.level, self.disks, size, RAID_CHUNK)
        return Layout(self.disks, size, RAID_CHUNK if self.level == 10 else 0,
                      2 if self.level == 10 else 1)

    @property
    def sectors(self):
        """Of the array."""
        return self.layout.sectors

    @property
    def unit(self):
        """Array sectors that belong to a chunk of the bitmap."""
        return CHUNK * width(self.level, self.disks)

    @property
    def chunks(self):
        return -(-self.sectors // self.unit)

    def chunks_of(self, first, count):
        """The chunks that some of these array sectors belong to."""
        return range(first // self.unit, (first + count - 1) // self.unit + 1)

    def whole_chunks_of(self, first, count):
        """Those of them that have no other sectors; the last chunk may be a shorter one."""
        return [chunk for chunk in self.chunks_of(first, count)
                if first <= chunk * self.unit
                and first + count >= min((chunk + 1) * self.unit, self.sectors)]

    def discards_of(self, first, count):
        """[(first, count), ...]: what of these sectors is discarded. Where it begins the block layer
        cuts a discard at the granularity, which raid5 rounds up to a power of two; of each part
        raid5 takes the stripes that it has as a whole, and nothing happens to the others."""
        if not self.parity:
            return [(first, count)]
        stripe = self.layout.data_disks * RAID_CHUNK
        end = first + count
        cut = min(-(-first // self.granularity) * self.granularity, end)
        found = [(-(-begin // stripe) * stripe, stop // stripe * stripe)
                 for begin, stop in ((first, cut), (cut, end))]
        return [(begin, stop - begin) for begin, stop in found if begin < stop]

    @property
    def granularity(self):
        """In sectors, of discards on arrays with parity."""
        return 1 << (self.layout.data_disks * RAID_CHUNK - 1).bit_length()

    def can_lose(self, present, role):
        """Whether the array goes on without `role`, when the roles in `present` are there."""
        if self.level == 10:
            return role ^ 1 in present
        need = 1 if self.level == 1 else self.disks - PARITY[self.level]
        return len(present) > need
