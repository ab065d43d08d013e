/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The protocol between writers, page barrier, daemon, bitmap writeback and discard worker of one
 * bitmap page, on two mirrored members with volatile caches. README.md says what is left out.
 *
 * Each atomic step is named after the kernel function that it stands for. A spinlock section that
 * lockless readers can look into is several steps between spin_lock() and spin_unlock().
 *
 * Scenarios (what runs): WRITERS, DISCARD, BEHIND (write-behind), RACING (the user writes and
 * discards the same place at once), FAIL (member 1 may fail), REFUSE (members take data, but not
 * the bitmap, and maybe not md's superblock), SYNC (a resync of chunk 0).
 * BUG_* plants one broken order; `run` knows which promise each of them breaks.
 */
#include "states.pml"

/* Two chunks in one page, in different sectors of it. Chunk 0 has the locations 0 and 1, chunk 1
 * the location 2: writers never overlap each other (that is the user's own race), chunks do. */
#define CHUNK(l)   ((l) >> 1)
#define LOCS(c)    ((c) -> 4 : 3)

/* ---- kernel memory ---- */
byte state[2];          /* the page: one byte per chunk */
byte unsafe_now;        /* chunks whose change no writeback has copied yet */
byte unsafe_inflight;   /* chunks whose change the writeback in flight carries */
bit  lock;              /* the page's spinlock */
byte refs;              /* percpu_ref `active`: writes inside */
bit  dead;              /* ... killed: suspended */
bit  suspend_mutex;     /* one suspender of a page at a time */
byte ranges_inflight;   /* whole discards on their way to the members */
byte ranges_done;       /* ... completed on every member, waiting for the worker */
bit  faulty;            /* member 1 is Faulty, the array degraded */
bit  ended;             /* the page's seq_ended: the resync has ended chunk 0 */
bit  sb_pending;        /* MD_SB_CHANGE_PENDING: that is not yet in the superblocks */
byte given_up;          /* llb->broken: 1 LLB_BROKEN, 2 LLB_BREAK_RECORDED */
bit  md_broken;         /* MD_BROKEN: the member refused its superblock that the array cannot lose */

/* ---- members: what a power cut leaves ---- */
byte disk[4];           /* durable bitmap byte, [member * 2 + chunk] */
byte content[6];        /* newest data, [member * 3 + location]: 0 base, 1 newer, 2 unlike */
byte losable[2];        /* locations whose newest data the member's cache may still lose */
bit  failing;           /* member 1 fails every request from now on */
bit  sb_failed;         /* the superblock that records the failure is durable */
bit  sb_outrun;         /* ... whose event count is above the bitmap's: nobody believes that */
byte no_bitmap;         /* members that refuse bitmap writes from now on, as bits */
byte no_super;          /* ... and those that refuse md's superblock */

/* ---- what the judge knows ---- */
byte busy;              /* locations with a request that the user waits for */
byte live;              /* locations written and not discarded since */
byte discarded;         /* chunks whose last whole discard succeeded on every member */
byte behind;            /* locations with a write-behind that the user has the answer of */
byte writing;           /* locations with a write that is on its way to the members */
byte discarding;        /* locations with a discard that is */
byte racing;            /* locations where both are, or were until one of them arrived */
byte synced;            /* locations that the sync of their chunk has copied since it began */
byte raced;             /* ... and nothing was written alone since: the copies may differ */

#ifdef WRITERS
#define ALL_WRITERS 2
#else
#define ALL_WRITERS 1
#endif

/* One flag per promise, so that spin's message names it. */
bit promise_1_order, promise_2_clean_is_safe, promise_2_cut, promise_3_table, promise_4_unwritten,
	promise_4_endsync;

/* Any outcome of losing the caches leaves both copies of the location alike. */
#define EQUAL(l)  (content[l] == content[3 + (l)] && !((losable[0] | losable[1]) & BIT(l)))
#define SAFE(l)   (!(live & ~raced & BIT(l)) || EQUAL(l))
#define SAYS(c, s) (!sb_outrun && (disk[c] == s || (!sb_failed && disk[2 + (c)] == s)))
#define CUT_LOSES \
	((SAYS(0, CLEAN) && !sb_failed && !(SAFE(0) && SAFE(1))) || \
	 (SAYS(1, CLEAN) && !sb_failed && !SAFE(2)) || \
	 (SAYS(0, UNWRITTEN) && (live & LOCS(0))) || \
	 (SAYS(1, UNWRITTEN) && (live & LOCS(1))))
#define DURABLY_DIRTY(c) \
	(sb_outrun || (disk[c] >= DIRTY && (sb_failed || disk[2 + (c)] >= DIRTY)))

/* ---- kernel functions: each is called inside an atomic step ---- */

/* llb_transition(): the one place that changes a byte; emits the event (from, to, action). */
inline llb_transition(c, from, action, to, degraded)
{
	PROMISE(promise_3_table, from == state[c] && IN_TABLE(from, action, to, degraded));
	if
	:: to == CLEAN ->
		PROMISE(promise_2_clean_is_safe,
			(c != 0 || (SAFE(0) && SAFE(1))) && (c != 1 || SAFE(2)))
	:: to == UNWRITTEN ->
		PROMISE(promise_4_unwritten,
			!((live | racing | raced) & LOCS(c)) && (discarded & BIT(c)));
		PROMISE(promise_2_clean_is_safe, !((losable[0] | losable[1]) & LOCS(c)))
	:: action == ENDSYNC -> PROMISE(promise_4_endsync, (synced & LOCS(c)) == LOCS(c))
	:: else
	fi;
	state[c] = to
}

/* llb_clip_written(), by llbitmap_endwrite() before it lets the page go: whatever discard this
 * request overlapped, or came after, no longer makes the chunk Unwritten. Enough at the end, since
 * the discard worker waits for all ends. */
inline llb_clip_written(c)
{
#ifndef BUG_NO_CLIP
	if	/* lockless: a discard that is registered later reaches the members later */
	:: ranges_inflight | ranges_done ->
		atomic {
			!lock ->
			ranges_inflight = ranges_inflight & ~BIT(c);
			ranges_done = ranges_done & ~BIT(c)
		}
	:: else
	fi
#else
	skip
#endif
}

/* A request to a member: data or discard lands in its volatile cache. */
inline member_write(m, l)
{
	content[m * 3 + l] = 1;
	losable[m] = losable[m] | BIT(l)
}

/* The location's request reached both members: name its contents anew. A race leaves them apart. */
inline settle(l)
{
	if
	:: racing & BIT(l) ->
		raced = raced | BIT(l);
		racing = racing & (writing | discarding | ~BIT(l));
		content[l] = 0;
		content[3 + l] = 2
	:: else ->
		raced = raced & ~BIT(l);
		if
		:: content[l] == content[3 + l] -> content[l] = 0; content[3 + l] = 0
		:: else -> content[l] = 0; content[3 + l] = 2
		fi
	fi
}

/* md_error(): the member is out; whoever relies on that waits for the superblock. */
inline md_error()
{
	faulty = 1;
	sb_pending = 1
}

/* llb_flush_members(): one after the other. The step stands for the moment of issue: a flush
 * promises nothing about what completes later. */
inline llb_flush_members()
{
	losable[0] = 0;
	if
	:: atomic { !faulty && !failing -> losable[1] = 0 }
#ifdef FAIL
	:: atomic { !faulty && failing -> md_error() }
#endif
#if defined(FAIL) || defined(REFUSE)
	:: faulty
#endif
	fi
}

/* ---- processes ---- */

#define UNSAFE(c) ((unsafe_now | unsafe_inflight) & BIT(c))

/*
 * llb_judge_parked(), when the bitmap write of what is parked failed: md is done with the
 * superblocks, whether any member took them or not.
 */
#ifdef BUG_REFUSED_SUPERS_COUNT
#define RECORDED (!sb_pending)
#define IN_VAIN  (!given_up && !sb_pending && md_broken)
#else
#define RECORDED (!sb_pending && !md_broken)
#define IN_VAIN  (given_up != 2 && !sb_pending && md_broken)
#endif

/* An Unwritten chunk stays so when all of it is discarded. */
#define NEEDS_TRANSITION(c, from, whole) (from <= CLEAN && !(whole && from == UNWRITTEN))
#define SET_UNSAFE(c, from) unsafe_now = unsafe_now | BIT(c)
#define MAKE_DIRTY(c, from) \
	llb_transition(c, from, STARTWRITE, (faulty -> NEEDSYNC : DIRTY), faulty)
#ifdef BUG_BYTE_BEFORE_BIT
#define FIRST  MAKE_DIRTY
#define SECOND SET_UNSAFE
#else
#define FIRST  SET_UNSAFE
#define SECOND MAKE_DIRTY
#endif

/* llb_start_part(): llbitmap_startwrite(), slow path. Lockless readers of the fast path see its
 * steps. */
inline llb_start_part(c, from, whole)
{
	atomic {	/* spin_lock(); llb_set_run(): the unsafe bit goes before the byte */
		!lock -> lock = 1;
#ifndef BUG_STALE_FROM
		from = state[c];
#endif
		if
		:: NEEDS_TRANSITION(c, from, whole) -> FIRST(c, from)
		:: else
		fi
	}
	atomic {	/* llb_transition() */
		if
		:: NEEDS_TRANSITION(c, from, whole) -> SECOND(c, from)
		:: else
		fi
	}
	atomic {	/* llb_add_range() for a whole discard; spin_unlock() */
		if
		:: whole && from != UNWRITTEN -> ranges_inflight = ranges_inflight | BIT(c)
		:: else
		fi;
		lock = 0
	}
}

/* A write to the one location of a chunk, or one of two, again and again. */
proctype writer(byte first; byte last)
{
	byte l, c, from;
	bit one_first;

	do
	:: break
	:: atomic {	/* submit_bio() of the user, who does not race with himself */
#ifdef REFUSE
		!md_broken;	/* md_submit_bio() */
#endif
		if
		:: !(busy & BIT(first)) -> l = first
		:: !(busy & BIT(last)) -> l = last
		fi;
		busy = busy | BIT(l);
		c = CHUNK(l)
	   }
	   !sb_pending;		/* raid1_write_request() waits while a member is Blocked */
	   /* llb_page_enter(): percpu_ref_tryget_live() */
	   atomic { !dead -> refs++ };

	   /* llb_byte_is_safe(): llbitmap_startwrite(), fast path: lockless, in this order */
#ifdef BUG_BYTE_READ_LAST
	   if :: unsafe_now & BIT(c) -> goto slow :: else fi;
	   if :: unsafe_inflight & BIT(c) -> goto slow :: else fi;
#endif
	   atomic {
		from = state[c];
		if
		:: from <= CLEAN -> goto slow
		:: else -> from = 0
		fi
	   }
#ifdef BUG_INFLIGHT_READ_FIRST
	   if :: unsafe_inflight & BIT(c) -> goto slow :: else fi;
	   if :: unsafe_now & BIT(c) -> goto slow :: else fi;
#elif !defined(BUG_SECOND_WRITER) && !defined(BUG_BYTE_READ_LAST)
	   if :: unsafe_now & BIT(c) -> goto slow :: else fi;
	   if :: unsafe_inflight & BIT(c) -> goto slow :: else fi;
#endif
	   goto submit;

slow:
	   llb_start_part(c, from, 0);
	   from = 0;
	   /* llbitmap_unplug(): until a writeback has carried the bit (see writeback()) */
#ifdef REFUSE
	   if
	   :: !UNSAFE(c)
	   :: given_up == 2
	   :: atomic { given_up == 1 && RECORDED -> given_up = 2 }
	   :: atomic {	/* refuse_write(): it reaches no member, and the user sees an error */
		UNSAFE(c) && IN_VAIN ->
#ifdef WITNESS_REFUSED
		BROKEN(witness);
#endif
		busy = busy & ~BIT(l); refs--;
		l = 0; c = 0; goto next
	      }
	   fi;
#else
	   !UNSAFE(c);
#endif

submit:	   atomic {	/* raid1_unplug(): the bio to one member */
		PROMISE(promise_1_order, DURABLY_DIRTY(c));
		writing = writing | BIT(l);
		racing = racing | (discarding & BIT(l));
		live = live | BIT(l);
		discarded = discarded & ~BIT(c);
#ifdef BEHIND
		member_write(0, l);
		if
		:: true
		:: behind = behind | BIT(l); busy = busy & ~BIT(l)	/* the user is told now */
		fi
#else
		if
		:: member_write(0, l)
		:: !faulty && !failing -> member_write(1, l); one_first = 1
		fi
#endif
	   }
#ifdef BUG_BEHIND_NOT_HELD
	   if
	   :: behind & BIT(l) -> refs--
	   :: else
	   fi;
#endif
	   atomic {	/* and to the other: raid1_end_write_request() */
		PROMISE(promise_1_order, DURABLY_DIRTY(c));
		if
		:: one_first -> member_write(0, l)
		:: !one_first && !faulty && !failing -> member_write(1, l)
#ifdef FAIL
		:: !one_first && !faulty && failing -> md_error()
#endif
#if defined(FAIL) || defined(REFUSE)
		:: !one_first && faulty
#endif
		fi;
		one_first = 0;
		writing = writing & ~BIT(l);
		settle(l)
	   }
	   /* raid1d keeps a bio that met a failure until the superblock is written */
	   !sb_pending;
	   llb_clip_written(c);
	   atomic {	/* llbitmap_endwrite() */
#ifdef BUG_BEHIND_NOT_HELD
		if
		:: behind & BIT(l)
		:: else -> refs--
		fi;
#else
		refs--;
#endif
		if
		:: behind & BIT(l)	/* busy ended with the early answer */
		:: else -> busy = busy & ~BIT(l)
		fi;
		behind = behind & ~BIT(l);
		l = 0; c = 0
	   }
#ifdef REFUSE
next:	   skip
#endif
	od
}

/* Discards the whole of chunk 0 or its second half, again and again. */
proctype discarder()
{
	byte c, from, locs, m;
	bit whole, failed;

	do
	:: break
	:: atomic {	/* submit_bio() of the user */
#ifdef RACING
#define FREE(l) 1
#else
#define FREE(l) !(busy & (l))
#endif
		if
		:: FREE(LOCS(0)) -> locs = LOCS(0); whole = 1
		:: FREE(BIT(1)) -> locs = BIT(1)
#ifdef BUG_PARTIAL_AS_WHOLE
			; whole = 1
#endif
		fi;
#ifdef RACING
		skip
#else
		busy = busy | locs
#endif
	   }
	   atomic { !dead -> refs++ };	/* llb_page_enter() */
	   llb_start_part(c, from, whole);
	   !UNSAFE(c);			/* llbitmap_unplug() */
	   do
	   :: atomic {	/* md_submit_discard_bio(), one member after the other */
		m < 2 ->
		/* an Unwritten chunk stays so: there is nothing the bitmap could say */
		PROMISE(promise_1_order, DURABLY_DIRTY(c) || (whole && from == UNWRITTEN));
		discarding = locs;
		racing = racing | (writing & locs);
		discarded = discarded & ~BIT(c);
		if
		:: locs & BIT(0) -> member_write(m, 0); member_write(m, 1)
		:: locs == BIT(1) -> member_write(m, 1)
		:: failed = 1	/* this member does not discard: no error that the caller sees */
		fi;
		m++;
		if
		:: m == 2 ->
			discarding = 0;
			live = live & ~locs;
			discarded = discarded | (whole && !failed -> BIT(c) : 0);
			if :: locs & BIT(0) -> settle(0) :: else fi;
			settle(1)
		:: else
		fi
	      }
	   :: m == 2 -> break
	   od;
	   atomic {	/* llbitmap_endwrite() */
		!lock;
		ranges_done = ranges_done & ~BIT(c);
		if
#ifdef BUG_FAILED_DISCARD
		:: ranges_inflight & BIT(c) ->
#else
		:: (ranges_inflight & BIT(c)) && !failed ->
#endif
#ifdef BUG_DISCARD_IN_COMPLETION
			llb_transition(c, state[c], DISCARD_, UNWRITTEN, faulty)
#else
			ranges_done = ranges_done | BIT(c)
#endif
		:: else
		fi;
		ranges_inflight = ranges_inflight & ~BIT(c);
#ifndef RACING
		busy = busy & ~locs;
#endif
		refs--;
		c = 0; from = 0; locs = 0; m = 0; whole = 0; failed = 0
	   }
	od
}

/* llb_page_suspend(): got = 0 when the drain timed out, and then the page runs again. */
inline llb_page_suspend(got)
{
	atomic { !suspend_mutex -> suspend_mutex = 1; dead = 1 };
	if
	:: refs == 0 -> got = 1
	:: atomic {
		refs != 0 -> got = 0;
#ifndef BUG_TIMEOUT_KEEPS_DEAD
		dead = 0;
#endif
		suspend_mutex = 0
	   }
	fi
}

/* llb_page_resume() */
inline llb_page_resume()
{
	atomic { dead = 0; suspend_mutex = 0 }
}

/* llb_discard_work() */
proctype discard_worker()
{
	bit suspended;

end:	do
	:: ranges_done ->
#ifndef BUG_DISCARD_NO_DRAIN
	   do
	   :: !suspended -> llb_page_suspend(suspended)
	   :: suspended -> break
	   od;
#endif
	   llb_flush_members();
	   atomic {	/* llb_transition(), under the page's lock */
		!lock ->
		if
		:: (ranges_done & BIT(0)) && state[0] != UNWRITTEN ->
			llb_transition(0, state[0], DISCARD_, UNWRITTEN, faulty)
		:: else
		fi;
		ranges_done = 0
	   }
#ifndef BUG_DISCARD_NO_DRAIN
	   suspended = 0;
	   llb_page_resume()
#endif
	od
}

/* llb_clean_page(), again and again while there is something to clean */
proctype daemon()
{
	bit suspended, degraded, seen;

	do
	:: break
	:: atomic { state[0] == DIRTY || state[1] == DIRTY ->
#ifdef BUG_DEGRADED_EARLY
		degraded = faulty
#endif
	   }
#ifndef BUG_NO_DRAIN
	   llb_page_suspend(suspended);
	   if
	   :: !suspended -> goto next
	   :: else
	   fi;
#endif
again:
#ifdef SYNC
	   seen = ended;	/* llb_seq_ended() */
#endif
#ifndef BUG_CLEAN_BEFORE_FLUSH
	   llb_flush_members();
#endif
#ifndef BUG_DEGRADED_EARLY
	   degraded = faulty;	/* one look, after the flush: the event says what was seen */
#endif
	   atomic {	/* llb_clean_drained(): llb_transition() of every Dirty chunk, under the page's lock */
		!lock ->
#if defined(SYNC) && !defined(BUG_ENDSYNC_SLIPS)
		if
		:: seen != ended -> goto again
		:: else
		fi;
#endif
		if
		:: !degraded && state[0] == DIRTY -> llb_transition(0, state[0], DAEMON, CLEAN, degraded)
		:: else
		fi;
		if
		:: !degraded && state[1] == DIRTY -> llb_transition(1, state[1], DAEMON, CLEAN, degraded)
		:: else
		fi;
		degraded = 0
	   }
#ifdef BUG_CLEAN_BEFORE_FLUSH
	   llb_flush_members();
#endif
#ifndef BUG_NO_DRAIN
	   llb_page_resume();
#endif
next:	   suspended = 0; seen = 0
	od
}

#ifdef SYNC
inline sync_copies(l)
{
	atomic {
		!(writing & BIT(l)) ->
		content[3 + (l)] = content[l];
		losable[1] = losable[1] | BIT(l);
		synced = synced | BIT(l)
	}
}

/* A resync copies chunk 0 from member 0 to member 1, if nothing stops it in the middle. It holds no
 * page: what keeps its writes apart from the user's is raise_barrier() of raid1, place by place,
 * and from the daemon only `ended`. */
proctype resync()
{
	do
	:: /* llbitmap_start_sync() */
	   atomic { !lock -> llb_transition(0, state[0], STARTSYNC, SYNCING, 0); synced = 0 };
	   sync_copies(0);
	   if	/* llb_finish_sync(), all I/O complete */
	   :: sync_copies(1);
	      atomic { !lock -> llb_transition(0, state[0], ENDSYNC, DIRTY, 0); ended = 1 };
	      break
	   :: /* a place that cannot be read, or somebody who stops it: and again later */
#ifdef BUG_ENDSYNC_OF_A_PART
	      atomic { !lock -> llb_transition(0, state[0], ENDSYNC, DIRTY, 0); ended = 1 };
	      break
#else
	      atomic { !lock -> llb_transition(0, state[0], ABORTSYNC, NEEDSYNC, 0) }
#endif
	   fi
	od
}
#endif

#define LAGS (state[0] != disk[0] || state[1] != disk[1] || \
	      (!faulty && (state[0] != disk[2] || state[1] != disk[3])))

#define TAKES(m) (!(no_bitmap & BIT(m)))
/* ... or it need not be asked any more: the array is to refuse all writes */
#define GIVEN_UP (given_up || md_broken)

/*
 * llb_write_run() with the hidden disk's llb_submit_write(), by who holds write_mutex: a
 * writer that unplugs, or the lazy write of what daemon and discard worker changed. One process
 * is the mutex. 512-byte sectors of a page, and members, land in any order.
 */
proctype writeback()
{
	byte bounce[2];
	byte todo;	/* bit 0, 1: chunks on member 0; 2, 3: on member 1 */
	byte refused;	/* members that refused */
	bit saw_error;

end:	do
	:: atomic {	/* llb_copy_page(), under the page's lock */
#ifdef BUG_COPY_WITHOUT_LOCK
		unsafe_now || unsafe_inflight || LAGS ->
#else
		!lock && !GIVEN_UP && (unsafe_now || unsafe_inflight || LAGS) -> lock = 1;
#endif
		bounce[0] = state[0];
		bounce[1] = state[1];
#ifndef BUG_CLEAR_AT_ISSUE
		/* first the one, then the other: a lockless reader must not miss both */
		unsafe_inflight = unsafe_inflight | unsafe_now;
#endif
	   }
	   atomic {
		unsafe_now = 0;
#ifndef BUG_COPY_WITHOUT_LOCK
		lock = 0;
#endif
		todo = (faulty -> 3 : 15)
	   }
	   do
	   /* llb_member_written(): FUA writes, durable when they complete */
	   :: atomic { TAKES(0) && (todo & 1) -> disk[0] = bounce[0]; todo = todo - 1 }
	   :: atomic { TAKES(0) && (todo & 2) -> disk[1] = bounce[1]; todo = todo - 2 }
	   :: atomic { !failing && TAKES(1) && (todo & 4) -> disk[2] = bounce[0]; todo = todo - 4 }
	   :: atomic { !failing && TAKES(1) && (todo & 8) -> disk[3] = bounce[1]; todo = todo - 8 }
#ifdef REFUSE
	   :: atomic { !TAKES(0) && (todo & 3) -> todo = todo & 12; refused = refused | 1 }
	   :: atomic { !TAKES(1) && (todo & 12) -> todo = todo & 3; refused = refused | 2 }
#endif
#ifdef FAIL
	   :: atomic {
		failing && todo > 3 -> todo = todo & 3;
		saw_error = 1;
		if :: !faulty -> md_error() :: else fi
	      }
#endif
	   :: atomic { todo == 0 -> bounce[0] = 0; bounce[1] = 0; break }
	   od;
#ifdef REFUSE
	   atomic {	/* llb_fail_members(): md_error() if others took it and it can be lost */
		if
		:: refused == 2 && !faulty -> md_error()
		:: (refused & 1) || (refused && faulty) -> given_up = 1; sb_pending = 1	/* llb_break() */
		:: else
		fi;
		refused = 0
	   }
	   if
	   :: given_up -> goto stays
	   :: else
	   fi;
#endif
#if defined(REFUSE) && !defined(BUG_TOLD_IN_VAIN)
	   if	/* llb_failure_unrecorded() */
	   :: !sb_pending && !md_broken
	   :: !sb_pending && md_broken -> goto stays
	   fi;
#elif defined(BUG_NO_SB_WAIT)
#elif defined(BUG_SB_WAIT_ONLY_OWN_ERROR)
	   !saw_error || !sb_pending;
#else
	   /* llb_failure_unrecorded(): a member was left out, by this write or before, and only the
	    * superblock makes that harmless */
	   !sb_pending;
#endif
	   atomic { unsafe_inflight = 0; saw_error = 0 }	/* llb_page_written() */
#ifdef REFUSE
stays:	   skip	/* the unsafe bits */
#endif
	od
}

#ifdef FAIL
/* The member dies at any moment; whoever talks to it next finds out. */
proctype member_failure()
{
	failing = 1
}

/* md_update_sb() by the raid thread */
proctype superblock()
{
end:	do
	:: atomic { sb_pending -> sb_failed = 1; sb_pending = 0 }
	od
}
#endif

#ifdef REFUSE
/*
 * Members take data, and from now on not the bitmap, and not md's superblock. If one of two is
 * to be out because of that, it is member 1.
 */
proctype refusal()
{
	if
	:: atomic { no_bitmap = 2; no_super = 1 }	/* the failure cannot be told */
	:: atomic { no_bitmap = 3; no_super = 3 }	/* nor that the bitmap is given up */
	:: atomic { no_bitmap = 3; no_super = 2 }
	:: no_bitmap = 2
	:: no_bitmap = 3
	fi
}

/* md_update_sb() by the raid thread; md is done when nobody is left who could fail. */
proctype superblock()
{
end:	do
	:: atomic {
		sb_pending ->
		if	/* super_written() */
		:: (no_super & 2) && !faulty -> faulty = 1	/* MD_SB_CHANGE_DEVS: once more */
		:: else -> sb_pending = 0
		fi;
		if
		:: !(no_super & 1) ->
			sb_failed = (faulty && !sb_pending);
			sb_outrun = (given_up > 0)
		:: (no_super & 1) && faulty -> md_broken = 1
		:: else
		fi
	   }
	od
}
#endif

/*
 * Power cut. It may come in any state, and the caches keep or lose each location on each member
 * for themselves: CUT_LOSES asks about all outcomes at once.
 */
proctype power_cut()
{
end:	do
	:: atomic { CUT_LOSES -> BROKEN(promise_2_cut) }
#ifdef WITNESS_GOES_ON
	:: atomic { given_up == 2 && (losable[0] & BIT(0)) && disk[0] == CLEAN -> BROKEN(witness) }
#endif
#ifdef WITNESS_CLEAN
	:: atomic { disk[0] == CLEAN && disk[2] == CLEAN && refs == ALL_WRITERS -> BROKEN(witness) }
#endif
#ifdef WITNESS_UNWRITTEN
	:: atomic { disk[0] == UNWRITTEN && disk[2] == UNWRITTEN -> BROKEN(witness) }
#endif
	od
}

init
{
	atomic {
#ifdef SYNC	/* the daemon has something to do in the page while chunk 0 is synced */
		state[0] = NEEDSYNC;
		live = LOCS(0);
		content[3] = 2; content[4] = 2;
		state[1] = DIRTY;
#else
		if
#if !defined(WITNESS_CLEAN) && !defined(WITNESS_UNWRITTEN)
		:: state[0] = UNWRITTEN
		:: state[0] = CLEAN; live = LOCS(0)
#endif
		:: state[0] = DIRTY; live = LOCS(0)
		fi;
		state[1] = CLEAN;
#endif
		live = live | LOCS(1);
		disk[0] = state[0]; disk[1] = state[1];
		disk[2] = state[0]; disk[3] = state[1];

		run power_cut();
		run writeback();
#ifdef BUG_NO_WB_MUTEX
		run writeback();
#endif
#ifndef NO_DAEMON
		run daemon();
#endif
		run writer(0, 0);
#ifdef WRITERS
		run writer(1, 2);
#endif
#ifdef DISCARD
		run discarder();
		run discard_worker();
#endif
#ifdef SYNC
		run resync();
#endif
#ifdef FAIL
		run member_failure();
		run superblock()
#endif
#ifdef REFUSE
		run refusal();
		run superblock()
#endif
	}
}
