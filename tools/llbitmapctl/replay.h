/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Recordings as commands use them: errors are said, exit statuses returned. */
#ifndef LLB_REPLAY_H
#define LLB_REPLAY_H

#include "command.h"
#include "recording/recording.h"

struct llb_replay {
	const char *path;
	int fd;
	struct llb_reader *reader;
};

/* Open a recording, "-": standard input. Returns 0 or what to exit with. */
int llb_replay_open(struct llb_out *out, const char *path, struct llb_replay *replay);
void llb_replay_close(struct llb_replay *replay);

/* Say what an error of its reader means, after what was read is shown. Returns what to exit with. */
int llb_replay_failed(struct llb_out *out, const struct llb_replay *replay, int error);

/* Name of the array that a recording (struct llb_replay) keeps for a load, or NULL. */
const char *llb_replay_array(const void *replay, uint32_t dev, uint32_t load);

/* What to add to its times for nanoseconds since 1970; 0: it does not say. */
int64_t llb_replay_clock(const struct llb_replay *replay);

/* Verify recordings, one report each. Returns the exit status of the worst. */
int llb_replay_audit(struct llb_out *out, int argc, char **argv);

/* Of two exit statuses, the one that says more: 5, 4, 1, 3, then 0. */
int llb_worse_exit(int a, int b);

#endif
