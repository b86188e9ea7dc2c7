package main

import (
	"fmt"
	"io"
	"os"
	"runtime"
	"runtime/debug"
	"strings"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/rbtool/rbtool/bench/harness"
)

// host describes the machine on which the figures were measured.
type host struct {
	CPU    string `json:"cpu"`
	CPUs   int    `json:"cpus"`
	Kernel string `json:"kernel"`
	Go     string `json:"go"`
	Cilium string `json:"cilium"`
	// RealTime tells whether all processes ran with real-time priority.
	RealTime bool `json:"real_time"`
}

func thisHost() host {
	h := host{Go: runtime.Version(), RealTime: harness.RealTime()}
	h.CPUs, _ = ebpf.PossibleCPU() // this process is bound to one of them
	var name unix.Utsname
	if unix.Uname(&name) == nil {
		h.Kernel = unix.ByteSliceToString(name.Release[:])
	}
	info, err := os.ReadFile("/proc/cpuinfo")
	if err == nil {
		_, model, _ := strings.Cut(string(info), "model name\t: ")
		h.CPU, _, _ = strings.Cut(model, "\n")
	}
	if build, ok := debug.ReadBuildInfo(); ok {
		for _, m := range build.Deps {
			if m.Path == "github.com/cilium/ebpf" {
				h.Cilium = m.Version
			}
		}
	}
	return h
}

func (h host) write(w io.Writer, o options) {
	priority := "SCHED_RR"
	if !h.RealTime {
		priority = "no real-time priority (not permitted: expect noise)"
	}
	fmt.Fprintf(w, "%s, %d CPUs, Linux %s, %s, cilium/ebpf %s, %s; median of %d rounds, seed %d\n\n",
		h.CPU, h.CPUs, h.Kernel, h.Go, h.Cilium, priority, o.rounds, o.seed)
}
