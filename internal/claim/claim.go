// Package claim decides which opener may consume or produce a ring. A claim is a 64-bit word that
// the kernel ignores, in the consumer page of a RINGBUF or in the producer page of a USER_RINGBUF.
// File locks do not work, because the descriptors of all maps share one inode.
//
// The word names a process and one opener in that process, so two openers differ even within a
// process and across execve(2). The word is changed only by compare-and-swap, so an opener never
// ends the claim of another (litmus claim-take). [Take] claims a free ring. The ring is claimed while the word is the
// ID of its holder; [ID.Release] ends the claim. If its holder has ended, a ring is free.
//
// Claiming an unclaimed ring takes no system call. Only an opener that finds another claim looks
// for the holder of that claim, in /proc or with a BPF program.
//
// Any number of goroutines may call the functions at once.
package claim

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"

	hostproc "github.com/rbtool/rbtool/internal/bpf/process"
	"github.com/rbtool/rbtool/internal/ring"
)

// ID is the value of a claim word, 0 if the ring is unclaimed:
//
//	63      42 41      24 23      14 13      0
//	|   pid   |  start   | namespace |  nonce |
//
// A process is named by what it knows about itself: its pid in its own pid namespace, and the low
// bits of its start time in clock ticks, as in its own /proc/self/stat. The start time
// distinguishes it from an earlier process with the same pid. Namespace is 0 in the initial pid and
// time namespaces, where a pid is unique. In others it is derived from the inode number of the pid
// namespace, because the first processes of two containers both have pid 1 and may start in the
// same tick. A process without /proc has start and namespace 0. The nonce is different for each
// opener of a process.
type ID uint64

const (
	nonceBits = 14
	nsBits    = 10
	startBits = hostproc.StartBits
	startMask = 1<<startBits - 1
)

// newID returns the ID of an opener of p.
func newID(p process, nonce uint32) ID {
	id := ID(p.pid)<<startBits | ID(p.start&startMask)
	return (id<<nsBits|ID(p.ns))<<nonceBits | ID(nonce&(1<<nonceBits-1))
}

// PID returns the holder's pid in its own pid namespace. Every pid fits into the field, because
// PID_MAX_LIMIT is 1<<22 (include/linux/threads.h).
func (id ID) PID() uint32 { return uint32(id >> (startBits + nsBits + nonceBits)) }

// process returns the process that holds the claim.
func (id ID) process() process {
	return process{id.PID(), uint32(id>>(nsBits+nonceBits)) & startMask, uint32(id>>nonceBits) & (1<<nsBits - 1)}
}

// Take claims the ring whose claim word is at word. It returns the new claim and the claim that it
// replaced. It takes the ring from a holder whose state does not exceed most: with [Gone] it takes
// only a free ring, with [Alive] any ring. Otherwise the error is a [*BusyError], or matches
// [ring.ErrCorrupt] if another process keeps changing the word. The caller must end the claim with
// Release.
func Take(word *atomic.Uint64, most State) (self, previous ID, err error) {
	self, err = open(ID(word.Load()))
	if err != nil {
		return 0, 0, fmt.Errorf("claim: %w", err)
	}
	previous, err = swap(most, func() ID { return ID(word.Load()) },
		func(holder ID) bool { return word.CompareAndSwap(uint64(holder), uint64(self)) })
	if err != nil {
		closeID(self)
		return 0, 0, err
	}
	return self, previous, nil
}

// swap loads the claim word with load. If the state of its holder does not exceed most, swap
// replaces the word with replace and returns the replaced word.
func swap(most State, load func() ID, replace func(holder ID) bool) (ID, error) {
	const tries = 100
	for range tries {
		holder := load()
		if err := holder.Beyond(most); err != nil {
			return 0, err
		}
		if replace(holder) {
			return holder, nil
		}
	}
	return 0, fmt.Errorf("%w: claim word keeps changing: another process is writing to it", ring.ErrCorrupt)
}

// Beyond returns a [*BusyError] if the state of the holder of id exceeds most, and nil otherwise.
func (id ID) Beyond(most State) error {
	if most == Alive {
		return nil
	}
	if state, pid := id.find(); state > most {
		return &BusyError{PID: pid, Unseen: state == Unknown}
	}
	return nil
}

// Release ends the claim. If another opener has taken the ring, it does not change the word.
func (id ID) Release(word *atomic.Uint64) {
	word.CompareAndSwap(uint64(id), 0)
	closeID(id)
}

// openers are the claims that this process has taken and not released. If a word names this process
// but is not in openers, it is the claim of an earlier program of the process: execve(2) changes
// neither pid nor start time.
var openers = struct {
	sync.Mutex
	nonce uint32 // of the last opener
	ids   map[ID]struct{}
}{nonce: rand.Uint32(), ids: map[ID]struct{}{}}

// open returns the ID of a new opener of this process. It differs from holder, which an earlier
// process image may have left: that claim would seem to be open.
func open(holder ID) (ID, error) {
	openers.Lock()
	defer openers.Unlock()
	for range 1 << nonceBits {
		openers.nonce++
		id := newID(self, openers.nonce)
		if _, used := openers.ids[id]; !used && id != holder {
			openers.ids[id] = struct{}{}
			return id, nil
		}
	}
	return 0, fmt.Errorf("this process already has %d claims", 1<<nonceBits)
}

func closeID(id ID) {
	openers.Lock()
	defer openers.Unlock()
	delete(openers.ids, id)
}

func isOpen(id ID) bool {
	openers.Lock()
	defer openers.Unlock()
	_, ok := openers.ids[id]
	return ok
}
