package conform

import (
	"bytes"
	"encoding/binary"
	"runtime"
	"sync"
	"unsafe"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"golang.org/x/sys/unix"
)

var _ = register(PerCPU,
	Rule{
		Name:      "array-values",
		Statement: "Lookup of a per-CPU array returns one value for each possible CPU, each rounded up to 8 bytes, and writes nothing after them.",
		Source:    "kernel/bpf/arraymap.c, bpf_percpu_array_copy",
		check: func(t *T) {
			t.percpuValues(t.create(&ebpf.MapSpec{Type: ebpf.PerCPUArray, KeySize: 4, ValueSize: 5, MaxEntries: 1}))
		},
	},
	Rule{
		Name:      "hash-values",
		Statement: "Lookup of a per-CPU hash returns one value for each possible CPU, each rounded up to 8 bytes, and writes nothing after them.",
		Source:    "kernel/bpf/hashtab.c, bpf_percpu_hash_copy",
		check: func(t *T) {
			t.percpuValues(t.create(&ebpf.MapSpec{Type: ebpf.PerCPUHash, KeySize: 4, ValueSize: 5, MaxEntries: 1}))
		},
	},
	Rule{
		Name:      "own-value",
		Statement: "A program sees and changes the value of the CPU that it runs on.",
		Source:    "kernel/bpf/arraymap.c, percpu_array_map_lookup_elem",
		check: func(t *T) {
			m := t.create(&ebpf.MapSpec{Type: ebpf.PerCPUArray, KeySize: 4, ValueSize: 8, MaxEntries: 1})
			p := t.load(rawTracepoint, increments(m, 1))
			want := make([]uint64, possibleCPUs(t))
			for i, cpu := range t.cpus() {
				for range i + 1 {
					t.on(cpu, func() { t.call(p) })
				}
				want[cpu] = uint64(i + 1)
			}
			var got []uint64
			t.must(m.Lookup(uint32(0), &got), "lookup")
			for cpu := range want {
				equal(t, "value of a CPU", got[cpu], want[cpu])
			}
		},
	},
	Rule{
		Name:      "new-element-is-zero",
		Statement: "An element of a per-CPU hash that a program creates is zero for the other CPUs, even in the memory of a deleted element.",
		Source:    "kernel/bpf/hashtab.c, pcpu_init_value",
		check: func(t *T) {
			m := t.create(&ebpf.MapSpec{Type: ebpf.PerCPUHash, KeySize: 4, ValueSize: 8, MaxEntries: 1})
			n := possibleCPUs(t)
			used := make([]uint64, n)
			for i := range used {
				used[i] = 99
			}
			t.must(m.Put(uint32(5), used), "update")
			t.must(m.Delete(uint32(5)), "delete")
			p := t.load(rawTracepoint, program(
				asm.StoreImm(asm.R10, -4, 6, asm.Word), asm.StoreImm(asm.R10, -16, 1, asm.Word), asm.StoreImm(asm.R10, -12, 0, asm.Word),
				theMap(asm.R1, m), mov(asm.R2, asm.R10), asm.Add.Imm(asm.R2, -4), mov(asm.R3, asm.R10), asm.Add.Imm(asm.R3, -16),
				set(asm.R4, 0), asm.FnMapUpdateElem.Call(), asm.Return(),
			))
			equal(t, "result of bpf_map_update_elem", t.call(p), 0)
			var got []uint64
			t.must(m.Lookup(uint32(6), &got), "lookup")
			var sum uint64
			for _, v := range got {
				sum += v
			}
			equal(t, "sum of all CPUs' values", sum, 1)
		},
	},
	Rule{
		Name:      "sum-under-load",
		Statement: "The sum of the values is the number of increments that programs made on all CPUs at once.",
		Source:    "Documentation/bpf/map_hash.rst",
		check: func(t *T) {
			m := t.create(&ebpf.MapSpec{Type: ebpf.PerCPUArray, KeySize: 4, ValueSize: 8, MaxEntries: 1})
			const steps, runs = 256, 200
			p := t.load(rawTracepoint, increments(m, steps))
			cpus := t.cpus()
			errs := make(chan error, len(cpus))
			var wg sync.WaitGroup
			for range cpus {
				wg.Go(func() {
					for range runs {
						if _, err := t.k.run(p, &ebpf.RunOptions{}); err != nil {
							errs <- err
							return
						}
					}
				})
			}
			wg.Wait()
			select {
			case err := <-errs:
				t.must(err, "run program")
			default:
			}
			var got []uint64
			t.must(m.Lookup(uint32(0), &got), "lookup")
			var sum int64
			for _, v := range got {
				sum += int64(v)
			}
			// The sum is exact because the program increments atomically: since Linux 7.2 another program can
			// preempt it on its CPU.
			equal(t, "sum", sum, int64(steps*runs*len(cpus)))
		},
	},
	Rule{
		Name:      "other-cpu",
		Statement: "bpf_map_lookup_percpu_elem returns a program the value of any CPU, and NULL for an impossible CPU.",
		Source:    "kernel/bpf/helpers.c, bpf_map_lookup_percpu_elem (Linux 5.19)",
		check: func(t *T) {
			m := t.create(&ebpf.MapSpec{Type: ebpf.PerCPUArray, KeySize: 4, ValueSize: 8, MaxEntries: 1})
			n := possibleCPUs(t)
			values := make([]uint64, n)
			for i := range values {
				values[i] = uint64(100 + i)
			}
			t.must(m.Put(uint32(0), values), "update")
			p := t.load(rawTracepoint, program(
				asm.StoreImm(asm.R10, -4, 0, asm.Word),
				theMap(asm.R1, m), mov(asm.R2, asm.R10), asm.Add.Imm(asm.R2, -4), arg(asm.R3, 0),
				asm.FnMapLookupPercpuElem.Call(), asm.JEq.Imm(asm.R0, 0, "none"),
				asm.LoadMem(asm.R0, asm.R0, 0, asm.DWord), asm.Return(),
				at("none", set(asm.R0, -1)), asm.Return(),
			))
			for i := range values {
				equal(t, "value", t.call(p, uint64(i)), int32(100+i))
			}
			equal(t, "value of an impossible CPU", t.call(p, 1<<20), -1)
		},
	},
	Rule{
		Name:      "value-limit",
		Statement: "A per-CPU value of more than 32 KiB is refused with E2BIG.",
		Source:    "kernel/bpf/arraymap.c, array_map_alloc_check: PCPU_MIN_UNIT_SIZE",
		check: func(t *T) {
			spec := func(size uint32) *ebpf.MapSpec {
				return &ebpf.MapSpec{Type: ebpf.PerCPUArray, KeySize: 4, ValueSize: size, MaxEntries: 1}
			}
			t.createFails("a value of 8 bytes more", spec(32<<10+8), unix.E2BIG)
			t.create(spec(32 << 10))
		},
	},
)

// percpuValues ends the test unless a lookup returns the values of all CPUs and writes nothing after them.
func (t *T) percpuValues(m *ebpf.Map) {
	n := possibleCPUs(t)
	const stride, canary = 8, 0xee
	in := bytes.Repeat([]byte{0x55}, n*stride)
	out := bytes.Repeat([]byte{canary}, n*stride+64)
	for i := range n {
		binary.NativeEndian.PutUint32(in[i*stride:], uint32(i+1))
	}
	key := uint32(0)
	_, err := t.element(unix.BPF_MAP_UPDATE_ELEM, m, unsafe.Pointer(&key), unsafe.Pointer(&in[0]), 0)
	t.must(err, "update")
	_, err = t.element(unix.BPF_MAP_LOOKUP_ELEM, m, unsafe.Pointer(&key), unsafe.Pointer(&out[0]), 0)
	t.must(err, "lookup")
	for i := range n {
		equal(t, "value of a CPU", binary.NativeEndian.Uint32(out[i*stride:]), uint32(i+1))
	}
	equal(t, "unchanged bytes after the values", bytes.Count(out[n*stride:], []byte{canary}), 64)
}

// increments returns a program that adds 1 to the map's only value, steps times.
func increments(m *ebpf.Map, steps int32) code {
	return program(
		asm.StoreImm(asm.R10, -4, 0, asm.Word),
		theMap(asm.R1, m), mov(asm.R2, asm.R10), asm.Add.Imm(asm.R2, -4), asm.FnMapLookupElem.Call(),
		asm.JEq.Imm(asm.R0, 0, "none"),
		mov(asm.R7, asm.R0), set(asm.R8, 0), set(asm.R9, 1),
		at("again", asm.AddAtomic.Mem(asm.R7, asm.R9, asm.DWord, 0)),
		asm.Add.Imm(asm.R8, 1), asm.JLT.Imm(asm.R8, steps, "again"),
		at("none", set(asm.R0, 0)), asm.Return(),
	)
}

func possibleCPUs(t *T) int {
	n, err := ebpf.PossibleCPU()
	t.must(err, "count possible CPUs")
	return n
}

// cpus returns the CPUs that this process may run on.
func (t *T) cpus() []int {
	var set unix.CPUSet
	t.must(unix.SchedGetaffinity(0, &set), "ask for CPUs")
	var cpus []int
	for cpu := range 8 * int(unsafe.Sizeof(set)) {
		if set.IsSet(cpu) {
			cpus = append(cpus, cpu)
		}
	}
	return cpus
}

// on calls f on the given CPU.
func (t *T) on(cpu int, f func()) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var before, one unix.CPUSet
	t.must(unix.SchedGetaffinity(0, &before), "ask for CPUs")
	defer unix.SchedSetaffinity(0, &before)
	one.Set(cpu)
	t.must(unix.SchedSetaffinity(0, &one), "move to CPU %d", cpu)
	f()
}
