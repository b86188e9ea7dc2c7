package runner

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strconv"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"

	"github.com/rbtool/rbtool/internal/explain"
)

func attachKprobe(_ *Object, p *Program, _ Targets) ([]io.Closer, error) {
	symbol, offset, err := splitOffset(p.section.target)
	if err != nil {
		return nil, err
	}
	if symbol == "" {
		return nil, fmt.Errorf("%w: name a function: --at %s=%s/FUNCTION", ErrUnsaid, p.Name, p.section.hook)
	}
	if strings.HasSuffix(p.section.hook, "syscall") {
		symbol = "sys_" + symbol // link adds the prefix of the architecture
	}
	attach := link.Kprobe
	if strings.HasPrefix(p.section.hook, "kret") {
		attach = link.Kretprobe
	}
	l, err := attach(symbol, p.Program, &link.KprobeOptions{Offset: offset})
	if err != nil {
		return nil, probeError(err, symbol)
	}
	return one(l, nil)
}

// probeError says why there is no kprobe on a function.
func probeError(err error, symbol string) error {
	switch {
	case missingKprobes():
		return explain.Error(ebpf.ErrNotSupported, "this kernel has no kprobes (CONFIG_KPROBE_EVENTS)")
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, unix.EADDRNOTAVAIL), errors.Is(err, unix.EINVAL):
		return noFunction(symbol, traceableFunctions())
	}
	return err
}

func attachKprobes(_ *Object, p *Program, _ Targets) ([]io.Closer, error) {
	pattern := p.section.target
	if pattern == "" {
		return nil, fmt.Errorf("%w: name a pattern of functions: --at %s=%s/PATTERN", ErrUnsaid, p.Name, p.section.hook)
	}
	known := traceableFunctions()
	symbols := matching(pattern, known)
	if len(symbols) == 0 {
		return nil, noFunction(pattern, known)
	}
	opts := link.KprobeMultiOptions{Symbols: symbols, Session: p.section.hook == "kprobe.session"}
	if strings.HasPrefix(p.section.hook, "kret") {
		return one(link.KretprobeMulti(p.Program, opts))
	}
	return one(link.KprobeMulti(p.Program, opts))
}

// splitOffset splits "function+0x10".
func splitOffset(target string) (symbol string, offset uint64, err error) {
	symbol, text, ok := strings.Cut(target, "+")
	if ok {
		if offset, err = strconv.ParseUint(text, 0, 64); err != nil {
			return "", 0, fmt.Errorf("%w: the offset %q is not a number", ErrSetting, text)
		}
	}
	return symbol, offset, nil
}

func attachTracepoint(_ *Object, p *Program, _ Targets) ([]io.Closer, error) {
	group, name, ok := strings.Cut(p.section.target, "/")
	if !ok {
		return nil, fmt.Errorf("%w: name a tracepoint: --at %s=tracepoint/GROUP/NAME", ErrUnsaid, p.Name)
	}
	l, err := link.Tracepoint(group, name, p.Program, nil)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, noTracepoint(err, group+"/"+name)
	}
	return one(l, err)
}

func attachRaw(_ *Object, p *Program, _ Targets) ([]io.Closer, error) {
	if p.section.target == "" {
		return nil, fmt.Errorf("%w: name a tracepoint: --at %s=raw_tp/NAME", ErrUnsaid, p.Name)
	}
	l, err := link.AttachRawTracepoint(link.RawTracepointOptions{Name: p.section.target, Program: p.Program})
	if errors.Is(err, fs.ErrNotExist) {
		return nil, noRawTracepoint(p.section.target)
	}
	return one(l, err)
}

func attachTracing(_ *Object, p *Program, _ Targets) ([]io.Closer, error) {
	if p.section.target == "" {
		return nil, fmt.Errorf("%w: name a function: --at %s=%s/FUNCTION", ErrUnsaid, p.Name, p.section.hook)
	}
	l, err := link.AttachTracing(link.TracingOptions{Program: p.Program, AttachType: p.spec.AttachType})
	if errors.Is(err, enotsupp) {
		return nil, explain.Error(ebpf.ErrNotSupported, "this kernel cannot attach to functions (fentry, CONFIG_DYNAMIC_FTRACE_WITH_DIRECT_CALLS)")
	}
	return one(l, err)
}

// enotsupp is the kernel's ENOTSUPP, which no uapi header has (include/linux/errno.h).
const enotsupp = unix.Errno(524)

func attachLSM(_ *Object, p *Program, _ Targets) ([]io.Closer, error) {
	l, err := link.AttachLSM(link.LSMOptions{Program: p.Program})
	if err != nil {
		return nil, err
	}
	if active, known := activeLSMs(); known && !strings.Contains(","+active+",", ",bpf,") {
		l.Close()
		return nil, explain.Error(ebpf.ErrNotSupported, "the kernel was booted without lsm=bpf: its programs would never run (active: %s)", active)
	}
	return one(l, nil)
}
