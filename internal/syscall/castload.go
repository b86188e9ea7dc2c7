package syscall

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"unsafe"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/btf"
	"golang.org/x/sys/unix"
)

// castOffset is BPF_ADDR_SPACE_CAST (include/linux/filter.h): a move between
// registers with this offset is an addr_space_cast.
const castOffset = 1

// movRegister is BPF_ALU64 | BPF_MOV | BPF_X.
var movRegister = asm.Mov.Op(asm.RegSource)

func isCast(ins *asm.Instruction) bool {
	return ins.OpCode == movRegister && ins.Offset == castOffset
}

// HasCasts reports whether the instructions convert arena pointers
// (addr_space_cast). cilium/ebpf v0.22 cannot load such programs: it writes
// arithmetic instructions with offset 0, which turns a cast into a plain move.
func HasCasts(insns asm.Instructions) bool {
	for i := range insns {
		if isCast(&insns[i]) {
			return true
		}
	}
	return false
}

// Loader loads programs that have casts. For one program it does what
// [ebpf.NewCollection] does. It is not needed once cilium/ebpf keeps the casts.
//
// It refuses what it does not support: programs attached to other programs or to
// kernel modules, struct_ops, kernel variables (__ksym, except functions) and
// .kconfig. Kernel functions (kfuncs) must be in vmlinux. All of them are treated as
// weak: a program loads even if the kernel lacks a kfunc, unless the verifier reaches
// a call of it.
type Loader struct {
	Types   *btf.Spec           // BTF of the collection; can be nil
	Cache   *btf.Cache          // cache of kernel BTF
	Options ebpf.ProgramOptions // options of all programs
	Map     func(string) MapRef // returns the map that an instruction refers to by name
}

// MapRef is the map that a name refers to, and the offset in bytes, in the map's value,
// of the data with this name. The zero MapRef means that no map has the name.
type MapRef struct {
	Map    *ebpf.Map
	Offset uint32
}

// Load loads one program. It does not change spec. If the kernel refuses the program,
// the error is a [*LoadError]. If the kernel lacks something that the program needs,
// the error matches [ebpf.ErrNotSupported].
func (l *Loader) Load(spec *ebpf.ProgramSpec) (*ebpf.Program, error) {
	p, err := l.load(spec)
	var refused *LoadError
	if err != nil && !errors.As(err, &refused) {
		return nil, fmt.Errorf("load program %s: %w", spec.Name, err)
	}
	return p, err
}

func (l *Loader) load(spec *ebpf.ProgramSpec) (*ebpf.Program, error) {
	insns := changeable(spec.Instructions)
	var builder btf.Builder
	if err := l.relocate(insns, spec.ByteOrder, &builder); err != nil {
		return nil, err
	}
	if err := l.associate(insns); err != nil {
		return nil, err
	}
	missing, err := l.resolve(insns)
	if err != nil {
		return nil, err
	}
	attr := progLoadAttr{
		progType:           uint32(spec.Type),
		progFlags:          spec.Flags,
		progIfindex:        spec.Ifindex,
		expectedAttachType: uint32(spec.AttachType),
		kernVersion:        spec.KernelVersion,
	}
	attr.setName(spec.Name)
	if err := l.attachTo(spec, &attr); err != nil {
		return nil, err
	}
	types, err := attr.addTypes(insns, &builder)
	if err != nil {
		return nil, err
	}
	defer types.Close()
	code, err := marshal(insns)
	if err != nil {
		return nil, err
	}
	license := cString(spec.License)
	attr.license = unsafe.Pointer(unsafe.SliceData(license))
	attr.insns = unsafe.Pointer(unsafe.SliceData(code))
	attr.insnCnt = uint32(len(code) / asm.InstructionSize)
	fd, log, err := attr.load(l.Options)
	runtime.KeepAlive(insns) // code has the descriptors of maps, which insns keep open
	if err != nil {
		return nil, &LoadError{spec.Name, verifierError(missing.explain(err, log), log)}
	}
	p, err := ebpf.NewProgramFromFD(fd)
	if err != nil {
		return nil, err // NewProgramFromFD has closed fd
	}
	p.VerifierLog = log
	return p, nil
}

// addTypes sets the function and line info of the instructions, and the program's BTF, which it
// loads. The caller closes the handle of the BTF after the program is loaded. The handle is nil, on
// which Close does nothing, if the program has no BTF.
func (attr *progLoadAttr) addTypes(insns asm.Instructions, builder *btf.Builder) (*btf.Handle, error) {
	funcs, lines, err := btf.MarshalExtInfos(insns, builder)
	if err != nil {
		return nil, fmt.Errorf("write function and line info: %w", err)
	}
	attr.funcInfoRecSize, attr.lineInfoRecSize = btf.FuncInfoSize, btf.LineInfoSize
	attr.funcInfo, attr.funcInfoCnt = records(funcs, btf.FuncInfoSize)
	attr.lineInfo, attr.lineInfoCnt = records(lines, btf.LineInfoSize)
	if builder.Empty() {
		return nil, nil
	}
	handle, err := btf.NewHandle(builder)
	if errors.Is(err, ebpf.ErrNotSupported) {
		// cilium/ebpf returns ErrNotSupported for EPERM too. All kernels with arenas have BTF.
		err = fmt.Errorf("%w (needs CAP_BPF)", unix.EPERM)
	}
	if err != nil {
		return nil, fmt.Errorf("load BTF: %w", err)
	}
	attr.progBTFFD = uint32(handle.FD())
	return handle, nil
}

// changeable returns a copy of insns, so that the caller's instructions are not changed.
func changeable(insns asm.Instructions) asm.Instructions {
	return append(asm.Instructions(nil), insns...)
}

// relocate applies the CO-RE relocations.
func (l *Loader) relocate(insns asm.Instructions, order binary.ByteOrder, b *btf.Builder) error {
	var (
		relos []*btf.CORERelocation
		at    []*asm.Instruction
	)
	for i := range insns {
		if r := btf.CORERelocationMetadata(&insns[i]); r != nil {
			relos, at = append(relos, r), append(at, &insns[i])
		}
	}
	if len(relos) == 0 {
		return nil
	}
	targets := l.Options.ExtraRelocationTargets
	if k := l.Options.KernelTypes; k != nil {
		targets = append([]*btf.Spec{k}, targets...)
	} else {
		k, err := l.Cache.Kernel()
		if err != nil {
			return fmt.Errorf("read kernel BTF: %w", err)
		}
		targets = append([]*btf.Spec{k}, targets...)
	}
	if order == nil {
		order = HostOrder()
	}
	fixups, err := btf.CORERelocate(relos, targets, order, b.Add)
	if err != nil {
		return fmt.Errorf("relocate: %w", err)
	}
	for i := range fixups {
		if err := fixups[i].Apply(at[i]); err != nil {
			return fmt.Errorf("relocate %s: %w", relos[i], err)
		}
	}
	return nil
}

// associate sets the maps of the instructions that refer to maps by name.
func (l *Loader) associate(insns asm.Instructions) error {
	for i := range insns {
		ins := &insns[i]
		name := ins.Reference()
		if !ins.IsLoadFromMap() || name == "" {
			continue
		}
		ref := l.Map(name)
		if ref.Map == nil {
			return fmt.Errorf("instruction %d refers to %q, which is not a map of the collection: %w (kconfig variables are not supported in programs with arena pointers)",
				i, name, ebpf.ErrNotSupported)
		}
		if ref.Offset != 0 {
			offset := uint32(uint64(ins.Constant) >> 32)
			if err := ins.RewriteMapOffset(offset + ref.Offset); err != nil {
				return fmt.Errorf("instruction %d: %w", i, err)
			}
		}
		if err := ins.AssociateMap(ref.Map); err != nil {
			return fmt.Errorf("instruction %d: %w", i, err)
		}
	}
	return nil
}

// attachTo sets the attach target in attr for program types whose target the kernel
// checks at load.
func (l *Loader) attachTo(spec *ebpf.ProgramSpec, attr *progLoadAttr) error {
	if spec.AttachTarget != nil || spec.Type == ebpf.StructOps || spec.Type == ebpf.Extension {
		return fmt.Errorf("struct_ops or attaching to another program: %w in programs with arena pointers", ebpf.ErrNotSupported)
	}
	prefix, kind, typed := target(spec)
	if !typed || spec.AttachTo == "" {
		return nil
	}
	kernel, err := l.Cache.Kernel()
	if err != nil {
		return fmt.Errorf("read kernel BTF: %w", err)
	}
	if err := kernel.TypeByName(prefix+spec.AttachTo, &kind); err != nil {
		return fmt.Errorf("attach to %s: %w: %w", spec.AttachTo, ebpf.ErrNotSupported, err)
	}
	id, err := kernel.TypeID(kind)
	if err != nil {
		return fmt.Errorf("attach to %s: %w", spec.AttachTo, err)
	}
	attr.attachBTFID = uint32(id)
	return nil
}

// target returns the prefix of the name, and the kind, that a program's attach target has
// in the kernel's BTF. typed is false if the program has no such target: see
// check_attach_btf_id (kernel/bpf/verifier.c).
func target(spec *ebpf.ProgramSpec) (prefix string, kind btf.Type, typed bool) {
	switch spec.Type {
	case ebpf.LSM:
		return "bpf_lsm_", (*btf.Func)(nil), true
	case ebpf.Tracing:
	default:
		return "", nil, false
	}
	switch spec.AttachType {
	case ebpf.AttachTraceRawTp:
		return "btf_trace_", (*btf.Typedef)(nil), true
	case ebpf.AttachTraceIter:
		return "bpf_iter_", (*btf.Func)(nil), true
	}
	return "", (*btf.Func)(nil), true // fentry, fexit, fmod_ret
}

// marshal returns the instructions in the kernel's format, with the casts.
func marshal(insns asm.Instructions) ([]byte, error) {
	var buf bytes.Buffer
	if err := insns.Marshal(&buf, HostOrder()); err != nil {
		return nil, err
	}
	code := buf.Bytes()
	for it := insns.Iterate(); it.Next(); {
		if isCast(it.Ins) {
			// The offset is at byte 2 of struct bpf_insn.
			binary.NativeEndian.PutUint16(code[it.Offset.Bytes()+2:], castOffset)
		}
	}
	return code, nil
}

// HostOrder returns this machine's byte order as binary.LittleEndian or binary.BigEndian, which
// cilium/ebpf requires.
func HostOrder() binary.ByteOrder {
	if binary.NativeEndian.Uint16([]byte{1, 0}) == 1 {
		return binary.LittleEndian
	}
	return binary.BigEndian
}

// missingFuncs are the names of kfuncs that a program calls and the kernel lacks. A call of
// the i-th is replaced by a call of helper missingBase+i, which does not exist.
type missingFuncs []string

// missingBase is the number of the helper that replaces the first missing kfunc.
const missingBase = 0xdead000

// explain returns an error that names the missing kfunc if the verifier's log says that it
// reached a call of one. Otherwise it returns err.
func (m missingFuncs) explain(err error, log string) error {
	for i, name := range m {
		if errors.Is(err, unix.EINVAL) && strings.Contains(log, fmt.Sprintf("invalid func unknown#%d\n", missingBase+i)) {
			return fmt.Errorf("kfunc %q: %w (not in this kernel)", name, ebpf.ErrNotSupported)
		}
	}
	return err
}

// resolve sets the BTF ids of the kfuncs that the instructions refer to, and returns the kfuncs that
// are called and that the kernel lacks.
func (l *Loader) resolve(insns asm.Instructions) (missingFuncs, error) {
	var missing missingFuncs
	for i := range insns {
		ins := &insns[i]
		call := ins.IsKfuncCall()
		address := ins.OpCode.IsDWordLoad() && ins.Src == asm.R0 && ins.Reference() != ""
		if !call && !address {
			continue
		}
		id, err := l.kfunc(ins.Reference())
		switch {
		case err == nil:
			ins.Constant = int64(id)
		case !errors.Is(err, btf.ErrNotFound):
			return nil, err
		case address:
			ins.Constant = 0 // the address of a weak kfunc that the kernel lacks
		default:
			*ins = asm.BuiltinFunc(missingBase + len(missing)).Call().WithMetadata(ins.Metadata)
			missing = append(missing, ins.Reference())
		}
	}
	return missing, nil
}

// kfunc returns the kernel's BTF id of a function that the collection declares. The
// error matches [btf.ErrNotFound] if the kernel lacks the function.
func (l *Loader) kfunc(name string) (btf.TypeID, error) {
	var declared, kernels *btf.Func
	if l.Types == nil || l.Types.TypeByName(name, &declared) != nil {
		return 0, fmt.Errorf("extern %s: %w: only functions of the kernel can be referred to in programs with arena pointers",
			name, ebpf.ErrNotSupported)
	}
	kernel, err := l.Cache.Kernel()
	if err != nil {
		return 0, fmt.Errorf("read kernel BTF: %w", err)
	}
	if err := kernel.TypeByName(name, &kernels); err != nil {
		return 0, err
	}
	if err := btf.CheckTypeCompatibility(declared.Type, kernels.Type); err != nil {
		return 0, fmt.Errorf("kfunc %s: %w", name, err)
	}
	return kernel.TypeID(kernels)
}
