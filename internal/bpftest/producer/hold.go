package producer

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"runtime"
	"sync"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"golang.org/x/sys/unix"
)

// Held is a record that is reserved and stays BUSY until Commit or Discard.
type Held struct {
	owner *holds
	page  *faultPage
	done  chan error // gets one value, when the program has ended
}

// Hold reserves record seq of size bytes, with the payload of Fill, and leaves it BUSY. The program
// that reserved the record runs on a thread of this process and sleeps in bpf_copy_from_user, on a
// page that is missing until Commit or Discard provides it. [Producer.Close] discards held records.
//
// The error is ErrFull if the ring is full. It matches ebpf.ErrNotSupported if
// the kernel has no syscall programs (Linux 5.14) or no userfaultfd.
func (p *Producer) Hold(seq uint64, size uint32) (*Held, error) {
	h, err := p.hold(seq, size)
	if err != nil {
		return nil, fmt.Errorf("hold record %d: %w", seq, err)
	}
	return h, nil
}

func (p *Producer) hold(seq uint64, size uint32) (*Held, error) {
	if size > MaxRecord {
		return nil, fmt.Errorf("size of %d bytes exceeds %d", size, MaxRecord)
	}
	if err := haveHelper(asm.FnCopyFromUser, "bpf_copy_from_user"); err != nil {
		return nil, err
	}
	prog, err := p.programs.get(variant{name: bpfProgHoldRecord, size: size})
	if err != nil {
		return nil, err
	}
	page, err := newFaultPage()
	if err != nil {
		return nil, err
	}
	h := &Held{owner: &p.held, page: page, done: make(chan error, 1)}
	if err := p.held.add(h); err != nil {
		return nil, errors.Join(err, page.close())
	}
	go h.run(prog, seq)
	if waitErr := page.wait(); waitErr != nil {
		// Either the program ended without a page fault, and run has its error, or wait failed, and
		// the program must be made to end.
		if err := h.release(false); err != nil {
			return nil, err
		}
		return nil, waitErr
	}
	return h, nil
}

// run runs the program until it ends, and sends the result to h.done. It is called in a goroutine
// of its own.
func (h *Held) run(prog *ebpf.Program, seq uint64) {
	arg := bpfHoldArg{VerdictAddr: h.page.addr(), Seq: seq}
	var ret uint32
	err := withoutSignals(func() (err error) {
		ret, err = prog.Run(&ebpf.RunOptions{Context: &arg})
		return err
	})
	if err == nil && ret != 0 {
		err = ErrFull
	}
	h.page.cancel()
	h.done <- err
}

// withoutSignals calls f on a thread that blocks all signals. A signal interrupts the sleep in a
// page fault, but in kernel mode only a fatal signal ends the fault: after any other signal the
// thread would fault again in a busy loop, and would not handle the signal before the record is
// released (fs/userfaultfd.c, handle_userfault; arch/x86/mm/fault.c, do_user_addr_fault).
func withoutSignals(f func() error) error {
	runtime.LockOSThread()
	var all, before unix.Sigset_t
	for i := range all.Val {
		all.Val[i] = ^all.Val[i]
	}
	if err := unix.PthreadSigmask(unix.SIG_SETMASK, &all, &before); err != nil {
		runtime.UnlockOSThread()
		return fmt.Errorf("block signals: %w", err)
	}
	err := f()
	if e := unix.PthreadSigmask(unix.SIG_SETMASK, &before, nil); e != nil {
		// The thread stays locked and ends with the goroutine, so that no other goroutine runs
		// without signals.
		return errors.Join(err, fmt.Errorf("unblock signals: %w", e))
	}
	runtime.UnlockOSThread()
	return err
}

// Commit submits the record, wakes a consumer that waits for it, and returns when the program has
// ended. The error matches os.ErrClosed if the record has been committed or discarded before, also
// by [Producer.Close].
func (h *Held) Commit() error {
	if err := h.release(true); err != nil {
		return fmt.Errorf("commit held record: %w", err)
	}
	return nil
}

// Discard is [Held.Commit], but discards the record.
func (h *Held) Discard() error {
	if err := h.release(false); err != nil {
		return fmt.Errorf("discard held record: %w", err)
	}
	return nil
}

func (h *Held) release(commit bool) error {
	if !h.owner.remove(h) {
		return os.ErrClosed
	}
	return h.finish(commit)
}

// finish makes the program commit or discard the record, and waits until it has ended. The caller
// has removed h from holds.
func (h *Held) finish(commit bool) error {
	var verdict [8]byte
	if commit {
		binary.NativeEndian.PutUint64(verdict[:], 1)
	}
	err := h.page.serve(verdict[:])
	// If serve fails, closing the userfaultfd wakes the program (fs/userfaultfd.c,
	// userfaultfd_release), which reads a zero and discards.
	err = errors.Join(err, h.page.closeFD())
	err = errors.Join(err, <-h.done)
	return errors.Join(err, h.page.unmap())
}

// holds is the set of records that a Producer holds.
type holds struct {
	mu     sync.Mutex
	set    map[*Held]struct{}
	closed bool
}

func (hs *holds) add(h *Held) error {
	hs.mu.Lock()
	defer hs.mu.Unlock()
	if hs.closed {
		return os.ErrClosed
	}
	if hs.set == nil {
		hs.set = map[*Held]struct{}{}
	}
	hs.set[h] = struct{}{}
	return nil
}

// remove removes h and reports whether h was in the set.
func (hs *holds) remove(h *Held) bool {
	hs.mu.Lock()
	defer hs.mu.Unlock()
	_, ok := hs.set[h]
	delete(hs.set, h)
	return ok
}

// close discards all held records.
func (hs *holds) close() error {
	hs.mu.Lock()
	set := hs.set
	hs.set, hs.closed = nil, true
	hs.mu.Unlock()
	var errs []error
	for h := range set {
		errs = append(errs, h.finish(false))
	}
	return errors.Join(errs...)
}
