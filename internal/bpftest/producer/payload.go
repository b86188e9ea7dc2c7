package producer

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"sync"
)

// shifts is SHIFTS of producer.bpf.c.
const shifts = 4096

// pattern has the bytes from which records are cut.
var pattern = sync.OnceValue(func() []byte {
	b := make([]byte, 0, MaxRecord+shifts)
	for i := uint64(0); len(b) < cap(b); i++ {
		b = binary.LittleEndian.AppendUint64(b, mix(i))
	}
	return b
})

// Fill makes rec the payload of record seq, with a length of at most MaxRecord: seq in the first 8
// bytes, little endian and truncated if rec is shorter, then pseudo-random bytes that differ
// between consecutive numbers.
func Fill(seq uint64, rec []byte) {
	copy(rec, pattern()[seq%shifts:])
	var head [8]byte
	binary.LittleEndian.PutUint64(head[:], seq)
	copy(rec, head[:])
}

// Verify returns an error with the position at which rec differs from the payload of record seq
// with that length.
func Verify(seq uint64, rec []byte) error {
	if len(rec) > MaxRecord {
		return fmt.Errorf("verify record %d: %d bytes: more than %d", seq, len(rec), MaxRecord)
	}
	var head [8]byte
	binary.LittleEndian.PutUint64(head[:], seq)
	n := min(len(rec), len(head))
	if !bytes.Equal(rec[:n], head[:n]) {
		return fmt.Errorf("verify record %d: starts with %x, want %x", seq, rec[:n], head[:n])
	}
	want := pattern()[seq%shifts:][:len(rec)]
	if bytes.Equal(rec[n:], want[n:]) {
		return nil
	}
	for rec[n] == want[n] {
		n++
	}
	return fmt.Errorf("verify record %d: byte %d of %d is %#02x, want %#02x", seq, n, len(rec), rec[n], want[n])
}
