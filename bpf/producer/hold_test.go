package producer

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/rbtool/rbtool/internal/testenv"
	"golang.org/x/sys/unix"
)

func hold(t *testing.T, p *Producer, seq uint64, size uint32) *Held {
	t.Helper()
	h, err := p.Hold(seq, size)
	testenv.SkipIfNotSupported(t, "bpf-syscall-program", err)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func TestHeldRecordIsBusyUntilReleased(t *testing.T) {
	for _, size := range sizes {
		t.Run(fmt.Sprint(size, " bytes"), func(t *testing.T) { testHeldRecordIsBusy(t, size) })
	}
}

func testHeldRecordIsBusy(t *testing.T, size uint32) {
	p, ring := load(t, 1<<20)
	rd := newReader(t, ring)
	held := hold(t, p, 7, size)
	behind := Job{Seq: 8, Count: 1, Size: 8}
	run(t, p, behind)
	if q, err := p.Query(); err != nil || q.AvailData != uint64(8+(size+7)/8*8)+16 {
		t.Errorf("query: %+v, %v, want the held record of %d bytes and the one behind it", q, err, size)
	}
	// The header as a consumer sees it; cilium's reader would spin on it.
	if got, want := mapPositions(t, ring).header(0), 1<<31|size; got != want {
		t.Errorf("header %#x, want %#x (BUSY)", got, want)
	}
	if err := held.Commit(); err != nil {
		t.Fatal(err)
	}
	if rec := rd.next(); len(rec) != int(size) {
		t.Errorf("%d bytes, want %d", len(rec), size)
	} else if err := Verify(7, rec); err != nil {
		t.Error(err)
	}
	rd.expect(behind)
}

func TestHeldRecordCanBeDiscarded(t *testing.T) {
	p, ring := load(t, 1<<16)
	rd := newReader(t, ring)
	held := hold(t, p, 7, 100)
	behind := Job{Seq: 8, Count: 1, Size: 8}
	run(t, p, behind)
	if err := held.Discard(); err != nil {
		t.Fatal(err)
	}
	rd.expect(behind)
}

func TestSeveralRecordsAreHeldAndReleasedInAnyOrder(t *testing.T) {
	p, ring := load(t, 1<<16)
	rd := newReader(t, ring)
	a, b, c := hold(t, p, 1, 16), hold(t, p, 2, 16), hold(t, p, 3, 16)
	if err := errors.Join(c.Commit(), b.Discard(), a.Commit()); err != nil {
		t.Fatal(err)
	}
	for _, seq := range []uint64{1, 3} {
		if err := Verify(seq, rd.next()); err != nil {
			t.Error(err)
		}
	}
	rd.none()
}

func TestHeldRecordIsReleasedOnce(t *testing.T) {
	p, _ := load(t, 1<<16)
	held := hold(t, p, 1, 16)
	if err := held.Commit(); err != nil {
		t.Fatal(err)
	}
	if err := held.Discard(); !errors.Is(err, os.ErrClosed) {
		t.Errorf("second release: %v, want os.ErrClosed", err)
	}
}

func TestHoldInAFullRing(t *testing.T) {
	p, _ := load(t, uint32(os.Getpagesize()))
	first := hold(t, p, 1, uint32(os.Getpagesize())-16)
	if _, err := p.Hold(2, 8); !errors.Is(err, ErrFull) {
		t.Errorf("hold: %v, want ErrFull", err)
	}
	if err := first.Discard(); err != nil {
		t.Error(err)
	}
}

func TestCloseDiscardsHeldRecords(t *testing.T) {
	p, ring := load(t, 1<<16)
	rd := newReader(t, ring)
	held := hold(t, p, 1, 16)
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
	if err := held.Commit(); !errors.Is(err, os.ErrClosed) {
		t.Errorf("release after Close: %v, want os.ErrClosed", err)
	}
	if _, err := p.Hold(2, 16); !errors.Is(err, os.ErrClosed) {
		t.Errorf("hold after Close: %v, want os.ErrClosed", err)
	}
	rd.none()
}

// A signal would keep the thread that holds the record spinning in the kernel.
func TestHoldingThreadTakesNoSignals(t *testing.T) {
	p, _ := load(t, 1<<16)
	before := deafThreads(t)
	held := hold(t, p, 1, 16)
	if got := deafThreads(t) - before; got != 1 {
		t.Errorf("%d threads block SIGURG while a record is held, want 1", got)
	}
	if err := held.Commit(); err != nil {
		t.Fatal(err)
	}
	if got := deafThreads(t) - before; got != 0 {
		t.Errorf("%d threads block SIGURG after the release", got)
	}
}

// deafThreads counts the threads of this process that block SIGURG, with which
// the Go runtime preempts.
func deafThreads(t *testing.T) (n int) {
	t.Helper()
	files, err := filepath.Glob("/proc/self/task/*/status")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			continue // the thread has ended
		}
		_, mask, _ := strings.Cut(string(text), "SigBlk:\t")
		mask, _, _ = strings.Cut(mask, "\n")
		blocked, err := strconv.ParseUint(mask, 16, 64)
		if err != nil {
			t.Fatal(err)
		}
		if blocked>>(unix.SIGURG-1)&1 != 0 {
			n++
		}
	}
	return n
}
