// Package load produces records for benchmarks: records with the time of their commit, for the
// latency of wakeups, and refills that a consumer runs on its own CPU, for records in its
// cache. Other records come from package internal/bpftest/producer.
package load

//go:generate go tool bpf2go -target bpfel -go-package load -cflags "-O2 -g -Wall -Wextra -Wno-unused-parameter -Werror -mcpu=v3 -I../../bpf/headers" -type stamped -type stamp_arg -type refill_arg bpf load.bpf.c
