# SPDX-License-Identifier: GPL-2.0-or-later
"""Where the copies of an array's sectors are: RAID1 and RAID10 (near, far, offset)."""
import dataclasses


@dataclasses.dataclass(frozen=True)
class Layout:
    """Geometry, in sectors. `near` and `far` are the numbers of copies as in md's layout."""
    disks: int
    size: int           # data sectors used of each member
    chunk: int          # 0: RAID1
    near: int = 1
    far: int = 1
    offset: bool = False

    @classmethod
    def of_member(cls, member):
        if member.level == 1:
            return cls(member.raid_disks, member.size, 0)
        if member.level != 10:
            raise ValueError(f"no copies in level {member.level}")
        return cls(member.raid_disks, member.size, member.chunk_sectors, member.layout & 0xff,
                   (member.layout >> 8) & 0xff, bool(member.layout & 0x10000))

    @property
    def piece(self):
        """No copy of an aligned range of this many sectors crosses a chunk."""
        return self.chunk or 128

    @property
    def sectors(self):
        """Of the array."""
        if not self.chunk:
            return self.size
        stripes = self.size // self.chunk // self.far
        return stripes * self.disks // self.near * self.chunk

    def copies(self, sector):
        """[(role, member sector), ...] of an array sector, as __raid10_find_phys() computes."""
        if not self.chunk:
            return [(role, sector) for role in range(self.disks)]
        chunk, within = divmod(sector, self.chunk)
        stripe, disk = divmod(chunk * self.near, self.disks)
        if self.offset:
            stripe *= self.far
        stride = self.chunk if self.offset else self.size // self.chunk // self.far * self.chunk
        found = []
        for _ in range(self.near):
            base = stripe * self.chunk + within
            for copy in range(self.far):
                found.append(((disk + copy * self.near) % self.disks, base + copy * stride))
            disk += 1
            if disk == self.disks:
                disk = 0
                stripe += self.far if self.offset else 1
        return found

    def unequal(self, members, first=0, last=None):
        """Runs of array sectors in [first, last] whose copies differ: [(first, last), ...].
        Only active members count."""
        by_role = {member.role: member for member in members if member.active()}
        last = self.sectors - 1 if last is None else last
        runs = []
        sector = first
        while sector <= last:
            count = min(self.piece - sector % self.piece, last + 1 - sector)
            copies = [by_role[role].data(where, count)
                      for role, where in self.copies(sector) if role in by_role]
            if any(copy != copies[0] for copy in copies[1:]):
                self._differences(copies, sector, count, runs)
            sector += count
        return runs

    @staticmethod
    def _differences(copies, sector, count, runs):
        for index in range(count):
            piece = slice(index * 512, index * 512 + 512)
            if all(copy[piece] == copies[0][piece] for copy in copies[1:]):
                continue
            if runs and runs[-1][1] == sector + index - 1:
                runs[-1] = (runs[-1][0], sector + index)
            else:
                runs.append((sector + index, sector + index))
