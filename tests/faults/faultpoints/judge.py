# SPDX-License-Identifier: GPL-2.0-or-later
"""What stands on the members, while no write is in flight: is anything cleaner than it is?"""
import functools

from levels import PARITY
from powercut.array import CLEAN, UNWRITTEN, Super, says_of_all, trusted, vouches
from sidebyside.contents import content
from vmtest.member import SUPER_OFFSET

from .stage import CHUNK, PAGE_0

ALL = 2 * PAGE_0            # chunks, or more


class Judge:
    """Of the disks as they are in their files. `who`: those whom an assembly would trust."""

    def __init__(self, stage):
        self.stage = stage
        self.images = stage.images()
        self.supers = {disk: _super(image) for disk, image in self.images.items()}
        self.who = trusted(self.supers)
        self.layout = stage.layout()
        # a member that nobody trusts has no say in whether the others' bitmaps are current
        self.events = max((self.supers[disk].events for disk in self.who), default=0)

    @functools.cached_property
    def vouching(self):
        """{trusted disk: its state bytes}, if its bitmap would be believed."""
        found = {}
        for disk in self.who:
            if not self.images[disk].bitmap_offset:
                continue
            bitmap = self.images[disk].bitmap()
            if vouches(bitmap, self.events):
                of_all = says_of_all(bitmap)
                found[disk] = bitmap.states() if of_all is None else bytes([of_all]) * ALL
        return found

    def findings(self):
        """All that is wrong, as text."""
        return [*self.cleaner_than_it_is(), *self.clean_and_unequal(), *self.forgotten()]

    def cleaner_than_it_is(self):
        """What was written, and not made Clean by the daemon since, is neither Clean nor Unwritten;
        what has data is not Unwritten."""
        live = {sector // self.stage.unit for sector in self.stage.written}
        wrong = []
        for disk, states in self.vouching.items():
            bad = [chunk for chunk in sorted(self.stage.hot | live) if chunk < len(states) and
                   (states[chunk] == UNWRITTEN or
                    states[chunk] == CLEAN and chunk in self.stage.hot)]
            if bad:
                wrong.append(f"disk {disk} says Clean or Unwritten of chunks {bad[:8]}, which were "
                             "written to")
        return wrong

    def clean_and_unequal(self):
        wrong = []
        for chunk in sorted(self.stage.touched):
            clean = any(chunk < len(states) and states[chunk] == CLEAN
                        for states in self.vouching.values())
            different = self.unequal(chunk) if clean else []
            if different:
                wrong.append(f"chunk {chunk} is Clean, but copies or parity differ: {different}")
        return wrong

    def unequal(self, chunk):
        """Runs of sectors of the chunk that differ between trusted members, or whose parity is
        wrong."""
        images = [self.images[disk] for disk in self.who]
        if self.stage.level not in PARITY:
            first = chunk * CHUNK
            return self.layout.unequal(images, first, min(first + CHUNK, self.layout.sectors) - 1)
        if len(images) < self.layout.disks:
            return []
        return self.layout.wrong_parity(images, chunk * CHUNK, chunk * CHUNK + CHUNK - 1)

    def forgotten(self):
        """What was written is on each trusted member that has a copy of it."""
        wrong = []
        for sector, number in sorted(self.stage.written.items()):
            wanted = content(number, sector, 8)
            bad = [disk for disk, data in self.copies(sector) if data != wanted]
            if bad:
                wrong.append(f"array sector {sector} on disks {bad} is not what was written")
        return wrong[:8]

    def copies(self, sector):
        """[(disk, bytes), ...] of 4 KiB of the array, of trusted members."""
        by_role = {self.images[disk].role: disk for disk in self.who}
        if self.stage.level in PARITY:
            places = [self.layout.place(sector)]
        else:
            places = self.layout.copies(sector)
        return [(by_role[role], self.images[by_role[role]].data(where, 8))
                for role, where in places if role in by_role]


def _super(image):
    with open(image.path, "rb") as file:
        file.seek(SUPER_OFFSET)
        try:
            return Super(file.read(SUPER_OFFSET))
        except ValueError:
            return None
