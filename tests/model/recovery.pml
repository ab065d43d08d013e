/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A member that fails at any moment, comes back and is filled, while a page is written to and
 * cleaned; and the resync after that. Two chunks in one page, one place in each.
 *
 * Members: those that stay, of which there are two copies (COPIES_, else one), written, read and
 * flushed together, for llbitmap.pml is about what happens between two members; and the one that
 * leaves. Each atomic step is named after the kernel function that it stands for.
 */
#define RECOVERING filling
#ifdef COPIES_
#define COPIES 1
#endif
#include "states.pml"

/* What the superblocks say of the member that leaves. */
#define REC_IN   0
#define REC_OUT  1
#define REC_FILL 2	/* to be filled, by the bitmap */
#define REC_FULL 3	/* to be filled, all that was ever written */

/* ---- kernel memory ---- */
byte state[2];
byte unsafe;		/* changes that no writeback is complete of */
bit  refs, dead;	/* the page: a write inside; suspended */
bit  ended;		/* the page's seq_ended is another than the daemon has seen */
bit  slot;		/* the member has its place */
bit  insync, faulty, blocked;	/* In_sync, Faulty, Blocked */
bit  sb_pending;	/* MD_SB_CHANGE_PENDING */
bit  intr;		/* MD_RECOVERY_INTR */
bit  filling;		/* a recovery runs */
bit  fullsync;		/* conf->fullsync */
byte offset;		/* rdev->recovery_offset, in chunks */
byte pending;		/* raid1: writes in a barrier bucket, which are chunks here */
byte barrier;		/* ... where no write is let in: chunk + 1 */
bit  write_all;		/* a writeback of all pages is waited for */
bit  want_resync;

#ifdef BOTH
#define LIVE 3
#else
#define LIVE 1		/* chunk 1 is Unwritten */
#endif
#define PRESENT  (slot && !faulty)
#define DEGRADED (!(slot && insync))

/* ---- members: what a power cut leaves ---- */
byte disk[2];		/* durable bytes of those that stay */
byte disk_leaver[2];
byte unlike;		/* places where the copies of those that stay differ */
byte differs;		/* places where the member differs from the first of them */
byte losable, losable_leaver;	/* places whose newest data may be lost from a cache */
byte record;		/* REC_* */
bit  failing;		/* the member fails every request from now on */

/* ---- what the judge knows ---- */
byte writing;		/* places with a write that is on its way to the members */
byte synced;		/* chunks that the sync that runs has copied */

bit promise_1_order, promise_2_clean_is_safe, promise_2_cut, promise_3_table, promise_4_endsync,
	promise_7_skips;

#define SAFE(l) (!((unlike | losable) & BIT(l)) && \
		 (DEGRADED || !((differs | losable_leaver) & BIT(l))))
/* An assembly that believes Clean looks at no copy, and fills none, but of a new member. */
#define CUT_SAFE(l) (!((unlike | losable) & BIT(l)) && \
		     (record == REC_FULL || !((differs | losable_leaver) & BIT(l))))
#define CUT_CLEAN(l) (disk[l] == CLEAN || (record == REC_IN && disk_leaver[l] == CLEAN))
#define CUT_LOSES ((CUT_CLEAN(0) && !CUT_SAFE(0)) || (CUT_CLEAN(1) && !CUT_SAFE(1)))

/* ---- kernel functions: each is called inside an atomic step ---- */

inline llb_transition(c, action, to)
{
	PROMISE(promise_3_table, IN_TABLE(state[c], action, to, DEGRADED));
	if
	:: to == CLEAN -> PROMISE(promise_2_clean_is_safe, SAFE(c))
	:: action == ENDSYNC -> PROMISE(promise_4_endsync, synced & BIT(c))
	:: else
	fi;
	state[c] = to
}

/* raid1_error() */
inline md_error()
{
	if
	:: PRESENT -> faulty = 1; blocked = 1; insync = 0; intr = 1; sb_pending = 1
	:: else
	fi
}

/* ---- processes ---- */

proctype writer()
{
	byte l;
	bit to;

end:	do
	:: atomic {	/* wait_barrier() */
		if
		:: barrier != 1 -> l = 0
#ifdef BOTH
		:: barrier != 2 -> l = 1
#endif
		fi;
		pending = pending | BIT(l)
	   }
	   atomic { !blocked -> to = PRESENT };	/* raid1_write_request() */
	   atomic { !dead -> refs = 1 };		/* llb_page_enter() */
	   if
	   :: atomic {	/* llb_start_part() */
		state[l] <= CLEAN ->
		llb_transition(l, STARTWRITE, (DEGRADED -> NEEDSYNC : DIRTY));
		unsafe = unsafe | BIT(l)
	      }
	   :: else
	   fi;
	   !(unsafe & BIT(l));	/* llbitmap_unplug() */
	   atomic {
		PROMISE(promise_1_order, disk[l] >= DIRTY && (record != REC_IN || disk_leaver[l] >= DIRTY));
		writing = BIT(l);
		unlike = unlike & ~BIT(l);
		losable = losable | BIT(l);
		differs = differs | BIT(l)
	   }
	   atomic {		/* raid1_end_write_request() */
		if
		:: to && PRESENT && !failing ->
			differs = differs & ~BIT(l);
			losable_leaver = losable_leaver | BIT(l)
		:: to && PRESENT && failing -> md_error()
		:: else
		fi;
		writing = 0
	   }
	   !blocked;
	   atomic { refs = 0; pending = pending & ~BIT(l); l = 0; to = 0 }	/* llbitmap_endwrite() */
	od
}

/* llb_clean_page() */
proctype daemon()
{
	bit degraded;

end:	do
	:: atomic {
		(state[0] == DIRTY || state[1] == DIRTY) && !DEGRADED -> dead = 1;
#ifdef BUG_DEGRADED_EARLY
		degraded = DEGRADED
#endif
	   }
	   if	/* llb_page_suspend() */
	   :: !refs
	   :: refs -> goto resume	/* the drain timed out */
	   fi;
flush:	   /* llb_clean_drained() */
#ifdef BUG_ENDED_SEEN_LATE
	   if
	   :: DEGRADED -> goto resume
	   :: else
	   fi;
#else
	   ended = 0;	/* llb_seq_ended() */
#ifndef BUG_DEGRADED_EARLY
	   if
	   :: DEGRADED -> goto resume
	   :: else
	   fi;
#endif
#endif
	   losable = 0;		/* llb_flush_members() */
	   atomic {
		if
		:: PRESENT && !failing -> losable_leaver = 0
		:: PRESENT && failing -> md_error(); goto resume
		:: !PRESENT
		fi;
#ifdef BUG_ENDED_SEEN_LATE
		ended = 0
#endif
	   }
	   atomic {		/* llb_transition(), under the page's lock */
#ifndef BUG_DEGRADED_EARLY
		degraded = DEGRADED;
#endif
		if
#ifndef BUG_ENDSYNC_SLIPS
		:: ended -> goto flush
#endif
		:: else
		fi;
		if
		:: !degraded && state[0] == DIRTY -> llb_transition(0, DAEMON, CLEAN)
		:: else
		fi;
		if
		:: !degraded && state[1] == DIRTY -> llb_transition(1, DAEMON, CLEAN)
		:: else
		fi
	   }
resume:	   atomic { dead = 0; degraded = 0 }
	od
}

#define LAGS (state[0] != disk[0] || state[1] != disk[1] || \
	      (PRESENT && (disk[0] != disk_leaver[0] || disk[1] != disk_leaver[1]) && write_all))

/* llb_write_run(): one at a time */
proctype writeback()
{
	byte copy0, copy1, carries;
	bit all;

end:	do
	:: atomic {	/* llb_copy_page() */
		unsafe || LAGS || write_all ->
		copy0 = state[0]; copy1 = state[1]; carries = unsafe; all = write_all
	   }
	   atomic { disk[0] = copy0; disk[1] = copy1 };	/* llb_member_written() */
	   atomic {
		if
		:: PRESENT && !failing -> disk_leaver[0] = copy0; disk_leaver[1] = copy1
		:: PRESENT && failing -> md_error()
		:: !PRESENT
		fi
	   }
	   !blocked;	/* llb_failure_unrecorded() */
	   atomic {	/* llb_page_written() */
		unsafe = unsafe & ~carries;
		if :: all -> write_all = 0 :: else fi;
		copy0 = 0; copy1 = 0; carries = 0; all = 0
	   }
	od
}

/* md_update_sb() by md's thread: a superblock is written behind a flush of its member */
proctype superblock()
{
end:	do
	:: atomic {
		sb_pending ->
		losable = 0;
		if
		:: PRESENT && !failing ->
			losable_leaver = 0;
			record = (insync -> REC_IN : (fullsync -> REC_FULL : REC_FILL));
			sb_pending = 0
		:: PRESENT && failing -> md_error()
		:: !PRESENT -> record = (record == REC_FULL -> REC_FULL : REC_OUT); blocked = 0; sb_pending = 0
		fi
	   }
	od
}

/* The member dies at any moment, and whoever talks to it next finds out; or mdadm --fail. */
proctype member_failure()
{
end:	do
	:: atomic { PRESENT && !failing -> failing = 1 }
	:: atomic { PRESENT && !failing -> md_error() }
	od
}

/* What the sync copies from the first of those that stay. */
inline sync_copies(c)
{
	atomic {
		if
		:: !filling ->
			unlike = unlike & ~BIT(c);	/* a resync */
			losable = losable | BIT(c)
		:: else
		fi;
		if
		:: PRESENT && !failing ->
			differs = differs & ~BIT(c);
			losable_leaver = losable_leaver | BIT(c);
			synced = synced | BIT(c)
		:: PRESENT && failing -> md_error()	/* llbitmap_sync_error() */
		:: !PRESENT && !filling -> synced = synced | BIT(c)
		:: !PRESENT && filling
		fi
	}
}

/* md_do_sync(): raid1_sync_request() for one chunk */
inline sync_request(c)
{
	if	/* llbitmap_must_sync() */
#ifdef BUG_DIRTY_NOT_RECOVERED
	:: state[c] >= NEEDSYNC || (fullsync && state[c] == CLEAN && filling) ->
#else
	:: state[c] >= NEEDSYNC || (filling && (state[c] == DIRTY || (fullsync && state[c] == CLEAN))) ->
#endif
		atomic { !(pending & BIT(c)) -> barrier = c + 1 };	/* raise_barrier() */
		atomic {	/* llbitmap_start_sync(), under the page's lock */
			synced = synced & ~BIT(c);
			if
#ifdef BUG_RECOVERY_IS_RESYNC
			:: state[c] == NEEDSYNC -> state[c] = SYNCING
#else
			:: state[c] == NEEDSYNC && !(filling && COPIES) -> llb_transition(c, STARTSYNC, SYNCING)
#endif
			:: state[c] == DIRTY && filling -> llb_transition(c, STARTSYNC, SYNCING)
			:: else
			fi
		};
		sync_copies(c);
		barrier = 0
	:: else
	fi
}

/* llb_finish_sync() for one chunk, under the page's lock */
inline llb_finish_sync(c, done)
{
	atomic {
		if
#ifdef BUG_ABORT_IS_END
		:: state[c] == SYNCING ->
#else
		:: state[c] == SYNCING && (done) && (synced & BIT(c)) ->
#endif
			llb_transition(c, ENDSYNC, DIRTY); ended = 1
#ifndef BUG_ABORT_IS_END
		:: state[c] == SYNCING && !((done) && (synced & BIT(c))) ->
			llb_transition(c, ABORTSYNC, NEEDSYNC)
#endif
		:: else
		fi
	}
}

/* md's thread, md_start_sync() and the sync thread: one after the other */
proctype sync_thread()
{
	byte c;
	bit done;

end:	do
	:: atomic {	/* remove_spares(); nothing of the member is in flight */
		slot && faulty && !blocked && !pending -> slot = 0; faulty = 0; fullsync = 0
	   }
	:: atomic {	/* remove_and_add_spares() */
#ifdef BUG_NOT_SUSPENDED
		!slot ->
#else
		!slot && !pending ->	/* mddev_suspend() */
#endif
		slot = 1; failing = 0; intr = 0; offset = 0; filling = 1;
		if
		:: /* mdadm --re-add; what its cache had may be gone */
		   if
		   :: record != REC_FULL ->
			if
			:: differs = differs | losable_leaver
			:: true
			fi
		   :: else -> fullsync = 1
		   fi
		:: /* a new one */
		   fullsync = 1; differs = LIVE; record = REC_FULL; disk_leaver[0] = CLEAN; disk_leaver[1] = CLEAN
		fi;
		losable_leaver = 0
	   }
#ifndef BUG_NO_WRITE_ALL
	   write_all = 1;	/* llbitmap_write_all() */
	   !write_all;
#endif
	   goto fill
	:: atomic { slot && !faulty && !insync -> intr = 0; filling = 1 };	/* it was interrupted */
fill:	   c = offset;
	   do
	   :: c < 2 && !intr -> sync_request(c); c++
	   :: c == 2 || intr -> break
	   :: c < 2 -> intr = 1; break	/* somebody stops it */
	   od;
	   /* llbitmap_close_sync() */
	   done = !intr;
	   llb_finish_sync(0, done);
	   llb_finish_sync(1, done);
	   atomic {
		if
		:: done && (state[0] == NEEDSYNC || state[1] == NEEDSYNC) -> want_resync = 1
		:: else
		fi;
		offset = c;
		c = 0; done = 0; synced = 0
	   };
	   atomic {	/* md_reap_sync_thread(): raid1_spare_active() */
		if
		:: !intr && PRESENT ->
			PROMISE(promise_7_skips, !(differs & LIVE & ~writing));
			insync = 1; fullsync = 0; offset = 0
		:: else
		fi;
		filling = 0; sb_pending = 1
	   }
	   !sb_pending
	:: atomic {	/* md_choose_sync_action(): llbitmap_needs_resync() */
		want_resync && !DEGRADED -> want_resync = 0; intr = 0
	   }
	   c = 0;
	   do
	   :: c < 2 && !intr -> sync_request(c); c++
	   :: c == 2 || intr -> break
	   od;
	   done = !intr;
	   llb_finish_sync(0, c > 0);	/* what was passed counts */
	   llb_finish_sync(1, c > 1);
	   atomic {
		/* llb_daemon_work(): new_needsync, when it is complete again */
		want_resync = (state[0] == NEEDSYNC || state[1] == NEEDSYNC);
		c = 0; done = 0; synced = 0
	   }
	od
}

#ifdef WITNESS_FILLED
bit was_out;
#endif

/* Power cut: in any state. */
proctype power_cut()
{
end:	do
	:: atomic { CUT_LOSES -> BROKEN(promise_2_cut) }
#ifdef WITNESS_FILLED
	:: atomic { record == REC_OUT && state[0] == NEEDSYNC -> was_out = 1 }
	:: atomic { was_out && record == REC_IN && disk[0] == CLEAN && disk_leaver[0] == CLEAN -> BROKEN(witness) }
#endif
	od
}

init
{
	atomic {
		slot = 1; insync = 1; record = REC_IN;
#ifdef COPIES_
		/* md/llbitmap/mark, as those that stay differ */
		state[0] = NEEDSYNC; want_resync = 1; unlike = 1;
#else
		if
		:: state[0] = CLEAN
		:: state[0] = DIRTY
		:: state[0] = NEEDSYNC; want_resync = 1; differs = 1
		fi;
#endif
#ifdef BOTH
		state[1] = CLEAN;
#endif
		disk[0] = state[0]; disk[1] = state[1];
		disk_leaver[0] = state[0]; disk_leaver[1] = state[1];
		run power_cut();
#ifndef NO_WRITER
		run writer();
#endif
		run daemon();
		run writeback();
		run superblock();
		run member_failure();
		run sync_thread()
	}
}
