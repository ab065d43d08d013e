/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Names of kernel addresses. */
#ifndef LLB_LIVE_KSYMS_H
#define LLB_LIVE_KSYMS_H

#include <stddef.h>
#include <stdint.h>

struct ksyms;

/*
 * Opens /proc/kallsyms: the kernel decides now, by today's capabilities, whether it shows
 * addresses. It is read when the first name is asked for. -errno of open, -ENOMEM.
 */
int ksyms_open(struct ksyms **out);
void ksyms_close(struct ksyms *k);

/* "function+0x12 [module]" in buf, or the number where no name is known. Returns buf. */
const char *ksyms_name(struct ksyms *k, uint64_t address, char *buf, size_t size);

#endif
