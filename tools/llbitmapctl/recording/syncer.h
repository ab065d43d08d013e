/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Brings a file to the disk while it is written, in a thread of its own: who
 * writes does not wait for the disk.
 */
#ifndef LLB_RECORDING_SYNCER_H
#define LLB_RECORDING_SYNCER_H

struct llb_syncer;

/**
 * llb_syncer_start() - a syncer for a file
 * @fd: the file; what cannot be synced, such as a pipe, is left alone
 * @dir: its directory, where its name is to last too; negative: none
 *
 * Both stay the caller's. Returns 0 or -errno.
 */
int llb_syncer_start(int fd, int dir, struct llb_syncer **syncer);

/*
 * Ask for what was written so far, without waiting for it. Returns 0, or the
 * -errno of what was asked for before.
 */
int llb_syncer_ask(struct llb_syncer *s);

/*
 * Ends and frees; waits for a sync that is under way. Brings the name to the
 * disk if that was not done yet, but not what was written since the last sync.
 * May be NULL. Returns 0 or the first -errno of all syncs, which the system
 * tells only once for a file.
 */
int llb_syncer_stop(struct llb_syncer *s);

/* fdatasync() of what can be synced. Returns 0 or -errno. */
int llb_sync_data(int fd);

#endif
