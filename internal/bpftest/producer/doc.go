// Package producer produces records into a RINGBUF map on demand, for tests and benchmarks of
// consumers on every kernel that has the map. It runs BPF programs with BPF_PROG_TEST_RUN.
//
//	p, err := producer.Load(ring) // an *ebpf.Map
//	...
//	defer p.Close()
//	job := producer.Job{Op: producer.Output, Count: 1000, Size: 16, MaxSize: 128}
//	res, err := p.Run(ctx, job)
//
// The sequence number of a record determines its length and contents: Job.Len, Job.Discarded and
// Fill return what the programs produce, and Verify checks a record.
//
// Many goroutines may use a Producer. It does one Run or Ping at a time. To produce on several CPUs
// at once, load a Producer for each CPU; the Producers may share the ring.
package producer

//go:generate go tool bpf2go -target bpfel -go-package producer -cflags "-O2 -g -Wall -Wextra -Wno-unused-parameter -Werror -mcpu=v3 -I../../../bpf/headers" -type hold_arg bpf producer.bpf.c
