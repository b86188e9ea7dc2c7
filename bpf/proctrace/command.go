package proctrace

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"time"
	"unsafe" // only for the offsets of fields in generated structs

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
	"github.com/cilium/ebpf/features"
	"golang.org/x/sys/unix"

	"github.com/rbtool/rbtool/internal/explain"
	"github.com/rbtool/rbtool/internal/once"
	"github.com/rbtool/rbtool/userprod"
)

// action is the type of a command.
type action uint32

const (
	watch  = action(bpfCommandTypeWATCH_COMMAND)
	ignore = action(bpfCommandTypeIGNORE_COMMAND)
	forget = action(bpfCommandTypeFORGET_COMMAND)
	reset  = action(bpfCommandTypeRESET_COMMAND)
)

func (a action) String() string {
	switch a {
	case watch:
		return "watch"
	case ignore:
		return "ignore"
	case forget:
		return "forget"
	case reset:
		return "reset"
	}
	return fmt.Sprintf("command %d", uint32(a))
}

// Subject says which processes a rule applies to. Set exactly one field.
type Subject struct {
	// PID is the TGID of a process. The rule applies to that process and its children, not to
	// their children, nor to a later process with the same pid. If no process has the pid, the
	// rule has no effect. The kernel keeps some KiB of memory of the process until the rule is
	// removed.
	PID      uint32
	Comm     string // processes whose events have this Comm, 1 to 15 bytes
	CgroupID uint64 // processes whose events have this CgroupID, not those in cgroups below
}

var (
	errNoRule       = explain.Error(unix.ENOENT, "no such rule")
	errTooManyRules = explain.Error(unix.E2BIG, "too many rules")
)

// commandError returns the error for the errno in a record of type Ack.
func commandError(errno uint32) error {
	switch unix.Errno(errno) {
	case 0:
		return nil
	case unix.ENOENT:
		return errNoRule
	case unix.E2BIG:
		return errTooManyRules
	}
	return unix.Errno(errno)
}

// haveCommands reports whether the kernel has user rings. Package features caches the result.
func haveCommands() bool { return features.HaveMapType(ebpf.UserRingbuf) == nil }

// held remembers that tryHolding has succeeded.
var held once.Value[struct{}]

// holding returns nil if the kernel permits the program that takes commands to keep references to
// tasks in a map. Otherwise the error says why not.
func holding(cache *btf.Cache) error {
	_, err := held.Get(func() (struct{}, error) { return struct{}{}, tryHolding(cache) })
	return err
}

// tryHolding tries to load the program that takes commands, with references to tasks.
func tryHolding(cache *btf.Cache) error {
	kernel, err := cache.Kernel()
	if err != nil {
		return err
	}
	const find = "bpf_task_from_pid" // checking for the function is faster than loading a program
	if _, err := kernel.AnyTypeByName(find); err != nil {
		return fmt.Errorf("function %s: %w", find, err)
	}
	spec, err := newSpec()
	if err != nil {
		return err
	}
	spec.Maps[bpfMapEvents].MaxEntries = uint32(os.Getpagesize())
	if err := spec.Variables[bpfVarHoldTasks].Set(true); err != nil {
		return err
	}
	var o struct {
		Obey *ebpf.Program `ebpf:"proctrace_obey"`
	}
	if err := spec.LoadAndAssign(&o, &ebpf.CollectionOptions{Cache: cache}); err != nil {
		return err
	}
	return o.Obey.Close()
}

// setHolding sets in the spec whether rules keep references to tasks.
func setHolding(spec *ebpf.CollectionSpec, holds bool) error {
	if !holds {
		// The kernel may refuse the map's BTF type, which has references to tasks.
		spec.Maps[bpfMapRules].Key, spec.Maps[bpfMapRules].Value = nil, nil
	}
	return spec.Variables[bpfVarHoldTasks].Set(holds)
}

// control is the part of a Tracer that takes commands.
type control struct {
	commands, ruled, listener *ebpf.Map
	obey                      *ebpf.Program // drains the user ring and carries out commands
	hear                      *ebpf.Program // starts the timer that drains the user ring; nil after Open
}

// newControl loads the programs that take commands. They share maps with the handlers.
func newControl(spec *ebpf.CollectionSpec, holdsTasks bool, shared map[string]*ebpf.Map, cache *btf.Cache) (*control, error) {
	var o struct {
		Commands *ebpf.Map     `ebpf:"commands"`
		Listener *ebpf.Map     `ebpf:"listener"`
		Obey     *ebpf.Program `ebpf:"proctrace_obey"`
		Hear     *ebpf.Program `ebpf:"proctrace_hear"`
	}
	if err := spec.LoadAndAssign(&o, &ebpf.CollectionOptions{MapReplacements: shared, Cache: cache}); err != nil {
		return nil, err
	}
	c := &control{commands: o.Commands, listener: o.Listener, obey: o.Obey, hear: o.Hear}
	var err error
	c.ruled, err = shared[bpfMapRuled].Clone()
	if err == nil && holdsTasks {
		err = c.ruled.Put(uint32(0), bpfRuleCounts{HoldsTasks: 1})
	}
	if err != nil {
		c.close()
		return nil, err
	}
	return c, nil
}

// listen starts the timer, which runs while the map listener is open or pinned.
func (c *control) listen() error {
	ret, err := c.hear.Run(&ebpf.RunOptions{})
	// EBUSY: the timer is running already.
	if err == nil && int32(ret) < 0 && unix.Errno(-int32(ret)) != unix.EBUSY {
		err = unix.Errno(-int32(ret))
	}
	if err != nil {
		return fmt.Errorf("start timer: %w", err)
	}
	return nil
}

func (c *control) close() {
	for _, m := range []*ebpf.Map{c.commands, c.ruled, c.listener} {
		m.Close()
	}
	c.obey.Close()
	c.hear.Close()
}

// Watch makes the tracer write the events of the subject. While any subject is watched, events of
// other processes are left out. A rule replaces an earlier rule about the same subject.
//
// Watch, [Tracer.Ignore], [Tracer.Forget] and [Tracer.Reset] return when the tracer has carried out
// the command, or with an error after 5 s. The command applies to all events that happen from then
// on, and may apply to events that are being written. The error matches unix.E2BIG if there are
// more than 1024 rules, [userprod.ErrBusy] while another process writes commands,
// [ebpf.ErrNotSupported] if the kernel has no user rings (before Linux 6.1), and [os.ErrClosed]
// after Close.
func (t *Tracer) Watch(s Subject) error { return t.command(watch, s) }

// Ignore makes the tracer leave out the events of the subject, even if it is watched. See
// [Tracer.Watch].
func (t *Tracer) Ignore(s Subject) error { return t.command(ignore, s) }

// Forget removes the rule about the subject. The error matches [fs.ErrNotExist] if there is no such
// rule. See [Tracer.Watch].
func (t *Tracer) Forget(s Subject) error { return t.command(forget, s) }

// Reset removes all rules, so that all processes are traced again. See [Tracer.Watch].
func (t *Tracer) Reset() error { return t.command(reset, Subject{}) }

func (t *Tracer) command(a action, about Subject) error {
	if err := t.send(a, about); err != nil {
		return fmt.Errorf("%s: %w", a, err)
	}
	return nil
}

// send sends a command and waits until the tracer has carried it out or refused it.
func (t *Tracer) send(a action, about Subject) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case t.closed:
		return os.ErrClosed
	case t.control == nil:
		return fmt.Errorf("the kernel has no user ring buffers (Linux 6.1): %w", ebpf.ErrNotSupported)
	}
	c, err := newCommand(a, about)
	if err != nil {
		return err
	}
	p, err := userprod.New(t.control.commands, userprod.Options{})
	if err != nil {
		return err
	}
	_, err = userprod.TryWriteAll(p, []bpfCommand{c})
	if err == nil {
		err = t.control.await(c.Cookie)
	}
	return errors.Join(err, p.Close())
}

// newCommand returns the command as a sample for the user ring.
func newCommand(a action, about Subject) (bpfCommand, error) {
	c := bpfCommand{Type: bpfCommandType(a), Cookie: rand.Uint64()}
	given := 0
	if about.PID != 0 {
		c.Subject, c.Id, given = bpfCommandSubjectPID_SUBJECT, uint64(about.PID), given+1
	}
	if about.CgroupID != 0 {
		c.Subject, c.Id, given = bpfCommandSubjectCGROUP_SUBJECT, about.CgroupID, given+1
	}
	if about.Comm != "" {
		c.Subject, given = bpfCommandSubjectCOMM_SUBJECT, given+1
		if len(about.Comm) >= len(c.Comm) || strings.Contains(about.Comm, "\x00") {
			return c, fmt.Errorf("comm %q is not a name of 1 to %d bytes", about.Comm, len(c.Comm)-1)
		}
		for i, b := range []byte(about.Comm) {
			c.Comm[i] = int8(b)
		}
	}
	if want := 1; a == reset {
		if given > 0 {
			return c, errors.New("takes no subject")
		}
	} else if given != want {
		return c, errors.New("takes exactly one process, name or cgroup")
	}
	return c, nil
}

// await drains the user ring until the command with this cookie is answered. It returns the error in
// the answer.
func (c *control) await(cookie uint64) error {
	for deadline := time.Now().Add(5 * time.Second); ; {
		if _, err := c.obey.Run(&ebpf.RunOptions{}); err != nil {
			return fmt.Errorf("run program: %w", err)
		}
		var last bpfRuleCounts
		if err := c.ruled.Lookup(uint32(0), &last); err != nil {
			return err
		}
		if last.Cookie == cookie {
			return commandError(last.Error)
		}
		// Other processes drain too, and each time the last answer is to one of their commands.
		if time.Now().After(deadline) {
			return errors.New("no answer within 5 s")
		}
	}
}

// decodeAck decodes a record of type Ack. The caller has checked its length.
func decodeAck(record []byte) Event {
	var m bpfAckEvent
	e := Event{
		Type:    Ack,
		Ktime:   u64(record, unsafe.Offsetof(m.Ktime)),
		Command: action(u32(record, unsafe.Offsetof(m.Command))).String(),
		Cookie:  u64(record, unsafe.Offsetof(m.Cookie)),
		Err:     commandError(u32(record, unsafe.Offsetof(m.Error))),
		Rules:   u32(record, unsafe.Offsetof(m.Rules)),
		Watches: u32(record, unsafe.Offsetof(m.Watches)),
	}
	id := u64(record, unsafe.Offsetof(m.Id))
	switch bpfCommandSubject(u32(record, unsafe.Offsetof(m.Subject))) {
	case bpfCommandSubjectPID_SUBJECT:
		e.Subject.PID = uint32(id)
	case bpfCommandSubjectCGROUP_SUBJECT:
		e.Subject.CgroupID = id
	case bpfCommandSubjectCOMM_SUBJECT:
		comm := unsafe.Offsetof(m.Comm)
		e.Subject.Comm = cString(record[comm : comm+unsafe.Sizeof(m.Comm)])
	}
	return e
}
