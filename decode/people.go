package decode

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"math"
	"math/bits"
	"net/netip"
	"strconv"
	"time"
	"unicode"
	"unicode/utf8"

	"golang.org/x/sys/unix"
)

// meant appends the value of o as people read it. It returns false, and appends nothing, if the value is to
// be shown by its kind.
func (r *run) meant(o *op, b []byte) bool {
	switch o.kind {
	case kindArray:
		switch o.meaning {
		case Chars:
			return r.chars(o.chars(b))
		case Bytes:
			r.bytes(b[o.off:][:o.array.len(b[o.off:])])
			return true
		}
		return r.meantBytes(o.meaning, o.array.whole(b[o.off:]))
	case kindUint128, kindInt128:
		return r.meantBytes(o.meaning, b[o.off:o.off+16])
	case kindBytes:
		r.socketAddress(b[o.off:][:o.size])
		return true
	}
	v := o.load(b)
	switch m := o.meaning; m {
	case Ktime, Boottime, TAI, WallTime, Timestamp:
		return r.time(m, v)
	case Nanoseconds, Microseconds, Milliseconds:
		return r.duration(m, o.number(v))
	case Errno, ErrorNo, Returned:
		return r.errno(m, signed(v, o.width))
	case Signal:
		return v <= math.MaxInt8 && r.named(int64(v), unix.SignalName(unix.Signal(v)))
	case UserID:
		return r.id(v, r.printer.host.User)
	case GroupID:
		return r.id(v, r.printer.host.Group)
	case Address:
		r.address(v)
		return true
	}
	return r.inNetworkOrder(o, v)
}

// inNetworkOrder is for numbers whose bytes are not in the order of the host, and for numbers of two parts.
func (r *run) inNetworkOrder(o *op, v uint64) bool {
	swapped := bits.ReverseBytes64(v) >> (64 - o.width)
	switch o.meaning {
	case IPv4:
		r.out = ipv4(uint32(swapped)).AppendTo(r.out)
	case IPv4Host:
		r.out = ipv4(uint32(v)).AppendTo(r.out)
	case Port, BigEndian:
		r.out = strconv.AppendUint(r.out, swapped, 10)
	case Device:
		const minorBits = 20 // MINORBITS, include/linux/kdev_t.h
		r.out = strconv.AppendUint(r.out, v>>minorBits, 10)
		r.out = strconv.AppendUint(append(r.out, ':'), v&(1<<minorBits-1), 10)
	default:
		return false
	}
	return true
}

func ipv4(address uint32) netip.Addr {
	return netip.AddrFrom4([4]byte(binary.BigEndian.AppendUint32(nil, address)))
}

// meantBytes is for values that are not one integer. b is nil if the record ends within the value.
func (r *run) meantBytes(m Meaning, b []byte) bool {
	switch {
	case b == nil:
		return false
	case m == IPv4 && len(b) == 4:
		r.out = netip.AddrFrom4([4]byte(b)).AppendTo(r.out)
	case (m == IPv6 || m == IPAddress) && len(b) == 16:
		ip := [16]byte(b)
		if m == IPAddress && [12]byte(ip[4:]) == [12]byte{} && [4]byte(ip[:4]) != [4]byte{} {
			r.out = netip.AddrFrom4([4]byte(ip[:4])).AppendTo(r.out)
			break
		}
		r.out = netip.AddrFrom16(ip).AppendTo(r.out)
	case m == MAC:
		for i, c := range b {
			if i > 0 {
				r.out = append(r.out, ':')
			}
			r.out = hex.AppendEncode(r.out, []byte{c})
		}
	default:
		return false
	}
	return true
}

// bytes appends b in hex, or as a string if all of it is that of a C string, with zeros after it. It shortens more
// than maxArray.
func (r *run) bytes(b []byte) {
	const least = 2 // a shorter text may well be a number
	if s := bytes.TrimRight(b, "\x00"); len(s) >= least && bytes.IndexByte(s, 0) < 0 && r.chars(s) {
		return
	}
	left := 0
	if r.shortens() && len(b) > maxArray {
		left = len(b) - shortArray
	}
	r.out = hex.AppendEncode(append(r.out, "hex:"...), b[:len(b)-left])
	if left > 0 {
		r.more(left)
	}
}

// chars appends the string s if it is text.
func (r *run) chars(s []byte) bool {
	if !utf8.Valid(s) {
		return false
	}
	for _, c := range string(s) {
		if !unicode.IsPrint(c) && c != '\n' && c != '\t' && c != 0 {
			return false
		}
	}
	r.string(s)
	return true
}

// time appends a time as the time of day. 0 is no time.
func (r *run) time(clock Meaning, v uint64) bool {
	if v == 0 || r.printer.host.Time == nil {
		return false
	}
	wall, ok := r.printer.host.Time(clock, v)
	if ok {
		r.out = r.printer.clock.Append(r.out, wall, 9)
	}
	return ok
}

func (r *run) duration(m Meaning, v int64) bool {
	unit := int64(time.Nanosecond)
	switch m {
	case Microseconds:
		unit = int64(time.Microsecond)
	case Milliseconds:
		unit = int64(time.Millisecond)
	}
	if v > math.MaxInt64/unit || v < math.MinInt64/unit {
		return false
	}
	r.out = append(r.out, time.Duration(v*unit).String()...)
	return true
}

// errno appends a negative number with the name of the error, or for ErrorNo also a positive one. For Returned, -1 has
// none.
func (r *run) errno(m Meaning, v int64) bool {
	n := -v
	if m == ErrorNo && v > 0 {
		n = v
	}
	if n <= 0 || n > maxErrno || m == Returned && n == 1 {
		return false
	}
	return r.named(v, errnoName(n))
}

const maxErrno = 4095 // MAX_ERRNO, include/linux/err.h

// errnoName returns the name of an error number, or "" if it has none.
func errnoName(n int64) string {
	if name := unix.ErrnoName(unix.Errno(n)); name != "" {
		return name
	}
	return kernelErrors[n]
}

// kernelErrors are error numbers that only the kernel itself uses (include/linux/errno.h).
var kernelErrors = map[int64]string{
	512: "ERESTARTSYS", 513: "ERESTARTNOINTR", 514: "ERESTARTNOHAND", 515: "ENOIOCTLCMD", 516: "ERESTART_RESTARTBLOCK",
	517: "EPROBE_DEFER", 518: "EOPENSTALE", 519: "ENOPARAM", 521: "EBADHANDLE", 522: "ENOTSYNC", 523: "EBADCOOKIE", 524: "ENOTSUPP",
	525: "ETOOSMALL", 526: "ESERVERFAULT", 527: "EBADTYPE", 528: "EJUKEBOX", 529: "EIOCBQUEUED", 530: "ERECALLCONFLICT", 531: "ENOGRACE",
}

// id appends the number of a user or group with its name.
func (r *run) id(v uint64, name func(uint32) string) bool {
	switch {
	case v == math.MaxUint32:
		return r.named(int64(v), "none") // INVALID_UID and INVALID_GID, include/linux/uidgid.h
	case v > math.MaxUint32 || name == nil:
		return false
	}
	return r.named(int64(v), name(uint32(v)))
}

// named appends v with its name in parentheses.
func (r *run) named(v int64, name string) bool {
	if name == "" {
		return false
	}
	r.out = append(strconv.AppendInt(r.out, v, 10), '(')
	r.out = append(appendTextString(r.out, []byte(name)), ')')
	return true
}

// address appends an address in hex, with its symbol if it is one of the kernel.
func (r *run) address(v uint64) {
	r.out = strconv.AppendUint(append(r.out, "0x"...), v, 16)
	if v < kernelSpace || r.printer.host.Symbol == nil {
		return
	}
	if symbol := r.printer.host.Symbol(v); symbol != "" {
		r.out = append(appendTextString(append(r.out, '('), []byte(symbol)), ')')
	}
}

// unnamedFlags appends the flags of o in b, an enum whose value has no enumerator.
func (r *run) unnamedFlags(o *op, b []byte) bool {
	v := o.load(b)
	_, named := o.enum.names[o.enum.key(v, o.width)]
	return !named && r.flags(o.enum, v)
}

// flags appends the names of the enumerators whose bits make up v. It returns false if there are none.
func (r *run) flags(e *enum, v uint64) bool {
	left, start := v, len(r.out)
	for _, f := range e.flags {
		if left&f.bit == 0 {
			continue
		}
		if len(r.out) > start {
			r.out = append(r.out, '|')
		}
		r.out = append(r.out, f.name...)
		left &^= f.bit
	}
	if len(r.out) > start && left != 0 {
		r.out = strconv.AppendUint(append(r.out, "|0x"...), left, 16)
	}
	return len(r.out) > start
}
