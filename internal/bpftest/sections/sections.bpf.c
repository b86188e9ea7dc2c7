//go:build ignore

// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
/* A program for each kind of section, for tests of rbtool run: each writes a record that says which it is. */
#include "kernel.h"
#include <bpf/bpf_helpers.h>

enum section_kind {
	ON_TRACEPOINT = 1,
	ON_RAW_TP,
	ON_TP_BTF,
	ON_KPROBE,
	ON_KRETPROBE,
	ON_FENTRY,
	ON_FEXIT,
	ON_UPROBE,
	ON_XDP,
	ON_TCX,
	ON_SOCKET,
	ON_CGROUP,
	ON_PERF_EVENT,
	ON_SYSCALL,
};

struct section_event {
	enum section_kind kind;
	__u32 pid;
	__u64 value;
	char comm[16];
};

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 65536); /* the largest page */
	__type(value, struct section_event);
} events SEC(".maps");

/* How often each kind has run. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 16);
	__type(key, __u32);
	__type(value, __u64);
} runs SEC(".maps");

struct last_run {
	enum section_kind kind;
	__u32 pid;
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 64);
	__type(key, __u32);
	__type(value, struct last_run);
} last SEC(".maps");

/* Set by user space before loading. */
const volatile __u32 target_pid = 0; /* 0: all */
const volatile __s64 value = 0;
const volatile enum section_kind only = 0;
const volatile bool print = false;
const volatile char word[8] = "";
const volatile __u16 list[3] = {};

__u64 refused; /* records for which the ring had no room */

static int report(enum section_kind kind, bool of_task)
{
	__u32 pid = of_task ? bpf_get_current_pid_tgid() >> 32 : 0, key = kind;
	struct last_run run = {kind, pid};
	struct section_event *e;
	__u64 *count;

	if ((of_task && target_pid && pid != target_pid) || (only && only != kind))
		return 0;
	count = bpf_map_lookup_elem(&runs, &key);
	if (count)
		++*count;
	bpf_map_update_elem(&last, &key, &run, BPF_ANY);
	e = bpf_ringbuf_reserve(&events, sizeof(*e), 0);
	if (!e) {
		__sync_fetch_and_add(&refused, 1);
		return 0;
	}
	e->kind = kind;
	e->pid = pid;
	e->value = value + list[0] + list[1] + list[2];
	__builtin_memset(e->comm, 0, sizeof(e->comm));
	if (of_task)
		bpf_get_current_comm(e->comm, sizeof(e->comm));
	bpf_ringbuf_submit(e, 0);
	if (print)
		bpf_printk("%s of kind %d", word, kind);
	return 0;
}

SEC("tracepoint/sched/sched_process_exec") int on_tracepoint(void *ctx) { return report(ON_TRACEPOINT, true); }
SEC("?raw_tp/sched_process_exec") int on_raw_tp(void *ctx) { return report(ON_RAW_TP, true); }
SEC("?tp_btf/sched_process_exec") int on_tp_btf(void *ctx) { return report(ON_TP_BTF, true); }
SEC("?kprobe/vfs_unlink") int on_kprobe(void *ctx) { return report(ON_KPROBE, true); }
SEC("?kretprobe/vfs_unlink") int on_kretprobe(void *ctx) { return report(ON_KRETPROBE, true); }
SEC("?fentry/vfs_unlink") int on_fentry(void *ctx) { return report(ON_FENTRY, true); }
SEC("?fexit/vfs_unlink") int on_fexit(void *ctx) { return report(ON_FEXIT, true); }
SEC("?uprobe") int on_uprobe(void *ctx) { return report(ON_UPROBE, true); }
SEC("?xdp") int on_xdp(void *ctx) { report(ON_XDP, false); return 2; /* XDP_PASS */ }
SEC("?tcx/ingress") int on_tcx(void *ctx) { report(ON_TCX, false); return -1; /* TCX_NEXT */ }
SEC("?socket") int on_socket(void *ctx) { return report(ON_SOCKET, false); }
SEC("?cgroup_skb/egress") int on_cgroup(void *ctx) { report(ON_CGROUP, false); return 1; }
SEC("?perf_event") int on_perf_event(void *ctx) { return report(ON_PERF_EVENT, false); }

struct syscall_args {
	__u64 unused[4];
};

SEC("?syscall") int on_syscall(struct syscall_args *ctx)
{
	report(ON_SYSCALL, true);
	return ctx->unused[3] + 7;
}

struct seq_file;

struct bpf_iter_meta {
	struct seq_file *seq;
} __attribute__((preserve_access_index));

struct bpf_iter__bpf_map {
	struct bpf_iter_meta *meta;
	void *map;
} __attribute__((preserve_access_index));

SEC("?iter/bpf_map") int on_iter(struct bpf_iter__bpf_map *ctx)
{
	static const char line[] = "a map\n";

	if (ctx->map)
		bpf_seq_write(ctx->meta->seq, line, sizeof(line) - 1);
	return 0;
}

/* Programs that cannot be attached or loaded. */
SEC("?tracepoint/sched/sched_process_exex") int near_tracepoint(void *ctx) { return 0; }
SEC("?raw_tp/sched_process_exex") int near_raw_tp(void *ctx) { return 0; }
SEC("?kprobe/vfs_unlinc") int near_kprobe(void *ctx) { return 0; }
SEC("?fentry/vfs_unlinc") int near_fentry(void *ctx) { return 0; }
SEC("?sk_msg") int unsupported(void *ctx) { return 1; }

SEC("?raw_tp/sched_process_exec") int unchecked(void *ctx)
{
	__u32 key = 1;
	__u64 *count = bpf_map_lookup_elem(&runs, &key);

	return ++*count; /* no check for NULL */
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
