package producer

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"sync"
)

// shifts mirrors SHIFTS of producer.bpf.c.
const shifts = 4096

// pattern returns the bytes of which the contents of each record are a part.
var pattern = sync.OnceValue(func() []byte {
	b := make([]byte, 0, MaxRecord+shifts)
	for i := uint64(0); len(b) < cap(b); i++ {
		b = binary.LittleEndian.AppendUint64(b, mix(i))
	}
	return b
})

// Fill fills rec, of at most MaxRecord bytes, with the payload of record seq: seq in the first 8
// bytes, little endian and truncated if rec is shorter, then pseudo-random bytes that differ
// between consecutive sequence numbers.
func Fill(seq uint64, rec []byte) {
	copy(rec, pattern()[seq%shifts:])
	var head [8]byte
	binary.LittleEndian.PutUint64(head[:], seq)
	copy(rec, head[:])
}

// Verify returns an error if rec is not the payload of record seq. The error has the first position
// that differs.
func Verify(seq uint64, rec []byte) error {
	if len(rec) > MaxRecord {
		return fmt.Errorf("verify record %d: length of %d bytes exceeds %d", seq, len(rec), MaxRecord)
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
