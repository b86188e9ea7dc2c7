package capture

import (
	"encoding/binary"
	"fmt"
	"slices"
	"time"

	"github.com/cilium/ebpf"

	"github.com/rbtool/rbtool/decode"
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
	optApplication = 4 // shb_userappl
	optName        = 2 // if_name
	optDescription = 3 // if_description
	optResolution  = 9 // if_tsresol
	optRing        = 0x8001
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
	typesVersion  = 1          // version of the format of blockTypes
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
	maxPacket = 256 << 10 // WTAP_MAX_PACKET_SIZE_STANDARD, wireshark/wiretap/wtap.h: Wireshark stops at a longer packet
	maxRest   = 8 << 20   // data of a blockRest: half of Wireshark's limit for a block
	maxTypes  = 16 << 20  // blockTypes: Wireshark's limit for a block
	maxHead   = 1 << 20   // section, interface and statistics blocks, to which other programs can add options
)

// Info describes the recorded ring. Positions are bytes since the ring's creation.
type Info struct {
	Name  string // of the map; the file keeps at most 1024 bytes
	ID    ebpf.MapID
	Type  ebpf.MapType // RingBuf or UserRingbuf
	Size  uint64       // bytes of the ring's data
	Start uint64       // position at which recording began
	// Application is the program that recorded, with its version. The file keeps at most 1024 bytes.
	Application string
	// Types are the types of the records; nil if unknown.
	Types *decode.Set
}

// Record is one record of a capture.
type Record struct {
	Pos  uint64    // bytes from the ring's creation to the record's header
	Time time.Time // when the record was read from the ring, to the nanosecond
	Lost uint64    // bytes lost between the previous record and this one, headers included
	Data []byte    // bytes of the record, without its header
}

// End is the end of a finished capture.
type End struct {
	Time      time.Time // when recording ended
	Pos       uint64    // position at which recording ended
	Records   uint64    // number of records in the capture
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

// text returns s, truncated to the length allowed for the text of an option.
func text(s string) []byte { return []byte(s[:min(len(s), 1024)]) }

// AppendHeader appends the beginning of a capture to dst. It returns an error only if info.Types cannot be
// marshalled or exceeds 16 MiB; dst is then extended by a header without types.
func AppendHeader(dst []byte, info Info) ([]byte, error) {
	dst = block(dst, blockSection, func(b []byte) []byte {
		b = le.AppendUint32(b, byteOrder)
		b = le.AppendUint16(b, 1) // version 1.0
		b = le.AppendUint16(b, 0)
		b = le.AppendUint64(b, unknownLength)
		return endOptions(option(b, optApplication, text(info.Application)))
	})
	dst = block(dst, blockInterface, func(b []byte) []byte {
		b = le.AppendUint16(b, linkUser0)
		b = le.AppendUint16(b, 0)
		b = le.AppendUint32(b, 0) // snapshot length: unlimited
		b = option(b, optName, text(info.Name))
		b = option(b, optDescription, fmt.Appendf(nil, "BPF %s, map id %d, %d bytes", info.Type, info.ID, info.Size))
		b = option(b, optResolution, []byte{nanoseconds})
		ring := le.AppendUint32(nil, uint32(info.Type))
		ring = le.AppendUint32(ring, uint32(info.ID))
		ring = le.AppendUint64(ring, info.Size)
		ring = le.AppendUint64(ring, info.Start)
		return endOptions(option(b, optRing, ring))
	})
	if info.Types == nil {
		return dst, nil
	}
	return appendTypes(dst, info.Types)
}

// appendTypes appends the types of the records, with only the BTF that they need.
func appendTypes(dst []byte, types *decode.Set) ([]byte, error) {
	set, err := types.MarshalBinary()
	if err != nil {
		return dst, fmt.Errorf("write capture: %w", err)
	}
	body := le.AppendUint32(nil, 0) // the types belong to interface 0
	body = le.AppendUint32(body, typesVersion)
	body = append(body, set...)
	if len(body)+blockOverhead > maxTypes {
		return dst, fmt.Errorf("write capture: types have %d bytes, more than %d", len(body), maxTypes-blockOverhead)
	}
	return block(dst, blockTypes, func(b []byte) []byte { return append(b, body...) }), nil
}

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
		b = le.AppendUint32(b, 0)
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

// AppendEnd appends the end of a finished capture to dst. Another capture can follow it.
func AppendEnd(dst []byte, end End) []byte {
	return block(dst, blockStatistics, func(b []byte) []byte {
		b = le.AppendUint32(b, 0)
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
