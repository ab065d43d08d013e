// SPDX-License-Identifier: GPL-2.0
/*
 * bdev_file_alloc() outside block/bdev.c. The mount and the file operations of block devices are
 * private to the block layer, but every file on a block device carries them: they are taken from
 * a member when md opens it. Both live as long as the kernel. An llbitmap is only created when
 * members are open.
 */
#include <linux/blkdev.h>
#include <linux/file.h>
#include <linux/fs.h>

/* the Kbuild file makes md.c call this instead of bdev_file_open_by_dev() */
struct file *compat_bdev_file_open_by_dev(dev_t dev, blk_mode_t mode, void *holder,
					  const struct blk_holder_ops *hops);

static struct vfsmount *bdev_mnt;
static const struct file_operations *bdev_fops;

struct file *compat_bdev_file_open_by_dev(dev_t dev, blk_mode_t mode, void *holder,
					  const struct blk_holder_ops *hops)
{
	struct file *file = bdev_file_open_by_dev(dev, mode, holder, hops);

	if (!IS_ERR(file)) {
		/* always the same values, so concurrent openers do not matter */
		WRITE_ONCE(bdev_mnt, file->f_path.mnt);
		WRITE_ONCE(bdev_fops, file->f_op);
	}
	return file;
}

struct file *bdev_file_alloc(struct block_device *bdev, blk_mode_t mode)
{
	struct inode *inode = bdev->bd_mapping->host;
	struct vfsmount *mnt = READ_ONCE(bdev_mnt);
	const struct file_operations *fops = READ_ONCE(bdev_fops);
	unsigned int flags = O_LARGEFILE;
	struct file *file;

	if (WARN_ON_ONCE(!mnt || !fops))
		return ERR_PTR(-ENXIO);

	if (mode & BLK_OPEN_WRITE)
		flags |= mode & BLK_OPEN_READ ? O_RDWR : O_WRONLY;
	if (mode & BLK_OPEN_NDELAY)
		flags |= O_NDELAY;

	file = alloc_file_pseudo_noaccount(inode, mnt, "", flags, fops);
	if (IS_ERR(file))
		return file;

	ihold(inode);
	file->private_data = ERR_PTR(-ENXIO);
	return file;
}
