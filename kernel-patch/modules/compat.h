/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the series changes outside drivers/md, for modules that must live with a stock kernel.
 * Included before everything else in every file.
 */
#ifndef _LLBITMAP_MODULES_COMPAT_H
#define _LLBITMAP_MODULES_COMPAT_H

#include <linux/types.h>

struct block_device;
struct file;
#ifdef __CHECKER__
/* what is __bitwise here is another type there to sparse */
struct file *bdev_file_alloc(struct block_device *bdev, ...);
#else
/* as in linux/blkdev.h, which must not be drawn in here: files may define pr_fmt before it */
typedef unsigned int __bitwise blk_mode_t;

struct file *bdev_file_alloc(struct block_device *bdev, blk_mode_t mode);
#endif

#endif
