package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/cilium/ebpf"

	"github.com/rbtool/rbtool/arena/container"
	"github.com/rbtool/rbtool/bench/harness"
)

// tableName is the name of the benchmark's table in the arena.
const tableName = "table"

// lookupValue is the size of a value in bytes. The first 8 bytes of a value are the number of its
// key.
const lookupValue = 64

// newLookup returns the benchmark of looking up random keys in a table of an arena and in a hash
// map with the same contents. limit is the highest permitted ratio to libbpf's time.
func newLookup(r *rig, keys uint64, limit float64) (_ *harness.Benchmark, err error) {
	h, id, err := newArena(512 << 20)
	if err != nil {
		return nil, err
	}
	hash, err := ebpf.NewMap(&ebpf.MapSpec{
		Name: "bench", Type: ebpf.Hash, KeySize: 8, ValueSize: lookupValue, MaxEntries: uint32(keys),
	})
	if err != nil {
		return nil, errors.Join(err, h.Arena().Close())
	}
	closeAll := func() error { return errors.Join(hash.Close(), h.Arena().Close()) }
	hashID, err := idOf(hash)
	if err == nil {
		err = fillBoth(h, hash, keys)
	}
	if err != nil {
		return nil, errors.Join(err, closeAll())
	}
	want := tally{records: r.size.lookups}
	for key := range randomKeys(r.size.lookups, keys) {
		want.sum += key
	}
	way := func(peer *harness.Peer, id ebpf.MapID, name string) func(context.Context) ([]float64, error) {
		return func(context.Context) ([]float64, error) {
			got, err := peer.Call("lookup", id, name, r.size.lookups, keys)
			if err != nil {
				return nil, err
			}
			return perRecordFigure(got, want)
		}
	}
	const ours = "ours, Table.Lookup"
	return &harness.Benchmark{
		Title:   fmt.Sprintf("random ones of %d keys of 8 bytes, with values of %d", keys, lookupValue),
		Metrics: []harness.Metric{{Name: "time", Unit: "ns/lookup"}},
		Contenders: []harness.Contender{
			{Name: libbpf, Run: way(r.c, hashID, "map")},
			{Name: libbpfAgain, Run: way(r.c, hashID, "map")},
			{Name: "cilium/ebpf, Map.Lookup", Run: way(r.g, hashID, "map")},
			{Name: ours, Run: way(r.g, id, "table")},
		},
		Claims: []harness.Claim{{Contender: ours, Metric: "time", Base: libbpf, Limit: limit}},
		Close:  closeAll,
	}, nil
}

// fillBoth puts the same keys and values into a table of the heap and into the hash map.
func fillBoth(h *container.Heap, hash *ebpf.Map, keys uint64) error {
	t, err := container.NewTable(h, tableName, container.TableOptions{KeySize: 8, ValueSize: lookupValue, Capacity: int(keys)})
	if err != nil {
		return err
	}
	key, value := make([]byte, 8), make([]byte, lookupValue)
	for n := range keys {
		binary.LittleEndian.PutUint64(key, n)
		copy(value, key)
		if err := t.Put(key, value, ebpf.UpdateAny); err != nil {
			return err
		}
		if err := hash.Put(key, value); err != nil {
			return fmt.Errorf("fill hash map: %w", err)
		}
	}
	return nil
}

// randomKeys yields n random key numbers below keys, the same sequence as bench/peer/lookup.c.
func randomKeys(n, keys uint64) func(func(uint64) bool) {
	return func(yield func(uint64) bool) {
		x := uint64(1)
		for range n {
			x = x*6364136223846793005 + 1442695040888963407
			// Multiplies and shifts: a division would take as long as a lookup.
			if !yield((x >> 32) * keys >> 32) {
				return
			}
		}
	}
}

// peerLookup serves the request "lookup MAP WAY LOOKUPS KEYS" in the Go peer.
func peerLookup(req *harness.Request) ([]uint64, error) {
	if req.Word(1) == "map" {
		m, err := openRing(req)
		if err != nil {
			return nil, err
		}
		defer m.Close()
		return lookups(req, func(key, value []byte) error { return m.Lookup(key, &value) })
	}
	h, err := openArena(req)
	if err != nil {
		return nil, err
	}
	defer h.Arena().Close()
	t, err := container.OpenTable(h, tableName)
	if err != nil {
		return nil, err
	}
	return lookups(req, t.Lookup)
}

// lookups looks up the keys in two passes and times the second: the first maps the pages.
func lookups(req *harness.Request, lookup func(key, value []byte) error) ([]uint64, error) {
	var t tally
	var ns time.Duration
	key, value := make([]byte, 8), make([]byte, lookupValue)
	for range 2 {
		t = tally{}
		start := time.Now()
		for n := range randomKeys(req.Number(2), req.Number(3)) {
			binary.LittleEndian.PutUint64(key, n)
			if err := lookup(key, value); err != nil {
				return nil, err
			}
			t.records++
			t.sum += binary.LittleEndian.Uint64(value)
		}
		ns = time.Since(start)
	}
	return []uint64{uint64(ns), t.records, t.sum}, req.Err()
}
