//go:build ignore

// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
/*
 * Count the calls of the helpers that reserve space in rings (kernel/bpf/ringbuf.c): at their return, with
 * fexit, or at their entry, with execution breakpoints. At the entry the outcome is computed from the ring's
 * positions, and checked at the next call on the same CPU.
 */
#include "tables.h"
#include "count.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>
#include <bpf/bpf_core_read.h>

/* Engine fexit: the programs run when the helper returns. BPF_CALL functions have five arguments in BTF. */

static __always_inline int returned(__u64 *ctx, enum helper helper, __u64 map, __u64 size, __u64 flags, bool failed)
{
	__u32 index = helper;
	struct seen s = {};
	struct frame *frame;
	struct counts *c;
	struct ring *r;

	if (!now.counting)
		return 0;
	/* Any program on the host may call meanwhile. */
	if (dump_frames && BPF_CORE_READ((struct bpf_ringbuf_map *)map, map.id) == now.only) {
		frame = bpf_map_lookup_elem(&frames, &index);
		if (frame)
			bpf_probe_read_kernel(frame, sizeof(*frame), ctx);
	}
	if (!look(&s, helper, map, size, flags))
		return 0;
	s.failed = failed;
	if (!failed)
		s.producer_pos -= s.length; /* as it was before the call, if no other was */
	if (return_offset)
		bpf_probe_read_kernel(&s.address, sizeof(s.address), (void *)ctx + return_offset);
	r = shared(&s);
	c = counts(s.ring);
	if (r && c)
		count(&s, r, c);
	else
		unattributed();
	return 0;
}

SEC("fexit/bpf_ringbuf_reserve")
int BPF_PROG(reserve_returned, __u64 map, __u64 size, __u64 flags, __u64 r4, __u64 r5, __u64 ret)
{
	return returned(ctx, RESERVE, map, size, flags, !ret);
}

SEC("fexit/bpf_ringbuf_reserve_dynptr")
int BPF_PROG(reserve_dynptr_returned, __u64 map, __u64 size, __u64 flags, __u64 r4, __u64 r5, __s64 ret)
{
	return returned(ctx, RESERVE_DYNPTR, map, size, flags, ret != 0);
}

SEC("fexit/bpf_ringbuf_output")
int BPF_PROG(output_returned, __u64 map, __u64 data, __u64 size, __u64 flags, __u64 r5, __s64 ret)
{
	return returned(ctx, OUTPUT, map, size, flags, ret != 0);
}

/* At the entry nothing is counted but calls that have to wait. */

static __always_inline int called(__u64 map)
{
	struct bpf_ringbuf_map *m = (void *)map;
	struct ring *r;
	__u32 id;

	if (!now.counting || !is_locked(BPF_CORE_READ(m, rb)))
		return 0;
	id = BPF_CORE_READ(m, map.id);
	r = bpf_map_lookup_elem(&rings, &id);
	if (r)
		__sync_fetch_and_add(&r->contended, 1);
	return 0;
}

SEC("fentry/bpf_ringbuf_reserve")
int BPF_PROG(reserve_called, __u64 map)
{
	return called(map);
}

SEC("fentry/bpf_ringbuf_reserve_dynptr")
int BPF_PROG(reserve_dynptr_called, __u64 map)
{
	return called(map);
}

SEC("fentry/bpf_ringbuf_output")
int BPF_PROG(output_called, __u64 map)
{
	return called(map);
}

/* Engine breakpoint: the programs run before the first instruction of the helper, on arm64 after it. */

/* Walks over committed records from pending_pos, as __bpf_ringbuf_reserve does. */
static __noinline __u64 walk_pending(struct bpf_ringbuf *rb, __u64 pos, __u64 end, __u64 mask)
{
	void *data = (void *)rb + bpf_core_field_offset(struct bpf_ringbuf, data);
	__u32 header;

	for (int i = 0; i < PENDING_STEPS; i++) {
		if ((__s64)(end - pos) <= 0)
			break;
		if (bpf_probe_read_kernel(&header, sizeof(header), data + (pos & mask)))
			break;
		if (header & BUSY_BIT)
			break;
		pos += record_length(header & ~DISCARD_BIT);
	}
	return pos;
}

/* Computes the outcome as __bpf_ringbuf_reserve would with these positions. */
static __always_inline bool would_fail(struct seen *s)
{
	__u64 end = s->producer_pos + s->length, pending;

	s->limit = s->consumer_pos;
	if (s->invalid)
		return true;
	if (!s->overwrites && end - s->consumer_pos > s->mask)
		return true;
	pending = load_pending_pos(s->rb, s->producer_pos);
	if (s->overwrites)
		s->limit = pending;
	if (end - pending <= s->mask)
		return false;
	return end - walk_pending(s->rb, pending, s->producer_pos, s->mask) > s->mask;
}

/* Corrects the outcome of a call that reserved although it looked as if it would not. */
static __always_inline void not_refused(__u32 ring, struct counts *c, struct call *last)
{
	struct caller_key key = {.ring = ring, .address = last->address};
	__u64 length = record_length(last->size);
	struct tally *class = &c->classes[class_of(last->size)];
	struct caller *by = bpf_map_lookup_elem(&callers, &key);

	__sync_fetch_and_add(&c->all.failed, -1);
	__sync_fetch_and_add(&c->all.failed_bytes, -length);
	__sync_fetch_and_add(&class->failed, -1);
	__sync_fetch_and_add(&class->failed_bytes, -length);
	if (by) {
		__sync_fetch_and_add(&by->all.failed, -1);
		__sync_fetch_and_add(&by->all.failed_bytes, -length);
	}
}

static __always_inline void unsure(struct counts *c, __u32 outcome)
{
	__sync_fetch_and_add(outcome == REFUSED ? &c->unsure_refused : &c->unsure_reserved, 1);
}

/*
 * Checks the outcome of the last call on this CPU and kind of stack. It is over, unless both are on the stack of
 * interrupts and this one interrupts it. If no call came between the two, and none was in flight on another CPU, the
 * producer's position tells. Else the outcome is certain if even the positions of now would lead to it.
 */
static __always_inline void check_last(struct seen *s, struct ring *r, struct counts *c, enum stack kind, struct call *this)
{
	struct call *last = &c->last[kind];
	__u64 length = record_length(last->size), moved = s->producer_pos - last->producer_pos;
	bool alone = last->ticket + 1 == this->ticket && this->ticket - r->switched > SETTLED_CALLS;

	if (last->outcome == NONE)
		return;
	if (kind == OTHER_STACK && this->stack < last->stack && last->interruptible) {
		unsure(c, last->outcome);
	} else if (last->outcome == REFUSED) {
		if (alone && moved == length)
			not_refused(s->ring, c, last);
		else if (alone ? moved : s->overwrites || last->producer_pos + length - s->consumer_pos <= s->mask)
			unsure(c, REFUSED);
	} else if (!(alone && moved == length) && s->producer_pos + length - last->limit > s->mask) {
		unsure(c, RESERVED);
	}
}

static __always_inline void note_cpu(struct ring *r, __u64 ticket)
{
	__u32 cpu = bpf_get_smp_processor_id();

	if (r->cpu == cpu)
		return;
	r->cpu = cpu;
	r->switched = ticket;
}

/* The registers at the entry of a helper. */
struct entry {
	__u64 ip, sp;
	__u64 address; /* to which the helper returns */
	__u64 args[4];
	bool interruptible;
};

static __always_inline enum stack kind_of(__u64 sp)
{
	struct task_struct *task = (void *)bpf_get_current_task();

	return sp - (__u64)BPF_CORE_READ(task, stack) < STACK_SIZE ? TASK_STACK : OTHER_STACK;
}

static __always_inline void entered(enum helper helper, __u64 size, __u64 flags, struct entry *e)
{
	struct total *all = total();
	struct call this = {.stack = e->sp, .interruptible = e->interruptible};
	enum stack kind = kind_of(e->sp);
	struct seen s = {};
	struct counts *c;
	struct ring *r;
	bool waits;

	if (all)
		__sync_fetch_and_add(&all->hits, 1);
	if (!now.counting || !look(&s, helper, e->args[0], size, flags))
		return;
	waits = is_locked(s.rb);
	s.address = e->address;
	s.failed = would_fail(&s);
	r = shared(&s);
	c = counts(s.ring);
	if (!r || !c) {
		unattributed();
		return;
	}
	if (waits)
		__sync_fetch_and_add(&r->contended, 1);
	this.ticket = __sync_fetch_and_add(&r->tickets, 1);
	this.address = s.address;
	this.producer_pos = s.producer_pos;
	this.limit = s.limit;
	this.size = s.size;
	this.outcome = s.invalid ? NONE : s.failed ? REFUSED : RESERVED;
	note_cpu(r, this.ticket);
	check_last(&s, r, c, kind, &this);
	c->last[kind] = this;
	count(&s, r, c);
}

static __always_inline bool is_in(enum helper helper, __u64 ip)
{
	return first_address[helper] && ip >= first_address[helper] && ip <= last_address[helper];
}

static __always_inline void hit(struct entry *e)
{
	if (is_in(RESERVE, e->ip))
		entered(RESERVE, e->args[1], e->args[2], e);
	else if (is_in(OUTPUT, e->ip))
		entered(OUTPUT, e->args[2], e->args[3], e);
	else if (is_in(RESERVE_DYNPTR, e->ip))
		entered(RESERVE_DYNPTR, e->args[1], e->args[2], e);
}

static __always_inline void hit_x86(struct entry *e, __u64 flags)
{
	e->interruptible = flags & INTERRUPT_FLAG;
	bpf_probe_read_kernel(&e->address, sizeof(e->address), (void *)e->sp); /* on top of the stack */
	hit(e);
}

/*
 * arch/x86/kernel/hw_breakpoint.c. Runs for every debug exception, also where bpf_overflow_handler runs no
 * perf_event program: when a program of a kprobe, tracepoint or perf event called the helper.
 */
SEC("fentry/hw_breakpoint_exceptions_notify")
int BPF_PROG(debug_exception, void *block, unsigned long event, struct die_args *args)
{
	struct entry e = {};
	struct pt_regs *regs;
	__u64 dr6 = 0;

	if (event != bpf_core_enum_value(enum die_val, DIE_DEBUG))
		return 0;
	bpf_probe_read_kernel(&dr6, sizeof(dr6), (void *)BPF_CORE_READ(args, err));
	if (!(dr6 & DR_TRAP_BITS) || (dr6 & DR_STEP))
		return 0; /* with a step, the breakpoint comes again */
	regs = BPF_CORE_READ(args, regs);
	e.ip = BPF_CORE_READ(regs, ip);
	e.sp = BPF_CORE_READ(regs, sp);
	e.args[0] = BPF_CORE_READ(regs, di);
	e.args[1] = BPF_CORE_READ(regs, si);
	e.args[2] = BPF_CORE_READ(regs, dx);
	e.args[3] = BPF_CORE_READ(regs, cx);
	hit_x86(&e, BPF_CORE_READ(regs, flags));
	return 0;
}

SEC("perf_event")
int breakpoint_x86(struct perf_event_x86 *ctx)
{
	struct entry e = {.ip = ctx->ip, .sp = ctx->sp, .args = {ctx->di, ctx->si, ctx->dx, ctx->cx}};

	hit_x86(&e, ctx->flags);
	return 0;
}

/*
 * arch/arm64/kernel/hw_breakpoint.c. To get past a breakpoint, the kernel turns those of the CPU off, runs one instruction with a
 * step, and calls this function, which turns them on again. If an interrupt comes in between, the step ends in the interrupt's
 * handler, and the breakpoint is hit once more. So steps that end in the helper are counted, not hits. Its first instruction can
 * be a branch.
 */
static __always_inline int stepped(struct pt_regs___arm64 *regs)
{
	struct entry e = {};

	e.ip = BPF_CORE_READ(regs, pc);
	e.sp = BPF_CORE_READ(regs, sp);
	e.address = BPF_CORE_READ(regs, regs[30]) | UPPER_BITS;
	e.args[0] = BPF_CORE_READ(regs, regs[0]);
	e.args[1] = BPF_CORE_READ(regs, regs[1]);
	e.args[2] = BPF_CORE_READ(regs, regs[2]);
	e.args[3] = BPF_CORE_READ(regs, regs[3]);
	e.interruptible = !(BPF_CORE_READ(regs, pstate) & INTERRUPT_MASK);
	hit(&e);
	return 0;
}

SEC("fentry/reinstall_suspended_bps")
int BPF_PROG(step_ended, struct pt_regs___arm64 *regs)
{
	return stepped(regs);
}

/* Its name since Linux 6.17. */
SEC("fentry/try_step_suspended_breakpoints")
int BPF_PROG(step_ended_6_17, struct pt_regs___arm64 *regs)
{
	return stepped(regs);
}

/* Programs that call the helpers, and return how many of the calls failed. */

SEC("raw_tp")
int try_reserve(void *ctx)
{
	void *first = bpf_ringbuf_reserve(&trial, TRIAL_SIZE * 3 / 5, 0), *second;

	if (!first)
		return 0;
	second = bpf_ringbuf_reserve(&trial, TRIAL_SIZE * 3 / 5, 0);
	if (second)
		bpf_ringbuf_discard(second, 0);
	bpf_ringbuf_discard(first, 0);
	return !second;
}

SEC("raw_tp")
int try_output(void *ctx)
{
	__u64 data = 0;

	return bpf_ringbuf_output(&trial, &data, sizeof(data), 0) != 0;
}

SEC("raw_tp")
int try_reserve_dynptr(void *ctx)
{
	struct bpf_dynptr ptr;
	long err = bpf_ringbuf_reserve_dynptr(&trial, 8, 0, &ptr);

	bpf_ringbuf_discard_dynptr(&ptr, 0);
	return err != 0;
}

/* For the time that calls take. All succeed. bpf_ringbuf_reserve would need a branch, and old verifiers walk all ways through
 * a loop. */
SEC("raw_tp")
int try_many(void *ctx)
{
	__u64 data = 0;

	for (int i = 0; i < TRIAL_CALLS; i++)
		bpf_ringbuf_output(&trial, &data, sizeof(data), BPF_RB_NO_WAKEUP);
	return 0;
}

char LICENSE[] SEC("license") = "GPL";
