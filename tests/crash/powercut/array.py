# SPDX-License-Identifier: GPL-2.0-or-later
"""The array whose members are logged: geometry, superblocks, and whom an assembly trusts.

Judge and crash states look at members through a function read(member, sector), which gives the
value that a Medium remembers; what it means for an array is known here, by Mirrors and Parities.
"""
import dataclasses
import functools
import struct

from vmtest.geometry import Layout
from vmtest.member import BITMAP_HEADER, BITMAP_MAGIC, MD_MAGIC, SPARE_ROLES, BitmapImage, Member
from vmtest.parity import ParityLayout

from .log import SECTOR, generation, pattern

SUPER_SECTORS = range(8, 16)
ZEROES = bytes(SECTOR)
FEATURE_RECOVERY_OFFSET = 2
FEATURE_RECOVERY_BITMAP = 128
LOCKLESS = 6                # version of the bitmap's superblock
UNWRITTEN, CLEAN = 0, 1
# bitmap superblock: STALE, WRITE_ERROR: its bytes vouch for nothing
WORTHLESS = 1 << 1 | 1 << 2
# it was never stored by the kernel; for an array said to be clean
FIRST_USE, ASSUME_CLEAN = 1 << 3, 1 << 4
NEW_EVENTS = 1              # of an array that is new; LLB_NEW_EVENTS of the kernel


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

    def recovering_by_bitmap(self):
        """Only what the bitmap tells: what the member had when it left is taken for good."""
        return self.recovering() and bool(self.features & FEATURE_RECOVERY_BITMAP)


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


def of_one_size(supers):
    """Whether mdadm assembles all of these together, or says of one of them that its superblock
    doesn't match the others: README.md, "Let off"."""
    return len({one.size for one in supers.values() if one}) == 1


def may_return(supers, members, cleared):
    """Those of {member: Super or None} that are not among the trusted `members`, but would be taken
    back with what they have, but for what the bitmap says that they missed: who was in-sync by
    its own word when `cleared` events had been counted, or more, as super_1_validate() has it; and
    whose recovery by the bitmap was under way, which goes on."""
    freshest = max(filter(None, supers.values()), key=lambda one: one.events)

    def returns(one):
        if not one.says_active(one) or one.recovering() and not one.recovering_by_bitmap():
            return False
        goes_on = (one.recovering() and one.events + 1 >= freshest.events
                   and freshest.says_active(one))
        return goes_on or one.events >= cleared

    return frozenset(member for member, one in supers.items()
                     if one and member not in members and returns(one))


def is_ours(bitmap):
    """Whether the kernel would take a BitmapImage for one."""
    return (bitmap.magic, bitmap.version) == (BITMAP_MAGIC, LOCKLESS)


def vouches(bitmap, events):
    """Whether a BitmapImage would be believed in an array with this event count. One that was never
    stored is believed to be that of a new array, if it can be."""
    if not is_ours(bitmap):
        return False
    if bitmap.state & FIRST_USE:
        return events <= NEW_EVENTS
    return bitmap.events >= events and not bitmap.state & WORTHLESS


def cleared_by(bitmap, events):
    """The event count that a member must have to be taken back by this bitmap in an array with so
    many. A load lowers it to the array's, and gives it to a bitmap that was never stored."""
    return events if says_of_all(bitmap) is not None else min(bitmap.events_cleared, events)


def says_of_all(bitmap):
    """What a bitmap that was never stored says of all chunks, whatever its bytes are; else None."""
    if not bitmap.state & FIRST_USE:
        return None
    return CLEAN if bitmap.state & ASSUME_CLEAN else UNWRITTEN


def covers(raw, sectors):
    """Whether a bitmap superblock, if it vouches for anything, does for this many sectors."""
    bitmap = BitmapImage(raw)
    return bool(bitmap.state & (WORTHLESS | FIRST_USE)) or bitmap.sync_size >= sectors


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

    def bitmap_of(self, read):
        """The superblock of the bitmap."""
        return BitmapImage(read(self.bitmap_start) or ZEROES)

    def states(self, read):
        """What a bitmap says of the chunks, if it vouches: a byte for each."""
        of_all = says_of_all(self.bitmap_of(read))
        if of_all is not None:
            return bytes([of_all]) * self.chunks
        (first, offset), (last, _) = self.byte_at(0), self.byte_at(self.chunks - 1)
        raw = b"".join(read(sector) or ZEROES for sector in range(first, last + 1))
        return raw[offset:offset + self.chunks]


class Mirrors(LoggedArray):
    """RAID1 and RAID10. A sector of data is remembered as its generation."""

    def __init__(self, *args):
        super().__init__(*args)
        self._copies = {}
        self._pieces = {}       # (member, piece there) -> piece of the array
        for number in range(-(-self.layout.sectors // self.layout.piece)):
            for role, where in self.layout.copies(number * self.layout.piece):
                self._pieces[self.members[role], where // self.layout.piece] = number
        together = {}
        for (member, _), number in self._pieces.items():
            together.setdefault(number, set()).add(member)
        self._together = {frozenset(members) for members in together.values()}

    @staticmethod
    def extent_of(layout):
        return layout.sectors

    def enough(self, members):
        """Whether these have all data."""
        return all(members & copies for copies in self._together)

    startable = enough      # the kernel starts it, clean or not

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
    def row_at(sector):
        """The row of RAID4/5/6 to which a member's sector belongs."""
        return None

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

    @staticmethod
    def spots(sectors):
        """What is compared between members for these array sectors: they themselves."""
        return sectors

    @staticmethod
    def vouched(written):
        """The chunks whose Clean says something, if data are in the `written` ones."""
        return written

    def clean_spots(self, chunk, sectors, limit):
        """What is compared in a Clean chunk in which these sectors hold data."""
        return sectors

    def places(self, spots):
        """[(member, sector there), ...] on which they depend."""
        return [place for sector in spots for place in self.copies(sector)]

    def found(self, read, members, sector, computed=False):
        """{member: generation or bytes}: what is read of an array sector."""
        return {member: read(member, where) for member, where in self.copies(sector)
                if member in members}

    def unequal(self, read, members, spots):
        """What of this must not be so under a Clean, or ""."""
        for sector in spots:
            found = self.found(read, members, sector)
            if len(set(found.values())) > 1:
                return f"array sector {sector}: copies differ, {short(found)}"
        return ""

    def lacking(self, read, members, others, spots):
        """What `others` have that is not as these members have it, or ""."""
        for sector in spots if others else ():
            found, theirs = (self.found(read, some, sector) for some in (members, others))
            if found and set(theirs.values()) - set(found.values()):
                return (f"array sector {sector}: who may return has {short(theirs)}, "
                        f"the array {short(found)}")
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

    def enough(self, members):
        return len(members) >= self.layout.data_disks

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

    def row_at(self, sector):
        within = sector - self.data_start
        return within if 0 <= within < self.extent else None

    def chunk_at(self, member, sector):
        row = self.row_at(sector)
        return None if row is None else row // self.chunk

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

    def spots(self, sectors):
        """Rows: places on the members, from their data on."""
        return set(map(self.position, sectors))

    def vouched(self, written):
        return range(self.chunks)

    def clean_spots(self, chunk, sectors, limit):
        return range(chunk * self.chunk, min((chunk + 1) * self.chunk, limit))

    def places(self, spots):
        return [(member, self.data_start + where) for where in spots for member in self.members]

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

    def unequal(self, read, members, spots):
        if len(members) <= self.layout.data_disks:
            return ""           # what is there cannot contradict itself
        for where in spots:
            row = self._row(read, members, where)
            if all(block is ZEROES for block in row.values()):
                continue
            stripe = where // self.layout.chunk % self.layout.disks
            if len(row) < self.layout.disks:
                row = dict(sorted(self.layout.complete(row, stripe).items()))
            if not self._right(tuple(row.values()), stripe):
                return f"parity of member sector {self.data_start + where} is not that of the data"
        return ""

    def lacking(self, read, members, others, spots):
        for where in spots if others else ():
            row, theirs = (self._row(read, some, where) for some in (members, others))
            if len(row) < self.layout.data_disks or \
                    all(block is ZEROES for block in (row | theirs).values()):
                continue
            whole = self.layout.complete(row, where // self.layout.chunk)
            for role, block in theirs.items():
                if block != whole[role]:
                    return (f"member sector {self.data_start + where} of disk {self.members[role]}, "
                            "which may return, is not what the others give")
        return ""


def of_images(paths, members):
    """The LoggedArray on these disk files; members: the numbers of the disks."""
    image = Member(paths[0])
    kind, layout = (Mirrors, Layout) if image.level in (1, 10) else (Parities, ParityLayout)
    return kind(members, layout.of_member(image), image.bitmap().chunksize,
                image.super_offset + image.bitmap_offset, image.data_offset)


def too_few(supers, members):
    """Why only these members are trusted."""
    said = [f"disk {member}: events {one.events}, number {one.number}, roles {one.roles[:16]}"
            f"{', recovering' * one.recovering()}" if one else f"disk {member}: no superblock"
            for member, one in sorted(supers.items())]
    return f"only disks {sorted(members)} can be trusted; " + "; ".join(said)


def short(found):
    """Generations, and that there is something else."""
    return ", ".join(f"disk {member}: {value if isinstance(value, int) else 'foreign'}"
                     for member, value in found.items())
