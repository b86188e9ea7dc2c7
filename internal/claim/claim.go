// Package claim decides which opener may consume or produce a ring. A claim is one
// 64-bit word in a page of the ring that the kernel ignores: in the consumer page of
// a RINGBUF, in the producer page of a USER_RINGBUF. File locks cannot serve: all
// map descriptors share one inode.
//
// The word names the process and one opener in it, so that two openers differ
// even within a process and across execve(2). It changes by compare-and-swap only:
// an opener ends its own claim and never a later one's. [Take] claims a free ring;
// the holder keeps it while the word is its ID; [ID.Release] ends the claim. A claim whose
// process has ended is free.
//
// All functions may be called by many goroutines at once.
package claim

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"

	"github.com/rbtool/rbtool/internal/ring"
)

// ID is the value of a claim word, 0 if the ring is unclaimed:
//
//	63      42 41      20 19      0
//	|   pid   |  start   |  nonce |
//
// The pid is that of the initial pid namespace, the same for observers in all
// namespaces. Start is the low bits of the process's start time in clock ticks since
// boot, never 0: it tells a process from an earlier one with its pid. The
// nonce differs for each opener of a process.
type ID uint64

const (
	nonceBits = 20
	startBits = 22
	startMask = 1<<startBits - 1
)

func newID(pid, start, nonce uint32) ID {
	return ID(pid)<<(startBits+nonceBits) | ID(start&startMask)<<nonceBits | ID(nonce&(1<<nonceBits-1))
}

// PID returns the holder's pid in the initial pid namespace. It fits the field:
// PID_MAX_LIMIT is 1<<22 (include/linux/threads.h).
func (id ID) PID() uint32 { return uint32(id >> (startBits + nonceBits)) }

func (id ID) start() uint32 { return uint32(id>>nonceBits) & startMask }

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
	if state := id.State(); state > most {
		return &BusyError{PID: id.PID(), Unseen: state == Unknown}
	}
	return nil
}

// Release ends the claim. A word that another opener has taken meanwhile stays.
func (id ID) Release(word *atomic.Uint64) {
	word.CompareAndSwap(uint64(id), 0)
	closeID(id)
}

// openers are the claims that this process has taken and not released. A word with
// this process's pid that is not among them was left by an earlier process image:
// execve(2) changes neither pid nor start time.
var openers = struct {
	sync.Mutex
	nonce uint32 // of the last opener
	ids   map[ID]struct{}
}{nonce: rand.Uint32(), ids: map[ID]struct{}{}}

// open returns the ID of a new opener of this process.
func open() (ID, error) {
	self, err := identity()
	if err != nil {
		return 0, err
	}
	openers.Lock()
	defer openers.Unlock()
	for {
		openers.nonce++
		id := newID(self.pid, self.start, openers.nonce)
		if _, used := openers.ids[id]; !used {
			openers.ids[id] = struct{}{}
			return id, nil
		}
	}
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
