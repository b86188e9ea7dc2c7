package cli

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"os"
	"sync"
	"testing"
	"unsafe"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/ringbuf"
	"golang.org/x/sys/unix"

	"github.com/rbtool/rbtool/internal/bpftest/producer"
	"github.com/rbtool/rbtool/internal/cli/command"
	"github.com/rbtool/rbtool/internal/testenv"
	"github.com/rbtool/rbtool/pin"
)

// An observer that is killed at any point does not affect the owner of the ring: the owner gets every
// record once, in order. Observers print only records that were submitted.
func TestAKilledObserverLeavesTheOwnerAlone(t *testing.T) {
	kills := 100
	if testing.Short() {
		kills = 2
	}
	m, path := pinnedRing(t, 256<<10)
	p, err := producer.Load(m)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	r, err := ringbuf.NewReader(m)
	if err != nil {
		t.Fatal(err)
	}
	var owned uint64
	var owner, flood sync.WaitGroup
	owner.Go(func() {
		for ; ; owned++ {
			rec, err := r.Read()
			if errors.Is(err, ringbuf.ErrFlushed) {
				return
			}
			if err == nil {
				err = producer.Verify(owned, rec.RawSample)
			}
			if err != nil {
				t.Errorf("owner, record %d: %v", owned, err)
				return
			}
		}
	})
	ctx, stop := context.WithCancel(t.Context())
	var produced producer.Result
	flood.Go(func() {
		job := producer.Job{Op: producer.Output, Size: 8, MaxSize: 200, Count: 1 << 40, RetryFull: true}
		produced, err = p.Run(ctx, job)
	})
	seen := 0
	for range kills {
		for _, rec := range splitRaw(tailAndKill(t, path, "--observe")) {
			if err := producer.Verify(binary.LittleEndian.Uint64(rec), rec); err != nil {
				t.Error(err)
			}
			seen++
		}
	}
	stop()
	flood.Wait()
	r.Flush()
	owner.Wait()
	if err := r.Close(); err != nil {
		t.Error(err)
	}
	if !errors.Is(err, context.Canceled) || owned != produced.Next {
		t.Errorf("the owner got %d of %d records; producer: %v", owned, produced.Next, err)
	}
	t.Logf("%d observers killed, %d records seen by them and %d by the owner", kills, seen, owned)
}

// An observer sees samples in a user ring before the kernel drains them.
func TestObserveAUserRing(t *testing.T) {
	m := testenv.Map(t, &ebpf.MapSpec{Name: "samples", Type: ebpf.UserRingbuf, MaxEntries: testenv.PageSize})
	path := testenv.PinPath(t, "samples")
	if err := pin.Map(m, path, pin.Options{}); err != nil {
		t.Fatal(err)
	}
	page := os.Getpagesize()
	mem, err := unix.Mmap(m.FD(), int64(page), 3*page, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Munmap(mem)
	copy(mem[page:], "\x05\x00\x00\x00\x00\x00\x00\x00hello")
	*(*uint64)(unsafe.Pointer(&mem[0])) = 16
	for range 2 {
		out, err := rbtool(t, "tail", path, "--observe", "-o", "raw", "-n", "1").Output()
		if want := "\x05\x00\x00\x00hello"; err != nil || string(out) != want {
			t.Errorf("tail printed %q, %v; want %q", out, err, want)
		}
	}
	cmd := rbtool(t, "tail", path)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	if err := cmd.Run(); err == nil || cmd.ProcessState.ExitCode() != command.StatusFailed {
		t.Errorf("tail without --observe: %v, %s", err, &stderr)
	}
}
