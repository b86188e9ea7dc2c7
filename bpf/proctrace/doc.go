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
//	// Read tracer.Events() and pass each record to proctrace.Decode.
//
// [Tracer.Pin] keeps the tracer running after the process has ended; [Open] finds it again,
// [Remove] stops it.
//
// # Order and losses
//
// The records of a process lie in the ring in the order of its life: fork, execs, exit. Only
// the order in the ring counts: a program reads the clock and reserves its record in two
// steps, so times of different CPUs can disagree with it. Pids are reused; TGID and StartTime
// together identify a process.
//
// Every lost event is counted: [Counts] has those that found no room in the ring and those
// for which the kernel did not run the programs. The latter happens if a program is preempted
// in a tracepoint (in Linux 7.2, not in 6.18; include/linux/tracepoint.h, __DECLARE_TRACE):
// until it resumes, the kernel does not run it for another task on the same CPU
// (kernel/trace/bpf_trace.c, __bpf_trace_run). On such kernels [Load] loads copies of each
// program that fill in for each other, and losses become rare. A preempted program also
// leaves an unfinished record in the ring, at which readers wait.
//
// Threads that the kernel creates in a process for itself (io_uring workers: kernel/fork.c,
// create_io_thread) exit without a fork event.
//
// The cgroup is that of the v2 hierarchy; a fork event has the child's. Without a v2
// hierarchy it is always 1, the root.
//
// # Rules
//
// The tracer follows all processes until rules say otherwise: [Tracer.Watch] and
// [Tracer.Ignore] take a process, a name or a cgroup. The kernel applies them before it writes
// a record, and counts what they leave out. Rules arrive through a user ring buffer, into which other
// programs may write too, as struct command of bpf/headers/proctrace.h. A rule about a
// pid means the process that has it at that moment, not a later one. The tracer answers each command
// with an Ack event: the new rules hold for all records behind it.
//
// # Stacks
//
// With Options.Stacks, exec and exit events have the ids of two stacks, in the kernel and in
// the process; [StacksOf] resolves them. Frames of processes are build ids and file offsets, which
// outlive the process, or addresses where the kernel finds no build id, as in Go programs.
//
// # Process table
//
// With Options.Processes the tracer keeps a table of all living processes in an arena,
// whatever the rules are. Any process can walk it while the kernel changes it:
// [Tracer.Processes].
//
// # Upgrades
//
// The attached programs pass each event to a handler, by a tail call through a map that is
// pinned with the tracer. [Tracer.Replace] installs the handlers of this version without a gap.
//
// # Requirements
//
// Linux 5.8 with BTF, CAP_BPF and CAP_PERFMON. Before Linux 5.11 maps
// count against RLIMIT_MEMLOCK: raise it first (rlimit.RemoveMemlock of cilium/ebpf).
// [Stats] tells which features of later kernels are in use.
package proctrace

//go:generate go tool bpf2go -target bpfel -go-package proctrace -no-global-types -cflags "-O2 -g -Wall -Wextra -Wno-unused-parameter -Werror -mcpu=v3 -I../headers" -type event_type -type event_counts -type fork_event -type exec_event -type exit_event -type ack_event -type command_type -type command_subject -type command -type rule_counts bpf proctrace.bpf.c
//go:generate go tool bpf2go -target bpfel -go-package proctrace -no-global-types -cflags "-O2 -g -Wall -Wextra -Wno-unused-parameter -Werror -mcpu=v3 -I../headers" -type process_entry table table.bpf.c
