package container

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cilium/ebpf"

	"github.com/rbtool/rbtool/arena"
	"github.com/rbtool/rbtool/internal/testenv"
)

// stormValueOf fills value with words computed from key and n, and their checksum.
func stormValueOf(value []byte, key, n uint64) {
	binary.LittleEndian.PutUint64(value, key)
	for i := uint64(1); i < 7; i++ {
		binary.LittleEndian.PutUint64(value[8*i:], key+n*i)
	}
	binary.LittleEndian.PutUint64(value[56:], checksum(value))
}

// While others change the table, Update passes only whole values of its key, or zeros, to its callback.
func TestUpdateSeesWholeValues(t *testing.T) {
	testenv.NoLeaks(t)
	h := newHeap(t, arena.Options{})
	tab, err := NewTable(h, "t", TableOptions{KeySize: 8, ValueSize: stormValue, Capacity: 4})
	if err != nil {
		t.Fatal(err)
	}
	const keys = 16 // two keys for each bucket, so that other keys soon reuse freed nodes
	var torn, foreign, ghosts, calls atomic.Uint64
	deadline := time.Now().Add(howLong(t, "RBTOOL_ARENA_STORM", time.Second, 3*time.Second))
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for n := uint64(0); n%64 != 0 || time.Now().Before(deadline); n++ {
				key := rand.Uint64N(keys)
				err := tab.Update(stormKey(key), ebpf.UpdateAny, func(value []byte, there bool) {
					calls.Add(1)
					switch {
					case !there && !bytes.Equal(value, make([]byte, stormValue)):
						ghosts.Add(1)
					case there && !whole(value):
						torn.Add(1)
					case there && binary.LittleEndian.Uint64(value) != key:
						foreign.Add(1)
					}
					stormValueOf(value, key, n)
				})
				if err == nil && n%4 == 0 {
					err = tab.Delete(stormKey(rand.Uint64N(keys)))
				}
				if err != nil && !errors.Is(err, ErrNotFound) {
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	t.Logf("%d calls", calls.Load())
	if torn.Load()+foreign.Load()+ghosts.Load() != 0 {
		t.Errorf("%d torn values, %d of another key, %d where there was none", torn.Load(), foreign.Load(), ghosts.Load())
	}
}
