package capture

import (
	"encoding/binary"
	"fmt"
	"slices"
	"time"
)

// Block types of pcapng. Types with the highest bit set are for private use.
const (
	blockSection    = 0x0a0d0d0a
	blockInterface  = 1
	blockStatistics = 5
	blockPacket     = 6
	blockTypes      = 0x80007262
	blockRest       = 0x80007263
)

// Options of blocks. Options with the highest bit set are for private use.
const (
	optEnd         = 0
	optComment     = 1
	optHardware    = 2 // shb_hardware
	optOS          = 3 // shb_os
	optApplication = 4 // shb_userappl
	optName        = 2 // if_name
	optDescription = 3 // if_description
	optResolution  = 9 // if_tsresol
	optRing        = 0x8001
	optClocks      = 0x8005
	optPin         = 0x8008
	optHost        = 0x8006
	optBoot        = 0x8007
	optPosition    = 5 // epb_packetid
	optLost        = 0x8002
	optReceived    = 4 // isb_ifrecv
	optEndPos      = 0x8003
	optDiscarded   = 0x8004
)

// Values of fields.
const (
	byteOrder     = 0x1a2b3c4d // byte-order magic of a section
	unknownLength = ^uint64(0) // section length: unknown
	linkUser0     = 147        // LINKTYPE_USER0, for private use
	nanoseconds   = 9          // if_tsresol: 10^-9 s
	typesVersion  = 2          // version of the format of blockTypes
	typesInParts  = 3          // the same, in several blocks
)

// Lengths in bytes.
const (
	blockOverhead   = 12 // a block's type and its two lengths
	packetFixed     = 20 // blockPacket before the data
	statisticsFixed = 12 // blockStatistics before the options
)

// Limits in bytes.
const (
	maxRecord = 1<<30 - 1 // RINGBUF_MAX_RECORD_SZ, kernel/bpf/ringbuf.c
	maxBlock  = maxRecord + 4096
	maxWhole  = 256 << 10      // WTAP_MAX_PACKET_SIZE_STANDARD, wireshark/wiretap/wtap.h: Wireshark stops at a longer packet, and dumpcap at a longer block in a pipe
	maxPacket = maxWhole - 256 // data of a packet, which has options too
	maxRest   = maxWhole - 64  // data of a blockRest, or of a part of the types
	maxTypes  = 16 << 20       // types of a ring
	maxHead   = 1 << 20        // section, interface and statistics blocks, to which other programs can add options
)

// Record is one record of a capture.
type Record struct {
	Ring int       // index of the record's ring in the capture, see [AppendRing]
	Pos  uint64    // bytes from the ring's creation to the record's header
	Time time.Time // when the record was read from the ring, to the nanosecond
	Lost uint64    // bytes lost between the previous record and this one, headers included
	Data []byte    // bytes of the record, without its header
}

// End is the end of a ring in a capture.
type End struct {
	Ring      int       // index of the ring in the capture, see [AppendRing]
	Time      time.Time // when recording ended
	Pos       uint64    // position at which recording ended
	Records   uint64    // number of the ring's records in the capture
	Discarded uint64    // number of records that their producers discarded
	Lost      uint64    // bytes lost since the last record, headers included
}

var le = binary.LittleEndian

// block appends a block. fill appends its body.
func block(dst []byte, typ uint32, fill func([]byte) []byte) []byte {
	start := len(dst)
	dst = le.AppendUint32(dst, typ)
	dst = le.AppendUint32(dst, 0)
	dst = fill(dst)
	length := uint32(len(dst) - start + 4)
	le.PutUint32(dst[start+4:], length)
	return le.AppendUint32(dst, length)
}

// pad appends zeros that pad n bytes to a multiple of 4.
func pad(dst []byte, n int) []byte { return append(dst, make([]byte, -n&3)...) }

func option(dst []byte, code uint16, value []byte) []byte {
	dst = le.AppendUint16(dst, code)
	dst = le.AppendUint16(dst, uint16(len(value)))
	dst = append(dst, value...)
	return pad(dst, len(value))
}

func option64(dst []byte, code uint16, value uint64) []byte {
	dst = le.AppendUint16(dst, code)
	dst = le.AppendUint16(dst, 8)
	return le.AppendUint64(dst, value)
}

func endOptions(dst []byte) []byte { return le.AppendUint32(dst, optEnd) }

// AppendRecord appends a record to dst. rec.Data must be shorter than 1 GiB, as the records of all rings are. If
// the record is longer than a packet that Wireshark accepts, the rest of it goes into private blocks after the
// packet.
func AppendRecord(dst []byte, rec Record) []byte {
	packet := rec.Data[:min(len(rec.Data), maxPacket)]
	dst = appendPacket(dst, rec, packet)
	for rest := range slices.Chunk(rec.Data[len(packet):], maxRest) {
		dst = block(dst, blockRest, func(b []byte) []byte { return pad(append(b, rest...), len(rest)) })
	}
	return dst
}

// appendPacket appends the packet of a record. data is the part of rec.Data that goes into the packet.
func appendPacket(dst []byte, rec Record, data []byte) []byte {
	return block(dst, blockPacket, func(b []byte) []byte {
		b = le.AppendUint32(b, uint32(rec.Ring))
		b = stamp(b, rec.Time)
		b = le.AppendUint32(b, uint32(len(data)))
		b = le.AppendUint32(b, uint32(len(rec.Data)))
		b = pad(append(b, data...), len(data))
		b = option64(b, optPosition, rec.Pos)
		if rec.Lost > 0 {
			b = option64(b, optLost, rec.Lost)
			b = option(b, optComment, fmt.Appendf(nil, "%d bytes of records were lost before this one", rec.Lost))
		}
		return endOptions(b)
	})
}

// AppendEnd appends the end of a ring to dst: no record of that ring follows. A capture is finished when all its
// rings have ended. Another capture can follow it.
func AppendEnd(dst []byte, end End) []byte {
	return block(dst, blockStatistics, func(b []byte) []byte {
		b = le.AppendUint32(b, uint32(end.Ring))
		b = stamp(b, end.Time)
		b = option64(b, optReceived, end.Records)
		b = option64(b, optEndPos, end.Pos)
		b = option64(b, optDiscarded, end.Discarded)
		return endOptions(option64(b, optLost, end.Lost))
	})
}

// stamp appends a time in nanoseconds, the upper half first.
func stamp(b []byte, t time.Time) []byte {
	ns := uint64(t.UnixNano())
	b = le.AppendUint32(b, uint32(ns>>32))
	return le.AppendUint32(b, uint32(ns))
}
