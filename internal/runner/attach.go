package runner

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
)

// Targets are what the sections of programs do not say. The zero value attaches what needs nothing more.
type Targets struct {
	// Devices are the network devices for xdp, tc and socket programs.
	Devices []string
	// Cgroup is the directory of the cgroup for cgroup programs.
	Cgroup string
	// PID limits uprobes to a process; 0 does not.
	PID int
	// Frequency is how often perf_event programs run on each CPU, in Hz; 0 means 99.
	Frequency uint64
}

// ErrUnsaid reports that a program was left out because neither its section nor [Targets] says where to attach it.
var ErrUnsaid = errors.New("its target is not said")

// errPassive reports a program that others call: it is not attached by itself.
var errPassive = errors.New("other programs or maps call it")

// attachment is one place where a program is attached.
type attachment struct {
	name string    // of the program, or of the map of struct_ops
	link link.Link // nil if it cannot be pinned
	io.Closer
}

// attacher attaches the programs of a hook.
type attacher func(o *Object, p *Program, t Targets) ([]io.Closer, error)

// attachers has the hooks, by the first word of the section.
var attachers = map[string]attacher{
	"kprobe": attachKprobe, "kretprobe": attachKprobe, "ksyscall": attachKprobe, "kretsyscall": attachKprobe,
	"kprobe.multi": attachKprobes, "kretprobe.multi": attachKprobes, "kprobe.session": attachKprobes,
	"uprobe": attachUprobe, "uretprobe": attachUprobe, "uprobe.multi": attachUprobe, "uretprobe.multi": attachUprobe,
	"tracepoint": attachTracepoint, "tp": attachTracepoint,
	"raw_tracepoint": attachRaw, "raw_tp": attachRaw, "raw_tracepoint.w": attachRaw, "raw_tp.w": attachRaw,
	"tp_btf": attachTracing, "fentry": attachTracing, "fexit": attachTracing, "fmod_ret": attachTracing, "fsession": attachTracing,
	"lsm": attachLSM,
	"xdp": attachXDP, "xdp.frags": attachXDP,
	"tc": attachTC, "tcx": attachTC, "classifier": attachTC, "netkit": attachNetkit, "socket": attachSocket,
	"cgroup": attachCgroup, "cgroup_skb": attachCgroup, "sockops": attachCgroup, "lsm_cgroup": attachCgroup,
	"sk_lookup": attachNetNS, "flow_dissector": attachNetNS,
	"perf_event": attachPerfEvent,
}

// Iterators and programs that are run by hand are not attached: [Object.Iterate] and [Object.RunOnce].
const (
	iteratorHook = "iter"
	syscallHook  = "syscall"
	opsHook      = "struct_ops"
)

// Attach attaches all programs. It returns those that it left out: their targets do not exist or are not said, or the kernel
// cannot attach them. If none is left, or another error occurs, it detaches all and returns the error.
func (o *Object) Attach(t Targets) (left []Left, err error) {
	defer func() {
		if err != nil {
			err = errors.Join(err, o.Detach())
		}
	}()
	for _, p := range o.programs {
		found, err := o.attach(p, t)
		switch {
		case errors.Is(err, errPassive):
		case err != nil && mayLeaveOut(err):
			o.left = append(o.left, Left{p.Name, fmt.Errorf("%s: %w", p.Section(), err)})
		case err != nil:
			return nil, fmt.Errorf("attach program %s to %s: %w", p.Name, p.Section(), err)
		default:
			p.Attached = true
			o.keep(p.Name, found)
		}
	}
	if err := o.attachOps(); err != nil {
		return nil, err
	}
	if !slices.ContainsFunc(o.programs, func(p *Program) bool { return p.Attached || p.byHand() }) && len(o.attached) == 0 {
		return nil, o.noneAttached()
	}
	return o.left, nil
}

func (o *Object) keep(name string, found []io.Closer) {
	for _, c := range found {
		l, _ := c.(link.Link)
		o.attached = append(o.attached, attachment{name, l, c})
	}
}

func (o *Object) attach(p *Program, t Targets) ([]io.Closer, error) {
	if p.byHand() || p.section.hook == opsHook || o.inProgramArray(p.Name) {
		return nil, errPassive
	}
	attach := attachers[p.section.hook]
	if attach == nil || p.passive() {
		return nil, fmt.Errorf("%w: rbtool run does not attach programs of this section", ebpf.ErrNotSupported)
	}
	return attach(o, p, t)
}

// byHand reports whether the program is an iterator or is run by hand.
func (p *Program) byHand() bool {
	return p.section.hook == iteratorHook || p.section.hook == syscallHook
}

// passive reports whether a program of an attachable hook is called by an entry of a map.
func (p *Program) passive() bool {
	return p.spec.AttachType == ebpf.AttachXDPDevMap || p.spec.AttachType == ebpf.AttachXDPCPUMap
}

// inProgramArray reports whether the program is reached by tail calls.
func (o *Object) inProgramArray(name string) bool {
	for _, m := range o.spec.Maps {
		if m.Type != ebpf.ProgramArray {
			continue
		}
		for _, kv := range m.Contents {
			if kv.Value == name {
				return true
			}
		}
	}
	return false
}

// mayLeaveOut reports whether other programs are still attached after this error.
func mayLeaveOut(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, ErrUnsaid) || errors.Is(err, ebpf.ErrNotSupported)
}

// mostErrors is how many programs the error of an object has of which none can be attached.
const mostErrors = 3

// noneAttached is the error if no program is attached: those of the first ones.
func (o *Object) noneAttached() error {
	var errs []error
	for i, l := range o.left {
		if more := len(o.left) - mostErrors; i == mostErrors && more > 1 {
			errs = append(errs, fmt.Errorf("attach: %d more programs cannot be attached either", more))
			break
		}
		errs = append(errs, fmt.Errorf("attach program %s: %w", l.Program, l.Why))
	}
	if len(errs) == 0 {
		return errors.New("attach: the object has no program to attach")
	}
	return errors.Join(errs...)
}

// attachOps attaches the maps of type STRUCT_OPS.
func (o *Object) attachOps() error {
	for name, m := range o.Maps {
		if m.Type() != ebpf.StructOpsMap {
			continue
		}
		l, err := link.AttachStructOps(link.StructOpsOptions{Map: m})
		if err != nil {
			return fmt.Errorf("attach struct_ops %s: %w", name, err)
		}
		o.keep(name, []io.Closer{l})
		for _, p := range o.programs {
			p.Attached = p.Attached || p.section.hook == opsHook
		}
	}
	return nil
}

// Detach detaches what is attached, except what is pinned. It is idempotent.
func (o *Object) Detach() error {
	var errs []error
	for _, a := range o.attached {
		if err := a.Close(); err != nil {
			errs = append(errs, fmt.Errorf("detach %s: %w", a.name, err))
		}
	}
	o.attached = nil
	return errors.Join(errs...)
}

// Waits reports whether something is attached, so that there is more to wait for than what is run by hand.
func (o *Object) Waits() bool { return len(o.attached) > 0 }

// one returns a link as the only attachment of a program.
func one(l link.Link, err error) ([]io.Closer, error) {
	if err != nil {
		return nil, err
	}
	return []io.Closer{l}, nil
}

// each attaches to several things, or to none if one of them fails.
func each[T any](things []T, attach func(T) (io.Closer, error)) (all []io.Closer, err error) {
	for _, thing := range things {
		c, err := attach(thing)
		if err != nil {
			for _, c := range all {
				c.Close()
			}
			return nil, err
		}
		all = append(all, c)
	}
	return all, nil
}
