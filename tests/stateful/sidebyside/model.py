# SPDX-License-Identifier: GPL-2.0-or-later
"""What the specification allows: states of chunks, members, data.

The array is looked at after each operation, so the model knows the state of each chunk before the
next one, and says which states it may have afterwards: exactly one wherever the specification says
so. The daemon is kept asleep; a sync that md may or may not have begun by itself is the only reason
for more than one. Nothing in here knows of VMs.
"""
from .contents import Contents
from .shape import CHUNK, Shape

STATES = ("Unwritten", "Clean", "Dirty", "NeedSync", "Syncing")
UNWRITTEN, CLEAN, DIRTY, NEEDSYNC, SYNCING = range(5)
NO, MAY, MUST = range(3)


class Model:
    """`allowed` is what prediction works on: for each chunk the set of states it may have."""

    def __init__(self, level, clean):
        self.shape = Shape(level)
        self.contents = Contents(self.shape.sectors)
        self.states = []                # as they were seen last
        self.allowed = [{CLEAN if clean else UNWRITTEN}] * self.shape.chunks
        self.roles = dict(enumerate(range(self.shape.disks)))   # role -> disk, the in-sync ones
        self.pending = []               # disks that are to become members: spares, half-filled ones
        self.out = []                   # disks that were members
        self.frozen = False             # nothing is synced
        self.held = False               # what is synced does not come to its end ...
        self.hold_at = 0                # ... but stops before this chunk
        self.syncing = False            # a sync was seen running
        self.wanted = NO                # whether a resync may begin by itself, or has to
        self.behind = False             # the sync that runs has passed what is NeedSync since
        self.discarding = set()         # chunks that may become Unwritten by what was discarded
        self.stored = set()             # that an operation had to make durable before it was over
        self.settings = {"llbitmap/daemon_sleep": 3600, "llbitmap/barrier_idle": 5}

    # -- members -------------------------------------------------------------------------------

    @property
    def degraded(self):
        return self.shape.disks - len(self.roles)

    @property
    def present(self):
        """Disks that an assembly is given."""
        return [*self.roles.values(), *self.pending]

    def spares(self):
        """Disks that never were members."""
        return [disk for disk in range(6) if disk not in (*self.present, *self.out)]

    def may_leave(self):
        """Disks that the array can do without: members, then those that are to become one."""
        return [disk for role, disk in sorted(self.roles.items())
                if self.shape.can_lose(self.roles, role)] + self.pending

    def leave(self, disk):
        if disk in self.pending:
            self.pending.remove(disk)
        else:
            self.roles = {role: one for role, one in self.roles.items() if one != disk}
        self.out.append(disk)

    # -- states --------------------------------------------------------------------------------

    def begin(self):
        """Before an operation: what was seen is what it starts from."""
        self.allowed = [{state} for state in self.states]
        self.stored.clear()
        self.discards_end()

    def change(self, chunks, rule):
        """rule(state) gives the state after it, or a set of them."""
        for chunk in chunks:
            found = set()
            for state in self.allowed[chunk]:
                to = rule(state)
                found |= to if isinstance(to, set) else {to}
            self.allowed[chunk] = found

    def all(self):
        return range(len(self.allowed))

    def started_write(self, state):
        """Startwrite, parity-first-write, degraded-write."""
        if state > CLEAN:
            return state
        if self.degraded or (self.shape.parity and state == UNWRITTEN):
            return NEEDSYNC
        return DIRTY

    def start_writes(self, chunks):
        """What becomes NeedSync where a sync has passed is left to the daemon, which asks for
        another one, and sleeps."""
        self.change(chunks, self.started_write)
        if self.syncing and any(chunk <= self.hold_at and NEEDSYNC in self.allowed[chunk]
                                for chunk in chunks):
            self.behind = True

    def write(self, first, count):
        chunks = self.shape.chunks_of(first, count)
        self.start_writes(chunks)
        self.discarding -= set(chunks)
        self.stored.update(chunks)
        return self.contents.write(first, count)

    def set_bits(self, first, count):
        """Startwrite without a write: what was discarded may still become Unwritten."""
        chunks = range(first, first + count)
        self.start_writes(chunks)
        self.stored.update(chunks)

    def discard(self, first, count):
        """partial-discard, whole-discard. That of a whole chunk may come to nothing, and be over
        later; while the array is degraded it must come to nothing."""
        for part in self.shape.discards_of(first, count):
            self.discard_at_once(*part)
        self.contents.forget(first, count)

    def discard_at_once(self, first, count):
        whole = set(self.shape.whole_chunks_of(first, count))
        parts = set(self.shape.chunks_of(first, count)) - whole
        self.start_writes(parts)
        self.stored |= parts | {chunk for chunk in whole if UNWRITTEN not in self.allowed[chunk]}
        self.discarding -= parts | whole

        def rule(state):
            if state == UNWRITTEN:
                return UNWRITTEN
            return self.started_write(state)
        self.change(whole, rule)
        if not self.degraded:
            self.discarding |= whole

    def discards_end(self):
        """At any time."""
        self.change(self.discarding, lambda state: {state, UNWRITTEN})

    def clean(self):
        """Daemon, degraded-keep: a flush, or that of a stop."""
        self.discards_end()
        self.discarding.clear()
        if self.degraded:
            return
        if self.syncing:        # it ends chunks at any time, and that can keep a flush from them
            self.change(self.all(), lambda state: {CLEAN, DIRTY} if state == DIRTY else
                        {SYNCING, DIRTY, CLEAN} if state == SYNCING else state)
        else:
            self.change(self.all(), lambda state: CLEAN if state == DIRTY else state)

    def daemon_may_run(self):
        if not self.degraded:
            self.change(self.all(), lambda state: {CLEAN, DIRTY} if state == DIRTY else state)

    def mark(self, first, count):
        """Stale by the user: nobody wrote to an Unwritten chunk. When there is nothing to sync by the
        time that md looks, what was asked for is over; it may look late, in the middle of a sync."""
        chunks = range(first, first + count)
        self.change(chunks, lambda state: state if state == UNWRITTEN else NEEDSYNC)
        self.stored.update(chunk for chunk in chunks if UNWRITTEN not in self.allowed[chunk])
        if any(min(states) >= NEEDSYNC for states in self.allowed):
            self.want()
        else:
            self.wanted = max(self.wanted, MAY)

    def want(self):
        """A resync of all that is NeedSync was asked for."""
        self.wanted = MUST
        self.behind = False

    def interrupt(self):
        """Abortsync; what was synced to its end by then is Dirty. When a resync begins again is up
        to md and the daemon."""
        if self.syncing:
            self.change(self.all(), lambda state: {NEEDSYNC, DIRTY} if state == SYNCING else state)
            self.wanted = MAY
        self.syncing = False

    def stop(self):
        self.interrupt()
        self.clean()

    def new_bitmap(self):
        """The bitmap was removed and another one made, while the array ran. It knows nothing of what
        was written before it, so no chunk is Unwritten. Clean says that all are equal: not without
        a member, nor where they were still to be synced or have parity that was never built; then
        md syncs all of it, before the new bitmap is there or behind it."""
        wrong = {NEEDSYNC, SYNCING} | ({UNWRITTEN} if self.shape.parity else set())
        if self.degraded:
            states = {NEEDSYNC}
        elif self.wanted or any(wrong & states for states in self.allowed):
            states = {CLEAN, NEEDSYNC}
        else:
            states = {CLEAN}
        self.change(self.all(), lambda state: states)
        self.discarding.clear()
        self.settings["llbitmap/barrier_idle"] = 5
        if NEEDSYNC in states:
            self.want()

    def load(self):
        """Reload of what is on disk; whatever was set in memory only is as at first."""
        self.change(self.all(), lambda state: NEEDSYNC if state > CLEAN else state)
        self.discarding.clear()
        self.frozen = self.held = self.syncing = False
        self.settings["llbitmap/barrier_idle"] = 5
        self.want()

    def may_be_torn(self):
        """[(role, member sector), ...] of what a load makes equal again: the last copy of what was
        written, as md takes the first one, and any parity. Not without a member: the write hole."""
        found = []
        layout, unit = self.shape.layout, self.shape.unit
        for chunk, states in enumerate([] if self.degraded else self.allowed):
            if min(states) < DIRTY:
                continue
            if self.shape.parity:
                stripes = range(chunk * CHUNK, min((chunk + 1) * CHUNK, layout.size), layout.chunk)
                found += [(role, sector) for sector in stripes
                          for role in layout.roles(sector // layout.chunk)[1:] if role is not None]
            else:
                found += [layout.copies(first + count - 1)[-1]
                          for first, count in self.contents.runs(chunk * unit, (chunk + 1) * unit)]
        return found

    def resize(self, kib):
        """New chunks are Unwritten. What the last one gains has no parity yet."""
        old, new = self.shape, Shape(self.shape.level, kib)
        self.discarding.clear()
        self.wanted = max(self.wanted, MAY)
        if new.sectors > old.sectors and old.parity and old.sectors % old.unit:
            self.mark(old.chunks - 1, 1)
        self.allowed = self.allowed[:new.chunks]
        self.allowed += [{UNWRITTEN}] * (new.chunks - len(self.allowed))
        self.contents.resize(new.sectors)
        self.shape = new

    # -- syncs ---------------------------------------------------------------------------------

    def settled(self):
        """Nothing holds a sync: those that are due were waited for.

        A recovery fills members, and leaves what in-sync copies may differ in to the resync that
        follows (resync-first). One chunk that has to be synced is Dirty afterwards."""
        if self.sync_is_due():
            done = DIRTY
        elif self.may_sync():
            done = {DIRTY, NEEDSYNC}
        else:
            return
        self.change(self.all(), lambda state: done if state >= NEEDSYNC else state)

    def may_sync(self):
        return self.syncing or self.wanted or (self.degraded and self.pending)

    def sync_is_due(self):
        """Nothing is left to sync when all is settled. Without all members it may be: parity is not
        computed then, and one copy is equal to itself."""
        filling = bool(self.degraded and self.pending)
        return (len(self.pending) >= self.degraded and not self.behind and
                (self.syncing or filling or self.wanted == MUST))

    def running(self, action):
        """A sync may run, and goes on: `action` is what sync_action says."""
        if not self.may_sync():
            return
        filling = self.degraded and self.pending
        # resync-first: on RAID1 a chunk has as many copies as there are members
        keep = (action == "recover" and not self.wanted and not self.syncing
                and self.shape.level == 1 and len(self.roles) > 1)

        def rule(state):
            if state == DIRTY and filling:
                return {DIRTY, SYNCING}
            if state == NEEDSYNC and keep:
                return NEEDSYNC
            return {NEEDSYNC, SYNCING, DIRTY} if state >= NEEDSYNC else state
        self.change(self.all(), rule)

    def expect_syncs(self, action):
        """The last part of each operation: what syncs may have done to the states."""
        self.discards_end()
        if self.frozen:
            return
        if self.held:
            self.running(action)
        else:
            self.settled()

    # -- what was seen -------------------------------------------------------------------------

    def wrong_states(self, states):
        """Chunks that are in no state allowed: [(chunk, state, allowed), ...]"""
        if len(states) != len(self.allowed):
            return [(f"{len(states)} chunks", "", {len(self.allowed)})]
        return [(chunk, STATES[state], {STATES[one] for one in allowed})
                for chunk, (state, allowed) in enumerate(zip(states, self.allowed))
                if state not in allowed]

    def too_clean(self, chunk, byte):
        """On disk, for what it is in memory: after a cut nobody would sync it."""
        if byte == UNWRITTEN and chunk in self.discarding:
            return False
        return byte <= CLEAN and self.states[chunk] >= DIRTY

    def due_members(self):
        """How many roles are taken when all is settled."""
        if self.frozen or self.held:
            return None
        return min(self.shape.disks, len(self.roles) + len(self.pending))

    def saw(self, states, roles, action):
        """Takes over what was seen, and was found to be allowed. Of the members it is up to md who
        takes which role."""
        self.states = list(states)
        for disk in set(roles.values()) & set(self.pending):
            self.pending.remove(disk)
        self.roles = dict(roles)
        self.syncing = action in ("resync", "recover", "repair")
        empty = {chunk for chunk, state in enumerate(states) if state == UNWRITTEN}
        self.discarding -= empty
        self.stored -= empty            # their discard is over
        if not self.frozen and not self.held:
            # it has been there; but parity that could not be computed yet will be
            if NEEDSYNC not in states or (self.degraded and not self.shape.parity):
                self.wanted, self.behind = NO, False


def told(wrong):
    return "; ".join(f"chunk {chunk} is {state}, not {' or '.join(sorted(map(str, allowed)))}"
                     for chunk, state, allowed in wrong[:5])
