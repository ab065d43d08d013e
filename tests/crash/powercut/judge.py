# SPDX-License-Identifier: GPL-2.0-or-later
"""Goes through the log of an array and looks for promises that a power cut would find broken.

Every entry is judged as it comes: whatever is durable then may be all that is left, and whatever
began may be there as well. So each check below holds for all power cuts at that moment at once:

  order    a write or discard begins while the byte of its chunk may be Clean or Unwritten on an
           in-sync member (promise 1)
  clean    a byte that says Clean or Unwritten is on its way to a member while copies of what was
           written to the chunk, and not discarded since, are not equal or not durable, or on
           RAID4/5/6 the parity of it is not right (promise 2)
  flushed  an fsync has returned, and a copy of what it covers is not durable. A member that was
           failed a moment ago is let off: md leaves it out of the flush at once, with any
           bitmap or none, and does not wait until the superblocks tell. The same for a write
           that is to be durable when it is done.
  cover    the superblocks may tell of a larger array than the bitmap of an in-sync member covers;
           or of a larger array than before, and a byte of what it gains may be another than
           Unwritten (promise 6)
  read     in the end, what is read through the array is not the newest that was written
"""
import dataclasses

from .array import SUPER_SECTORS, covers, short, trusted
from .log import (DISCARD, DONE, LEAVE, MARK, MARK_DISCARD, MARK_DISCARDED, MARK_FLUSHED, MARK_MAGIC,
                  MARK_WROTE, SHRINK, WRITE, wrote)
from .media import Medium

UNWRITTEN, CLEAN = 0, 1
MAX_VIOLATIONS = 50


@dataclasses.dataclass(frozen=True)
class Violation:
    rule: str
    entry: int
    chunk: int
    text: str

    def __str__(self):
        return f"entry {self.entry}: {self.rule}: chunk {self.chunk}: {self.text}"


class Promised:
    """What the load was promised, by array sector: from its marks, and before these from its data."""

    def __init__(self, array):
        self.array = array
        self.live = {}          # sector -> newest generation written and not discarded since
        self.by_chunk = {}      # chunk -> sectors in live
        self.flushed = {}       # sector -> generation that an fsync covers
        self.discards = {}      # (first, sectors) being discarded as the load said
        self._dead = {}         # sector -> generations up to this are discarded
        self._order = []        # (generation, sector), not covered by an fsync

    def wrote(self, sector, number):
        """Whether that is news."""
        # else sync I/O, or known from another member or a mark
        news = number > max(self._dead.get(sector, 0), self.live.get(sector, 0))
        if news:
            self.live[sector] = number
            self.by_chunk.setdefault(self.array.chunk_of(sector), set()).add(sector)
            self._order.append((number, sector))
        return news

    def discard(self, first, sectors, newest=0):
        """Generations up to `newest` are there."""
        self.discards[first, sectors] = self.discards.get((first, sectors), 0) + 1
        for sector in range(first, first + sectors):
            self._dead[sector] = max(newest, self._dead.get(sector, 0), self.live.get(sector, 0))
            if sector in self.live:
                del self.live[sector]
                self.by_chunk[self.array.chunk_of(sector)].discard(sector)
            self.flushed.pop(sector, None)

    def discarded(self, first, sectors):
        self.discards[first, sectors] -= 1
        if not self.discards[first, sectors]:
            del self.discards[first, sectors]

    def synced(self, low):
        """Gives the sectors that are newly covered."""
        covered = dict((s, n) for n, s in self._order if n <= low)
        self._order = [(n, s) for n, s in self._order if n > low]
        return self._covered(covered)

    def durable(self, first, sectors, number):
        """Of one write; gives the sectors that are newly covered."""
        return self._covered(dict.fromkeys(range(first, first + sectors), number))

    def _covered(self, sectors):
        new = {s: n for s, n in sectors.items()
               if n > max(self._dead.get(s, 0), self.flushed.get(s, 0))}
        self.flushed.update(new)
        return new

    def discarding_whole(self, chunk):
        return all(any(first <= start and first + sectors >= start + count
                       for first, sectors in self.discards)
                   for start, count in self.array.ranges(chunk))


class Judge:
    """feed() all entries; then `violations`. In between, crash.py takes states from it."""

    def __init__(self, array, mark_disk):
        self.array = array
        self.mark_disk = mark_disk
        self.media = {member: Medium(member, array.value(member)) for member in array.members}
        self.promised = Promised(array)
        self.trusted = frozenset()
        self.leaving = frozenset()      # failed, but the superblocks may not tell yet
        self.violations = []
        self.checked = {"order": 0, "clean": 0, "flushed": 0, "cover": 0}
        self.position = 0
        self.extent = 0         # of the bitmap, in sectors: the most that a power cut may leave
        self._newest_extent = 0
        self._proved = set()    # chunks whose copies are known to be equal and durable

    def feed(self, entry):
        self.position = entry.number
        if entry.kind == DONE:
            self._done(entry)
        elif entry.kind == LEAVE:
            self.leaving |= {entry.disk}
        elif entry.kind == SHRINK:
            self._shrink(entry.sector)
        elif entry.disk == self.mark_disk:
            if entry.kind == WRITE:
                self._mark(entry)
        elif entry.disk in self.media:
            self._begin(entry)

    def _report(self, rule, chunk, text):
        if len(self.violations) < MAX_VIOLATIONS:
            self.violations.append(Violation(rule, self.position, chunk, text))

    # -- what entries mean ------------------------------------------------------------------

    def _begin(self, entry):
        member, changes = entry.disk, self.media[entry.disk].begin(entry)
        if not changes:
            return
        if entry.sector >= self.array.data_start:
            self._data(member, entry, changes)
        else:
            self._metadata(member, changes)

    def _data(self, member, entry, changes):
        chunks = set()
        for sector, value in changes:
            chunks.add(self.array.chunk_at(member, sector))
            where = self.array.array_sector(member, sector)
            if where is not None and entry.kind == WRITE and value:
                number = self.array.generation(member, sector, value)
                if isinstance(number, int):
                    self.promised.wrote(where, number)
        chunks.discard(None)
        self._proved -= chunks
        if member not in self.trusted:
            return              # it is being filled
        for chunk in chunks:
            self._check_order(entry, chunk)

    def _metadata(self, member, changes):
        for sector, value in changes:
            if sector in SUPER_SECTORS:
                self._supers_changed()
            elif sector == self.array.bitmap_start:
                self._check_cover()
            elif member in self.trusted:
                for chunk in self.array.chunks_at(sector):
                    state = value[self.array.byte_at(chunk)[1]] if value else UNWRITTEN
                    if state <= CLEAN and chunk in self.promised.by_chunk:
                        self._check_clean(chunk, f"disk {member} is to hold {state}")

    def _done(self, entry):
        if entry.disk not in self.media:
            return
        for durable in self.media[entry.disk].end(entry.sector):
            if durable.sector < SUPER_SECTORS.stop:
                self._supers_changed()

    def _mark(self, entry):
        magic, kind, first, second, third = MARK.unpack_from(entry.data)
        if magic != MARK_MAGIC:
            return
        if kind == MARK_DISCARD:
            self.promised.discard(first, second, third)
        elif kind == MARK_DISCARDED:
            self.promised.discarded(first, second)
        elif kind == MARK_FLUSHED:
            self._flushed(self.promised.synced(first))
        elif kind == MARK_WROTE:
            self._told(wrote(entry.data))

    def _told(self, writes):
        """Writes that are done."""
        for first, sectors, number, durable in writes:
            for sector in range(first, first + sectors):
                if self.promised.wrote(sector, number):     # ... and no member was sent it
                    self._proved.discard(self.array.chunk_of(sector))
            if durable:
                self._flushed(self.promised.durable(first, sectors, number))

    def _flushed(self, covered):
        for sector, number in covered.items():
            self._check_flushed(sector, number, self.trusted - self.leaving)

    def read_back(self, content):
        """After all entries: what was read through the array, {sector: generation, or something}."""
        for sector, value in content.items():
            newest = self.promised.live.get(sector, value)
            if value != newest:
                self._report("read", self.array.chunk_of(sector), f"array sector {sector}: read "
                             f"{value}, not generation {newest}")

    def _supers_changed(self):
        """Who may be trusted after a power cut now: by what is durable, or by the newest."""
        def read_base(medium):
            return lambda sector: medium.base.get(sector, 0)

        def read_newest(medium):
            return lambda sector: medium.values(sector)[-1]

        now = frozenset()
        sizes = [0]
        for reader in (read_base, read_newest):
            supers = {member: self.array.super_of(reader(medium))
                      for member, medium in self.media.items()}
            good = trusted(supers)
            now |= good
            sizes += [self.array.extent_by([supers[member] for member in good])] if good else []
        joined, self.trusted = now - self.trusted, now
        self.leaving &= now
        self._sizes(max(sizes), sizes[-1])
        if not joined:
            return
        self._proved.clear()
        for sector, number in self.promised.flushed.items():
            self._check_flushed(sector, number, joined)
        for chunk in self.promised.by_chunk:
            for member in now:      # what the others say must hold for who joins, too
                states = self._states(member, chunk)
                if min(states) <= CLEAN:
                    self._check_clean(chunk, f"disks {sorted(joined)} become in-sync, and disk "
                                      f"{member} holds {min(states)}")
                    break

    def _shrink(self, sectors):
        """What is behind the new end is promised to nobody."""
        gone = self.array.layout.sectors - sectors
        self.promised.discard(sectors, gone)
        self.promised.discarded(sectors, gone)

    def _sizes(self, most, newest):
        before, self._newest_extent = self._newest_extent, newest
        if most != self.extent:
            self.extent = most
            self._check_cover()
        if not before or newest <= before:
            return
        for chunk in range(-(-before // self.array.chunk), -(-newest // self.array.chunk)):
            self.checked["cover"] += 1
            for member in self.trusted:
                states = set(self._states(member, chunk))
                if states != {UNWRITTEN}:
                    self._report("cover", chunk, f"the array grows from {before} to {newest} "
                                 f"sectors, and the byte on disk {member} may be {states}")
                    return

    # -- checks -----------------------------------------------------------------------------

    def _states(self, member, chunk):
        """What the byte may be after a power cut now."""
        sector, offset = self.array.byte_at(chunk)
        return [value[offset] if value else 0 for value in self.media[member].values(sector)]

    def _check_order(self, entry, chunk):
        self.checked["order"] += 1
        for member in self.trusted:
            for state in self._states(member, chunk):
                if state > CLEAN or (state == UNWRITTEN and entry.kind == DISCARD
                                     and self.promised.discarding_whole(chunk)):
                    continue
                self._report("order", chunk, f"a {entry.kind} of sectors {entry.sector} to "
                             f"{entry.sector + entry.sectors - 1} of disk {entry.disk} begins, "
                             f"and the byte on disk {member} may still be {state}")
                return

    def _check_cover(self):
        self.checked["cover"] += 1
        for member in self.trusted:
            for raw in self.media[member].values(self.array.bitmap_start):
                if raw and not covers(raw, self.extent):
                    self._report("cover", self.extent // self.array.chunk,
                                 f"the array may have {self.extent} sectors, the bitmap of disk "
                                 f"{member} covers less")
                    return

    def _check_clean(self, chunk, why):
        if chunk in self._proved:
            return
        self.checked["clean"] += 1
        sectors = self.promised.by_chunk[chunk]
        text = self._unsettled(sectors) or self.array.unequal(self._newest, self.trusted, sectors)
        for sector in () if text else sectors:
            found = self.array.found(self._newest, self.trusted, sector, computed=True)
            if set(found.values()) - {self.promised.live[sector]}:
                text = (f"array sector {sector}: {short(found)}, not generation "
                        f"{self.promised.live[sector]}")
                break
        if text:
            self._report("clean", chunk, f"{why}, and {text}")
        else:
            self._proved.add(chunk)

    def _newest(self, member, where):
        return self.media[member].values(where)[-1]

    def _unsettled(self, sectors):
        """Which of the places that array sectors depend on is one thing or another, or ""."""
        for member, where in self.array.places(sectors):
            if member in self.trusted and len(set(self.media[member].values(where))) > 1:
                return f"sector {where} of disk {member} is not durable"
        return ""

    def _all_clean(self, chunk):
        return all(state <= CLEAN for member in self.trusted
                   for state in self._states(member, chunk))

    def _check_flushed(self, sector, number, members):
        self.checked["flushed"] += 1
        found = [(member, self.array.generation(member, where, value))
                 for member, where in self.array.copies(sector) if member in members
                 for value in self.media[member].values(where)]
        # what only parity has is promised where nothing is being written: the write hole
        if not found and self._all_clean(self.array.chunk_of(sector)) and \
                not self._unsettled([sector]):
            found = self.array.found(self._newest, self.trusted, sector, computed=True).items()
        for member, value in found:
            if not isinstance(value, int) or value < number:
                self._report("flushed", self.array.chunk_of(sector),
                             f"array sector {sector}: {short({member: value})}, but generation "
                             f"{number} was flushed")
                return
