// Package load is the producing side that only benchmarks need: records that
// carry the time of their commit, for the latency of a wakeup, and refills that a
// consumer runs on its own CPU, for records that are still in its cache.
//
// Everything else produces with package internal/bpftest/producer.
package load

//go:generate go tool bpf2go -target bpfel -go-package load -cflags "-O2 -g -Wall -Wextra -Wno-unused-parameter -Werror -mcpu=v3 -I../../bpf/headers" -type stamped -type stamp_arg -type refill_arg bpf load.bpf.c
