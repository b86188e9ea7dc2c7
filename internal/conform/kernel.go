package conform

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"syscall"
	"unsafe"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/btf"
	"github.com/cilium/ebpf/features"
	"golang.org/x/sys/unix"

	"github.com/rbtool/rbtool/internal/kernelbtf"
	own "github.com/rbtool/rbtool/internal/syscall"
)

// kernel has the calls by which rules use the kernel. bpf is the real kernel. Tests replace it by a kernel
// that breaks promises, to check that the rules notice.
type kernel interface {
	createMap(*ebpf.MapSpec) (*ebpf.Map, error)
	load(*ebpf.ProgramSpec) (*ebpf.Program, error)
	run(*ebpf.Program, *ebpf.RunOptions) (uint32, error)
	mmap(fd int, offset int64, length, prot, flags int) ([]byte, error)
	// mmapAt maps at the address addr. Memory at addr must not be mapped yet.
	mmapAt(fd int, addr, length uintptr, prot int) (unsafe.Pointer, error)
	// mount creates a file system of a kind and returns a descriptor of its root.
	mount(kind string) (int, error)
	// call calls bpf(2) with an attribute of size bytes.
	call(cmd int, attr unsafe.Pointer, size uintptr) (int, error)
}

// bpf is the running kernel.
type bpf struct{}

func (bpf) createMap(spec *ebpf.MapSpec) (*ebpf.Map, error) { return ebpf.NewMap(spec) }

func (bpf) load(spec *ebpf.ProgramSpec) (*ebpf.Program, error) {
	if !own.HasCasts(spec.Instructions) {
		return loadPlain(spec)
	}
	// cilium/ebpf would turn the casts into plain moves. own.Loader also resolves the kfuncs.
	types, err := kernelTypes().Kernel()
	if err != nil {
		return nil, err
	}
	l := own.Loader{Types: types, Cache: kernelTypes(), Map: func(string) own.MapRef { return own.MapRef{} }}
	return l.Load(spec)
}

// loadPlain is like [ebpf.NewProgram], but does not read the kernel's BTF again.
func loadPlain(spec *ebpf.ProgramSpec) (*ebpf.Program, error) {
	const name = "program"
	c, err := ebpf.NewCollectionWithOptions(
		&ebpf.CollectionSpec{Programs: map[string]*ebpf.ProgramSpec{name: spec}},
		ebpf.CollectionOptions{Cache: kernelTypes()},
	)
	if err != nil {
		return nil, err
	}
	return c.DetachProgram(name), nil
}

// kernelTypes keeps the kernel's BTF, which takes a second to read on an emulated machine.
var kernelTypes = sync.OnceValue(kernelbtf.Cache)

func (bpf) run(p *ebpf.Program, opts *ebpf.RunOptions) (uint32, error) { return p.Run(opts) }

func (bpf) mmap(fd int, offset int64, length, prot, flags int) ([]byte, error) {
	return unix.Mmap(fd, offset, length, prot, flags)
}

func (bpf) mmapAt(fd int, addr, length uintptr, prot int) (unsafe.Pointer, error) {
	return own.MmapAt(fd, addr, length, prot)
}

func (bpf) mount(kind string) (int, error) {
	fs, err := unix.Fsopen(kind, unix.FSOPEN_CLOEXEC)
	if err != nil {
		return -1, err
	}
	defer unix.Close(fs)
	if err := unix.FsconfigCreate(fs); err != nil {
		return -1, err
	}
	return unix.Fsmount(fs, unix.FSMOUNT_CLOEXEC, 0)
}

// SAFETY: callers pass a struct of size bytes, and keep alive the memory that it points to.
func (bpf) call(cmd int, attr unsafe.Pointer, size uintptr) (int, error) {
	r, _, errno := syscall.Syscall(unix.SYS_BPF, uintptr(cmd), uintptr(attr), size)
	if errno != 0 {
		return -1, errno
	}
	return int(r), nil
}

// feature returns the name of a map type in vmtest's list of features.
func feature(m ebpf.MapType) string {
	if m == ebpf.UserRingbuf {
		return "user_ringbuf"
	}
	return strings.ToLower(m.String())
}

// create creates a map that the test needs, and closes it at the end.
func (t *T) create(spec *ebpf.MapSpec) *ebpf.Map {
	m, err := t.k.createMap(spec)
	if err != nil {
		if have := features.HaveMapType(spec.Type); errors.Is(have, ebpf.ErrNotSupported) {
			t.missing(feature(spec.Type), have)
		}
		t.differs("create %s: %v", spec.Type, err)
	}
	t.cleanup(func() { m.Close() })
	return m
}

// flags returns the flags of a map as the kernel reports them.
func (t *T) flags(m *ebpf.Map) uint32 {
	info, err := m.Info()
	t.must(err, "read flags")
	return info.Flags
}

// needMap ends the test if the kernel does not know the map type.
func (t *T) needMap(m ebpf.MapType) {
	if err := features.HaveMapType(m); errors.Is(err, ebpf.ErrNotSupported) {
		t.missing(feature(m), err)
	}
}

// createFails ends the test unless the kernel refuses the map with want. how describes what is wrong with
// the map.
func (t *T) createFails(how string, spec *ebpf.MapSpec, want unix.Errno) {
	t.needMap(spec.Type)
	m, err := t.k.createMap(spec)
	if err == nil {
		t.cleanup(func() { m.Close() })
	}
	t.fails("create with "+how, err, want)
}

// fails ends the test unless err matches want.
func (t *T) fails(what string, err error, want unix.Errno) {
	switch {
	case err == nil:
		t.differs("%s: accepted, want %s", what, name(want))
	case !errors.Is(err, want):
		t.differs("%s: %v, want %s", what, err, name(want))
	}
}

// enotsupp is ENOTSUPP (include/linux/errno.h), which is not part of the user-space ABI.
const enotsupp = unix.Errno(524)

func name(e unix.Errno) string {
	if e == enotsupp {
		return "ENOTSUPP"
	}
	return unix.ErrnoName(e)
}

// spec returns a program for the test with the instructions body.
func (t *T) spec(kind ebpf.ProgramType, body code) *ebpf.ProgramSpec {
	s := &ebpf.ProgramSpec{Name: "conform", Type: kind, Instructions: body, License: "GPL"}
	if kind == ebpf.Syscall {
		s.Flags = unix.BPF_F_SLEEPABLE
	}
	return s
}

// needHelpers ends the test if the kernel lacks the program type or a helper of the program.
func (t *T) needHelpers(spec *ebpf.ProgramSpec) {
	if err := features.HaveProgramType(spec.Type); errors.Is(err, ebpf.ErrNotSupported) {
		if spec.Type == ebpf.Syscall {
			t.missing("bpf-syscall-program", err)
		}
		t.missing("program type "+spec.Type.String(), err)
	}
	for _, ins := range spec.Instructions {
		if !ins.IsBuiltinCall() {
			continue
		}
		fn := asm.BuiltinFunc(ins.Constant)
		if err := features.HaveProgramHelper(spec.Type, fn); errors.Is(err, ebpf.ErrNotSupported) {
			t.missing("helper "+helperName(fn), err)
		}
	}
}

// helperName returns the name of a helper in the kernel's headers: bpf_ringbuf_query for FnRingbufQuery.
func helperName(fn asm.BuiltinFunc) string {
	var b strings.Builder
	b.WriteString("bpf")
	for _, r := range strings.TrimPrefix(fn.String(), "Fn") {
		if r >= 'A' && r <= 'Z' {
			b.WriteByte('_')
		}
		b.WriteRune(r)
	}
	return strings.ToLower(b.String())
}

// kfunc returns a call of a kernel function, and ends the test if the kernel has no function of that name.
func (t *T) kfunc(name string) asm.Instruction {
	types, err := kernelTypes().Kernel()
	if err != nil {
		t.missing("btf", err)
	}
	var fn *btf.Func
	if err := types.TypeByName(name, &fn); err != nil {
		t.missing("kfunc "+name, err)
	}
	id, err := types.TypeID(fn)
	t.must(err, "find %s", name)
	return asm.Instruction{
		OpCode: asm.OpCode(asm.JumpClass).SetJumpOp(asm.Call), Src: asm.PseudoKfuncCall, Constant: int64(id),
	}.WithReference(name)
}

// load loads a program that the test needs, and closes it at the end.
func (t *T) load(kind ebpf.ProgramType, body code) *ebpf.Program {
	return t.loadSpec(t.spec(kind, body))
}

func (t *T) loadSpec(spec *ebpf.ProgramSpec) *ebpf.Program {
	p, err := t.k.load(spec)
	if err != nil {
		t.needHelpers(spec)
		t.differs("load: %s", verifierSays(err))
	}
	t.cleanup(func() { p.Close() })
	return p
}

// refused ends the test unless the verifier refuses the program with one of the messages, whose wording
// differs between kernels.
func (t *T) refused(kind ebpf.ProgramType, body code, messages ...string) {
	t.refusedUnless("", kind, body, messages...)
}

// refusedUnless is like refused, but if the kernel accepts the program, the verdict is No and known is its
// detail. The program is never run.
func (t *T) refusedUnless(known string, kind ebpf.ProgramType, body code, messages ...string) {
	spec := t.spec(kind, body)
	p, err := t.k.load(spec)
	if err == nil {
		t.cleanup(func() { p.Close() })
		if known != "" {
			t.no("%s", known)
		}
		t.differs("loaded, want %q", messages[0])
	}
	if verifierMentions(err, messages...) {
		return
	}
	t.needHelpers(spec)
	t.differs("refused with %s, want %q", verifierSays(err), messages[0])
}

// verifierMentions reports whether the verifier's log has one of the messages.
func verifierMentions(err error, messages ...string) bool {
	v, ok := errors.AsType[*ebpf.VerifierError](err)
	return ok && slices.ContainsFunc(v.Log, func(line string) bool {
		return slices.ContainsFunc(messages, func(m string) bool { return strings.Contains(line, m) })
	})
}

// verifierSays returns the cause of err and the last informative line of the verifier's log.
func verifierSays(err error) string {
	v, ok := errors.AsType[*ebpf.VerifierError](err)
	if !ok {
		return err.Error()
	}
	for i := len(v.Log) - 1; i >= 0; i-- {
		line := strings.TrimSpace(v.Log[i])
		if line != "" && !strings.HasPrefix(line, "processed ") && !strings.HasPrefix(line, "verification time") {
			return fmt.Sprintf("%v: %s", v.Cause, line)
		}
	}
	return v.Cause.Error()
}

// call runs a program with arguments, and returns its result.
func (t *T) call(p *ebpf.Program, args ...uint64) int32 {
	opts := &ebpf.RunOptions{}
	if len(args) > 0 {
		opts.Context = args
	}
	ret, err := t.k.run(p, opts)
	t.must(err, "run program")
	return int32(ret)
}
