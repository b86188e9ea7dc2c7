package proctrace

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"time"
	"unsafe" // for the offsets of fields in the generated mirrors alone

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
	"github.com/cilium/ebpf/features"
	"golang.org/x/sys/unix"

	"github.com/rbtool/rbtool/internal/explain"
	"github.com/rbtool/rbtool/internal/once"
	"github.com/rbtool/rbtool/userprod"
)

// Action is what a command does.
type Action uint32

// The actions.
const (
	// Watch makes the tracer write the events of the subject, and no others
	// than those of what is watched.
	Watch = Action(bpfCommandTypeWATCH_COMMAND)
	// Ignore makes it leave out the events of the subject, watched or not.
	Ignore = Action(bpfCommandTypeIGNORE_COMMAND)
	// Forget takes back what was said about the subject.
	Forget = Action(bpfCommandTypeFORGET_COMMAND)
	// Reset forgets everything.
	Reset = Action(bpfCommandTypeRESET_COMMAND)
)

func (a Action) String() string {
	switch a {
	case Watch:
		return "watch"
	case Ignore:
		return "ignore"
	case Forget:
		return "forget"
	case Reset:
		return "reset"
	}
	return fmt.Sprintf("Action(%d)", uint32(a))
}

// Subject is who a command is about: one of its fields is set, none for Reset.
type Subject struct {
	// PID is a process, by its TGID, and its children. It is the process that has
	// the pid when the command is taken, not one that gets it later; where there is
	// none, nobody. The kernel keeps what it must to tell, some KiB, until the rule is forgotten.
	PID      uint32
	Comm     string // the Comm of events, up to 15 bytes
	CgroupID uint64 // the CgroupID of events; not the cgroups below
}

// Acknowledgement is what a record of type Ack says about a command.
type Acknowledgement struct {
	Action  Action
	Subject Subject
	Cookie  uint64 // the sender's
	// Err is nil, or why the command was refused: EINVAL, E2BIG (ErrTooManyRules),
	// ENOENT (ErrNoRule).
	Err            error
	Rules, Watches uint32 // how many rules there are now, and how many of them watch
}

var (
	// ErrNoRule says that nothing was said about a subject that is to be forgotten.
	ErrNoRule = explain.Error(unix.ENOENT, "no such rule")
	// ErrTooManyRules says that there is no room for another rule.
	ErrTooManyRules = explain.Error(unix.E2BIG, "too many rules")
)

// commandError explains the errno in an acknowledgement.
func commandError(errno uint32) error {
	switch unix.Errno(errno) {
	case 0:
		return nil
	case unix.ENOENT:
		return ErrNoRule
	case unix.E2BIG:
		return ErrTooManyRules
	}
	return unix.Errno(errno)
}

// haveCommands reports whether the kernel has what commands take. features remembers it.
func haveCommands() bool { return features.HaveMapType(ebpf.UserRingbuf) == nil }

// held remembers that tryHolding succeeded.
var held once.Value[struct{}]

// holding says why the kernel does not let the program that takes commands keep
// references to tasks in a map; nil where it does.
func holding(cache *btf.Cache) error {
	_, err := held.Get(func() (struct{}, error) { return struct{}{}, tryHolding(cache) })
	return err
}

// tryHolding loads the program to see.
func tryHolding(cache *btf.Cache) error {
	kernel, err := cache.Kernel()
	if err != nil {
		return err
	}
	const find = "bpf_task_from_pid" // sooner said than the verifier does
	if _, err := kernel.AnyTypeByName(find); err != nil {
		return fmt.Errorf("function %s: %w", find, err)
	}
	spec, err := newSpec()
	if err != nil {
		return err
	}
	spec.Maps[bpfMapProctrace].MaxEntries = uint32(os.Getpagesize())
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

// setHolding has the programs keep references to tasks, or not.
func setHolding(spec *ebpf.CollectionSpec, holds bool) error {
	if !holds {
		// A type of the map that the kernel might not take.
		spec.Maps[bpfMapRules].Key, spec.Maps[bpfMapRules].Value = nil, nil
	}
	return spec.Variables[bpfVarHoldTasks].Set(holds)
}

// control is the part of a Tracer that takes commands.
type control struct {
	commands, ruled, listener *ebpf.Map
	obey                      *ebpf.Program // takes what is in commands
	hear                      *ebpf.Program // starts the timer that does so; nil after Open
}

// newControl loads the programs over the maps that they share with the tracer's.
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

// listen starts the timer, which runs while the listener map is held or pinned.
func (c *control) listen() error {
	ret, err := c.hear.Run(&ebpf.RunOptions{})
	if err == nil && int32(ret) < 0 && unix.Errno(-int32(ret)) != unix.EBUSY { // it runs
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

// Commands is the user ring for commands, which belongs to the Tracer. It is nil
// where the kernel has no user rings.
func (t *Tracer) Commands() *ebpf.Map {
	if t.control == nil {
		return nil
	}
	return t.control.commands
}

// Command makes the tracer do something, and returns when it is done: events that
// happen from then on are treated accordingly. Those under way may still be treated as before.
//
// Errors: [ErrNoRule], [ErrTooManyRules]; [userprod.ErrBusy] while another process writes
// commands; ebpf.ErrNotSupported where the kernel has no user rings (Linux 6.1).
func (t *Tracer) Command(action Action, about Subject) error {
	if err := t.command(action, about); err != nil {
		return fmt.Errorf("%s: %w", action, err)
	}
	return nil
}

func (t *Tracer) command(action Action, about Subject) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case t.closed:
		return os.ErrClosed
	case t.control == nil:
		return fmt.Errorf("the kernel has no user ring buffers (Linux 6.1): %w", ebpf.ErrNotSupported)
	}
	c, err := newCommand(action, about)
	if err != nil {
		return err
	}
	p, err := userprod.New(t.control.commands, userprod.Options{})
	if err != nil {
		return err
	}
	_, err = userprod.WriteAll(p, []bpfCommand{c})
	if err == nil {
		err = t.control.await(c.Cookie)
	}
	return errors.Join(err, p.Close())
}

// newCommand makes the sample for a command.
func newCommand(action Action, about Subject) (bpfCommand, error) {
	c := bpfCommand{Type: bpfCommandType(action), Cookie: rand.Uint64()}
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
			return c, fmt.Errorf("comm %q: not a name of 1 to %d bytes", about.Comm, len(c.Comm)-1)
		}
		for i, b := range []byte(about.Comm) {
			c.Comm[i] = int8(b)
		}
	}
	if want := 1; action == Reset {
		if given > 0 {
			return c, errors.New("it is about nobody in particular")
		}
	} else if given != want {
		return c, errors.New("it is about one process, name or cgroup")
	}
	return c, nil
}

// await makes the kernel take the command with the cookie, if the timer has not, and
// returns what became of it.
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
		if time.Now().After(deadline) { // the timer is at it all the time, or somebody else
			return errors.New("the command was not taken")
		}
	}
}

// Rules are how many rules there are, and how many of them watch.
func (t *Tracer) Rules() (rules, watches uint32, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed || t.control == nil {
		return 0, 0, nil
	}
	var n bpfRuleCounts
	if err := t.control.ruled.Lookup(uint32(0), &n); err != nil {
		return 0, 0, fmt.Errorf("read rules of proctrace: %w", err)
	}
	return n.Rules, n.Watches, nil
}

// decodeAck decodes a record of type Ack that is long enough.
func decodeAck(record []byte) Event {
	var m bpfAckEvent
	a := Acknowledgement{
		Action:  Action(u32(record, unsafe.Offsetof(m.Command))),
		Cookie:  u64(record, unsafe.Offsetof(m.Cookie)),
		Err:     commandError(u32(record, unsafe.Offsetof(m.Error))),
		Rules:   u32(record, unsafe.Offsetof(m.Rules)),
		Watches: u32(record, unsafe.Offsetof(m.Watches)),
	}
	id := u64(record, unsafe.Offsetof(m.Id))
	switch bpfCommandSubject(u32(record, unsafe.Offsetof(m.Subject))) {
	case bpfCommandSubjectPID_SUBJECT:
		a.Subject.PID = uint32(id)
	case bpfCommandSubjectCGROUP_SUBJECT:
		a.Subject.CgroupID = id
	case bpfCommandSubjectCOMM_SUBJECT:
		comm := unsafe.Offsetof(m.Comm)
		a.Subject.Comm = cString(record[comm : comm+unsafe.Sizeof(m.Comm)])
	}
	return Event{Type: Ack, Ktime: u64(record, unsafe.Offsetof(m.Ktime)), Ack: a}
}
