# SPDX-License-Identifier: GPL-2.0-or-later
"""The array whose members are logged: geometry, superblocks, and whom an assembly trusts."""
import dataclasses
import struct

from vmtest.geometry import Layout
from vmtest.member import BITMAP_HEADER, MD_MAGIC, SPARE_ROLES, BitmapImage, Member

from .log import SECTOR, generation

SUPER_SECTORS = range(8, 16)
FEATURE_RECOVERY_OFFSET = 2
# bitmap superblock: STALE, WRITE_ERROR, FIRST_USE: its bytes vouch for nothing
WORTHLESS = 1 << 1 | 1 << 2 | 1 << 3


class Super:
    """A member's md superblock, from its bytes. Raises ValueError if it is none, or torn."""

    def __init__(self, raw):
        magic, _, self.features = struct.unpack_from("<III", raw)
        self.events, self.resync_offset = struct.unpack_from("<QQ", raw, 200)
        checksum, max_dev = struct.unpack_from("<II", raw, 216)
        self.number, = struct.unpack_from("<I", raw, 160)
        self.size, = struct.unpack_from("<Q", raw, 80)
        size = 256 + 2 * max_dev
        if magic != MD_MAGIC or size > len(raw):
            raise ValueError("no superblock")
        words = struct.unpack_from(f"<{size // 4}I", raw)
        total = sum(words) - checksum
        if size % 4:
            total += struct.unpack_from("<H", raw, size - 2)[0]
        if (total & 0xffffffff) + (total >> 32) & 0xffffffff != checksum:
            raise ValueError("torn superblock")
        self.roles = struct.unpack_from(f"<{max_dev}H", raw, 256)

    def says_active(self, other):
        return other.number < len(self.roles) and self.roles[other.number] < SPARE_ROLES

    def recovering(self):
        return bool(self.features & FEATURE_RECOVERY_OFFSET)


def trusted(supers):
    """Members (keys of {member: Super or None}) that an assembly of all of them may take as
    in-sync: events within 1 of the freshest, active by what the freshest says, not being
    recovered. Nor about to be: README.md, "Let off"."""
    good = {key: one for key, one in supers.items() if one}
    if not good:
        return frozenset()
    freshest = max(good.values(), key=lambda one: one.events)
    return frozenset(key for key, one in good.items() if one.events + 1 >= freshest.events
                     and freshest.says_active(one) and one.says_active(one)
                     and not one.recovering())


def covers(raw, sectors):
    """Whether a bitmap superblock, if it vouches for anything, does for this many sectors."""
    bitmap = BitmapImage(raw)
    return bool(bitmap.state & WORTHLESS) or bitmap.sync_size >= sectors


class LoggedArray:
    """Where things are, in sectors. `members`: numbers of the disks, in the order of their
    roles; `chunk`: sectors of a bitmap chunk."""

    def __init__(self, members, layout, chunk, bitmap_start, data_start):
        self.members = list(members)
        self.layout = layout
        self.chunk = chunk
        self.chunks = -(-layout.sectors // chunk)
        self.bitmap_start = bitmap_start
        self.data_start = data_start
        self._copies = {}
        self._pieces = {}       # (member, piece there) -> piece of the array
        for number in range(-(-layout.sectors // layout.piece)):
            for role, where in layout.copies(number * layout.piece):
                self._pieces[self.members[role], where // layout.piece] = number

    @classmethod
    def of_images(cls, paths, members):
        """From the members' disk files."""
        image = Member(paths[0])
        return cls(members, Layout.of_member(image), image.bitmap().chunksize,
                   image.super_offset + image.bitmap_offset, image.data_offset)

    def sectors(self, supers):
        """How large the array is by the freshest of these Supers."""
        freshest = max(supers, key=lambda one: one.events)
        return dataclasses.replace(self.layout, size=freshest.size).sectors

    def array_sector(self, member, sector):
        """Array sector of a member's sector, or None."""
        within, piece = sector - self.data_start, self.layout.piece
        number = self._pieces.get((member, within // piece)) if within >= 0 else None
        return None if number is None else number * piece + within % piece

    def copies(self, sector):
        """[(member, sector there), ...]"""
        if sector not in self._copies:
            self._copies[sector] = [(self.members[role], self.data_start + where)
                                    for role, where in self.layout.copies(sector)]
        return self._copies[sector]

    def byte_at(self, chunk):
        """(sector, offset) of a chunk's state byte on each member."""
        sector, offset = divmod(BITMAP_HEADER + chunk, SECTOR)
        return self.bitmap_start + sector, offset

    def chunks_at(self, sector):
        """The chunks whose bytes stand in that sector of a member."""
        first = (sector - self.bitmap_start) * SECTOR - BITMAP_HEADER
        if first < 0 or first >= self.chunks:
            return range(0)
        return range(first, min(first + SECTOR, self.chunks))

    def value(self, member):
        """What Medium is to remember: a generation, or bytes."""
        def value(sector, raw):
            where = self.array_sector(member, sector)
            return raw if where is None else generation(raw, where)
        return value

    def super_of(self, read):
        """The Super that read(sector) -> value finds, or None."""
        try:
            return Super(b"".join(read(s) or bytes(SECTOR) for s in SUPER_SECTORS))
        except ValueError:
            return None

    def bitmap_vouches(self, read, events):
        """Whether the bitmap of a member would be believed in an array with this event count."""
        raw = read(self.bitmap_start) or bytes(SECTOR)
        bitmap = BitmapImage(raw)
        return bitmap.events >= events and not bitmap.state & WORTHLESS

    def state(self, read, chunk):
        sector, offset = self.byte_at(chunk)
        return (read(sector) or bytes(SECTOR))[offset]
