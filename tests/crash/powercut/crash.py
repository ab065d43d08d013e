# SPDX-License-Identifier: GPL-2.0-or-later
"""Crash states: at moments of the log, what each member may hold after a power cut.

The checks of judge.py cover all states in the abstract; here some are made in full, with every
member cut its own way, and judged by nothing but what stands on the members then: superblocks,
bitmaps, data. Nothing is taken over from judge.py but what the load was promised, and what of an
array without a member is being written.
"""
import dataclasses
import functools
import os
import random

from .array import (CLEAN, UNWRITTEN, cleared_by, covers, is_ours, may_return, of_one_size, short,
                    too_few, trusted, vouches)
from .judge import Judge, Violation
from .log import DONE, SECTOR, WRITE


def is_lost(value, least):
    """Whether it is neither this generation, which was flushed, nor a newer one. Before the first
    flush, what was there earlier may be there."""
    return least and not (isinstance(value, int) and value >= least)


def keep_nothing(_, versions, rng):
    return None


def keep_all(_, versions, rng):
    return versions[-1][1]


def keep_torn(_, versions, rng):
    """Each sector on its own: no version, or any."""
    choice = rng.randrange(len(versions) + 1)
    return versions[choice - 1][1] if choice else None


class KeepRequests:
    """Whole requests are there or not."""

    def __init__(self, rng):
        self.share = rng.choice((0.1, 0.5, 0.9))
        self.kept = {}

    def __call__(self, _, versions, rng):
        found = None
        for number, value in versions:
            if self.kept.setdefault(number, rng.random() < self.share):
                found = value
        return found


class KeepArea:
    """All of one area, nothing of the other: bitmap and superblock, or data."""

    def __init__(self, data_start, data):
        self.data_start = data_start
        self.data = data

    def __call__(self, sector, versions, rng):
        return versions[-1][1] if (sector >= self.data_start) == self.data else None


@dataclasses.dataclass
class State:
    """After a power cut at `position`: what members hold beyond what is durable."""
    position: int
    extra: dict             # member -> {sector: value}


class CrashTest:
    """Runs a log through a Judge and takes states at moments chosen by `seed`."""

    def __init__(self, recording, seed):
        self.array = recording.array
        self.log = recording.log
        self.start = recording.start    # no states before this entry
        self.content = recording.content
        self.rng = random.Random(seed)
        self.judge = Judge(recording.array, recording.mark_disk)
        if recording.before:
            self.judge.goes_on(recording.before, recording.assembled)
        self.seen = set()           # fingerprints of the states that were judged
        self.in_flight = 0          # of those, with a bitmap write in flight
        self.violations = []
        self.images = []            # Image, as many as run() was asked for

    def moments(self, count):
        """Entries after which to cut: anywhere, soon after a superblock's write began, and, most of
        them, while some of the bitmap is on its way."""
        known, area = set(self.array.members), self.array.bitmap_area
        here = [entry for entry in self.log[self.start:] if entry.disk in known]
        if count >= len(here):
            return {entry.number for entry in here}
        metadata = [entry for entry in here if entry.kind == WRITE
                    and entry.sector < self.array.data_start]
        bitmap = [entry.number for entry in metadata if entry.sector in area]
        others = [entry.number for entry in metadata if entry.sector not in area]
        done = {(entry.disk, entry.sector): entry.number for entry in here if entry.kind == DONE}

        def some(entries, share):
            return self.rng.sample(entries, min(int(count * share), len(entries)))

        chosen = set(some([entry.number for entry in here], 0.3))
        chosen |= {min(number + self.rng.randrange(12), len(self.log) - 1)
                   for number in some(others, 0.1)}
        return chosen | {self.rng.randrange(number, done[self.log[number].disk, number])
                         for number in some(bitmap, 0.6)}

    def run(self, moments, each, images=0):
        """Judges the whole log, and `each` states at about so many moments; keeps `images`."""
        chosen = sorted(self.moments(moments))
        # spread over the log, so that one lies in the time when a member is missing
        keep = {self.rng.choice(chosen[i * len(chosen) // images:(i + 1) * len(chosen) // images])
                for i in range(images)}
        cuts, wanted = set(chosen), 0
        for entry in self.log:
            self.judge.feed(entry)
            if entry.number in cuts:
                wanted += entry.number in keep
                for _ in range(each):
                    wanted -= self._one_state(entry.number, wanted > 0)
        self.judge.read_back(self.content)
        return self

    def _one_state(self, position, keep):
        """Whether it was kept as an Image."""
        extra, fingerprint = {}, 0
        for member, medium in self.judge.media.items():
            policy = self._policy()
            extra[member] = {}
            fingerprint ^= medium.fingerprint
            for sector, versions in medium.pending.items():
                value = policy(sector, versions, self.rng)
                if value is not None:
                    extra[member][sector] = value
                    fingerprint ^= medium.print_of(sector, medium.base.get(sector, 0))
                    fingerprint ^= medium.print_of(sector, value)
        # the same content again may be too little: more was promised meanwhile
        if fingerprint not in self.seen:
            self.seen.add(fingerprint)
            self.in_flight += self._bitmap_in_flight()
        supers, members = self._judge_state(State(position, extra))
        keep = keep and self.array.startable(members) and of_one_size(supers)
        if keep:
            content = {member: medium.base | extra[member]
                       for member, medium in self.judge.media.items()}
            promised = self.judge.promised
            self.images.append(Image(self.array, position, content, dict(promised.live),
                                     dict(promised.flushed), members,
                                     frozenset(one for one in supers if supers[one])))
        return keep

    def _bitmap_in_flight(self):
        area = self.array.bitmap_area
        return any(entry.kind == WRITE and entry.sector in area
                   for medium in self.judge.media.values() for entry in medium.in_flight())

    def _policy(self):
        rng = self.rng
        return rng.choice((keep_nothing, keep_all, keep_torn, KeepRequests(rng),
                           KeepArea(self.array.data_start, rng.random() < 0.5)))

    # -- judging one state --------------------------------------------------------------------

    def _judge_state(self, state):
        """Gives the superblocks, and the members that can be trusted."""
        array, promised = self.array, self.judge.promised
        readers = {member: self._reader(medium, state.extra[member])
                   for member, medium in self.judge.media.items()}
        supers = {member: array.super_of(reader) for member, reader in readers.items()}
        members = trusted(supers)
        if not array.enough(members):
            self._report(state, 0, too_few(supers, members))
            return supers, members
        events = max(supers[member].events for member in members)
        limit = array.extent_by([supers[member] for member in members])
        bitmaps = {member: array.bitmap_of(readers[member]) for member in members}
        if not any(map(is_ours, bitmaps.values())):
            self._report(state, 0, f"none of disks {sorted(members)} has a bitmap")
        returning = {member: may_return(supers, members, cleared_by(bitmap, events))
                     for member, bitmap in bitmaps.items() if vouches(bitmap, events)}
        for member in returning:
            if not covers(bitmaps[member].raw, limit):
                self._report(state, limit // array.chunk, f"the array has {limit} sectors, the "
                             f"bitmap of disk {member} covers less")

        def read(member, sector):
            return readers[member](sector)

        bytes_of = {member: array.states(readers[member]) for member in returning}
        for chunk in array.vouched(promised.by_chunk):
            sectors = promised.by_chunk.get(chunk, ())
            if limit < array.extent:    # behind the end: not of the array any more, or not yet
                sectors = [sector for sector in sectors if array.position(sector) < limit]
            states = {member: found[chunk] for member, found in bytes_of.items()}
            if not sectors and CLEAN not in states.values():
                continue
            text = self._wrong(chunk, sectors, read, members, states, limit)
            clean = [member for member, value in states.items() if value == CLEAN]
            if clean and not text:
                text = array.lacking(read, members,
                                     frozenset().union(*(returning[member] for member in clean)),
                                     array.clean_spots(chunk, sectors, limit))
            if text:
                self._report(state, chunk, f"{text}; bytes {states}")
        return supers, members

    def _wrong(self, chunk, sectors, read, members, states, limit):
        """What of a chunk's sectors that hold data is lost or will be, or ""."""
        array = self.array
        if sectors and UNWRITTEN in states.values():
            return f"{len(sectors)} sectors are written"
        safe = CLEAN in states.values()
        text = safe and array.unequal(read, members, array.clean_spots(chunk, sectors, limit))
        if text:
            return text
        for sector in sectors:
            found = array.found(read, members, sector, computed=safe)
            if not found and self.judge.at_rest(array.spots([sector])):
                found = array.found(read, members, sector, computed=True)
            least = self.judge.promised.flushed.get(sector, 0)
            if any(is_lost(value, least) for value in found.values()):
                return f"array sector {sector}: {short(found)}; generation {least} was flushed"
        return ""

    def _report(self, state, chunk, text):
        self.violations.append(Violation("state", state.position, chunk, text))

    @staticmethod
    def _reader(medium, extra):
        base = medium.base
        return lambda sector: extra[sector] if sector in extra else base.get(sector, 0)


@dataclasses.dataclass
class Image:
    """A state with all that it takes to put it on disks, and to judge what becomes of it."""
    array: object
    position: int
    content: dict           # member -> {sector: value}
    live: dict
    flushed: dict
    trusted: frozenset = frozenset()    # the members that the array is to be made of
    named: frozenset = frozenset()      # who has a superblock, and can be named to mdadm

    def write(self, member, path, size):
        """A member as a disk file."""
        os.truncate(path, 0)
        os.truncate(path, size)
        with open(path, "r+b") as file:
            for sector, value in self.content[member].items():
                file.seek(sector * SECTOR)
                file.write(self.array.content(member, sector, value))

    def compare(self, paths):
        """{member: path} after the array was assembled, synced and stopped: what is wrong."""
        files = {member: open(path, "rb") for member, path in paths.items()}
        values = {member: self.array.value(member) for member in paths}

        def read(member, sector):
            files[member].seek(sector * SECTOR)
            return values[member](sector, files[member].read(SECTOR))

        try:
            return list(self._wrong(read, files))
        finally:
            for file in files.values():
                file.close()

    def _wrong(self, read, disks):
        def reader(member):
            return functools.partial(read, member)

        array = self.array
        supers = {member: array.super_of(reader(member)) for member in disks}
        members = trusted(supers)
        if not self.trusted <= members:
            # who is left would be compared with nobody
            yield f"{too_few(supers, members)}; it was made of disks {sorted(self.trusted)}"
        if not members:
            return
        limit = array.extent_by([supers[member] for member in members])
        sectors = [sector for sector in self.live if array.position(sector) < limit]
        bitmaps = [array.states(reader(member)) for member in members]
        clean = {chunk for states in bitmaps for chunk, state in enumerate(states) if state == CLEAN}
        for chunk in clean.intersection(array.vouched(())):
            text = array.unequal(read, members, array.clean_spots(chunk, (), limit))
            if text:
                yield f"chunk {chunk} is Clean: {text}"
        for sector in sectors:
            text = array.unequal(read, members, array.spots([sector]))
            if text:
                yield text
            least, newest = self.flushed.get(sector, 0), self.live[sector]
            found = array.found(read, members, sector, computed=True)
            if any(is_lost(value, least) or isinstance(value, int) and value > newest
                   for value in found.values()):
                yield f"array sector {sector}: {short(found)}, flushed {least}, newest {newest}"
