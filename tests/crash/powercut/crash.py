# SPDX-License-Identifier: GPL-2.0-or-later
"""Crash states: at moments of the log, what each member may hold after a power cut.

The checks of judge.py cover all states in the abstract; here some are made in full, with every
member cut its own way, and judged by nothing but what stands on the members then: superblocks,
bitmaps, data. Nothing is taken over from judge.py but what the load was promised.
"""
import dataclasses
import os
import random

from .array import covers, trusted
from .judge import CLEAN, Judge, Violation
from .log import DONE, SECTOR, generation, pattern


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
        self.rng = random.Random(seed)
        self.judge = Judge(recording.array, recording.mark_disk)
        self.seen = set()           # fingerprints of the states that were judged
        self.violations = []
        self.images = []            # Image, as many as run() was asked for

    def moments(self, count):
        """Entries after which to cut: anywhere, and where bitmaps or superblocks are written."""
        known = set(self.array.members)
        here = [entry.number for entry in self.log[self.start:] if entry.disk in known]
        hot = [entry.number for entry in self.log[self.start:] if entry.disk in known
               and entry.kind != DONE and 0 < entry.sectors
               and entry.sector < self.array.data_start]
        chosen = set(self.rng.sample(here, min(count // 2, len(here))))
        for number in self.rng.sample(hot, min(count - count // 2, len(hot))):
            chosen.add(min(number + self.rng.randrange(12), len(self.log) - 1))
        return chosen

    def run(self, moments, each, images=0):
        """Judges the whole log, and `each` states at about so many moments; keeps `images`."""
        chosen = sorted(self.moments(moments))
        # spread over the log, so that one lies in the time when a member is missing
        keep = {self.rng.choice(chosen[i * len(chosen) // images:(i + 1) * len(chosen) // images])
                for i in range(images)}
        cuts = set(chosen)
        for entry in self.log:
            self.judge.feed(entry)
            if entry.number in cuts:
                for number in range(each):
                    self._one_state(entry.number, number == 0 and entry.number in keep)
        return self

    def _one_state(self, position, keep):
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
        self.seen.add(fingerprint)
        self._judge_state(State(position, extra))
        if keep:
            content = {member: medium.base | extra[member]
                       for member, medium in self.judge.media.items()}
            promised = self.judge.promised
            self.images.append(Image(self.array, position, content, dict(promised.live),
                                     dict(promised.flushed)))

    def _policy(self):
        rng = self.rng
        return rng.choice((keep_nothing, keep_all, keep_torn, KeepRequests(rng),
                           KeepArea(self.array.data_start, rng.random() < 0.5)))

    # -- judging one state --------------------------------------------------------------------

    def _judge_state(self, state):
        array, promised = self.array, self.judge.promised
        readers = {member: self._reader(medium, state.extra[member])
                   for member, medium in self.judge.media.items()}
        supers = {member: array.super_of(reader) for member, reader in readers.items()}
        members = trusted(supers)
        if not members:
            return
        events = max(supers[member].events for member in members)
        limit = array.sectors([supers[member] for member in members])
        vouching = [member for member in members if array.bitmap_vouches(readers[member], events)]
        for member in vouching:
            if not covers(readers[member](array.bitmap_start), limit):
                self.violations.append(Violation(
                    "state", state.position, limit // array.chunk,
                    f"the array has {limit} sectors, the bitmap of disk {member} covers less"))
        layers = {member: (state.extra[member], self.judge.media[member].base)
                  for member in members}
        for chunk, sectors in promised.by_chunk.items():
            states = {member: array.state(readers[member], chunk) for member in vouching}
            safe = any(value <= CLEAN for value in states.values())
            for sector in sectors:
                if sector >= limit:
                    continue        # not of the array any more, or not yet
                copies = self._copies(layers, sector)
                text = _compare(copies, promised.flushed.get(sector, 0), safe,
                                self.judge.leaving)
                if text:
                    self.violations.append(Violation(
                        "state", state.position, chunk,
                        f"array sector {sector}: {text}; bytes {states}, copies {copies}"))
                    break

    def _copies(self, layers, sector):
        """{member: value}; `layers` of a member: what it has beyond the durable, and the durable"""
        copies = {}
        for member, where in self.array.copies(sector):
            if member in layers:
                extra, base = layers[member]
                copies[member] = extra[where] if where in extra else base.get(where, 0)
        return copies

    @staticmethod
    def _reader(medium, extra):
        base = medium.base
        return lambda sector: extra[sector] if sector in extra else base.get(sector, 0)


def _compare(copies, flushed, safe, leaving):
    """What is wrong with the copies of a sector, or ""."""
    if safe and len(set(copies.values())) > 1:
        return "copies differ under a byte that says Clean or Unwritten"
    for member, value in copies.items():
        if member not in leaving and (not isinstance(value, int) or value < flushed):
            return f"generation {flushed} was flushed"
    return ""


@dataclasses.dataclass
class Image:
    """A state with all that it takes to put it on disks, and to judge what becomes of it."""
    array: object
    position: int
    content: dict           # member -> {sector: value}
    live: dict
    flushed: dict

    def write(self, member, path, size):
        """A member as a disk file."""
        os.truncate(path, 0)
        os.truncate(path, size)
        with open(path, "r+b") as file:
            for sector, value in self.content[member].items():
                if not isinstance(value, bytes):
                    value = pattern(self.array.array_sector(member, sector), value)
                file.seek(sector * SECTOR)
                file.write(value)

    def compare(self, paths):
        """{member: path} after the array was assembled, synced and stopped: what is wrong."""
        files = {member: open(path, "rb") for member, path in paths.items()}

        def read(member, sector):
            files[member].seek(sector * SECTOR)
            return files[member].read(SECTOR)

        try:
            supers = {member: self.array.super_of(lambda s, m=member: read(m, s))
                      for member in files}
            members = trusted(supers)
            if not members:
                return ["no member is in-sync"]
            wrong = []
            limit = self.array.sectors([supers[member] for member in members])
            for sector, newest in self.live.items():
                if sector >= limit:
                    continue
                found = {member: generation(read(member, where), sector)
                         for member, where in self.array.copies(sector) if member in members}
                least = self.flushed.get(sector, 0)
                if len(set(found.values())) != 1 or not all(
                        isinstance(value, int) and least <= value <= newest
                        for value in found.values()):
                    wrong.append(f"array sector {sector}: {found}, flushed {least}, "
                                 f"newest {newest}")
            return wrong
        finally:
            for file in files.values():
                file.close()
