/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
#ifndef RBTOOL_PROCTRACE_COMMANDS_H
#define RBTOOL_PROCTRACE_COMMANDS_H

/*
 * Carries out commands from the user ring of proctrace.bpf.c (Linux 6.1): checks a command, changes
 * the rules, and writes an acknowledgement into the ring.
 */

/* Fills in a zeroed rule, and reports whether the command has a known subject. */
static __always_inline bool subject_of(const struct command *c, struct rule *rule)
{
	bool end = false;

	rule->subject = c->subject;
	if (c->subject == PID_SUBJECT || c->subject == CGROUP_SUBJECT) {
		rule->id = c->id;
		return true;
	}
	for (int i = 0; i < EVENT_COMM_SIZE - 1; i++) {
		end |= !c->comm[i];
		rule->comm[i] = end ? 0 : c->comm[i];
	}
	return c->subject == COMM_SUBJECT;
}

/* Carries out a command. Returns 0 or a positive errno. */
static __noinline __u32 obey(const struct command *c, struct rule_counts *n)
{
	struct rule rule = {};

	if (c->type == RESET_COMMAND) {
		forget_rules(n);
		return 0;
	}
	if (!subject_of(c, &rule))
		return EINVAL;
	switch (c->type) {
	case WATCH_COMMAND:
	case IGNORE_COMMAND:
		return add_rule(n, &rule, c->type);
	case FORGET_COMMAND:
		return forget_rule(n, &rule);
	default:
		return EINVAL;
	}
}

/* Not inlined, for the same reason as fill_fork in proctrace.bpf.c. */
static __noinline void fill_ack(struct ack_event *e, const struct command *c, const struct rule_counts *n)
{
	e->type = ACK_EVENT;
	e->ktime = bpf_ktime_get_ns();
	e->command = c->type;
	e->subject = c->subject;
	e->cookie = c->cookie;
	e->id = c->id;
	__builtin_memcpy(e->comm, c->comm, sizeof(e->comm));
	e->comm[EVENT_COMM_SIZE - 1] = 0;
	e->rules = n->rules;
	e->watches = n->watches;
}

static long on_command(struct bpf_dynptr *sample, void *ctx)
{
	struct command c = {};
	__u32 key = 0, error = EINVAL;
	struct rule_counts *n = bpf_map_lookup_elem(&ruled, &key);
	struct ack_event *e;

	if (!n)
		return 1; /* for the verifier */
	if (!bpf_dynptr_read(&c, sizeof(c), sample, 0, 0)) /* fails if the sample is shorter than a command */
		error = obey(&c, n);
	n->error = error;
	e = bpf_ringbuf_reserve(&events, sizeof(*e), 0);
	count(ACK_EVENT, e);
	if (e) {
		fill_ack(e, &c, n);
		e->error = error;
		bpf_ringbuf_submit(e, 0);
	}
	n->cookie = c.cookie; /* stored last: a sender that finds its cookie here also finds the record */
	return 0;
}

#endif
