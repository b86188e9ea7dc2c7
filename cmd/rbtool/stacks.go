package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/cilium/ebpf"

	"github.com/rbtool/rbtool/bpf/proctrace"
	"github.com/rbtool/rbtool/consumer"
	"github.com/rbtool/rbtool/internal/once"
	"github.com/rbtool/rbtool/internal/symbol"
)

// stackNamer shows the stacks of proctrace's events. What a stack is called does not change,
// so each is looked up until that succeeds.
type stackNamer struct {
	stacks *proctrace.Stacks
	stderr io.Writer
	kernel once.Value[*symbol.Kernel]
	told   bool // that it could not be read
	files  *symbol.Files

	kernelNames, userNames map[proctrace.StackID]namedStack
}

// namedStack is a stack's calls, or why it is missing.
type namedStack struct {
	frames  []string
	missing string
}

// newStackNamer returns nil where the ring's records have no stacks.
func newStackNamer(m *ebpf.Map, stderr io.Writer) *stackNamer {
	stacks, err := proctrace.StacksOf(m)
	if err != nil {
		for _, none := range []error{proctrace.ErrNotTraced, proctrace.ErrNoStacks, proctrace.ErrStopped} {
			if errors.Is(err, none) {
				return nil
			}
		}
		fmt.Fprintf(stderr, "note: stacks are not shown: %v\n", err)
		return nil
	}
	return &stackNamer{
		stacks: stacks, stderr: stderr, files: symbol.NewFiles(),
		kernel:      once.Value[*symbol.Kernel]{Pause: 10 * time.Second}, // it is read at length
		kernelNames: make(map[proctrace.StackID]namedStack), userNames: make(map[proctrace.StackID]namedStack),
	}
}

func (n *stackNamer) Close() error { return n.stacks.Close() }

// of returns the stacks of an event that can have some.
func (n *stackNamer) of(record []byte) (kernel, user namedStack, ok bool) {
	e, err := proctrace.Decode(record)
	if err != nil || e.Type != proctrace.Exec && e.Type != proctrace.Exit || errors.Is(e.KernelStack.Err(), proctrace.ErrNoStacks) {
		return kernel, user, false
	}
	if e.Type == proctrace.Exec {
		n.files.Add(e.Filename)
	}
	kernel, user = named(n.kernelNames, e.KernelStack, n.nameKernel), named(n.userNames, e.UserStack, n.nameUser)
	if _, known := n.kernel.Known(); !known {
		delete(n.kernelNames, e.KernelStack) // addresses, which may get names
	}
	return kernel, user, true
}

func named(known map[proctrace.StackID]namedStack, id proctrace.StackID, name func(proctrace.StackID) ([]string, error)) namedStack {
	s, ok := known[id]
	if ok {
		return s
	}
	frames, err := name(id)
	s.frames = append([]string{}, frames...) // in JSON [], not null
	if err != nil {
		s.missing = err.Error()
		return s
	}
	known[id] = s
	return s
}

func (n *stackNamer) nameKernel(id proctrace.StackID) ([]string, error) {
	ips, err := n.stacks.Kernel(id)
	if err != nil {
		return nil, err
	}
	kernel, err := n.kernel.Get(symbol.ReadKernel)
	if err != nil && !n.told {
		n.told = true
		fmt.Fprintf(n.stderr, "note: stacks of the kernel are shown as addresses: %v\n", err)
	}
	var frames []string
	for _, ip := range ips {
		name := ""
		if kernel != nil {
			name = kernel.Name(ip)
		}
		if name == "" {
			name = fmt.Sprintf("%#x", ip)
		}
		frames = append(frames, name)
		if strings.HasPrefix(name, "__traceiter_") {
			frames = frames[:0] // all so far is the tracing itself
		}
	}
	return frames, nil
}

func (n *stackNamer) nameUser(id proctrace.StackID) ([]string, error) {
	calls, err := n.stacks.User(id)
	var frames []string
	for i, f := range calls {
		if f.BuildID == nil {
			frames = append(frames, fmt.Sprintf("%#x (of no file with a build id)", f.IP))
			continue
		}
		frames = append(frames, n.files.Name(f.BuildID, f.Offset, i > 0))
	}
	return frames, err
}

// format adds the stacks to what inner makes of a record: below it in text, as a member in JSON.
func (n *stackNamer) format(output string, inner format) format {
	return func(dst []byte, seq uint64, rec consumer.Record) []byte {
		dst = inner(dst, seq, rec)
		kernel, user, ok := n.of(rec.Data)
		switch {
		case !ok:
			return dst
		case output == "json":
			return appendStacksJSON(dst[:len(dst)-len("}\n")], kernel, user)
		}
		dst = appendStackText(dst, "kernel", kernel)
		return appendStackText(dst, "user", user)
	}
}

func appendStackText(dst []byte, name string, s namedStack) []byte {
	if s.missing != "" {
		return fmt.Appendf(dst, "    %s: none, %s\n", name, s.missing)
	}
	for i, f := range s.frames {
		if i > 0 {
			name = ""
		}
		dst = fmt.Appendf(dst, "    %-7s %s\n", name, printable(f))
	}
	return dst
}

func appendStacksJSON(dst []byte, kernel, user namedStack) []byte {
	b, err := json.Marshal(struct {
		Kernel        []string `json:"kernel"`
		KernelMissing string   `json:"kernel_missing,omitempty"`
		User          []string `json:"user"`
		UserMissing   string   `json:"user_missing,omitempty"`
	}{kernel.frames, kernel.missing, user.frames, user.missing})
	if err != nil {
		return append(dst, "}\n"...) // strings can always be encoded
	}
	dst = append(dst, `,"stacks":`...)
	dst = append(dst, b...)
	return append(dst, "}\n"...)
}
