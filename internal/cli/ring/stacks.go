package ring

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"
	"time"

	"github.com/cilium/ebpf"

	"github.com/rbtool/rbtool/bpf/proctrace"
	"github.com/rbtool/rbtool/consumer"
	"github.com/rbtool/rbtool/internal/cli/command"
	"github.com/rbtool/rbtool/internal/escape"
	"github.com/rbtool/rbtool/internal/once"
	"github.com/rbtool/rbtool/internal/stream"
	"github.com/rbtool/rbtool/internal/symbol"
)

// maxStacks bounds how many named stacks are in memory. Each has at most 64 frames of at most 1.3 KiB.
const maxStacks = 256

// stackNamer adds the stacks of proctrace's events to the output. It looks up each stack once: its names
// do not change once all its files are known.
type stackNamer struct {
	stacks *proctrace.Stacks
	stderr io.Writer
	kernel once.Value[*symbol.Kernel]
	told   bool // the user was told that kernel symbols cannot be read
	files  *symbol.Files
	ended  uint32 // pid of the process whose end the previous record reported, or 0

	kernelNames, userNames map[int32]namedStack
}

// noStack is the stack id in events of a tracer that does not record stacks (NO_STACK of
// bpf/headers/proctrace.h).
const noStack = -1

// namedStack has the calls of a stack, or the reason why it is missing.
type namedStack struct {
	frames  []string
	missing string
}

// stacks are the stackNamers of the rings of proctrace that are read.
type stacks struct {
	*reading
	namers map[int]*stackNamer
}

// add returns what names the stacks in records of a ring, or nil if there are none to name.
func (s *stacks) add(i int, m *member, format string) stream.Extras {
	if m.types.Set == nil || !stream.Decodes(format) {
		return nil
	}
	n := newStackNamer(m.Map, s.stderr)
	if n == nil {
		return nil
	}
	if s.namers == nil {
		s.namers = map[int]*stackNamer{}
		s.Watch = func(rec consumer.Record) {
			if n := s.namers[rec.Ring]; n != nil {
				n.watch(rec.Data)
			}
		}
	}
	s.namers[i] = n
	return n
}

// remove forgets a ring.
func (s *stacks) remove(i int) error {
	n := s.namers[i]
	if n == nil {
		return nil
	}
	delete(s.namers, i)
	return n.Close()
}

func (s *stacks) close() {
	for _, n := range s.namers {
		n.Close()
	}
}

// newStackNamer returns nil if the records of the ring m have no stacks.
func newStackNamer(m *ebpf.Map, stderr io.Writer) *stackNamer {
	stacks, err := proctrace.StacksOf(m)
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		command.Note(stderr, "stacks are not shown: %v", err)
		return nil
	}
	n := &stackNamer{
		stacks: stacks, stderr: stderr, files: symbol.NewFiles(),
		kernel:      once.Value[*symbol.Kernel]{Pause: 10 * time.Second}, // reading them takes long
		kernelNames: make(map[int32]namedStack), userNames: make(map[int32]namedStack),
	}
	n.files.AddProcesses()
	return n
}

func (n *stackNamer) Close() error { return n.stacks.Close() }

// watch learns from each record, shown or not, which files a process has mapped.
func (n *stackNamer) watch(record []byte) {
	if n.ended != 0 {
		n.files.Ended(n.ended)
		n.ended = 0
	}
	e, err := proctrace.Decode(record)
	if err != nil {
		return
	}
	switch {
	case e.Type == proctrace.Exec:
		n.files.Started(taskOf(e), e.Filename)
	case e.Type == proctrace.Fork && e.PID == e.TGID:
		n.files.Forked(taskOf(e))
	case e.Type == proctrace.Exit && e.GroupDead:
		n.ended = e.TGID
	}
}

func taskOf(e proctrace.Event) symbol.Task {
	return symbol.Task{PID: e.TGID, PPID: e.PPID, Start: e.StartTime, Comm: e.Comm}
}

// of returns the stacks of an event, and false for an event without stacks.
func (n *stackNamer) of(record []byte) (kernel, user namedStack, ok bool) {
	e, err := proctrace.Decode(record)
	if err != nil || e.Type != proctrace.Exec && e.Type != proctrace.Exit || e.KernelStack == noStack {
		return kernel, user, false
	}
	kernel = named(n.kernelNames, e.KernelStack, n.nameKernel)
	user = named(n.userNames, e.UserStack, func(id int32) ([]string, bool, error) { return n.nameUser(id, taskOf(e)) })
	return kernel, user, true
}

// named returns the names of the stack id, from known if they are there. It adds them to known if name
// reports that they are the same in every event with that id.
func named(known map[int32]namedStack, id int32, name func(int32) ([]string, bool, error)) namedStack {
	s, ok := known[id]
	if ok {
		return s
	}
	frames, lasting, err := name(id)
	s.frames = append([]string{}, frames...) // JSON shows an empty slice as [] and nil as null
	if err != nil {
		s.missing = err.Error()
		return s
	}
	if len(known) >= maxStacks {
		clear(known)
	}
	if lasting {
		known[id] = s
	}
	return s
}

func (n *stackNamer) nameKernel(id int32) (frames []string, lasting bool, err error) {
	ips, err := n.stacks.Kernel(id)
	if err != nil {
		return nil, false, err
	}
	kernel, err := n.kernel.Get(symbol.ReadKernel)
	if err != nil && !n.told {
		n.told = true
		command.Note(n.stderr, "kernel stacks are shown as addresses: %v", err)
	}
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
			frames = frames[:0] // the frames so far belong to the tracer itself
		}
	}
	_, lasting = n.kernel.Known() // if the symbols are not known yet, look this stack up again in its next event
	return frames, lasting, nil
}

// nameUser names a user stack of a process. Names that come from the process's current mappings are
// valid for this process only: another process can have different files at the same addresses, and so
// the same stack id.
func (n *stackNamer) nameUser(id int32, task symbol.Task) (frames []string, lasting bool, err error) {
	calls, err := n.stacks.User(id)
	lasting = true
	for i, f := range calls {
		var name string
		var found bool
		if f.BuildID == nil {
			name, _ = n.files.NameAt(task, f.IP, i > 0)
		} else {
			name, found = n.files.Name(f.BuildID, f.Offset, i > 0)
		}
		frames, lasting = append(frames, name), lasting && found
	}
	return frames, lasting, err
}

// AppendText implements [stream.Extras].
func (n *stackNamer) AppendText(dst, record []byte) []byte {
	kernel, user, ok := n.of(record)
	if !ok {
		return dst
	}
	return appendStackText(appendStackText(dst, "kernel", kernel), "user", user)
}

// AppendJSON implements [stream.Extras].
func (n *stackNamer) AppendJSON(dst, record []byte) []byte {
	kernel, user, ok := n.of(record)
	if !ok {
		return dst
	}
	out, err := command.AppendJSON(append(dst, `,"stacks":`...), struct {
		Kernel        []string `json:"kernel"`
		KernelMissing string   `json:"kernel_missing,omitempty"`
		User          []string `json:"user"`
		UserMissing   string   `json:"user_missing,omitempty"`
	}{kernel.frames, kernel.missing, user.frames, user.missing})
	if err != nil {
		return dst // cannot happen: any list of strings can be encoded
	}
	return out
}

func appendStackText(dst []byte, name string, s namedStack) []byte {
	if s.missing != "" {
		return fmt.Appendf(dst, "    %s: none, %s\n", name, escape.String(s.missing))
	}
	for i, f := range s.frames {
		if i > 0 {
			name = ""
		}
		dst = fmt.Appendf(dst, "    %-7s %s\n", name, escape.String(f))
	}
	return dst
}
