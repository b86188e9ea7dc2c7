/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
#ifndef RBTOOL_USERCHECK_H
#define RBTOOL_USERCHECK_H

/* The head of a sample. A sample shorter than the head is counted, but not checked. */
struct usercheck_head {
	__u32 worker;
	__u32 seq; /* sequence number within the worker's samples */
	__u64 sum; /* of size, worker, seq and the bytes after the head */
};

struct usercheck_counts {
	__u64 samples;
	__u64 bytes;	 /* bytes of all samples */
	__u64 bad;	 /* samples that are too long, have a wrong sum or an unknown worker */
	__u64 twice;	 /* samples that had arrived before */
	__u64 small;	 /* samples that are too short to be checked */
	__u64 small_sum; /* sum of the sums of small samples */
	__u64 first_bad; /* size << 32 | seq of the first bad sample */
};

#endif
