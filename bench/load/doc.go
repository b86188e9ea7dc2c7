// Package load produces the records of two benchmarks: records that contain the time of their
// commit, to measure the latency of wakeups, and refills, which a consumer runs on its own CPU so
// that the records are in its cache. The other benchmarks use package internal/bpftest/producer.
package load

//go:generate go tool bpf2go -target bpfel -go-package load -cflags "-O2 -g -Wall -Wextra -Wno-unused-parameter -Werror -mcpu=v3 -I../../bpf/headers" -type stamped -type stamp_arg -type refill_arg bpf load.bpf.c
