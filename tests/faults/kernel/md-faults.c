// SPDX-License-Identifier: GPL-2.0
/*
 * The other side of md-faults.h, and what user space sees of it: /sys/module/md_mod/parameters/
 *
 *   faults         written: "NAME,NTH,TIMES,KIND": from the NTH hit of the point NAME on, TIMES of
 *                  them fail; or "": none. The counts begin anew. Read: a line "NAME HITS FAILED"
 *                  for each point reached since.
 *   faults_balance a line "WHAT COUNT" for each kind of thing that has to be given back
 */
#include <linux/module.h>
#include <linux/spinlock.h>
#include <linux/string.h>
#include "md-faults.h"

static DEFINE_SPINLOCK(faults_lock);
static LIST_HEAD(faults_reached);
static atomic_t balances[NR_BALANCES];

static char wanted[64];
static unsigned int wanted_nth, wanted_times;
static enum fault_kind wanted_kind;

static const char * const kinds[] = {
	[FAULT_ERROR] = "error", [FAULT_DONE] = "done", [FAULT_AGAIN] = "again",
};

static const char * const balance_names[] = {
	"memory", "pages", "refs", "pools", "disks", "shown", "files", "folios",
};

enum fault_kind fault_here(struct fault_point *point)
{
	enum fault_kind kind = FAULT_NONE;
	unsigned long flags;

	spin_lock_irqsave(&faults_lock, flags);
	if (!point->list.next)
		list_add_tail(&point->list, &faults_reached);
	point->hits++;
	if (!strcmp(wanted, point->name) && point->hits >= wanted_nth &&
	    point->hits - wanted_nth < wanted_times) {
		point->failed++;
		kind = wanted_kind;
	}
	spin_unlock_irqrestore(&faults_lock, flags);
	return kind;
}

int fault_errno(enum fault_kind kind)
{
	return kind == FAULT_AGAIN ? -EAGAIN : -EIO;
}

void fault_balance(enum fault_balance what, int by)
{
	atomic_add(by, &balances[what]);
}

/* A bio that is done, and then fails. */
struct fault_end {
	bio_end_io_t	*end_io;
	void		*private;
};

static void fault_end_io(struct bio *bio)
{
	struct fault_end *end = bio->bi_private;

	bio->bi_end_io = end->end_io;
	bio->bi_private = end->private;
	kfree(end);
	bio->bi_status = BLK_STS_IOERR;
	bio->bi_end_io(bio);
}

void fault_submit(struct fault_point *point, struct bio *bio)
{
	enum fault_kind kind = fault_here(point);
	struct fault_end *end;

	if (kind == FAULT_DONE) {
		end = kmalloc(sizeof(*end), GFP_NOIO | __GFP_NOFAIL);
		end->end_io = bio->bi_end_io;
		end->private = bio->bi_private;
		bio->bi_private = end;
		bio->bi_end_io = fault_end_io;
	} else if (kind) {
		bio->bi_status = errno_to_blk_status(fault_errno(kind));
		bio_endio(bio);
		return;
	}
	submit_bio_noacct(bio);
}

int fault_submit_wait(struct fault_point *point, struct bio *bio)
{
	enum fault_kind kind = fault_here(point);
	int err = kind && kind != FAULT_DONE ? 0 : submit_bio_wait(bio);

	return kind ? fault_errno(kind) : err;
}

int fault_flush(struct fault_point *point, struct block_device *bdev)
{
	enum fault_kind kind = fault_here(point);
	int err = kind && kind != FAULT_DONE ? 0 : blkdev_issue_flush(bdev);

	return kind ? fault_errno(kind) : err;
}

static int faults_set(const char *val, const struct kernel_param *kp)
{
	unsigned int nth = 0, times = 0;
	struct fault_point *point;
	char name[64] = "", text[8] = "";
	int kind = 0;

	if (*skip_spaces(val)) {
		if (sscanf(val, "%63[^,],%u,%u,%7s", name, &nth, &times, text) != 4)
			return -EINVAL;
		for (kind = FAULT_ERROR; strcmp(kinds[kind], text); kind++)
			if (kind == FAULT_AGAIN)
				return -EINVAL;
	}
	spin_lock_irq(&faults_lock);
	list_for_each_entry(point, &faults_reached, list)
		point->hits = point->failed = 0;
	strscpy(wanted, name);
	wanted_nth = nth;
	wanted_times = times;
	wanted_kind = kind;
	spin_unlock_irq(&faults_lock);
	return 0;
}

static int faults_get(char *buf, const struct kernel_param *kp)
{
	struct fault_point *point;
	int len = 0;

	spin_lock_irq(&faults_lock);
	list_for_each_entry(point, &faults_reached, list)
		if (point->hits)
			len += sysfs_emit_at(buf, len, "%s %u %u\n", point->name, point->hits,
					     point->failed);
	spin_unlock_irq(&faults_lock);
	return len;
}

static const struct kernel_param_ops faults_ops = { .set = faults_set, .get = faults_get };
module_param_cb(faults, &faults_ops, NULL, 0644);

static int balance_get(char *buf, const struct kernel_param *kp)
{
	int len = 0;

	for (int i = 0; i < NR_BALANCES; i++)
		len += sysfs_emit_at(buf, len, "%s %d\n", balance_names[i],
				     atomic_read(&balances[i]));
	return len;
}

static const struct kernel_param_ops balance_ops = { .get = balance_get };
module_param_cb(faults_balance, &balance_ops, NULL, 0444);
