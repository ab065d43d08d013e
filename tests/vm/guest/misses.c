// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * For LD_PRELOAD: the kernel says of the program on_snapshot that it was skipped twice because it
 * ran already, which cannot be brought about at will.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <linux/bpf.h>
#include <string.h>

int bpf_obj_get_info_by_fd(int fd, void *info, __u32 *length)
{
	int (*real)(int, void *, __u32 *) = (int (*)(int, void *, __u32 *))dlsym(RTLD_NEXT, __func__);
	struct bpf_prog_info *program = info;
	int err = real(fd, info, length);

	if (!err && *length >= sizeof(*program) && !strcmp(program->name, "on_snapshot"))
		program->recursion_misses += 2;
	return err;
}
