package main

import (
	"encoding/binary"
	"fmt"
	"os"
	"runtime"

	"github.com/cilium/ebpf"

	"github.com/rbtool/rbtool/bench/harness"
)

// servePeer serves requests as the Go peer until its input ends, and exits.
func servePeer() {
	err := harness.Serve(os.Stdin, os.Stdout, map[string]func(*harness.Request) ([]uint64, error){
		"consume":   peerConsume,
		"hot":       peerHot,
		"stream":    peerStream,
		"wake":      peerWake,
		"observe":   peerObserve,
		"burn":      peerBurn,
		"userring":  peerUserring,
		"usermany":  peerUsermany,
		"roundtrip": peerRoundtrip,
		"arenalist": peerArenaList,
		"lookup":    peerLookup,
	})
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench peer:", err)
		os.Exit(1)
	}
}

// openRing opens the ring of a request, whose first argument is its id. It first collects the
// garbage of the previous request, so that the time of this request does not include that.
func openRing(req *harness.Request) (*ebpf.Map, error) {
	m, err := ebpf.NewMapFromID(ebpf.MapID(req.Number(0)))
	if err != nil {
		return nil, fmt.Errorf("open ring: %w", err)
	}
	runtime.GC()
	return m, nil
}

// tally is the count and sum of records: a proof that a reader has seen all of them.
type tally struct {
	records uint64
	sum     uint64 // of the marks
}

func (t *tally) add(records, sum uint64) {
	t.records += records
	t.sum += sum
}

// mark returns what a record adds to the sum: its first 8 bytes and its length.
func mark(data []byte) uint64 { return binary.LittleEndian.Uint64(data) + uint64(len(data)) }
