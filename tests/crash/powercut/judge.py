# SPDX-License-Identifier: GPL-2.0-or-later
"""Goes through the log of an array and looks for promises that a power cut would find broken.

Every entry is judged as it comes: whatever is durable then may be all that is left, and whatever
began may be there as well. So each check below holds for all power cuts at that moment at once:

  order    a write or discard begins while the byte of its chunk may be Clean or Unwritten on an
           in-sync member (promise 1), or its bitmap that of a new array
  clean    a byte that says Clean is on its way to a member while copies of what was written to the
           chunk, and not discarded since, are not equal or not durable, or on RAID4/5/6 the parity
           of any of it is not right (promise 2); or a member that left, and would be taken back by
           that bitmap, has something else (promise 8). Or one that says Unwritten, and data are
           there (promise 4).
  flushed  an fsync has returned, and a copy of what it covers is not durable. A member that has
           failed counts until the superblocks tell. The same for a write that is to be durable
           when it is done. Of a member that is missing, parity gives something else, where
           nothing is being written (hole.py).
  enough   the members that the superblocks call in-sync may be too few to have all data, or have
           no bitmap that the kernel takes
  cover    the superblocks may tell of a larger array than the bitmap of an in-sync member covers;
           or of a larger array than before, and a byte of what it gains may be another than
           Unwritten (promise 6)
  overlap  a request begins while another to the same sector of the member is in flight: nobody
           knows which of them lands last
  read     in the end, what is read through the array is not the newest that was written
"""
import dataclasses

from vmtest.member import BitmapImage

from .array import (CLEAN, SUPER_SECTORS, UNWRITTEN, cleared_by, covers, is_ours, may_return,
                    says_of_all, short, too_few, trusted, vouches)
from .hole import Rows
from .log import (DISCARD, DONE, MARK, MARK_DISCARD, MARK_DISCARDED, MARK_FLUSHED, MARK_MAGIC,
                  MARK_WROTE, SECTOR, SHRINK, WRITE, wrote)
from .media import Medium

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
        self.gone = set()       # chunks that were discarded as a whole, and not written since
        self._dead = {}         # sector -> generations up to this are discarded
        self._order = []        # (generation, sector), not covered by an fsync
        self._told = []         # (mark, generation, sector), as above; it need not be the oldest

    def wrote(self, sector, number):
        """Whether that is news."""
        # else sync I/O, or known from another member or a mark
        news = number > max(self._dead.get(sector, 0), self.live.get(sector, 0))
        if news:
            self.live[sector] = number
            chunk = self.array.chunk_of(sector)
            self.by_chunk.setdefault(chunk, set()).add(sector)
            self.gone.discard(chunk)
            self._order.append((number, sector))
        return news

    def found(self, sector, number, flushed, begun):
        """... after a power cut, 0: nothing that was promised. Generations up to `begun` are from
        before it."""
        if number:
            self.wrote(sector, number)
        else:
            self._dead[sector] = begun      # what was discarded may come back
        if flushed:
            self.flushed[sector] = flushed

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
        chunks = {self.array.chunk_of(sector) for sector in (first, first + sectors - 1)}
        self.gone.update(chunk for chunk in range(min(chunks), max(chunks) + 1)
                         if self.discarding_whole(chunk))
        self.discards[first, sectors] -= 1
        if not self.discards[first, sectors]:
            del self.discards[first, sectors]

    def told(self, mark, first, sectors, number):
        """... by this mark: it is done."""
        self._told += ((mark, number, sector) for sector in range(first, first + sectors))

    def synced(self, low, marks):
        """All up to this generation, and what was told by so many marks. Gives the sectors that are
        newly covered."""
        covered = {}
        for number, sector in sorted([(n, s) for n, s in self._order if n <= low]
                                     + [(n, s) for mark, n, s in self._told if mark < marks]):
            covered[sector] = number
        self._order = [(n, s) for n, s in self._order if n > low]
        self._told = [one for one in self._told if one[0] >= marks]
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
        self.violations = []
        self.checked = {"order": 0, "clean": 0, "flushed": 0, "cover": 0, "enough": 0}
        self.position = 0
        self._marks = 0         # so far
        self.extent = 0         # of the bitmap, in sectors: the most that a power cut may leave
        self._newest_extent = 0
        self._proved = set()    # chunks that are known to be as Clean says
        self._proved_with = {}  # ... with these members, should they return
        self._readings = []     # (function that gives a member's read, {member: Super}, the trusted)
        self._fresh = {}        # member -> (what its bitmap, never stored, says of all chunks,
                                #            whether it may be a stored one as well)
        self._returning = {}    # member -> who would be taken back, if its bitmap was read
        self._assembled = False # there has been an array
        self._rows = Rows()

    def goes_on(self, image, content):
        """Before all entries: the members are as a power cut left them. Of what was not flushed,
        one thing or another is there; `content` is what was read when the array was synced."""
        for member, values in image.content.items():
            self.media[member].base = dict(values)
        begun = max(image.live.values(), default=0)
        for sector, value in content.items():
            newest, least = image.live.get(sector, 0), image.flushed.get(sector, 0)
            if least and (not isinstance(value, int) or not least <= value <= newest):
                self._report("read", self.array.chunk_of(sector), f"array sector {sector}: read "
                             f"{value} after a power cut, not what was flushed ({least}) or newer")
            self.promised.found(sector, value if newest and value != "?" else 0, least, begun)
        self._supers_changed()

    def feed(self, entry):
        self.position = entry.number
        for row in self._rows.due(entry.number, self._settled):
            self._check_row(row)
        if entry.kind == DONE:
            self._done(entry)
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
        member, medium = entry.disk, self.media[entry.disk]
        busy = medium.busy(entry)
        if busy is not None:
            self._report("overlap", 0, f"a {entry.kind} of sectors {entry.sector} to "
                         f"{entry.sector + entry.sectors - 1} of disk {member} begins, and another "
                         f"request to sector {busy} is in flight")
        changes = medium.begin(entry)
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
            row = self.array.row_at(sector)
            if row is not None and member in self.trusted:
                self._rows.begin(row, entry.number)
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
                self._bitmap_changed()
                self._check_cover()
            elif member in self.trusted:
                written = self.promised.by_chunk
                vouched = {CLEAN: self.array.vouched(written), UNWRITTEN: written}
                for chunk in self.array.chunks_at(sector):
                    state = value[self.array.byte_at(chunk)[1]] if value else UNWRITTEN
                    # ... a bitmap that was never stored says something else
                    if chunk in vouched.get(state, ()) and state in self._states(member, chunk):
                        self._check_clean(chunk, member, state, f"disk {member} is to hold {state}")

    def _done(self, entry):
        if entry.disk not in self.media:
            return
        for durable in self.media[entry.disk].end(entry.sector):
            if durable.sector < SUPER_SECTORS.stop:
                self._supers_changed()
            elif durable.sector <= self.array.bitmap_start < durable.sector + durable.sectors:
                self._bitmap_changed()

    def _mark(self, entry):
        magic, kind, first, second, third = MARK.unpack_from(entry.data)
        if magic != MARK_MAGIC:
            return
        self._marks += 1
        if kind == MARK_DISCARD:
            self.promised.discard(first, second, third)
        elif kind == MARK_DISCARDED:
            self.promised.discarded(first, second)
        elif kind == MARK_FLUSHED:
            self._flushed(self.promised.synced(first, second))
        elif kind == MARK_WROTE:
            self._told(wrote(entry.data))

    def _told(self, writes):
        """Writes that are done."""
        for first, sectors, number, durable in writes:
            self.promised.told(self._marks - 1, first, sectors, number)
            for sector in range(first, first + sectors):
                if self.promised.wrote(sector, number):     # ... and no member was sent it
                    self._proved.discard(self.array.chunk_of(sector))
            if durable:
                self._flushed(self.promised.durable(first, sectors, number))

    def _flushed(self, covered):
        for sector, number in covered.items():
            self._check_flushed(sector, number, self.trusted)

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
        self._readings = []
        for reader in (read_base, read_newest):
            supers = {member: self.array.super_of(reader(medium))
                      for member, medium in self.media.items()}
            good = trusted(supers)
            self._readings.append((reader, supers, good))
            now |= good
            sizes += [self.array.extent_by([supers[member] for member in good])] if good else []
        joined, gone, self.trusted = now - self.trusted, self.trusted - now, now
        self._sizes(max(sizes), sizes[-1])
        self._bitmap_changed(joined)
        for sector, number in self.promised.flushed.items():
            places = {member for member, _ in self.array.copies(sector)}
            if joined & places or gone & places:
                self._check_flushed(sector, number, joined)

    def _bitmap_changed(self, joined=frozenset()):
        """What the superblocks of the bitmaps say, or may say after a power cut, and who may be
        taken back by them."""
        before = frozenset().union(self.trusted, *self._returning.values())
        self._fresh, self._returning = {}, {}
        if not self._readings:
            return
        for reader, supers, good in self._readings:
            self._check_enough(reader, supers, good)
            events = max((supers[member].events for member in good), default=0)
            for member in good:
                self._take_bitmap(member, supers, good, events)
        durable, _, good = self._readings[0]
        self._assembled |= self.array.enough(good) and self._has_bitmap(durable, good)
        joined |= frozenset().union(*self._returning.values()) - before
        if not joined:
            return
        self._proved.clear()
        for chunk in self.array.vouched(self.promised.by_chunk):
            for member in self.trusted:     # what the others say must hold for who joins, too
                for state in {UNWRITTEN, CLEAN}.intersection(self._states(member, chunk)):
                    self._check_clean(chunk, member, state, f"disks {sorted(joined)} become in-sync "
                                      f"or may return, and disk {member} holds {state}")

    def _take_bitmap(self, member, supers, good, events):
        for raw in self.media[member].values(self.array.bitmap_start):
            bitmap = BitmapImage(raw or bytes(SECTOR))
            if not vouches(bitmap, events):
                continue
            of_all = says_of_all(bitmap)
            said, stored = self._fresh.get(member, (frozenset(), False))
            self._fresh[member] = said | {of_all} - {None}, stored or of_all is None
            self._returning[member] = self._returning.get(member, frozenset()) | \
                may_return(supers, good, cleared_by(bitmap, events))

    def _check_enough(self, reader, supers, good):
        if not self._assembled:
            return              # it is only being created
        self.checked["enough"] += 1
        if not self.array.enough(good):
            self._report("enough", 0, too_few(supers, good))
        elif not self._has_bitmap(reader, good):
            self._report("enough", 0, f"none of disks {sorted(good)} has a bitmap")

    def _has_bitmap(self, reader, members):
        return any(is_ours(self.array.bitmap_of(reader(self.media[member]))) for member in members)

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
        """What the bitmap may say of a chunk after a power cut now."""
        sector, offset = self.array.byte_at(chunk)
        states = [value[offset] if value else 0 for value in self.media[member].values(sector)]
        of_all, stored = self._fresh.get(member, ((), True))
        return [*of_all, *states] if stored or not of_all else list(of_all)

    def _check_order(self, entry, chunk):
        self.checked["order"] += 1
        for member in self.trusted:
            for state in self._states(member, chunk):
                # a chunk that is Unwritten in memory stays so, whatever it still is on disk: there
                # is nothing any more that this discard could take away
                if state > CLEAN or (entry.kind == DISCARD and self.promised.discarding_whole(chunk)
                                     and (state == UNWRITTEN or chunk in self.promised.gone)):
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

    def _check_clean(self, chunk, member, state, why):
        """The member's bitmap may say so."""
        sectors = self.promised.by_chunk.get(chunk, ())
        if state == UNWRITTEN and sectors:
            self._report("clean", chunk, f"{why}, and {len(sectors)} sectors are written")
        returning = self._returning.get(member, frozenset())
        if state == UNWRITTEN or \
                chunk in self._proved and returning <= self._proved_with[chunk]:
            return
        self.checked["clean"] += 1
        text = self._not_clean(chunk, sectors, returning)
        if text:
            self._report("clean", chunk, f"{why}, and {text}")
        else:
            self._proved.add(chunk)
            self._proved_with[chunk] = returning

    def _not_clean(self, chunk, sectors, returning):
        spots = self.array.clean_spots(chunk, sectors, self.extent)
        text = self._unsettled(spots, self.trusted | returning) or \
            self.array.unequal(self._newest, self.trusted, spots) or \
            self.array.lacking(self._newest, self.trusted, returning, spots)
        if text:
            return text
        for sector in sectors:
            found = self.array.found(self._newest, self.trusted, sector, computed=True)
            if set(found.values()) - {self.promised.live[sector]}:
                return (f"array sector {sector}: {short(found)}, not generation "
                        f"{self.promised.live[sector]}")
        return ""

    def _newest(self, member, where):
        return self.media[member].values(where)[-1]

    def _unsettled(self, spots, members):
        """Which of the places that these depend on is one thing or another, or ""."""
        for member, where in self.array.places(spots):
            if member in members and len(set(self.media[member].values(where))) > 1:
                return f"sector {where} of disk {member} is not durable"
        return ""

    def _settled(self, row):
        return not self._unsettled([row], self.trusted)

    def at_rest(self, spots):
        """Whether nothing is being written there; only the rows of RAID4/5/6 are watched."""
        return all(map(self._rows.calm, spots)) and not self._unsettled(spots, self.trusted)

    def _all_clean(self, chunk):
        return all(state <= CLEAN for member in self.trusted
                   for state in self._states(member, chunk))

    def _check_row(self, row):
        """Nothing is written there any more: what is there of members that are missing?"""
        for member in self.media.keys() - self.trusted:
            sector = self.array.array_sector(member, self.array.data_start + row)
            if sector in self.promised.flushed:
                self._check_flushed(sector, self.promised.flushed[sector], self.trusted)

    def _computed(self, sector):
        """What parity gives of a member that is missing, if it must be of use now."""
        chunk, spots = self.array.chunk_of(sector), self.array.spots([sector])
        if any(member in self.trusted for member, _ in self.array.copies(sector)) or \
                self._unsettled(spots, self.trusted) or \
                not (self._all_clean(chunk) or self.at_rest(spots)):
            return {}
        return self.array.found(self._newest, self.trusted, sector, computed=True)

    def _check_flushed(self, sector, number, members):
        self.checked["flushed"] += 1
        found = [(member, self.array.generation(member, where, value))
                 for member, where in self.array.copies(sector) if member in members
                 for value in self.media[member].values(where)]
        for member, value in found or self._computed(sector).items():
            if not isinstance(value, int) or value < number:
                self._report("flushed", self.array.chunk_of(sector),
                             f"array sector {sector}: {short({member: value})}, but generation "
                             f"{number} was flushed")
                return
