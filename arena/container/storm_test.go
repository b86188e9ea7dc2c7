package container

import (
	"bufio"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/cilium/ebpf"

	"github.com/rbtool/rbtool/arena"
	"github.com/rbtool/rbtool/internal/arenamem"
	"github.com/rbtool/rbtool/internal/bpftest/arenaset"
	"github.com/rbtool/rbtool/internal/bpftest/arenatest"
	"github.com/rbtool/rbtool/internal/testenv"
)

// In a storm, processes (storm below) and programs (storm in arenaset.bpf.c) change one table at once.
// Keys below stormKeys are counters, which are only incremented. The next stormKeys keys are inserted and
// deleted.
const stormKeys = 500

// stormCounts counts the operations of one process or program.
type stormCounts struct {
	Added, Inserted, Deleted, Found, Absent, Torn uint64
}

func (c *stormCounts) add(o stormCounts) {
	c.Added += o.Added
	c.Inserted += o.Inserted
	c.Deleted += o.Deleted
	c.Found += o.Found
	c.Absent += o.Absent
	c.Torn += o.Torn
}

const stormValue = 64

// checksum is the same function as checksum in arenaset.bpf.c.
func checksum(value []byte) uint64 {
	sum := uint64(1)
	for i := range 7 {
		sum = (sum ^ binary.LittleEndian.Uint64(value[8*i:])) * 0x9e3779b97f4a7c15
	}
	return sum
}

func whole(value []byte) bool { return binary.LittleEndian.Uint64(value[56:]) == checksum(value) }

func increment(value []byte, _ bool) {
	n := binary.LittleEndian.Uint64(value) + 1
	binary.LittleEndian.PutUint64(value, n)
	for i := uint64(1); i < 7; i++ {
		binary.LittleEndian.PutUint64(value[8*i:], n*i)
	}
	binary.LittleEndian.PutUint64(value[56:], checksum(value))
}

func stormKey(n uint64) []byte { return binary.LittleEndian.AppendUint64(nil, n) }

// storm does the same operations as the programs until stop returns true.
func storm(t *Table, stop func() bool) (c stormCounts, err error) {
	value := make([]byte, stormValue)
	for i := 0; ; i++ {
		if i%64 == 63 && stop() { // not before 63 operations, so that each process does some
			return c, nil
		}
		key := stormKey(rand.Uint64N(2 * stormKeys))
		other := stormKey(stormKeys + rand.Uint64N(stormKeys))
		switch rand.N(8) {
		default:
			if err = t.Lookup(key, value); err == nil {
				c.Found++
				if !whole(value) {
					c.Torn++
				}
			} else if errors.Is(err, ErrNotFound) {
				c.Absent++
				err = nil
			}
		case 0, 1:
			if err = t.Update(stormKey(rand.Uint64N(stormKeys)), ebpf.UpdateAny, increment); err == nil {
				c.Added++
			}
		case 2:
			if err = t.Update(other, ebpf.UpdateNoExist, increment); err == nil {
				c.Inserted++
			} else if errors.Is(err, ErrExists) {
				err = nil
			}
		case 3:
			if err = t.Delete(other); err == nil {
				c.Deleted++
			} else if errors.Is(err, ErrNotFound) {
				err = nil
			}
		}
		if err != nil {
			return c, err
		}
	}
}

// stormHelper is a helper process. It runs storm until its input ends, and then prints its counts.
func stormHelper(a *arena.Arena, in *bufio.Reader) error {
	h, err := OpenHeap(a)
	if err != nil {
		return err
	}
	t, err := OpenTable(h, "storm")
	if err != nil {
		return err
	}
	over := make(chan struct{})
	go func() { in.ReadByte(); close(over) }()
	fmt.Println("begins")
	c, err := storm(t, func() bool {
		select {
		case <-over:
			return true
		default:
			return false
		}
	})
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(c)
}

// checkStorm compares the table with the counted operations. If processes were killed, it does not compare
// numbers: those processes' changes were not counted.
func checkStorm(tb testing.TB, t *Table, c stormCounts, killed bool) {
	tb.Helper()
	var counted, there uint64
	seen := map[uint64]bool{}
	for e, err := range t.All() {
		if err != nil {
			tb.Fatal(err)
		}
		key := binary.LittleEndian.Uint64(e.Key)
		if seen[key] {
			tb.Errorf("key %d is there twice", key)
		}
		seen[key] = true
		if !whole(e.Value) {
			tb.Errorf("key %d: torn value", key)
		}
		if key < stormKeys {
			counted += binary.LittleEndian.Uint64(e.Value)
		} else {
			there++
		}
	}
	n, err := t.Len()
	if err != nil {
		tb.Fatal(err)
	}
	tb.Logf("%+v: counted to %d, %d inserted keys are there, %d keys in all", c, counted, there, n)
	if c.Torn != 0 {
		tb.Errorf("%d torn values", c.Torn)
	}
	if killed {
		return
	}
	if counted != c.Added {
		tb.Errorf("counters are at %d, they were counted up %d times", counted, c.Added)
	}
	if there != c.Inserted-c.Deleted {
		tb.Errorf("%d keys are there, %d were inserted and %d deleted", there, c.Inserted, c.Deleted)
	}
	if n != len(seen) {
		tb.Errorf("Len is %d with %d keys", n, len(seen))
	}
}

// deleteAll empties the table.
func deleteAll(tb testing.TB, t *Table) {
	tb.Helper()
	for n := range uint64(2 * stormKeys) {
		if err := t.Delete(stormKey(n)); err != nil && !errors.Is(err, ErrNotFound) {
			tb.Fatal(err)
		}
	}
}

func used(tb testing.TB, h *Heap) uint64 {
	tb.Helper()
	st, err := h.h.Stats()
	if err != nil {
		tb.Fatal(err)
	}
	if st.Corrupt != 0 {
		tb.Errorf("%d broken free lists", st.Corrupt)
	}
	return st.Used
}

// howLong returns the duration of a test: the value of the environment variable if it is set, or else
// short or long.
func howLong(tb testing.TB, variable string, short, long time.Duration) time.Duration {
	tb.Helper()
	if text := os.Getenv(variable); text != "" {
		d, err := time.ParseDuration(text)
		if err != nil {
			tb.Fatal(err)
		}
		return d
	}
	if testing.Short() {
		return short
	}
	return long
}

// Two processes and two programs change a table for RBTOOL_ARENA_STORM (default 3 s).
func TestTableStorm(t *testing.T) {
	testenv.NoLeaks(t)
	h := newHeap(t, arena.Options{Size: 16 << 20})
	tab, err := NewTable(h, "storm", TableOptions{KeySize: 8, ValueSize: stormValue, Capacity: stormKeys})
	if err != nil {
		t.Fatal(err)
	}
	p := loadSet(t, h, arenaset.TableStorm, arenaset.TableStormTP)
	before := used(t, h)
	var (
		mu  sync.Mutex
		all stormCounts
		wg  sync.WaitGroup
	)
	processes := []*arenatest.Process{arenatest.Start(t, "storm", h.a), arenatest.Start(t, "storm", h.a)}
	for _, q := range processes {
		q.Line() // wait until it has begun
	}
	deadline := time.Now().Add(howLong(t, "RBTOOL_ARENA_STORM", 500*time.Millisecond, 3*time.Second))
	for i, program := range []string{arenaset.TableStorm, arenaset.TableStormTP} {
		wg.Go(func() {
			for seed := uint64(i + 1); time.Now().Before(deadline); seed += 2 {
				job, err := p.run(program, arenaset.Job{On: uint64(tab.p), Count: 10_000, Keys: stormKeys, Seed: seed})
				if err != nil || job.Failed != 0 {
					t.Errorf("%s: %v, %d failures, the last %d", program, err, job.Failed, int64(job.Sum))
					return
				}
				mu.Lock()
				all.add(stormCounts{job.Added, job.Inserted, job.Deleted, job.Found, job.Absent, job.Torn})
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	for _, q := range processes {
		q.In.Close()
		var c stormCounts
		if err := json.Unmarshal([]byte(q.Line()), &c); err != nil {
			t.Fatal(err)
		}
		if c.Added == 0 {
			t.Error("a process did nothing")
		}
		all.add(c)
		q.Finish()
	}
	checkStorm(t, tab, all, false)
	deleteAll(t, tab)
	if now := used(t, h); now != before {
		t.Errorf("%d bytes are in use after all keys were deleted, %d at first", now, before)
	}
}

// maxHeld is the maximum number of blocks that a process holds during a change of the table: the new
// node, copies of the nodes before it, and the replaced nodes.
const maxHeld = 8

// Processes are killed during their operations, RBTOOL_ARENA_KILLS times (default 200). The others
// continue.
func TestKilledInsideAnOperation(t *testing.T) {
	testenv.NoLeaks(t)
	kills := 200
	if testing.Short() {
		kills = 20
	}
	if text := os.Getenv("RBTOOL_ARENA_KILLS"); text != "" {
		if _, err := fmt.Sscan(text, &kills); err != nil {
			t.Fatal(err)
		}
	}
	h := newHeap(t, arena.Options{Size: 16 << 20})
	tab, err := NewTable(h, "storm", TableOptions{KeySize: 8, ValueSize: stormValue, Capacity: stormKeys})
	if err != nil {
		t.Fatal(err)
	}
	p := loadSet(t, h, arenaset.TableStorm)
	before := used(t, h)
	var all stormCounts
	for i := range kills {
		q := arenatest.Start(t, "storm", h.a)
		q.Line() // wait until it has begun
		// A program runs while the process runs, and again after it was killed. Then this process does
		// some operations.
		for range 2 {
			job := p.must(arenaset.TableStorm, arenaset.Job{On: uint64(tab.p), Count: 1000, Keys: stormKeys, Seed: uint64(i + 1)})
			if job.Failed != 0 || job.Torn != 0 {
				t.Fatalf("kill %d: %+v", i, job)
			}
			q.Kill()
		}
		n := 0
		c, err := storm(tab, func() bool { n++; return n == 10 })
		if err != nil {
			t.Fatalf("kill %d: %v", i, err)
		}
		all.add(c)
	}
	checkStorm(t, tab, all, true)
	deleteAll(t, tab)
	node := arenamem.ClassSize(arenamem.ClassOf(tab.nodeBytes + arenamem.HeaderSize))
	lost := int64(used(t, h)-before) / int64(node)
	t.Logf("%d kills lost %d blocks", kills, lost)
	if lost > int64(maxHeld*kills) || lost < -int64(kills) {
		t.Errorf("%d kills lost %d blocks", kills, lost)
	}
}

func TestProgramThatHasUsedUpItsLoops(t *testing.T) {
	testenv.NoLeaks(t)
	h := newHeap(t, arena.Options{Size: 1 << 20})
	tab, err := NewTable(h, "t", TableOptions{KeySize: 8, ValueSize: stormValue, Capacity: 1})
	if err != nil {
		t.Fatal(err)
	}
	for i := range uint64(20) { // chains of five
		if err := tab.Update(stormKey(i), ebpf.UpdateAny, increment); err != nil {
			t.Fatal(err)
		}
	}
	p := loadSet(t, h, arenaset.Exhausted)
	before := used(t, h)
	job := p.must(arenaset.Exhausted, arenaset.Job{On: uint64(tab.p), Count: 1})
	if job.Added == 0 || job.Absent+job.Inserted+job.Failed != 0 || job.Found+job.Full != 1 {
		t.Errorf("%+v", job)
	}
	if now := used(t, h); now != before {
		t.Errorf("%d bytes in use, %d before", now, before)
	}
	if n, err := tab.Len(); n != 20 || err != nil {
		t.Errorf("%d keys, %v", n, err)
	}
}
