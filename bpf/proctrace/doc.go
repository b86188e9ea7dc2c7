// Package proctrace traces every fork, exec and exit on the host and writes the events, in the
// order in which they happen on all CPUs, into one ring buffer.
//
// The smallest use:
//
//	tracer, err := proctrace.Load(proctrace.Options{})
//	if err != nil {
//		return err
//	}
//	defer tracer.Close()
//	if err := tracer.Attach(); err != nil {
//		return err
//	}
//	reader, err := consumer.NewReader(tracer.Events(), consumer.Options{})
//	if err != nil {
//		return err
//	}
//	defer reader.Close()
//	for record, err := range reader.Records(ctx) {
//		if err != nil {
//			return err
//		}
//		event, err := proctrace.Decode(record.Data)
//		...
//	}
//
// [Tracer.Pin] keeps the tracer running after the process has ended; [Open] opens a pinned tracer,
// [Remove] stops it. [Tracer.Stats] counts what was written and what was lost.
//
// # Order and losses
//
// The records of a process lie in the ring in the order of its life: fork, execs, exit. Rely on the
// order in the ring, not on times: a program reads the clock and reserves its record in two steps,
// so times of events on different CPUs may be in another order. Pids are reused; TGID and StartTime
// together identify a process.
//
// Every lost event is counted: [Counts] has the number of events that found no room in the ring,
// and of events for which the kernel did not run a program. The latter happens if a program is
// preempted (possible in Linux 7.2, not in 6.18; include/linux/tracepoint.h, __DECLARE_TRACE):
// until the program resumes, the kernel does not run it for another task on the same CPU
// (kernel/trace/bpf_trace.c, __bpf_trace_run). On such kernels [Load] loads several copies of each
// program: if one copy is preempted, another writes the event, so that losses are rare. While a
// program is preempted its record in the ring is BUSY, and readers wait there.
//
// Threads that the kernel creates in a process for its own use (io_uring workers: kernel/fork.c,
// create_io_thread) exit without a fork event.
//
// Event.CgroupID is the cgroup in the v2 hierarchy; in a fork event it is that of the child.
// Without a v2 hierarchy it is always 1, the root.
//
// # Rules
//
// The tracer follows all processes until rules say otherwise: [Tracer.Watch] and [Tracer.Ignore]
// take a process, a name or a cgroup. The programs apply the rules before they write a record, and
// count the events that they leave out. Rules arrive through a user ring buffer, into which other
// programs may write too, as struct command of bpf/headers/proctrace.h. A rule about a pid applies
// to the process that has the pid when the rule is made, not to a later process with the same pid.
// The tracer answers each command with an Ack event: the new rules apply to all records after it.
//
// # Stacks
//
// With Options.Stacks, exec and exit events have the ids of two stacks, in the kernel and in
// the process; [StacksOf] resolves them. Frames of processes are build ids and file offsets, which
// outlive the process, or addresses where the kernel finds no build id, as in Go programs.
//
// # Process table
//
// With Options.Processes the tracer keeps a table of all living processes in an arena. Rules do not
// affect the table. Any process can read it while programs change it: see [Tracer.Processes].
//
// # Upgrades
//
// The attached programs pass each event to a handler, by a tail call through a map that is
// pinned with the tracer. [Tracer.Replace] installs the handlers of this version without a gap.
//
// # Requirements
//
// Linux 5.8 with BTF, CAP_BPF and CAP_PERFMON. [Open], [Remove], [Tracer.Replace] and [StacksOf]
// need CAP_SYS_ADMIN. Before Linux 5.11 the memory of maps is limited by RLIMIT_MEMLOCK: raise it
// first (rlimit.RemoveMemlock of cilium/ebpf). [Stats] tells which features of later kernels are in
// use.
package proctrace

//go:generate go tool bpf2go -target bpfel -go-package proctrace -no-global-types -cflags "-O2 -g -Wall -Wextra -Wno-unused-parameter -Werror -mcpu=v3 -I../headers" -type event_type -type event_counts -type fork_event -type exec_event -type exit_event -type ack_event -type command_type -type command_subject -type command -type rule_counts bpf proctrace.bpf.c
//go:generate go tool bpf2go -target bpfel -go-package proctrace -no-global-types -cflags "-O2 -g -Wall -Wextra -Wno-unused-parameter -Werror -mcpu=v3 -I../headers" -type process_entry table table.bpf.c
