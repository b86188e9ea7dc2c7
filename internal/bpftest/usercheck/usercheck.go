// Package usercheck drains a USER_RINGBUF with a program that checks each sample and records
// which samples have arrived, for tests and benchmarks.
package usercheck

//go:generate go tool bpf2go -target bpfel -go-package usercheck -cflags "-O2 -g -Wall -Wextra -Wno-unused-parameter -Werror -mcpu=v3 -I../../../bpf/headers" bpf usercheck.bpf.c

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/bits"
	"sync"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/rbtool/rbtool/internal/syscall"
)

const (
	// HeadSize is the size of the smallest sample that can be checked, in bytes.
	HeadSize = 16
	// MaxSize is the size of the largest sample, in bytes.
	MaxSize = 4096
)

// Fill fills b, of at most MaxSize bytes, with sample seq of a worker: a head, then bytes derived
// from worker and seq. If b is shorter than HeadSize, the program can only count the sample.
func Fill(b []byte, worker, seq uint32) {
	n := uint64(worker)<<32 | uint64(seq)
	v := n
	for i := range b {
		if i%8 == 0 {
			v = mix(v, n)
		}
		b[i] = byte(v >> (8 * (i % 8)))
	}
	if len(b) < HeadSize {
		return
	}
	binary.LittleEndian.PutUint32(b, worker)
	binary.LittleEndian.PutUint32(b[4:], seq)
	binary.LittleEndian.PutUint64(b[8:], sum(mix(uint64(len(b)), n), b[HeadSize:]))
}

// SmallSum returns what a sample shorter than HeadSize adds to Counts.SmallSum.
func SmallSum(b []byte) uint64 { return sum(uint64(len(b)), b) }

func sum(v uint64, b []byte) uint64 {
	for ; len(b) > 0; b = b[min(8, len(b)):] {
		var word [8]byte
		copy(word[:], b)
		v = mix(v, binary.LittleEndian.Uint64(word[:]))
	}
	return v
}

func mix(v, word uint64) uint64 { return (bits.RotateLeft64(v, 7) ^ word) * 0x9e3779b97f4a7c15 }

// Counts has the numbers of samples that all runs have drained, by what was found.
type Counts = bpfUsercheckCounts

// Checker drains one user ring. Many goroutines may call its methods at the same time.
type Checker struct {
	workers, seqs uint32

	mu   sync.Mutex
	objs objects
}

// objects has the loaded objects, except the global variables: cilium/ebpf would map these into the
// process.
type objects struct {
	Drain *ebpf.Program `ebpf:"drain"`
	Seen  *ebpf.Map     `ebpf:"seen"`
	State *ebpf.Map     `ebpf:".bss"`
}

// Load returns a Checker of m, a USER_RINGBUF map. It accepts samples of the given number of
// workers, each with seqs sequence numbers. The caller may close m.
func Load(m *ebpf.Map, workers, seqs uint32) (*Checker, error) {
	spec, err := loadBpf()
	if err == nil {
		err = errors.Join(
			spec.Variables[bpfVarWorkers].Set(workers),
			spec.Variables[bpfVarSeqs].Set(seqs),
		)
	}
	if err != nil {
		return nil, fmt.Errorf("load user ring checker: %w", err)
	}
	spec.Maps[bpfMapSeen].MaxEntries = uint32((uint64(workers)*uint64(seqs) + 63) / 64)
	spec.Maps[bpfMapUser].MaxEntries = m.MaxEntries()
	spec.Maps[bpfMapUser].Flags = m.Flags()
	c := &Checker{workers: workers, seqs: seqs}
	err = spec.LoadAndAssign(&c.objs, &ebpf.CollectionOptions{
		MapReplacements: map[string]*ebpf.Map{bpfMapUser: m},
	})
	if err != nil {
		return nil, fmt.Errorf("load user ring checker: %w", err)
	}
	return c, nil
}

// Drain runs the program once. flags are those of bpf_user_ringbuf_drain; limit is the maximum
// number of samples, 0 for all. Drain returns the number of samples drained, or the error of the
// helper.
func (c *Checker) Drain(flags uint64, limit uint64) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.set(flags, limit); err != nil {
		return 0, err
	}
	return c.run()
}

func (c *Checker) run() (int, error) {
	res, err := syscall.TestRun(c.objs.Drain)
	if err != nil {
		return 0, fmt.Errorf("run user ring checker: %w", err)
	}
	if n := int32(res); n < 0 {
		return 0, unix.Errno(-n)
	}
	return int(res), nil
}

// Counts returns the counts of all runs so far.
func (c *Checker) Counts() (Counts, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	_, counts, err := c.get()
	return counts, err
}

// layout returns the spec of the object, which has the offsets of the globals. It is parsed once.
var layout = sync.OnceValues(func() (*ebpf.CollectionSpec, error) { return loadBpf() })

// get returns the contents of the map of globals, and the counts in it.
func (c *Checker) get() (bss []byte, counts Counts, err error) {
	spec, err := layout()
	if err != nil {
		return nil, counts, err
	}
	bss = make([]byte, c.objs.State.ValueSize())
	if err := c.objs.State.Lookup(uint32(0), bss); err != nil {
		return nil, counts, err
	}
	_, err = binary.Decode(bss[spec.Variables[bpfVarCounts].Offset:], binary.NativeEndian, &counts)
	return bss, counts, err
}

// set stores the parameters of the next runs, if they differ.
func (c *Checker) set(flags, limit uint64) error {
	spec, err := layout()
	if err != nil {
		return err
	}
	bss, _, err := c.get()
	if err != nil {
		return err
	}
	f, l := bss[spec.Variables[bpfVarDrainFlags].Offset:], bss[spec.Variables[bpfVarLimit].Offset:]
	if binary.NativeEndian.Uint64(f) == flags && binary.NativeEndian.Uint64(l) == limit {
		return nil
	}
	binary.NativeEndian.PutUint64(f, flags)
	binary.NativeEndian.PutUint64(l, limit)
	return c.objs.State.Put(uint32(0), bss)
}

// Seen returns, by sequence number, which samples of a worker have arrived.
func (c *Checker) Seen(worker uint32) ([]bool, error) {
	came := make([]bool, c.seqs)
	var word uint64
	first := uint64(worker) * uint64(c.seqs)
	for i := range came {
		bit := first + uint64(i)
		if i == 0 || bit%64 == 0 {
			if err := c.objs.Seen.Lookup(uint32(bit/64), &word); err != nil {
				return nil, fmt.Errorf("look up seen samples: %w", err)
			}
		}
		came[i] = word>>(bit%64)&1 == 1
	}
	return came, nil
}

// Close unloads the program. It is idempotent.
func (c *Checker) Close() error {
	return errors.Join(c.objs.Drain.Close(), c.objs.Seen.Close(), c.objs.State.Close())
}
