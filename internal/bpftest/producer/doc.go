// Package producer produces records into a RINGBUF map on demand, through BPF
// programs that it runs with BPF_PROG_TEST_RUN: for tests and benchmarks of
// everything that consumes, and on every kernel that has the map.
//
//	p, err := producer.Load(ring) // an *ebpf.Map
//	...
//	defer p.Close()
//	job := producer.Job{Op: producer.Output, Count: 1000, Size: 16, MaxSize: 128}
//	res, err := p.Run(ctx, job)
//
// A record is known from its number: Job.Len, Job.Discarded and Fill say what
// the programs produce, and Verify checks what arrived.
//
// A Producer may be used from several goroutines, but does one Run or Ping at
// a time. To produce on several CPUs at once, Load one Producer for each: they
// may share the ring.
package producer

//go:generate go tool bpf2go -target bpfel -go-package producer -cflags "-O2 -g -Wall -Wextra -Wno-unused-parameter -Werror -mcpu=v3 -I../../../bpf/headers" -type hold_arg bpf producer.bpf.c
