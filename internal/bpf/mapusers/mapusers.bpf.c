//go:build ignore

// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
/*
 * Find which processes use which maps: iterators over the descriptors and over the memory
 * mappings of all processes (kernel/bpf/task_iter.c) report those that belong to maps.
 *
 * A map's descriptor and the mappings made with it share one struct file, which a mapping
 * keeps when the descriptor is closed (vma->vm_file). A file is a map's if its f_op is
 * bpf_map_fops; its private_data is then the map (bpf_map_mmap and bpf_map_get in
 * kernel/bpf/syscall.c). On many kernels kallsyms has no data symbols, so the address of
 * bpf_map_fops cannot be looked up by name: learn takes it from the descriptor of a map
 * of this object.
 */
#include "kernel.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>

#define COMM_LEN 16 /* TASK_COMM_LEN */

/* The members that the programs use of the kernel's types. */
#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

struct upid {
	int nr;
};

struct pid {
	unsigned int level;
	struct upid numbers[1];
};

struct task_struct {
	int tgid;
	struct task_struct *group_leader;
	struct mm_struct *mm;
	struct pid *thread_pid;
	__u64 start_boottime;
	char comm[COMM_LEN];
};

struct mm_struct;

struct file_operations;

struct file {
	const struct file_operations *f_op;
	void *private_data;
};

struct bpf_map {
	__u32 id;
};

struct vm_area_struct {
	unsigned long vm_start;
	unsigned long vm_end;
	unsigned long vm_flags;
	unsigned long vm_pgoff;
	struct file *vm_file;
};

struct seq_file;

struct bpf_iter_meta {
	struct seq_file *seq;
};

struct bpf_iter__task_file {
	struct bpf_iter_meta *meta;
	struct task_struct *task;
	__u32 fd;
	struct file *file;
};

struct bpf_iter__task_vma {
	struct bpf_iter_meta *meta;
	struct task_struct *task;
	struct vm_area_struct *vma;
};

#pragma clang attribute pop

/* One use of a map: a descriptor if size is 0, otherwise a mapping. */
struct use {
	__u32 map_id;
	__s32 pid; /* pid of the process in the reader's pid namespace */
	__u64 start_boottime;
	__u64 pgoff; /* pages */
	__u64 size;  /* bytes */
	__u64 vm_flags;
	__u64 vm_start;
	__u64 mm; /* address of the mm_struct */
	char comm[COMM_LEN];
};

/* The address of bpf_map_fops. */
const struct file_operations *map_fops;

/* A map whose descriptor learn looks for, by the map's address. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} known SEC(".maps");

/* Sets map_fops and reports one byte, so that a read(2) of one byte returns without walking
 * the other processes. */
SEC("iter/task_file")
int learn(struct bpf_iter__task_file *ctx)
{
	struct file *file = ctx->file;
	char done = 1;

	if (!file || file->private_data != &known)
		return 0;
	map_fops = file->f_op;
	bpf_seq_write(ctx->meta->seq, &done, sizeof(done));
	return 0;
}

/* Returns the process's pid in the reader's pid namespace. Every task that the iterators visit
 * has one, because they visit only tasks of that namespace (init_seq_pidns). */
static __always_inline __s32 pid_of(struct task_struct *leader)
{
	struct task_struct *reader = (void *)bpf_get_current_task();
	unsigned int level = BPF_CORE_READ(reader, thread_pid, level);
	/* Do not load leader->thread_pid directly: the verifier would know the pointer's type and
	 * refuse the arithmetic below. */
	struct pid *pid = BPF_CORE_READ(leader, thread_pid);
	struct upid *upid;

	if (!pid)
		return 0;
	/* &pid->numbers[level], with the size that struct upid has in this kernel */
	upid = (void *)pid + bpf_core_field_offset(struct pid, numbers) +
	       level * bpf_core_type_size(struct upid);
	return BPF_CORE_READ(upid, nr);
}

static __noinline void report(struct seq_file *seq, struct task_struct *task,
				   struct file *file, struct use *use)
{
	struct task_struct *leader = task->group_leader;
	struct bpf_map *map = file->private_data;

	use->map_id = BPF_CORE_READ(map, id);
	use->pid = pid_of(leader);
	use->start_boottime = leader->start_boottime;
	bpf_core_read_str(use->comm, sizeof(use->comm), &leader->comm);
	bpf_seq_write(seq, use, sizeof(*use));
}

SEC("iter/task_file")
int descriptors(struct bpf_iter__task_file *ctx)
{
	struct task_struct *task = ctx->task;
	struct file *file = ctx->file;
	struct use use = {};

	if (!task || !file || file->f_op != map_fops)
		return 0;
	report(ctx->meta->seq, task, file, &use);
	return 0;
}

SEC("iter/task_vma")
int mappings(struct bpf_iter__task_vma *ctx)
{
	struct task_struct *task = ctx->task;
	struct vm_area_struct *vma = ctx->vma;
	struct use use = {};
	struct file *file;

	if (!task || !vma)
		return 0;
	file = vma->vm_file;
	if (!file || file->f_op != map_fops)
		return 0;
	use.pgoff = vma->vm_pgoff;
	use.size = vma->vm_end - vma->vm_start;
	use.vm_flags = vma->vm_flags;
	use.vm_start = vma->vm_start;
	use.mm = (__u64)task->mm;
	report(ctx->meta->seq, task, file, &use);
	return 0;
}

char LICENSE[] SEC("license") = "GPL";
