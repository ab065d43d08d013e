/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Who is believed: event counts, events_cleared, the load after a power cut, members that leave and
 * come back. One chunk, one place in it. README.md says what is left out.
 *
 * Member 0 stands for those that stay. Member 1 fails, is taken out, comes back; another one
 * (OTHERS) may have its slot meanwhile, and is then as good as member 0.
 *
 * Each atomic step is named after the kernel function that it stands for.
 */
#include "states.pml"

#ifndef LAST
#define LAST 7	/* nothing new begins at this event count */
#endif

#define NOBODY 0
#define MEMBER 1	/* member 1 */
#define OTHER  2

/* What member 1's own superblock says of it. */
#define ROLE_IN    0
#define ROLE_FILL  1	/* MD_FEATURE_RECOVERY_OFFSET, and _BITMAP: by the bitmap alone */
#define ROLE_FULL  2	/* MD_FEATURE_RECOVERY_OFFSET: all of it */
#define ROLE_SPARE 3

/* ---- kernel memory ---- */
bit  running;		/* false until the load is over */
byte events;		/* mddev->events */
bit  can_decrease;	/* mddev->can_decrease_events */
bit  in_sync;		/* mddev->in_sync: the array is clean */
bit  change_clean, change_devs, change_pending;	/* MD_SB_CHANGE_* */
byte slot;		/* who has member 1's place */
bit  insync;		/* member 1: In_sync */
bit  faulty;		/* member 1: Faulty */
bit  blocked;		/* member 1: Blocked: Faulty, and no superblock says so */
bit  spare;		/* member 1 is bound, and has no slot */
bit  fullsync;		/* the recovery fills all that was ever written */
bit  saved;		/* member 1: saved_raid_disk, by the bitmap alone */
byte state;		/* of the chunk */
byte header_events, header_cleared;	/* the bitmap's superblock in memory */
byte cleared;		/* llb->events_cleared: durable */
bit  wmutex;		/* llb->write_mutex */
bit  refs, dead;	/* the page: a write inside; suspended */
bit  ended;		/* the page's seq_ended is another than the daemon has seen */
bit  busy;		/* a write inside md_handle_request(): what mddev_suspend() waits for */

#define DEGRADED (!(slot == OTHER || (slot == MEMBER && insync)))
#define PRESENT  (slot == MEMBER && !faulty)

/* ---- members: what a power cut leaves ---- */
byte sb_events[2];	/* md's superblock */
bit  sb_out;		/* ... of member 0: member 1 is Faulty, or has no role */
byte sb_role;		/* ... of member 1, see ROLE_* */
byte bm_events[2], bm_cleared[2];	/* the bitmap's superblock */
byte bm_state[2];	/* the chunk's byte, in another page */
bit  unlike;		/* member 1 differs from member 0 in the place */
bit  missing;		/* ... and what it misses was complete, after it had left */
bit  losable[2];	/* the newest may still be lost from the member's cache */
bit  failing;		/* member 1 fails every request from now on */

bit promise_1_order, promise_2_clean_is_safe, promise_2_cut, promise_3_table, promise_7_skips,
	promise_8_cleared, promise_9_believed, outdated_needlessly, refused_needlessly;

#define SAME (!unlike && !losable[0] && !losable[1])

/* llb_events_recorded(): no member's superblock counts less; 0 if one is missing */
#define NOT_AHEAD(count) (count < events -> count : events)
#if defined(BUG_CLEANS_WHILE_DEGRADED)
#define RECORDED events
#elif defined(BUG_CLEARED_BEFORE_RECORDED)
#define RECORDED (DEGRADED -> 0 : events)
#else
#define RECORDED (DEGRADED -> 0 : (PRESENT && sb_events[1] < sb_events[0] -> NOT_AHEAD(sb_events[1]) : \
								       NOT_AHEAD(sb_events[0])))
#endif

#if defined(BUG_CLEARED_NOT_KEPT) || defined(BUG_CLEARED_AFTER_CLEAN)
#define CLEARED_IS(count) true
#else
#define CLEARED_IS(count) (cleared == count)
#endif

/*
 * What an assembly makes of the superblocks: md_kick... of who is more than one behind
 * (super_1_validate()), roles from the freshest for who is behind at all.
 */
#define NEWEST   (sb_events[0] > sb_events[1] -> sb_events[0] : sb_events[1])
#define IN0      (sb_events[0] + 1 >= NEWEST)
#define ADMITTED (sb_events[1] + 1 >= NEWEST)
#define HAS_ROLE (sb_events[1] < NEWEST -> !sb_out : sb_role != ROLE_SPARE)
#define IN1      (ADMITTED && HAS_ROLE && sb_role == ROLE_IN)
#define FILL1    (ADMITTED && HAS_ROLE && sb_role == ROLE_FILL)
/* llb_read_super(): the newest on an in-sync member; whose, if two have the same, is chance */
#define READ_FROM(m) (m == 0 -> !(IN1 && bm_events[1] > bm_events[0]) : \
				IN1 && !(bm_events[0] > bm_events[1]))
/* llb_decide(): current, and what it says then */
#define SAYS_CLEAN(m) (READ_FROM(m) && bm_events[m] >= NEWEST && bm_state[m] <= CLEAN)
#define CUT_SAYS_CLEAN (SAYS_CLEAN(0) || SAYS_CLEAN(1))

/* Under Clean no copy is looked at: neither by a resync, nor by a recovery by the bitmap. */
#define CUT_LOSES ((IN1 || FILL1) && CUT_SAYS_CLEAN && !SAME)
/* A member that left, and does not have what was written since. */
#define CUT_BELIEVES (!IN0 || (IN1 && missing))
/* It is not there at first, and comes back by --re-add (super_1_validate() again). */
#define CUT_READDS (!IN1 && !FILL1 && sb_role <= ROLE_FILL && sb_events[1] >= bm_cleared[0] && \
		    SAYS_CLEAN(0) && !SAME)

/* Costs a resync of everything, and all that was known of what was never written. */
#define CUT_OUTDATES ((READ_FROM(0) && bm_events[0] < NEWEST) || (READ_FROM(1) && bm_events[1] < NEWEST))

/* ---- kernel functions ---- */

inline llb_transition(action, to)
{
	PROMISE(promise_3_table, IN_TABLE(state, action, to, DEGRADED));
	if
	:: to == CLEAN -> PROMISE(promise_2_clean_is_safe, slot == OTHER || SAME)
	:: else
	fi;
	state = to
}

/* raid1_error() */
inline md_error()
{
	if
	:: PRESENT -> faulty = 1; blocked = 1; insync = 0; change_devs = 1; change_pending = 1
	:: else
	fi
}

/* A write to member 1, if it is there: what it does, or md_error(). */
#define TO_MEMBER_1(what) \
	atomic { if \
	:: PRESENT && !failing -> what \
	:: PRESENT && failing -> md_error() \
	:: !PRESENT \
	fi }

/* llb_write_page() of the superblock's page: FUA, first the one, then the other */
inline write_header()
{
	atomic {
		!wmutex -> wmutex = 1;
		copy_events = header_events; copy_cleared = header_cleared;
		bm_events[0] = copy_events; bm_cleared[0] = copy_cleared
	}
	TO_MEMBER_1(bm_events[1] = copy_events; bm_cleared[1] = copy_cleared);
	atomic { wmutex = 0; copy_events = 0; copy_cleared = 0 }
}

/* llb_write_run() of the chunk's page */
inline write_state()
{
	atomic { !wmutex -> wmutex = 1; copy_state = state; bm_state[0] = copy_state }
	TO_MEMBER_1(bm_state[1] = copy_state);
	atomic { wmutex = 0; copy_state = 0 }
}

/* llb_fill_super() */
inline llb_fill_super(count)
{
	if
	:: header_cleared > events -> header_cleared = events; cleared = events
	:: else
	fi;
	header_events = count
}

/* llbitmap_update_sb() */
inline llbitmap_update_sb()
{
	atomic { llb_fill_super(events) }
	write_header()
}

/* md_update_sb(), by md's thread */
inline md_update_sb()
{
	do
	:: atomic {
		/* MD_SB_CHANGE_DEVS, or degraded: all superblocks, and upwards */
		nospares = change_clean && !change_devs && !DEGRADED;
		change_clean = 0; change_devs = 0;
		was_in_sync = in_sync;
		lowered = nospares && in_sync && can_decrease && events != 1;
		if
		:: lowered -> events--; can_decrease = 0
		:: else -> events++; can_decrease = nospares
		fi;
#ifndef BUG_LOWERED_NOT_OUTRUN
		/* failed_member_seems_current(): who did not get the lower count, and was failed
		 * for it, has this one. The code writes them twice instead, and lets nobody go on
		 * in between */
		if
		:: repeated_lower -> events++
		:: else
		fi;
#endif
		recorded = faulty;	/* FaultRecorded */
		/* sync_sbs(): what each will say */
		out = !PRESENT;
		role = (PRESENT -> (insync -> ROLE_IN : (saved -> ROLE_FILL : ROLE_FULL)) : ROLE_SPARE)
	   }
#ifdef BUG_BITMAP_LOWERED_FIRST
	   llbitmap_update_sb();
#else
	   if
#ifdef BUG_BITMAP_AFTER_SUPERBLOCKS
	   :: false -> llbitmap_update_sb()
#else
	   :: !lowered -> llbitmap_update_sb()
#endif
	   :: else
	   fi;
#endif
	   /* md_super_write(): after a flush */
	   atomic { sb_events[0] = events; sb_out = out; losable[0] = 0 };
	   atomic {
		if
		:: (PRESENT || spare) && !failing ->
			sb_events[1] = events; sb_role = role; losable[1] = 0
		:: PRESENT && failing -> md_error()
		:: else
		fi
	   }
#ifdef BUG_BITMAP_AFTER_SUPERBLOCKS
	   llbitmap_update_sb();
#elif !defined(BUG_BITMAP_LOWERED_FIRST)
	   if
	   :: lowered -> llbitmap_update_sb()
	   :: else
	   fi;
#endif
	   atomic {
		if
		:: in_sync != was_in_sync || change_devs || change_clean ->
			repeated_lower = lowered
		:: else ->
			change_pending = 0;
			if
			:: recorded -> blocked = 0
			:: else
			fi;
			repeated_lower = 0; lowered = 0; recorded = 0; nospares = 0;
			was_in_sync = 0; out = 0; role = 0;
			break
		fi
	   }
	od
}

/* ---- processes ---- */

/* Writes to the place, again and again. */
proctype writer()
{
	byte copy_state;
	bit to;		/* the write goes to member 1 */
	bit all;	/* ... and arrived there */
	bit met;	/* ... and failed it */

end:	do
	:: atomic {	/* md_write_start() */
		running && events < LAST -> busy = 1;
		if
		:: in_sync -> in_sync = 0; change_clean = 1; change_pending = 1
		:: else
		fi
	   }
	   !change_pending;
	   /* raid1_write_request(): waits while a member is Blocked; its members are settled */
	   atomic { !blocked -> to = PRESENT };
	   atomic { !dead -> refs = 1 };	/* llb_page_enter() */
	   if
	   :: atomic {	/* llb_start_part() */
		state <= CLEAN ->
		llb_transition(STARTWRITE, (DEGRADED -> NEEDSYNC : DIRTY))
	      }
	      write_state();	/* llbitmap_unplug() */
	      !blocked		/* llb_failure_unrecorded() */
	   :: else
	   fi;
	   atomic {		/* to one member */
		PROMISE(promise_1_order, bm_state[0] >= DIRTY && (!PRESENT || !insync || bm_state[1] >= DIRTY));
		unlike = (slot != OTHER || to); losable[0] = 1
	   }
	   atomic {		/* and to the other: raid1_end_write_request() */
		if
		:: to && PRESENT && !failing -> unlike = 0; losable[1] = 1; all = 1
		:: to && PRESENT && failing -> md_error(); met = 1
		:: else
		fi
	   }
#ifndef BUG_ENDS_UNRECORDED
	   !blocked;
#else
	   /* md's own order: raid1d keeps a bio that met a failure until the superblock is written; one that was not
	    * sent, as its member had failed already, is not kept */
	   !(met && blocked);
#endif
	   atomic {		/* llbitmap_endwrite(), md_write_end() */
		unlike = !all;
		missing = missing | unlike;
		if
		:: all -> missing = 0
		:: else
		fi;
		all = 0; to = 0; met = 0; refs = 0; busy = 0
	   }
	od
}

/* llb_clean_page() */
proctype daemon()
{
	byte copy_state, copy_events, copy_cleared, seen_events;

end:	do
	:: atomic { running && state == DIRTY && !DEGRADED -> dead = 1 };
	   if	/* llb_page_suspend() */
	   :: !refs
	   :: refs -> goto resume	/* the drain timed out */
	   fi;
flush:	   /* llb_clean_drained() */
	   ended = 0;	/* llb_seq_ended() */
	   if
#ifndef BUG_CLEANS_WHILE_DEGRADED
	   :: DEGRADED -> goto resume
#endif
	   :: else
	   fi;
	   losable[0] = 0;	/* llb_flush_members() */
	   atomic {
		if
		:: PRESENT && !failing -> losable[1] = 0
		:: PRESENT && failing -> md_error(); goto resume
		:: !PRESENT
		fi
	   }
	   do
	   :: atomic {
		seen_events = RECORDED;
		if
		:: !seen_events -> goto resume
		:: else
		fi
	      }
#ifndef BUG_CLEARED_NOT_KEPT
	      if	/* llb_write_events_cleared() */
	      :: cleared != seen_events ->
#ifndef BUG_CLEARED_AFTER_CLEAN
		if
#ifdef BUG_CLEARED_STALE
		:: header_cleared = seen_events; write_header(); cleared = seen_events
#else
		:: atomic {
			RECORDED == seen_events -> header_cleared = seen_events;
			if	/* lower is on the safe side at once */
			:: cleared > seen_events -> cleared = seen_events
			:: else
			fi
		   }
		   write_header();
		   atomic {
			if	/* md may have lowered it meanwhile */
			:: header_cleared == seen_events -> cleared = seen_events
			:: else
			fi
		   }
		:: RECORDED != seen_events
#endif
		fi
#endif
	      :: else
	      fi;
#endif
	      atomic {	/* llb_transition(), under the page's lock */
		if
		:: ended -> goto flush
		:: else
		fi;
		if
		:: RECORDED == seen_events && CLEARED_IS(seen_events) ->
			if
#ifdef BUG_CLEANS_WHILE_DEGRADED
			:: state == DIRTY -> state = CLEAN
#else
			:: state == DIRTY && !DEGRADED -> llb_transition(DAEMON, CLEAN)
#endif
			:: else
			fi;
			break
		:: else
		fi
	      }
	   od;
	   write_state();	/* llb_write_changed() */
#ifdef BUG_CLEARED_AFTER_CLEAN
	   header_cleared = seen_events;
	   write_header();
#endif
resume:	   atomic { dead = 0; seen_events = 0 }
	od
}

/* The member dies at any moment; whoever talks to it next finds out. */
proctype member_failure()
{
end:	do
	:: atomic { running && slot == MEMBER && !faulty && !failing && events < LAST -> failing = 1 }
	od
}

/* What it had in its cache, if it was without power. */
inline lose_cache()
{
	if
	:: losable[1] -> unlike = 1; losable[1] = 0
	:: true
	fi
}

/* md's thread, md_start_sync() and the sync thread: never two of them at a time here. */
proctype md_thread()
{
	byte copy_state, copy_events, copy_cleared, role;
	bit nospares, was_in_sync, lowered, repeated_lower, recorded, out;

end:	do
	:: running && (change_clean || change_devs || change_pending) -> md_update_sb()
	:: atomic {	/* set_in_sync(): nothing was written for a while */
		running && !busy && !in_sync && !change_pending && events < LAST ->
		in_sync = 1; change_clean = 1
	   }
	:: atomic {	/* remove_spares(), and mdadm --remove */
		running && slot == MEMBER && faulty && !blocked && !busy ->
		slot = NOBODY; faulty = 0; saved = 0; change_devs = 1;
		lose_cache()
	   }
#ifdef OTHERS
	:: atomic {	/* remove_and_add_spares(): another one; the array is suspended */
		running && slot == NOBODY && !busy && !change_devs && events < LAST -> change_devs = 1
	   }
	   md_update_sb();
	   if
	   :: atomic {	/* raid1_spare_active(), after a recovery of all that was ever written */
		!busy && !change_devs -> slot = OTHER;
		saved = 0;	/* md_reap_sync_thread(): no longer degraded */
		if
		:: state > CLEAN -> state = DIRTY; ended = 1
		:: else
		fi;
		change_devs = 1
	      }
	   :: else
	   fi
	:: atomic {	/* and that leaves */
		running && slot == OTHER && !busy && events < LAST ->
		slot = NOBODY; change_devs = 1
	   }
#endif
	:: atomic {	/* md_add_new_disk(): mdadm --re-add; super_1_validate() */
		running && slot != MEMBER && !spare && events < LAST && !change_devs ->
		failing = 0; spare = 1;
#ifdef BUG_CLEARED_NOT_ASKED
		saved = (sb_role <= ROLE_FILL);
#else
		saved = (sb_role <= ROLE_FILL && sb_events[1] >= cleared);
#endif
#if !defined(OTHERS) && !defined(LOADING)
		/* nothing was cleaned since it left */
		PROMISE(refused_needlessly, sb_role != ROLE_IN || saved);
#endif
#ifndef BUG_SPARE_KEEPS_ITS_SLOT
		/* nobody is missing: what it does not get from now on is not remembered for it */
		saved = saved && DEGRADED;
#endif
		change_devs = 1
	   }
	:: atomic {	/* remove_and_add_spares(): raid1_add_disk(); the array is suspended */
		running && spare && slot == NOBODY && !busy && !change_devs ->
		slot = MEMBER; spare = 0; insync = 0; fullsync = !saved; change_devs = 1
	   }
	   write_state();	/* llbitmap_write_all() */
	   write_header()
	:: atomic {	/* the sync thread: nothing is written there just now: raise_barrier() */
		running && PRESENT && !insync && !busy && !change_devs && !failing ->
		if	/* llbitmap_must_sync() */
		:: state > CLEAN || fullsync ->
			unlike = 0; missing = 0; losable[1] = 1;
			if	/* llbitmap_start_sync(), llb_finish_sync() */
			:: state > CLEAN -> state = DIRTY; ended = 1
			:: else
			fi
		:: else
		fi
	   }
	   atomic {	/* md_reap_sync_thread(): raid1_spare_active() */
		if
		:: PRESENT && !busy ->
			PROMISE(promise_7_skips, !unlike);
			insync = 1; saved = 0; change_devs = 1
		:: else	/* it failed meanwhile, or a write is under way: later */
		fi;
		fullsync = 0
	   }
#ifdef LOADING
	:: atomic {	/* a resync of what the load left */
		running && PRESENT && insync && state == NEEDSYNC && !busy && !failing ->
		unlike = 0; losable[1] = 1; state = DIRTY; ended = 1
	   }
#endif
	od
}

#ifdef LOADING
bit was_unlike;
#endif

/*
 * Power cut: may come in any state, and the caches keep or lose. What would the next assembly make
 * of what is left?
 */
proctype power_cut()
{
end:	do
	:: atomic { CUT_LOSES -> BROKEN(promise_2_cut) }
	:: atomic { CUT_BELIEVES -> BROKEN(promise_9_believed) }
	:: atomic { CUT_READDS -> BROKEN(promise_8_cleared) }
#ifndef LOADING
	:: atomic { CUT_OUTDATES -> BROKEN(outdated_needlessly) }
#endif
#ifdef WITNESS_LOADED
	:: atomic { running && state == CLEAN && was_unlike && SAME && bm_state[0] == CLEAN -> BROKEN(witness) }
#endif
#ifdef WITNESS_READDED
	:: atomic { slot == MEMBER && insync && state == CLEAN && events > 5 && bm_cleared[1] > 3 -> BROKEN(witness) }
#endif
	od
}

#ifdef LOADING
/* llbitmap_create(), llbitmap_load(): nothing else runs yet. */
proctype load()
{
	byte copy_state, copy_events, copy_cleared;

	atomic {
		events = NEWEST; in_sync = 1;
		if
		:: IN1 -> slot = MEMBER; insync = 1
		:: !IN1 && ADMITTED && HAS_ROLE ->
			slot = MEMBER; saved = (sb_role == ROLE_FILL); fullsync = !saved
		:: else -> slot = NOBODY; spare = (sb_role == ROLE_SPARE && ADMITTED)
		fi;
		if	/* llb_read_super() */
		:: READ_FROM(0) ->
			header_events = bm_events[0]; cleared = bm_cleared[0]; state = bm_state[0]
		:: READ_FROM(1) ->
			header_events = bm_events[1]; cleared = bm_cleared[1]; state = bm_state[1]
		fi;
		header_cleared = cleared;
		if	/* llb_decide(), llb_apply_decision() */
#ifdef BUG_STALE_BELIEVED
		:: true ->
#else
		:: header_events >= events ->
#endif
			if
#ifndef BUG_DIRTY_STAYS
			:: state == DIRTY || state == SYNCING -> llb_transition(RELOAD, NEEDSYNC)
#endif
			:: else
			fi
#ifndef BUG_STALE_BELIEVED
		:: else ->
			if
			:: state != NEEDSYNC -> llb_transition(STALE, NEEDSYNC)
			:: else
			fi
#endif
		fi;
		header_events = (header_events > events -> header_events : events)
	}
	/* llb_store_outcome(): what was decided, and then the superblock that says so */
#ifdef BUG_OUTCOME_AFTER_SUPERBLOCK
	write_header();
	write_state();
#elif defined(BUG_OUTCOME_NOT_STORED)
	write_header();
#else
	write_state();
	write_header();
#endif
	running = 1
}
#endif

init
{
	byte copy;

	atomic {
#ifdef LOADING	/* whatever a cut can leave that does no harm at once */
		select(copy : 2..3); sb_events[0] = copy;
		select(copy : 1..3); sb_events[1] = copy;
		select(copy : 1..3); bm_events[0] = copy;
		select(copy : 1..3); bm_events[1] = copy;
		select(copy : 1..3); bm_cleared[0] = copy;
		select(copy : 1..3); bm_cleared[1] = copy;
		select(copy : CLEAN..SYNCING); bm_state[0] = copy;
		select(copy : CLEAN..SYNCING); bm_state[1] = copy;
		select(copy : ROLE_IN..ROLE_SPARE); sb_role = copy;
		if :: sb_out = 1 :: true fi;
		if :: unlike = 1 :: true fi;
		if :: unlike && !IN1 -> missing = 1 :: true fi;
		was_unlike = unlike; copy = 0;
end:		!CUT_LOSES && !CUT_BELIEVES && !CUT_READDS ->
		run load();
#else
		events = 2; in_sync = 1; slot = MEMBER; insync = 1; state = CLEAN;
		header_events = 2; header_cleared = 1; cleared = 1;
		sb_events[0] = 2; sb_events[1] = 2;
		bm_events[0] = 2; bm_events[1] = 2; bm_cleared[0] = 1; bm_cleared[1] = 1;
		bm_state[0] = CLEAN; bm_state[1] = CLEAN;
		running = 1;
		run member_failure();
#endif
		run power_cut();
		run writer();
		run daemon();
		run md_thread()
	}
}
