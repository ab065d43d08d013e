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

/**
 * llb_replay_run() - push all its events into a sink
 *
 * Returns 0, LLB_EXIT_DATA after saying what is wrong with the file, or the
 * positive number that the sink returned.
 */
int llb_replay_run(struct llb_out *out, struct llb_replay *replay, const struct llb_sink *sink);

/* Name of the array that a recording keeps for a load, or NULL. */
const char *llb_replay_array(const struct llb_replay *replay, uint32_t dev, uint32_t load);

/* Verify recordings, one report each. Returns the exit status of the worst. */
int llb_replay_audit(struct llb_out *out, int argc, char **argv);

/* Of two exit statuses, the one that says more: 5, 1, 3, then 0. */
int llb_worse_exit(int a, int b);

#endif
