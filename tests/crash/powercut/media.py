# SPDX-License-Identifier: GPL-2.0-or-later
"""What a member holds at a moment of the log: what is durable, and what may be lost or kept.

A write is durable when it carried FUA and is done, or when a flush that began after the write was
done is done itself. Until then each of its sectors may be there after a power cut, or not.

Of two requests to a sector the later one is taken to land last. So it is only if the first was done
when it began: busy() tells of others, and judge.py reports them.
"""
from .log import DISCARD, FLUSH, SECTOR


class Medium:
    """One member. `value(sector, raw)` gives what to remember of a sector's bytes."""

    def __init__(self, number, value):
        self.number = number
        self.value = value
        self.base = {}          # sector -> durable value; 0: zeroes
        self.pending = {}       # sector -> [(request, value), ...], oldest first
        self.fingerprint = 0    # of the durable content
        self._requests = {}     # request -> entry, not durable
        self._flying = set()    # requests that are not done
        self._done = []         # requests that are done, not durable
        self._flushes = {}      # flush -> requests that it makes durable

    def values(self, sector):
        """All that may be found there after a power cut now."""
        return [self.base.get(sector, 0)] + [value for _, value in self.pending.get(sector, ())]

    def in_flight(self):
        """The requests that began and are not done."""
        return [self._requests[number] for number in self._flying]

    def busy(self, entry):
        """The first sector of a request for which another one is in flight, or None."""
        for sector in range(entry.sector, entry.sector + entry.sectors):
            if any(number in self._flying for number, _ in self.pending.get(sector, ())):
                return sector
        return None

    def begin(self, entry):
        """A request begins. Gives the sectors that it changes, with their values."""
        if entry.kind == FLUSH:
            self._flushes[entry.number] = self._done
            self._done = []
            return []
        self._requests[entry.number] = entry
        self._flying.add(entry.number)
        changes = []
        for i in range(entry.sectors):
            sector = entry.sector + i
            raw = bytes(SECTOR) if entry.kind == DISCARD else entry.data[i * 512:i * 512 + 512]
            value = self.value(sector, raw)
            self.pending.setdefault(sector, []).append((entry.number, value))
            changes.append((sector, value))
        return changes

    def end(self, request):
        """A request is done. Gives the entries that are durable by that."""
        self._flying.discard(request)
        if request in self._flushes:
            numbers = self._flushes.pop(request)
        elif self._requests[request].fua:
            numbers = [request]
        else:
            self._done.append(request)
            return []
        entries = [self._requests.pop(number) for number in numbers]
        for entry in entries:
            self._settle(entry)
        return entries

    def _settle(self, entry):
        for sector in range(entry.sector, entry.sector + entry.sectors):
            versions = self.pending.get(sector, ())
            for i, (number, value) in enumerate(versions):
                if number == entry.number:
                    self.fingerprint ^= self.print_of(sector, self.base.get(sector, 0))
                    self.fingerprint ^= self.print_of(sector, value)
                    self.base[sector] = value
                    del versions[:i + 1]
                    break
            if not versions:
                self.pending.pop(sector, None)

    def print_of(self, sector, value):
        return hash((self.number, sector, value)) if value else 0
