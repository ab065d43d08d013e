# SPDX-License-Identifier: GPL-2.0-or-later
"""The array whose members are logged: geometry, superblocks, and whom an assembly trusts.

Judge and crash states look at members through a function read(member, sector), which gives the
value that a Medium remembers; what it means for an array is known here, by Mirrors and Parities.
"""
import dataclasses
import functools
import struct

from vmtest.geometry import Layout
from vmtest.member import BITMAP_HEADER, MD_MAGIC, SPARE_ROLES, BitmapImage, Member
from vmtest.parity import ParityLayout

from .log import SECTOR, generation, pattern

SUPER_SECTORS = range(8, 16)
ZEROES = bytes(SECTOR)
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
    roles; `chunk`: sectors of a bitmap chunk, which stands for array sectors on RAID1 and RAID10,
    for the same sectors of all members on RAID4/5/6; `extent` of them are covered."""

    def __init__(self, members, layout, chunk, bitmap_start, data_start):
        self.members = list(members)
        self.layout = layout
        self.chunk = chunk
        self.bitmap_start = bitmap_start
        self.data_start = data_start
        self.chunks = -(-self.extent // chunk)

    @property
    def extent(self):
        return self.extent_of(self.layout)

    def extent_by(self, supers):
        """The bitmap sectors of the array by the freshest of these Supers."""
        freshest = max(supers, key=lambda one: one.events)
        return self.extent_of(dataclasses.replace(self.layout, size=freshest.size))

    def chunk_of(self, sector):
        """The chunk of an array sector."""
        return self.position(sector) // self.chunk

    def byte_at(self, chunk):
        """(sector, offset) of a chunk's state byte on each member."""
        sector, offset = divmod(BITMAP_HEADER + chunk, SECTOR)
        return self.bitmap_start + sector, offset

    @property
    def bitmap_area(self):
        """The sectors of the bitmap, with its superblock, on each member."""
        return range(self.bitmap_start, self.byte_at(self.chunks - 1)[0] + 1)

    def chunks_at(self, sector):
        """The chunks whose bytes stand in that sector of a member."""
        first = (sector - self.bitmap_start) * SECTOR - BITMAP_HEADER
        if first < 0 or first >= self.chunks:
            return range(0)
        return range(first, min(first + SECTOR, self.chunks))

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


class Mirrors(LoggedArray):
    """RAID1 and RAID10. A sector of data is remembered as its generation."""

    def __init__(self, *args):
        super().__init__(*args)
        self._copies = {}
        self._pieces = {}       # (member, piece there) -> piece of the array
        for number in range(-(-self.layout.sectors // self.layout.piece)):
            for role, where in self.layout.copies(number * self.layout.piece):
                self._pieces[self.members[role], where // self.layout.piece] = number

    @staticmethod
    def extent_of(layout):
        return layout.sectors

    @staticmethod
    def startable(members):
        """Whether the kernel starts the array with these members, clean or not."""
        return bool(members)

    def array_sector(self, member, sector):
        """Array sector that a member's sector has data of, or None."""
        within, piece = sector - self.data_start, self.layout.piece
        number = self._pieces.get((member, within // piece)) if within >= 0 else None
        return None if number is None else number * piece + within % piece

    def chunk_at(self, member, sector):
        """The chunk that a member's sector belongs to, or None."""
        where = self.array_sector(member, sector)
        return None if where is None else where // self.chunk

    @staticmethod
    def position(sector):
        """The bitmap sector of an array sector."""
        return sector

    def ranges(self, chunk):
        """[(first, sectors), ...] of the array that a chunk stands for."""
        first = chunk * self.chunk
        return [(first, min(self.chunk, self.layout.sectors - first))]

    def value(self, member):
        """What Medium is to remember: a generation, or bytes."""
        def value(sector, raw):
            where = self.array_sector(member, sector)
            return raw if where is None else generation(raw, where)
        return value

    def content(self, member, sector, value):
        """The bytes that such a value stands for."""
        return pattern(self.array_sector(member, sector), value) if isinstance(value, int) else value

    @staticmethod
    def generation(member, sector, value):
        """The generation that it is, or something else."""
        return value

    def copies(self, sector):
        """[(member, sector there), ...] of an array sector's data"""
        if sector not in self._copies:
            self._copies[sector] = [(self.members[role], self.data_start + where)
                                    for role, where in self.layout.copies(sector)]
        return self._copies[sector]

    def places(self, sectors):
        """[(member, sector there), ...] on which these array sectors depend."""
        return [place for sector in sectors for place in self.copies(sector)]

    def found(self, read, members, sector, computed=False):
        """{member: generation or bytes}: what is read of an array sector."""
        return {member: read(member, where) for member, where in self.copies(sector)
                if member in members}

    def unequal(self, read, members, sectors):
        """What of these array sectors must not be so under a Clean, or ""."""
        for sector in sectors:
            found = self.found(read, members, sector)
            if len(set(found.values())) > 1:
                return f"array sector {sector}: copies differ, {short(found)}"
        return ""


class Block(bytes):
    """A sector on RAID4/5/6; `number`: the generation that it is, or None."""


class Parities(LoggedArray):
    """RAID4/5/6. A sector of data is remembered as its bytes, for parity depends on them."""

    def __init__(self, *args):
        super().__init__(*args)
        self._copies = {}
        self._remember()

    def _remember(self):
        self._right = functools.lru_cache(1 << 16)(self.layout.parity_is_right)

    def __getstate__(self):
        """What pickle keeps of it: a log with a finding is kept."""
        return {name: value for name, value in vars(self).items() if name != "_right"}

    def __setstate__(self, state):
        vars(self).update(state)
        self._remember()

    @staticmethod
    def extent_of(layout):
        return layout.size // layout.chunk * layout.chunk

    def startable(self, members):
        return len(members) == self.layout.disks

    def array_sector(self, member, sector):
        within = sector - self.data_start
        if not 0 <= within < self.extent:
            return None
        stripe, offset = divmod(within, self.layout.chunk)
        data = self.layout.roles(stripe)[0]
        role = self.members.index(member)
        if role not in data:
            return None
        return (stripe * len(data) + data.index(role)) * self.layout.chunk + offset

    def chunk_at(self, member, sector):
        within = sector - self.data_start
        return within // self.chunk if 0 <= within < self.extent else None

    def position(self, sector):
        (_, where), = self.copies(sector)
        return where - self.data_start

    def ranges(self, chunk):
        found = []
        where, end = chunk * self.chunk, min((chunk + 1) * self.chunk, self.extent)
        while where < end:
            stripe, offset = divmod(where, self.layout.chunk)
            count = min(self.layout.chunk - offset, end - where)
            for index in range(self.layout.data_disks):
                first = (stripe * self.layout.data_disks + index) * self.layout.chunk + offset
                found.append((first, count))
            where += count
        return found

    def value(self, member):
        def value(sector, raw):
            if raw.count(0) == SECTOR:
                return 0
            where = self.array_sector(member, sector)
            number = raw if where is None else generation(raw, where)
            block = Block(raw)
            block.number = number if isinstance(number, int) else None
            return block
        return value

    def content(self, member, sector, value):
        return value or bytes(SECTOR)

    @staticmethod
    def generation(member, sector, value):
        return value.number if value and value.number else value

    def copies(self, sector):
        if sector not in self._copies:
            role, where = self.layout.place(sector)
            self._copies[sector] = [(self.members[role], self.data_start + where)]
        return self._copies[sector]

    def places(self, sectors):
        return [(member, self.data_start + where) for where in set(map(self.position, sectors))
                for member in self.members]

    def _row(self, read, members, where):
        """{role: bytes} of the members' sectors at `where`, from their data on."""
        return {role: read(member, self.data_start + where) or ZEROES
                for role, member in enumerate(self.members) if member in members}

    def found(self, read, members, sector, computed=False):
        """With `computed`, of a member that is not there what the others give."""
        (member, where), = self.copies(sector)
        if member in members:
            return {member: self.generation(member, where, read(member, where))}
        row = self._row(read, members, self.position(sector)) if computed else {}
        if len(row) < self.layout.data_disks:
            return {}
        role, lost = self.members.index(member), set(range(self.layout.disks)) - set(row)
        stripe = self.position(sector) // self.layout.chunk
        return {member: generation(self.layout.restore(row, stripe, role, lost), sector)}

    def unequal(self, read, members, sectors):
        if len(members) < self.layout.disks:
            return ""           # what is there cannot contradict itself
        for where in set(map(self.position, sectors)):
            row = tuple(self._row(read, members, where).values())
            if not self._right(row, where // self.layout.chunk % self.layout.disks):
                return f"parity of member sector {self.data_start + where} is not that of the data"
        return ""


def of_images(paths, members):
    """The LoggedArray on these disk files; members: the numbers of the disks."""
    image = Member(paths[0])
    kind, layout = (Mirrors, Layout) if image.level in (1, 10) else (Parities, ParityLayout)
    return kind(members, layout.of_member(image), image.bitmap().chunksize,
                image.super_offset + image.bitmap_offset, image.data_offset)


def short(found):
    """Generations, and that there is something else."""
    return ", ".join(f"disk {member}: {value if isinstance(value, int) else 'foreign'}"
                     for member, value in found.items())
