# SPDX-License-Identifier: GPL-2.0-or-later
"""What must be on an array: planned writes, carried out in the guest, judged on either side.

The plan follows from its numbers alone, so both sides know it. Write number k fills each of its
sectors with a tag of k and the sector; what was never written is not looked at.

In the guest: oracle.py write|verify DEVICE SEED FIRST SECTORS COUNT [SKIP]
`write` tells after each write how many are complete.
"""
import mmap
import os
import random
import struct
import sys

SECTOR = 512
MAX_SECTORS = 1024
TAG = struct.Struct("<QQ")


class Plan:
    """`count` random writes to the `sectors` array sectors from `first` on: mostly parts of a
    4 KiB block, whole blocks, and now and then ones that cover stripes."""

    def __init__(self, seed, first, sectors, count, skip=0):
        self.numbers = (seed, first, sectors, count, skip)
        draw = random.Random(seed)
        self.writes = []
        for number in range(count):
            length = draw.choice((1, 3, 8, 8, 8, 16, 24, 100, 256, MAX_SECTORS))
            length = min(length, sectors)
            start = first + draw.randrange(sectors - length + 1)
            if length % 8 == 0:
                start -= start % 8
            self.writes.append((number + 1, max(start, first), length))
        self.writes = self.writes[skip:]

    def arguments(self):
        return " ".join(map(str, self.numbers))

    def wanted(self, done=None):
        """{sector: numbers of the writes that may be there}. After `done` writes, in order, those
        that follow may have begun or not."""
        sectors = {}
        for number, start, length in self.writes:
            for sector in range(start, start + length):
                if done is None or number <= done:
                    sectors[sector] = {number}
                elif sector in sectors:
                    sectors[sector].add(number)
        return sectors


def content(number, sector):
    return TAG.pack(number, sector) * (SECTOR // TAG.size)


def wrong(wanted, read):
    """Sectors that do not hold what they must; read(first, count) gives bytes."""
    bad = []
    sectors = sorted(wanted)
    index = 0
    while index < len(sectors):
        first = sectors[index]
        last = index
        while (last + 1 < len(sectors) and sectors[last + 1] == sectors[last] + 1
               and last - index < MAX_SECTORS - 1):
            last += 1
        data = read(first, last - index + 1)
        for sector in sectors[index:last + 1]:
            at = (sector - first) * SECTOR
            found = data[at:at + SECTOR]
            if TAG.unpack_from(found)[0] not in wanted[sector] or \
                    found != content(TAG.unpack_from(found)[0], sector):
                bad.append(sector)
        index = last + 1
    return bad


def main():
    verb, device, *numbers = sys.argv[1:]
    plan = Plan(*map(int, numbers))
    buffer = mmap.mmap(-1, (MAX_SECTORS + 16) * SECTOR)     # O_DIRECT wants it aligned
    if verb == "write":
        file = os.open(device, os.O_WRONLY | os.O_DIRECT)
        for number, start, length in plan.writes:
            buffer[:length * SECTOR] = b"".join(content(number, start + i) for i in range(length))
            done = os.pwrite(file, memoryview(buffer)[:length * SECTOR], start * SECTOR)
            if done != length * SECTOR:
                sys.exit(f"write {number}: {done} bytes")
            print(number, flush=True)
        return
    file = os.open(device, os.O_RDONLY | os.O_DIRECT)

    def read(first, count):
        # as the writes were: in 4 KiB blocks, whatever the device's sectors
        skip = first % 8
        length = -(-(skip + count) // 8) * 8 * SECTOR
        done = os.preadv(file, [memoryview(buffer)[:length]], (first - skip) * SECTOR)
        if done < (skip + count) * SECTOR:
            sys.exit(f"read at sector {first}: {done} bytes")
        return buffer[skip * SECTOR:(skip + count) * SECTOR]

    if verb == "verify":
        bad = wrong(plan.wanted(), read)
        if bad:
            sys.exit(f"{len(bad)} sectors are wrong: {bad[:20]}")


if __name__ == "__main__":
    main()
