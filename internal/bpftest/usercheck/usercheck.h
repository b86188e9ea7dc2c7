/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
#ifndef RBTOOL_USERCHECK_H
#define RBTOOL_USERCHECK_H

/* How a sample begins that is checked; a shorter one is only counted. */
struct usercheck_head {
	__u32 worker;
	__u32 seq; /* of the worker */
	__u64 sum; /* of size, worker, seq and what follows */
};

struct usercheck_counts {
	__u64 samples;
	__u64 bytes;	 /* of payload */
	__u64 bad;	 /* too long, with another sum than they say, or of nobody */
	__u64 twice;	 /* seen before */
	__u64 small;	 /* too short to be checked */
	__u64 small_sum; /* of their sums */
	__u64 first_bad; /* size << 32 | seq of the first bad one */
};

#endif
