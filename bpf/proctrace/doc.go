// Package proctrace follows every fork, exec and exit on the host and writes
// them, in the order in which they happened on all CPUs, into one ring.
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
//	// Read tracer.Events() and give each record to proctrace.Decode.
//
// [Tracer.Pin] leaves the tracer running when the process ends; [Open] finds
// it again, [Remove] ends it.
//
// # What is promised
//
// In the ring the records of a process come in the order of its life: its
// fork, its execs, its exit. Times do not prove an order between CPUs, since
// taking the time and taking a place in the ring are two steps: it is the
// order in the ring that counts. A pid is used again and again; a process is
// (TGID, StartTime), which is also /proc/PID/stat's field 22 in finer units.
//
// No event is dropped unseen: what found no room in the ring, and what the
// kernel did not run the programs for, [Tracer.Stats] counts by type. The
// latter can happen where a program is preempted in a tracepoint (in Linux
// 7.2, not in 6.18; include/linux/tracepoint.h, __DECLARE_TRACE): until it
// goes on, the same program does not run for another task on that CPU
// (kernel/trace/bpf_trace.c, __bpf_trace_run). There [Load] loads copies of
// each program that make up for each other, so that it hardly ever happens. A
// preempted program also leaves a record that it has not finished yet in the
// ring, and readers wait behind it.
//
// Threads that the kernel makes inside a process for itself (io_uring workers:
// kernel/fork.c, create_io_thread) end but were never forked.
//
// The cgroup is the one in the v2 hierarchy, for a fork the child's. On a host
// without one it is always 1, the root's.
//
// # What is traced
//
// Everything, until [Tracer.Command] says otherwise: rules to watch or ignore
// processes, names and cgroups, which the kernel applies before it writes a record.
// Commands reach the tracer through a user ring ([Tracer.Commands]), into which other
// programs may write them too, as struct command of bpf/headers/proctrace.h. A rule about a
// pid means the process that had it then: whoever gets the pid later is somebody else. Each is
// acknowledged by a record in the ring, before which the old rules hold and behind which the
// new ones. Events that the rules leave out are counted.
//
// # Stacks
//
// With Options.Stacks, execs and exits have the stacks of the task, in the kernel and in the
// process: ids, which [StacksOf] resolves. Frames of processes are build ids and offsets of files,
// which outlive the process. In Go programs they are addresses, because the kernel does not find
// their build ids. An event without a stack says why.
//
// # Processes that live
//
// With Options.Processes there is a table of them in an arena, which any process walks while the
// kernel changes it: [Tracer.Processes]. It has every process, whatever the rules are.
//
// # What can be replaced
//
// The programs that are attached pass each event on to a handler, by a tail call through a
// map that is pinned with the tracer. [Tracer.Replace] puts those of this version of the package in their
// place, without a gap.
//
// # Requirements
//
// Linux 5.8 with BTF, CAP_BPF and CAP_PERFMON. On kernels before 5.11 maps
// count against RLIMIT_MEMLOCK, which must be raised first
// (rlimit.RemoveMemlock of cilium/ebpf). What a later kernel offers is used where it is there:
// [Tracer.Uses].
package proctrace

//go:generate go tool bpf2go -target bpfel -go-package proctrace -no-global-types -cflags "-O2 -g -Wall -Wextra -Wno-unused-parameter -Werror -mcpu=v3 -I../headers" -type event_type -type event_counts -type fork_event -type exec_event -type exit_event -type ack_event -type command_type -type command_subject -type command -type rule_counts bpf proctrace.bpf.c
//go:generate go tool bpf2go -target bpfel -go-package proctrace -no-global-types -cflags "-O2 -g -Wall -Wextra -Wno-unused-parameter -Werror -mcpu=v3 -I../headers" -type process_entry table table.bpf.c
