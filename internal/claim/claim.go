// Package claim decides which opener may consume or produce a ring. A claim is a 64-bit word
// that the kernel ignores, in the consumer page of a RINGBUF or in the producer page of a
// USER_RINGBUF. File locks do not work: all map descriptors share one inode.
//
// The word names a process and one opener in it, so that two openers differ even within a
// process and across execve(2). It changes only by compare-and-swap, so an opener never ends
// another's claim. [Take] claims a free ring; the holder has it while the word is its ID;
// [ID.Release] ends the claim. A ring whose holder has ended is free.
//
// Claiming a free ring takes no system call. Only an opener that meets another claim looks for
// its holder, in /proc or with a BPF program.
//
// All functions may be called by many goroutines at once.
package claim

import (
	"errors"
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
// The process is named by what it knows about itself without help: its pid in its own pid
// namespace, and the low bits of its start time in clock ticks as its own /proc/self/stat has
// it, which tell it from an earlier process with that pid. Namespace is 0 in the initial pid
// and time namespaces, where a pid is unique, else derived from the pid namespace's inode
// number: the first processes of two containers both have pid 1 and may start in the same
// tick. A process without /proc has start and namespace 0. The nonce differs for each opener
// of a process.
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

// PID returns the holder's pid in its own pid namespace. It fits the field: PID_MAX_LIMIT is
// 1<<22 (include/linux/threads.h).
func (id ID) PID() uint32 { return uint32(id >> (startBits + nsBits + nonceBits)) }

// process returns the holder.
func (id ID) process() process {
	return process{id.PID(), uint32(id>>(nsBits+nonceBits)) & startMask, uint32(id>>nonceBits) & (1<<nsBits - 1)}
}

// Take claims the ring whose claim word is word, and returns the claim and the word that
// it replaced. It takes the ring from a holder whose state is at most the state most: with
// [Gone] it claims only a free ring, with [Alive] any. Otherwise the error is a
// [*BusyError], or one matching [ring.ErrCorrupt] if another process keeps rewriting the word.
// The caller ends the claim with Release.
func Take(word *atomic.Uint64, most State) (self, previous ID, err error) {
	self, err = open()
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

// swap replaces the word that load returns, if its holder's state allows, and returns it.
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

// Beyond returns a [*BusyError] if the state of id's holder is greater than most.
func (id ID) Beyond(most State) error {
	if most == Alive {
		return nil
	}
	if state, pid := id.find(); state > most {
		return &BusyError{PID: pid, Unseen: state == Unknown}
	}
	return nil
}

// Release ends the claim. It leaves the word alone if another opener has taken the ring.
func (id ID) Release(word *atomic.Uint64) {
	word.CompareAndSwap(uint64(id), 0)
	closeID(id)
}

// openers are the claims that this process has taken and not released. A word that names this
// process but is not among them belongs to an earlier process image: execve(2) changes neither
// pid nor start time.
var openers = struct {
	sync.Mutex
	nonce uint32 // of the last opener
	ids   map[ID]struct{}
}{nonce: rand.Uint32(), ids: map[ID]struct{}{}}

// open returns the ID of a new opener of this process.
func open() (ID, error) {
	openers.Lock()
	defer openers.Unlock()
	for range 1 << nonceBits {
		openers.nonce++
		id := newID(self, openers.nonce)
		if _, used := openers.ids[id]; !used {
			openers.ids[id] = struct{}{}
			return id, nil
		}
	}
	return 0, errors.New("too many claims of one process")
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
