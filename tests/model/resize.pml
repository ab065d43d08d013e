/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The array's size changes, again and again, while it is written to, discarded and cleaned. Chunk 0
 * is always there and has no part in this; chunk 1, in the next page, comes and goes. Two members, as
 * in llbitmap.pml, with volatile caches.
 *
 * Each atomic step is named after the kernel function that it stands for.
 */
#include "states.pml"

/* ---- kernel memory: chunk 1, its page, and the sizes ---- */
byte state;		/* of chunk 1; what it was when the chunk is not there */
bit  within;		/* chunk 1 lies before the page's `last` */
bit  unsafe;		/* its change is on no disk yet */
byte refs;		/* writes inside the page */
bit  dead;		/* suspended */
byte chunks;		/* llb->chunks: 1 or 2 */
byte sb_blocks;		/* llb->sb_blocks, in chunks */
byte sb_hold;		/* llb->sb_hold */
bit  held;		/* an update with another event count than llb->sb_held */
byte capacity;		/* of the disk, as users see it: set_capacity_and_notify() */
byte dev_sectors;	/* what md's superblocks will say */
bit  daemon_mutex, write_mutex;
bit  range;		/* a whole discard of chunk 1 is complete, for the worker */

/* ---- members: what a power cut leaves ---- */
byte md_size[2];	/* md's superblock */
bit  md_newer[2];	/* ... which is newer than the other member's, in an update */
byte bm_blocks[2];	/* the bitmap's superblock */
byte bm_state[2];	/* the byte of chunk 1 */
bit  unlike;		/* the copies of chunk 1 differ */
bit  losable[2];

/* ---- what the judge knows ---- */
byte writes;		/* to chunk 1, on their way */
bit  live;		/* chunk 1 was written since it was discarded, or came */

bit promise_1_order, promise_2_clean_is_safe, promise_2_cut, promise_3_table, promise_6_outside,
	promise_6_new_space, promise_6_covers;

#define SAME (!unlike && !losable[0] && !losable[1])

/*
 * The array that an assembly makes has the freshest superblock's size; its bitmap may be read from
 * either member. llb_distrust_beyond() for what it does not cover.
 */
#define NEW_SIZE (md_newer[1] -> md_size[1] : md_size[0])
#define SAYS(m, s) (NEW_SIZE == 2 && bm_blocks[m] == 2 && bm_state[m] == s)
/* On parity levels Clean is a promise about all of the chunk, written or not. */
#define CUT_LOSES (((SAYS(0, CLEAN) || SAYS(1, CLEAN)) && !SAME) || \
		   ((SAYS(0, UNWRITTEN) || SAYS(1, UNWRITTEN)) && live))
/* What was never written is known, and the superblock tells of it. */
#define CUT_COSTS (NEW_SIZE == 2 && (bm_blocks[0] < 2 || bm_blocks[1] < 2))

/* ---- kernel functions ---- */

inline llb_transition(action, to)
{
	/* llb_transition() warns, and others would go on */
	PROMISE(promise_6_outside, within);
	PROMISE(promise_3_table, IN_TABLE(state, action, to, 0));
	if
	:: to == CLEAN -> PROMISE(promise_2_clean_is_safe, SAME)
	:: else
	fi;
	state = to
}

/* llb_write_page() of chunk 1's page */
inline write_state()
{
	atomic { !write_mutex -> write_mutex = 1; copy = state; carries = unsafe };
	if
	:: bm_state[0] = copy; bm_state[1] = copy
	:: bm_state[1] = copy; bm_state[0] = copy
	fi;
	atomic { write_mutex = 0; copy = 0; unsafe = unsafe & ~carries; carries = 0 }
}

/* llb_write_super() */
inline llb_write_super()
{
	atomic { !write_mutex -> write_mutex = 1; copy = sb_blocks };
	if
	:: bm_blocks[0] = copy; bm_blocks[1] = copy
	:: bm_blocks[1] = copy; bm_blocks[0] = copy
	fi;
	atomic { write_mutex = 0; copy = 0 }
}

/* llb_page_suspend(): got = 0 when the drain timed out, and then the page runs again. */
inline llb_page_suspend(got)
{
	dead = 1;
	if
	:: !refs -> got = 1
	:: atomic { refs -> dead = 0; got = 0 }
	fi
}

/* ---- processes ---- */

/* Writes to chunk 1, and discards all of it. */
proctype writer()
{
	byte copy;
	bit carries, discard;

end:	do
	:: atomic {	/* the block layer lets it in */
		capacity == 2 ->
		if
		:: discard = 1
		:: true
		fi
	   }
#ifdef BUG_SIZE_SEEN_EARLY
	   if
	   :: chunks < 2 -> goto out
	   :: else
	   fi;
	   atomic { !dead -> refs++ };
#else
	   atomic { !dead -> refs++ };	/* llb_page_enter() */
	   if
	   :: chunks < 2 -> goto leave	/* it became smaller meanwhile: -EIO */
	   :: else
	   fi;
#endif
	   if	/* to discard once more changes nothing, on the members either */
	   :: discard && state == UNWRITTEN -> goto leave
	   :: else
	   fi;
	   if
	   :: atomic {	/* llb_start_part() */
		state <= CLEAN ->
		llb_transition(STARTWRITE, DIRTY); unsafe = 1
	      }
	   :: else
	   fi;
	   if	/* llbitmap_unplug() */
	   :: unsafe -> write_state()
	   :: else
	   fi;
	   !unsafe;
	   atomic {
		PROMISE(promise_1_order, bm_state[0] >= DIRTY && bm_state[1] >= DIRTY);
		/* its space may be another's by now */
		PROMISE(promise_6_outside, within);
		writes++; unlike = 1; losable[0] = 1;
		if :: !discard -> live = 1 :: else fi;
		range = 0	/* llb_clip_written(), at the end of what runs meanwhile */
	   }
	   atomic {
		PROMISE(promise_6_outside, within);
		writes--; unlike = (writes > 0); losable[1] = 1
	   }
	   atomic {	/* llbitmap_endwrite() */
		if
		:: discard && !writes && state != UNWRITTEN -> live = 0; range = 1
		:: else
		fi
	   }
leave:	   refs--;
out:	   discard = 0
	od
}

/* llb_discard_work() */
proctype discard_worker()
{
	byte copy;
	bit carries, got, take;

end:	do
	:: range && capacity ->
	   atomic { !daemon_mutex -> daemon_mutex = 1; take = 1 };
	   llb_page_suspend(got);
	   if
	   :: got ->
		losable[0] = 0;	/* llb_flush_members() */
		losable[1] = 0;
		atomic {
			if	/* llb_finish_ranges() */
#ifdef BUG_CUT_KEEPS_DISCARDS
			:: take && state != UNWRITTEN -> llb_transition(DISCARD_, UNWRITTEN)
#else
			:: range && state != UNWRITTEN -> llb_transition(DISCARD_, UNWRITTEN)
#endif
			:: else
			fi;
			range = 0; dead = 0
		}
		write_state()
	   :: else -> range = 0
	   fi;
	   atomic { daemon_mutex = 0; got = 0; take = 0 }
	od
}

/* llb_clean(): the page is passed by when it has no chunks */
proctype daemon()
{
	byte copy;
	bit carries, got;

end:	do
	:: atomic { chunks == 2 && state == DIRTY && !daemon_mutex -> daemon_mutex = 1 };
#ifdef BUG_DAEMON_WITHOUT_MUTEX
	   daemon_mutex = 0;
#endif
	   llb_page_suspend(got);
	   if
	   :: got ->
		losable[0] = 0;
		losable[1] = 0;
		atomic {
			if
			:: state == DIRTY -> llb_transition(DAEMON, CLEAN)
			:: else
			fi;
			dead = 0
		}
		write_state()
	   :: else
	   fi;
	   atomic {
#ifndef BUG_DAEMON_WITHOUT_MUTEX
		daemon_mutex = 0;
#endif
		got = 0
	   }
	od
}

/* llbitmap_update_sb(), then the members' superblocks */
inline md_update_sb()
{
	atomic {	/* llb_release_size() */
		if
#ifdef BUG_SIZE_RELEASED_EARLY
		:: sb_hold -> sb_hold = 0; sb_blocks = chunks
#else
		:: sb_hold -> sb_hold--;
			if
			:: !sb_hold -> sb_blocks = chunks
			:: else
			fi
#endif
		:: else
		fi
	};
	llb_write_super();
	if
	:: atomic { md_size[0] = dev_sectors; md_newer[0] = 1 };
	   atomic { md_size[1] = dev_sectors; md_newer[0] = 0 }
	:: atomic { md_size[1] = dev_sectors; md_newer[1] = 1 };
	   atomic { md_size[0] = dev_sectors; md_newer[1] = 0 }
	fi
}

/* update_size(), raid1_resize(): reconfig_mutex is held, and md_update_sb() follows */
proctype administrator()
{
	byte copy;
	bit carries, got;

end:	do
	:: chunks == 1 ->	/* larger */
		atomic { !daemon_mutex -> daemon_mutex = 1 };
		atomic {	/* llb_init_chunks(): llb_set_page_end(), llb_mark() */
			within = 1;
#ifndef BUG_OLD_BYTES
			state = UNWRITTEN;
#endif
			unlike = 1; live = 0	/* whatever was there */
		};
#ifndef BUG_NEW_BYTES_NOT_WRITTEN
		write_state();
#endif
		sb_blocks = 2;
#ifndef BUG_GROWN_SIZE_NOT_TOLD
		llb_write_super();
#endif
		atomic {	/* llb_publish_size() */
			PROMISE(promise_6_new_space,
				bm_state[0] == UNWRITTEN && bm_state[1] == UNWRITTEN &&
				bm_blocks[0] == 2 && bm_blocks[1] == 2);
			chunks = 2
		};
		daemon_mutex = 0;
		dev_sectors = 2;
		capacity = 2;		/* set_capacity_and_notify() */
		md_update_sb()
	:: chunks == 2 ->	/* smaller */
		do	/* llb_discards_flush() */
		:: !range -> break
		:: true -> break	/* and the next one */
		od;
		atomic { !daemon_mutex -> daemon_mutex = 1 };
#ifdef BUG_SHRINKS_UNDER_WRITES
		got = 1;
#else
		llb_page_suspend(got);
#endif
		if
		:: got ->
			chunks = 1;	/* llb_publish_size() */
			atomic {	/* llb_cut_page() */
				within = 0;
#ifndef BUG_CUT_KEEPS_DISCARDS
				range = 0
#endif
			};
			atomic { dead = 0; sb_hold = 2; daemon_mutex = 0 };
			dev_sectors = 1;
			capacity = 1;
			md_update_sb()
		:: else -> daemon_mutex = 0	/* -EBUSY */
		fi;
		got = 0
	:: md_update_sb()	/* for any other reason */
	od
}

/* Power cut: in any state. */
proctype power_cut()
{
end:	do
	:: atomic { CUT_LOSES -> BROKEN(promise_2_cut) }
	:: atomic { CUT_COSTS -> BROKEN(promise_6_covers) }
#ifdef WITNESS_GROWN
	:: atomic { NEW_SIZE == 2 && SAYS(0, CLEAN) && live -> BROKEN(witness) }
#endif
	od
}

init
{
	atomic {
		chunks = 1; sb_blocks = 1; capacity = 1; dev_sectors = 1;
		md_size[0] = 1; md_size[1] = 1; bm_blocks[0] = 1; bm_blocks[1] = 1;
		unlike = 1;
		/* of an earlier, larger array */
		if
		:: bm_state[0] = CLEAN; bm_state[1] = CLEAN; state = CLEAN
		:: bm_state[0] = DIRTY; bm_state[1] = CLEAN; state = DIRTY
		fi;
		run power_cut();
		run writer();
#ifdef WRITERS
		run writer();
#endif
		run discard_worker();
		run daemon();
		run administrator()
	}
}
