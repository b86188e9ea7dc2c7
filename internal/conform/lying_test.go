package conform

import (
	"slices"
	"testing"
	"time"
	"unsafe"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"golang.org/x/sys/unix"
)

// A lie is a simulated kernel that breaks promises of one kind, in the same way for all rules.
type lie struct {
	name string
	kernel
}

func lies() []lie {
	return []lie{
		{"programs do nothing, and the verifier refuses none", idle{}},
		{"every map is accepted", accepting{}},
		{"flags of maps are ignored", flagless{}},
		{"every mapping is accepted", mapping{}},
		{"mappings are of something else", apart{}},
		{"every call of bpf(2) succeeds", agreeing{}},
		{"all maps are arrays", arrays{}},
		{"a bpffs is a tmpfs", tmpfs{}},
		{"the verifier refuses all programs", refusing{}},
	}
}

// Every rule must be able to fail: if its verdict is Yes on this kernel, some lie must get another verdict.
func TestEveryRuleCanFail(t *testing.T) {
	step := 1
	if testing.Short() { // a sample suffices
		step = 6
	}
	caught := map[string]int{}
	for i, r := range Rules() {
		if i%step != 0 {
			continue
		}
		t.Run(r.ID(), func(t *testing.T) {
			if res := test(t.Context(), r, bpf{}, patience); res.Verdict != Yes {
				t.Logf("not looked at: %s %s %s", res.Verdict, res.Feature, res.Detail)
				return
			}
			for _, l := range lies() {
				// Use a short patience: the event that a rule waits for may never come from a lie.
				if res := test(t.Context(), r, l, 50*time.Millisecond); res.Verdict != Yes {
					t.Logf("where %s: %s, %s", l.name, res.Verdict, res.Detail)
					caught[l.name]++
					return
				}
			}
			t.Error("no lie is noticed")
		})
	}
	for _, l := range lies() {
		t.Logf("%3d rules noticed that %s", caught[l.name], l.name)
	}
}

// idle loads an empty program instead of any program.
type idle struct{ bpf }

func (k idle) load(spec *ebpf.ProgramSpec) (*ebpf.Program, error) {
	s := spec.Copy()
	s.Instructions = asm.Instructions{asm.Mov.Imm(asm.R0, 0), asm.Return()}
	return k.bpf.load(s)
}

// accepting creates an array if the kernel refuses a map.
type accepting struct{ bpf }

func (k accepting) createMap(spec *ebpf.MapSpec) (*ebpf.Map, error) {
	if m, err := k.bpf.createMap(spec); err == nil {
		return m, nil
	}
	return anArray()
}

func anArray() (*ebpf.Map, error) {
	return ebpf.NewMap(&ebpf.MapSpec{Type: ebpf.Array, KeySize: 4, ValueSize: 8, MaxEntries: 1})
}

// flagless creates maps without their flags.
type flagless struct{ bpf }

func (k flagless) createMap(spec *ebpf.MapSpec) (*ebpf.Map, error) {
	s := spec.Copy()
	s.Flags = 0
	if m, err := k.bpf.createMap(s); err == nil {
		return m, nil
	}
	return k.bpf.createMap(spec)
}

// mapping maps other memory if the kernel refuses to map a map.
type mapping struct{ bpf }

func (k mapping) mmap(fd int, offset int64, length, prot, flags int) ([]byte, error) {
	if mem, err := k.bpf.mmap(fd, offset, length, prot, flags); err == nil {
		return mem, nil
	}
	return apart{}.mmap(fd, offset, length, prot, flags)
}

func (k mapping) mmapAt(fd int, addr, length uintptr, prot int) (unsafe.Pointer, error) {
	if mem, err := k.bpf.mmapAt(fd, addr, length, prot); err == nil {
		return mem, nil
	}
	return apart{}.mmapAt(fd, addr, length, prot)
}

// apart always maps other memory instead of a map.
type apart struct{ bpf }

func (apart) mmap(_ int, _ int64, length, _, _ int) ([]byte, error) {
	return unix.Mmap(-1, 0, length, protReadWrite, unix.MAP_PRIVATE|unix.MAP_ANON)
}

func (k apart) mmapAt(_ int, addr, length uintptr, prot int) (unsafe.Pointer, error) {
	fd, err := unix.MemfdCreate("apart", unix.MFD_CLOEXEC)
	if err != nil {
		return nil, err
	}
	defer unix.Close(fd)
	if err := unix.Ftruncate(fd, int64(length)); err != nil {
		return nil, err
	}
	return k.bpf.mmapAt(fd, addr, length, prot)
}

// agreeing reports success for a failed call, with the descriptor of an array if one is expected.
type agreeing struct{ bpf }

func (k agreeing) call(cmd int, attr unsafe.Pointer, size uintptr) (int, error) {
	if fd, err := k.bpf.call(cmd, attr, size); err == nil {
		return fd, nil
	}
	if !slices.Contains([]int{unix.BPF_OBJ_GET, unix.BPF_MAP_GET_FD_BY_ID}, cmd) {
		return 0, nil
	}
	m, err := anArray()
	if err != nil {
		return -1, err
	}
	defer m.Close()
	return unix.FcntlInt(uintptr(m.FD()), unix.F_DUPFD_CLOEXEC, 3)
}

// arrays creates an array of the same size instead of any map.
type arrays struct{ bpf }

func (k arrays) createMap(spec *ebpf.MapSpec) (*ebpf.Map, error) {
	s := spec.Copy()
	s.Type, s.Flags = ebpf.Array, 0
	if m, err := k.bpf.createMap(s); err == nil {
		return m, nil
	}
	return k.bpf.createMap(spec)
}

// refusing loads no programs.
type refusing struct{ bpf }

func (refusing) load(*ebpf.ProgramSpec) (*ebpf.Program, error) {
	return nil, &ebpf.VerifierError{Cause: unix.EACCES, Log: []string{"this program is refused"}}
}

type tmpfs struct{ bpf }

func (k tmpfs) mount(string) (int, error) { return k.bpf.mount("tmpfs") }
