# SPDX-License-Identifier: GPL-2.0-or-later
"""Which faults there are in a phase, from what it reached when nothing failed."""
from .drill import AFTERMATHS
from .stage import DISKS, Fault

MOST = 6                # of the times that a phase reaches a point
ALWAYS = 1_000_000


def occurrences(point, hits):
    """The first ones, and the last. Where nothing can go wrong but the reserve, these two."""
    most = 1 if point.called == "mempool_alloc" else MOST
    return sorted({*range(1, min(hits, most) + 1), hits})


def reaches(points, hits):
    """(how many of the times that these points were reached get a fault, how many there are)"""
    there = {name: count for name, (count, _) in hits.items() if name in points}
    return (sum(len(occurrences(points[name], count)) for name, count in there.items()),
            sum(there.values()))


def of_point(point, hits, level):
    """Faults: of the times that it is reached those of occurrences(); of I/O, said to have failed as
    well, -EAGAIN, of all members once, and all of it from some time on."""
    faults = [Fault(point.name, nth) for nth in occurrences(point, hits)]
    if not point.io:
        return faults
    members = DISKS[level]
    for kind in point.kinds[1:]:
        faults += [Fault(point.name, nth, 1, kind) for nth in sorted({1, min(hits, members)})]
    if hits >= members:
        faults.append(Fault(point.name, 1, members))
    starts = {1, members + 1, hits // 2 + 1} & set(range(1, hits + 1))
    return faults + [Fault(point.name, nth, ALWAYS) for nth in sorted(starts)]


def one_of_point(point, hits, rng):
    """Some fault of it."""
    return Fault(point.name, rng.choice(occurrences(point, hits)[:2]), rng.choice((1, 1, ALWAYS))
                 if point.io else 1, rng.choice(point.kinds))


def faults_of(runner, points, level, phase, rng):
    """Does all faults of a phase; the Reports, that of counting first. Of a point that none of them
    reached the first time fails once more."""
    counted = runner.run(level, phase, Fault())
    yield counted
    for name in sorted(set(counted.hits) & set(points)):
        fired = False
        for fault in of_point(points[name], counted.hits[name][0], level):
            report = runner.run(level, phase, fault, rng.choice(AFTERMATHS))
            fired |= report.fired
            yield report
        if not fired:
            yield runner.run(level, phase, Fault(name))
