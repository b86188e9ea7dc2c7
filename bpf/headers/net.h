/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
#ifndef RBTOOL_NET_H
#define RBTOOL_NET_H

#include "kernel.h"

/* Packet headers, for XDP programs. Fields of the types __be16 and __be32 are in network byte order. */

/* enum xdp_action */
#define XDP_ABORTED 0
#define XDP_PASS 2
#define XDP_TX 3

struct xdp_md {
	__u32 data;
	__u32 data_end;
	__u32 data_meta;
	__u32 ingress_ifindex;
	__u32 rx_queue_index;
	__u32 egress_ifindex;
};

#define ETH_P_IP 0x0800
#define ETH_P_IPV6 0x86dd
#define IPPROTO_UDP 17

struct ethernet {
	__u8 to[6];
	__u8 from[6];
	__be16 protocol;
};

struct ipv4 {
	__u8 version_length; /* 0x45 without options */
	__u8 service;
	__be16 bytes; /* size with this header */
	__be16 id;
	__be16 fragment; /* flags and fragment offset; see IPV4_FRAGMENT */
	__u8 ttl;
	__u8 protocol;
	__u16 checksum;
	__be32 from;
	__be32 to;
};

/* The bits of fragment that are 0 in a packet that is not a fragment. */
#define IPV4_FRAGMENT 0xbfff
#define IPV4_DONT_FRAGMENT 0x4000

/* The maximum number of routers that an answer passes: Linux's default. */
#define HOPS 64

struct ipv6 {
	__be32 version_class_flow;
	__be16 bytes; /* size without this header */
	__u8 next;
	__u8 hops;
	__u32 from[4];
	__u32 to[4];
};

struct udp {
	__be16 from;
	__be16 to;
	__be16 bytes; /* size with this header */
	__u16 checksum;
};

/* Folds a sum of 16-bit words to a checksum, RFC 1071. */
static __always_inline __u16 fold(__u64 sum)
{
	sum = (sum & 0xffffffff) + (sum >> 32);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return ~sum;
}

#endif
