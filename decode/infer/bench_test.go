package infer_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"golang.org/x/sys/unix"

	"github.com/rbtool/rbtool/decode/infer"
	"github.com/rbtool/rbtool/internal/testenv"
)

// On a host with 500 programs and 300 maps of maps, an answer takes at most 0.2 s and 50 MiB.
func BenchmarkOf(b *testing.B) {
	b.Run("one program", func(b *testing.B) {
		run := readCase(b, "hash_of_rings").load(b, loaders[0], true)
		defer run.close()
		crowd(b, 500, 300)
		benchmarkOf(b, run.ring, 1)
	})
	// The names of the struct are found only in the executable of the owner.
	for _, programs := range []int{1, 30} {
		b.Run(fmt.Sprintf("%d programs of 2700 instructions and an owner of 200 MiB", programs), func(b *testing.B) {
			run := repeated(b, programs, 100)
			defer func() { run.close() }()
			run.ownedBy(b, large(b, 200<<20))
			crowd(b, 500-programs, 300)
			benchmarkOf(b, run.ring, programs)
		})
	}
}

// calls returns how many calls produce records.
func calls(r *infer.Result) (n int) {
	for _, s := range r.Sites {
		n += 1 + s.More
	}
	return n
}

// maxGrown is how much memory an answer may take, in MiB.
const maxGrown = 50

// benchmarkOf also reports how much time of all CPUs an answer takes, and by how much the memory of this process grows.
func benchmarkOf(b *testing.B, ring *ebpf.Map, least int) {
	b.Helper()
	of := func() {
		found, err := infer.Of(ring, infer.Options{})
		if err != nil || calls(found) < least {
			b.Fatalf("%v, %+v", err, found)
		}
	}
	debug.FreeOSMemory()
	if err := os.WriteFile("/proc/self/clear_refs", []byte("5"), 0); err != nil { // VmHWM begins anew
		b.Fatal(err)
	}
	before := memory(b, "VmHWM:")
	of()
	grown := memory(b, "VmHWM:") - before
	if grown > maxGrown {
		b.Errorf("an answer takes %.0f MiB, want %d at most", grown, maxGrown)
	}
	used := cpu(b)
	b.ReportAllocs()
	for b.Loop() {
		of()
	}
	b.ReportMetric((cpu(b)-used)*1000/float64(b.N), "cpu-ms/op")
	b.ReportMetric(grown, "MiB-grown")
}

// cpu returns how many seconds of all CPUs this process has used.
func cpu(b *testing.B) float64 {
	b.Helper()
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return float64(u.Utime.Nano()+u.Stime.Nano()) / 1e9
}

// memory returns a number of /proc/self/status in MiB.
func memory(b *testing.B, name string) float64 {
	b.Helper()
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		b.Fatal(err)
	}
	var kib float64
	for line := range strings.Lines(string(status)) {
		if value, ok := strings.CutPrefix(line, name); ok {
			if _, err := fmt.Sscan(value, &kib); err != nil {
				b.Fatal(err)
			}
		}
	}
	return kib / 1024
}

// repeated loads programs for the ring of local_struct, which run its program again and again.
func repeated(b testing.TB, programs, times int) *loaded {
	b.Helper()
	file, err := os.ReadFile(filepath.Join(corpus, "local_struct_bpfel.o"))
	if err != nil {
		b.Fatal(err)
	}
	spec, err := ebpf.LoadCollectionSpecFromReader(bytes.NewReader(file))
	if err != nil {
		b.Fatal(err)
	}
	p := spec.Programs["p"]
	clear(spec.Programs)
	for i := range programs {
		one := p.Copy()
		one.Name, one.Instructions = fmt.Sprint("p", i), nil
		for n := range times {
			one.Instructions = append(one.Instructions, numbered(p.Instructions, n, n == times-1)...)
		}
		spec.Programs[one.Name] = one
	}
	coll, err := ebpf.NewCollection(spec)
	if err != nil {
		b.Fatalf("%+v", err)
	}
	return &loaded{ring: coll.Maps[ringName], close: coll.Close}
}

// numbered returns a copy of a program, which goes on with that of the next number instead of returning.
func numbered(insns asm.Instructions, n int, last bool) (found asm.Instructions) {
	for i, ins := range insns {
		if i == 0 && n > 0 {
			bare := ins
			bare.Metadata = asm.Metadata{}
			ins = bare.WithSource(ins.Source()).WithReference(ins.Reference()).WithSymbol(fmt.Sprint("part", n))
		}
		if !last && ins.OpCode == asm.Return().OpCode {
			ins = asm.Ja.Label(fmt.Sprint("part", n+1)).WithSource(ins.Source())
		}
		found = append(found, ins)
	}
	return found
}

// large returns an executable of this size: this one, zeros, and an object.
func large(b testing.TB, size int64) string {
	b.Helper()
	self, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		b.Fatal(err)
	}
	object, err := os.ReadFile(filepath.Join(corpus, "local_struct_bpfel.o"))
	if err != nil {
		b.Fatal(err)
	}
	name := filepath.Join(b.TempDir(), "owner")
	f, err := os.OpenFile(name, os.O_CREATE|os.O_WRONLY, 0o700)
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	if _, err := f.Write(self); err != nil {
		b.Fatal(err)
	}
	if _, err := f.WriteAt(object, size-int64(len(object))); err != nil {
		b.Fatal(err)
	}
	return name
}

// crowd loads programs, each of which uses some map of maps. These have one entry: writing one takes
// the kernel milliseconds.
func crowd(tb testing.TB, programs, outers int) {
	tb.Helper()
	spec := &ebpf.MapSpec{Name: "inner", Type: ebpf.RingBuf, MaxEntries: testenv.PageSize}
	one := testenv.Map(tb, spec)
	var all []*ebpf.Map
	for i := range outers {
		outer := &ebpf.MapSpec{Name: fmt.Sprint("outer", i), Type: ebpf.ArrayOfMaps, KeySize: 4, MaxEntries: 64, InnerMap: spec}
		if i%2 == 1 {
			outer.Type = ebpf.HashOfMaps
		}
		outer.Contents = []ebpf.MapKV{{Key: uint32(7), Value: one}}
		all = append(all, testenv.Map(tb, outer))
	}
	for i := range programs {
		uses(tb, all[i%outers])
	}
}
