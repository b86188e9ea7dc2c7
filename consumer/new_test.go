package consumer_test

import (
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/rbtool/rbtool/consumer"
	"github.com/rbtool/rbtool/internal/testenv"
)

func TestWhatIsNotARing(t *testing.T) {
	tests := []struct {
		rule string
		spec ebpf.MapSpec
		text string
	}{
		{"an array", ebpf.MapSpec{Type: ebpf.Array, KeySize: 4, ValueSize: 8, MaxEntries: 1}, "map is a Array, not a RingBuf"},
		{"a user ring, which the kernel consumes", ebpf.MapSpec{Type: ebpf.UserRingbuf, MaxEntries: testenv.PageSize}, "not a RingBuf"},
		{"an old perf ring", ebpf.MapSpec{Type: ebpf.PerfEventArray, KeySize: 4, ValueSize: 4, MaxEntries: 1}, "not a RingBuf"},
	}
	for _, tt := range tests {
		t.Run(tt.rule, func(t *testing.T) {
			testenv.NoLeaks(t)
			m := testenv.Map(t, &tt.spec)
			_, err := consumer.NewReader(m, consumer.Options{})
			if err == nil || !strings.Contains(err.Error(), tt.text) {
				t.Errorf("NewReader: %v", err)
			}
			_, err = consumer.NewGroup([]*ebpf.Map{m}, consumer.Options{})
			if err == nil || !strings.Contains(err.Error(), tt.text) {
				t.Errorf("NewGroup: %v", err)
			}
			if _, err = consumer.NewGroupFromMap(m, consumer.Options{}); err == nil || !strings.Contains(err.Error(), "not an ArrayOfMaps or HashOfMaps") {
				t.Errorf("NewGroupFromMap: %v", err)
			}
		})
	}
	t.Run("a closed map", func(t *testing.T) {
		testenv.NoLeaks(t)
		m := testenv.Ring(t, testenv.PageSize)
		m.Close()
		if _, err := consumer.NewReader(m, consumer.Options{}); !errors.Is(err, unix.EBADF) {
			t.Errorf("NewReader: %v", err)
		}
	})
	t.Run("a frozen ring", func(t *testing.T) {
		testenv.NoLeaks(t)
		m := testenv.Ring(t, testenv.PageSize)
		if err := m.Freeze(); err != nil {
			t.Fatal(err)
		}
		_, err := consumer.NewReader(m, consumer.Options{})
		if !errors.Is(err, os.ErrPermission) || !strings.HasPrefix(err.Error(), "read ring RingBuf(test_ring)#") {
			t.Errorf("NewReader: %v", err)
		}
	})
}

// A Reader does not need its map to stay open.
func TestMapMayBeClosed(t *testing.T) {
	testenv.NoLeaks(t)
	m := testenv.Ring(t, testenv.PageSize)
	p := load(t, m)
	r := reader(t, m, consumer.Options{Timer: -1})
	m.Close()
	for n := range uint64(3) {
		job := ten
		job.Seq, job.Count = n, 1
		go func() {
			testenv.Asleep(t, "consumer.(*Reader).Wait")
			if _, err := p.Run(t.Context(), job); err != nil {
				t.Error(err)
			}
		}()
		rec, err := r.Read(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if seq(t, rec) != n {
			t.Errorf("record %d, want %d", seq(t, rec), n)
		}
	}
}

// Every way to read fails if the positions are inconsistent.
func TestCorruptPositions(t *testing.T) {
	tests := []struct {
		rule string
		pos  uint64 // consumer_pos as another consumer left it
	}{
		{"ahead of the producer", 1 << 20},
		{"just ahead of the producer", 10*24 + 8},
		{"more than the ring behind", -uint64(testenv.PageSize)},
		{"not on a boundary of 8", 4},
	}
	for _, tt := range tests {
		t.Run(tt.rule, func(t *testing.T) {
			testenv.NoLeaks(t)
			m := testenv.Ring(t, testenv.PageSize)
			run(t, load(t, m), ten)
			setConsumerPos(t, m, tt.pos)
			r := reader(t, m, consumer.Options{Timer: -1})
			for _, way := range ways {
				err := way.take(t.Context(), r, 1, func(consumer.Record) { t.Errorf("%s has a record", way.name) })
				if !errors.Is(err, consumer.ErrCorrupt) {
					t.Errorf("%s: %v", way.name, err)
				}
			}
			if _, err := r.Stats(); err != nil {
				t.Error(err)
			}
		})
	}
}
