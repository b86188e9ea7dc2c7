package producer

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

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
	// Read the header from the ring's memory: the reader of cilium/ebpf would spin on a BUSY
	// record.
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

// The thread that holds a record blocks signals: a signal would make it spin in the kernel.
func TestHoldingThreadTakesNoSignals(t *testing.T) {
	p, _ := load(t, 1<<16)
	wantDeafThreads(t, 0, "before")
	held := hold(t, p, 1, 16)
	wantDeafThreads(t, 1, "while a record is held")
	if err := held.Commit(); err != nil {
		t.Fatal(err)
	}
	wantDeafThreads(t, 0, "after the release")
}

// wantDeafThreads waits until exactly want threads of this process block SIGURG, the signal with
// which the Go runtime preempts. It checks ten times in a row, since the runtime itself briefly
// blocks all signals in a thread that starts another thread.
func wantDeafThreads(t *testing.T, want int, when string) {
	t.Helper()
	for deadline := time.Now().Add(60 * time.Second); ; {
		deaf := deafThreads(t)
		for range 9 {
			again := deafThreads(t)
			deaf = slices.DeleteFunc(deaf, func(thread string) bool { return !slices.Contains(again, thread) })
		}
		if len(deaf) == want {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d threads block SIGURG %s, want %d", len(deaf), when, want)
		}
	}
}

// deafThreads returns the threads of this process that block SIGURG.
func deafThreads(t *testing.T) (deaf []string) {
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
			deaf = append(deaf, file)
		}
	}
	return deaf
}
