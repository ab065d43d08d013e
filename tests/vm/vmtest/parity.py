# SPDX-License-Identifier: GPL-2.0-or-later
"""RAID4, RAID5 and RAID6 seen from outside: where data and parity are, and what is right.

RAID4 has parity on the last member, RAID5 and RAID6 one of the six layouts below, which both know
under the same numbers, as raid5_compute_sector() has them. Blocks of bytes are big integers here:
xor is one operation, and so is a multiplication in the field of 256 elements that Q is computed in.
"""
import dataclasses
import functools

SECTOR = 512
# Left: row by row, parity goes from the last member to the first; right: the other way round.
# Symmetric: data begin behind parity and go around; asymmetric: at the first member, past parity.
(LEFT_ASYMMETRIC, RIGHT_ASYMMETRIC, LEFT_SYMMETRIC, RIGHT_SYMMETRIC, PARITY_FIRST,
 PARITY_LAST) = range(6)
BLOCK = 8                   # sectors: md computes parity for 4 KiB at a time


def to_int(data):
    return int.from_bytes(data, "little")


@functools.cache
def _every_byte(value, length):
    return int.from_bytes(bytes([value]) * length, "little")


def twice(block, length):
    """Each byte times 2, modulo x^8 + x^4 + x^3 + x^2 + 1."""
    carry = (block >> 7) & _every_byte(1, length)
    return ((block & _every_byte(0x7f, length)) << 1) ^ carry * 0x1d


@functools.cache
def _tables():
    powers, value = [], 1
    for _ in range(255):
        powers.append(value)
        value = twice(value, 1)
    return powers, {value: exponent for exponent, value in enumerate(powers)}


@functools.cache
def _products(factor):
    powers, exponents = _tables()
    return bytes([0] + [powers[(exponents[factor] + exponents[value]) % 255]
                        for value in range(1, 256)])


def times(factor, data):
    """Bytes, each times `factor`."""
    return data.translate(_products(factor)) if factor else bytes(len(data))


def inverse(factor):
    powers, exponents = _tables()
    return powers[-exponents[factor] % 255]


@dataclasses.dataclass(frozen=True)
class ParityLayout:
    """Geometry; sizes in sectors."""
    level: int
    disks: int
    size: int               # data sectors used of each member
    chunk: int
    layout: int = LEFT_SYMMETRIC

    @classmethod
    def of_member(cls, member):
        if member.level not in (4, 5, 6):
            raise ValueError(f"no parity in level {member.level}")
        if member.level != 4 and member.layout not in range(6):
            raise ValueError(f"layout {member.layout} is none of those known here")
        size = member.size - member.size % member.chunk_sectors
        return cls(member.level, member.raid_disks, size, member.chunk_sectors, member.layout)

    @property
    def redundancy(self):
        return 2 if self.level == 6 else 1

    @property
    def data_disks(self):
        return self.disks - self.redundancy

    @property
    def sectors(self):
        """Of the array."""
        return self.size // self.chunk * self.chunk * self.data_disks

    def roles(self, stripe):
        """(roles of the data chunks in their order, of P, of Q or None) of one row of chunks."""
        if self.level == 4 or self.layout == PARITY_LAST:
            return list(range(self.data_disks)), self.data_disks, \
                self.disks - 1 if self.level == 6 else None
        if self.layout == PARITY_FIRST:
            p = 0
        elif self.layout in (RIGHT_ASYMMETRIC, RIGHT_SYMMETRIC):
            p = stripe % self.disks
        else:
            p = self.disks - 1 - stripe % self.disks
        q = (p + 1) % self.disks if self.level == 6 else None
        behind = [(p + self.redundancy + i) % self.disks for i in range(self.data_disks)]
        symmetric = self.layout in (LEFT_SYMMETRIC, RIGHT_SYMMETRIC)
        return behind if symmetric else sorted(behind), p, q

    def place(self, sector):
        """(role, member sector) of an array sector."""
        chunk, within = divmod(sector, self.chunk)
        stripe, index = divmod(chunk, self.data_disks)
        return self.roles(stripe)[0][index], stripe * self.chunk + within

    def _order(self, data, p, q):
        """Data chunks by the powers that Q gives them: from the disk after Q on."""
        ring = [(q + 1 + i) % self.disks for i in range(self.disks)]
        return [role for role in ring if role not in (p, q)]

    def parity_is_right(self, blocks, stripe):
        """blocks: bytes of each member at the same place."""
        data, p, q = self.roles(stripe)
        length = len(blocks[0])
        if functools.reduce(lambda a, b: a ^ b, (to_int(blocks[i]) for i in data)) != \
                to_int(blocks[p]):
            return False
        if q is None:
            return True
        value = 0
        for role in reversed(self._order(data, p, q)):
            value = twice(value, length) ^ to_int(blocks[role])
        return value == to_int(blocks[q])

    def wrong_parity(self, members, first=0, last=None):
        """Member sectors in [first, last] whose parity is not that of the data, in blocks of 4 KiB:
        [(first, last), ...]"""
        by_role = self._by_role(members)
        last = self.size - 1 if last is None else last
        runs = []
        for sector in range(first - first % self.chunk, last + 1, self.chunk):
            rows = [by_role[role].data(sector, self.chunk) for role in range(self.disks)]
            if self.parity_is_right(rows, sector // self.chunk):
                continue
            for at in range(0, self.chunk, BLOCK):
                piece = slice(at * SECTOR, (at + BLOCK) * SECTOR)
                where = sector + at
                if where + BLOCK <= first or where > last or \
                        self.parity_is_right([row[piece] for row in rows], sector // self.chunk):
                    continue
                if runs and runs[-1][1] == where - 1:
                    runs[-1] = (runs[-1][0], where + BLOCK - 1)
                else:
                    runs.append((where, where + BLOCK - 1))
        return runs

    def _by_role(self, members, lost=()):
        by_role = {member.role: member for member in members if member.active()}
        missing = set(range(self.disks)) - set(by_role) - set(lost)
        if missing:
            raise ValueError(f"members {sorted(missing)} are missing")
        return by_role

    def read(self, members, sector, count, lost=()):
        """Bytes of the array, as they must come back without the members with the roles `lost`."""
        by_role = self._by_role(members, lost)
        pieces = []
        while count:
            role, where = self.place(sector)
            length = min(count, self.chunk - sector % self.chunk)
            if role in lost:
                pieces.append(self._compute(by_role, where, length, role, set(lost)))
            else:
                pieces.append(by_role[role].data(where, length))
            sector += length
            count -= length
        return b"".join(pieces)

    def _compute(self, by_role, where, length, role, lost):
        blocks = {i: by_role[i].data(where, length) for i in range(self.disks) if i not in lost}
        return self.restore(blocks, where // self.chunk, role, lost)

    def restore(self, blocks, stripe, role, lost):
        """The block of a lost role, from {role: bytes} of the others at the same place."""
        data, p, q = self.roles(stripe)
        size = len(next(iter(blocks.values())))
        others = [i for i in data if i in lost and i != role]
        if p not in lost and not others:
            return self._xor([blocks[i] for i in (*data, p) if i != role], size)
        order = self._order(data, p, q)
        powers, _ = _tables()
        rest = to_int(blocks[q])
        for i in order:
            if i not in lost:
                rest ^= to_int(times(powers[order.index(i)], blocks[i]))
        rest = rest.to_bytes(size, "little")
        mine = powers[order.index(role)]
        if not others:
            return times(inverse(mine), rest)
        # two unknown: D + E = p', mine * D + other * E = rest
        other = powers[order.index(others[0])]
        sum_of_both = self._xor([blocks[i] for i in (*data, p) if i in blocks], size)
        return times(inverse(mine ^ other), self._xor([rest, times(other, sum_of_both)], size))

    def complete(self, blocks, stripe):
        """{role: bytes} of all members, from those of at least data_disks at the same place."""
        data, p, q = self.roles(stripe)
        lost = set(range(self.disks)) - set(blocks)
        size = len(next(iter(blocks.values())))
        whole = {**blocks, **{role: self.restore(blocks, stripe, role, lost)
                              for role in lost & set(data)}}
        if p in lost:
            whole[p] = self._xor([whole[role] for role in data], size)
        if q in lost:
            powers, _ = _tables()
            whole[q] = self._xor([times(powers[i], whole[role])
                                  for i, role in enumerate(self._order(data, p, q))], size)
        return whole

    @staticmethod
    def _xor(blocks, size):
        value = 0
        for block in blocks:
            value ^= to_int(block)
        return value.to_bytes(size, "little")
