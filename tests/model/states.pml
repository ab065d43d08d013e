/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What all models share: states, actions, the transition table, and how a promise is asserted.
 *
 * A model says before it includes this what its context is: RECOVERING (a recovery runs) and COPIES
 * (several in-sync copies exist), if that can be the case.
 */
#define UNWRITTEN 0
#define CLEAN     1
#define DIRTY     2
#define NEEDSYNC  3
#define SYNCING   4

#define STARTWRITE 0
#define STARTSYNC  1
#define ENDSYNC    2
#define ABORTSYNC  3
#define RELOAD     4
#define DAEMON     5
#define DISCARD_   6
#define STALE      7
#define INIT_      8

#define BIT(n)     (1 << (n))

#ifndef RECOVERING
#define RECOVERING 0
#endif
#ifndef COPIES
#define COPIES 0
#endif

/* Section 1 of the spec, written apart from the code that makes the transitions. */
#define IN_TABLE(from, action, to, degraded) \
	((action == STARTWRITE && from <= CLEAN && to == (degraded -> NEEDSYNC : DIRTY)) || \
	 (action == STARTSYNC && from == NEEDSYNC && to == SYNCING && !(RECOVERING && COPIES)) || \
	 (action == STARTSYNC && from == DIRTY && to == SYNCING && RECOVERING) || \
	 (action == ENDSYNC && from == SYNCING && to == DIRTY) || \
	 (action == ABORTSYNC && from == SYNCING && to == NEEDSYNC) || \
	 (action == RELOAD && (from == DIRTY || from == SYNCING) && to == NEEDSYNC) || \
	 (action == DAEMON && from == DIRTY && to == CLEAN && !degraded) || \
	 (action == DISCARD_ && from != UNWRITTEN && to == UNWRITTEN && !degraded) || \
	 (action == STALE && from != NEEDSYNC && to == NEEDSYNC) || \
	 (action == INIT_ && to <= CLEAN))

/* spin's message names the flag, and so the promise. */
#ifdef CUT_ONLY	/* see whether the power cut alone shows the harm */
#define PROMISE(name, cond) skip
#else
#define PROMISE(name, cond) if :: (cond) :: else -> name = 1; assert(!name) fi
#endif
#define BROKEN(name) name = 1; assert(!name)

bit witness;	/* WITNESS_*: a state that must be reachable for the proof to mean much */
