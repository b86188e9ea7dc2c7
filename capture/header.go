package capture

import (
	"fmt"

	"github.com/cilium/ebpf"

	"github.com/rbtool/rbtool/decode"
)

// Info describes a recorded ring and the host on which it was. Positions are bytes since the ring's creation. An id
// names a map only until the host boots again: Host.BootID and ID together identify the ring.
type Info struct {
	Name  string // of the map
	ID    ebpf.MapID
	Type  ebpf.MapType // RingBuf or UserRingbuf
	Size  uint64       // bytes of the ring's data
	Start uint64       // position at which recording began
	Pin   string       // path of a pin of the map, if known
	// Types are the types of the records; nil if unknown.
	Types *decode.Set
	// Clocks translates times in the records; the zero value is unknown.
	Clocks Clocks

	Section
}

// Section is what a capture says once for all its rings. Of each text the file keeps at most 1024 bytes.
type Section struct {
	Application string // program that recorded, with its version
	Host        Host
}

// Host identifies the machine that recorded. Each text is "" if unknown.
type Host struct {
	Name    string // host name
	BootID  string // /proc/sys/kernel/random/boot_id: another one after each boot
	Kernel  string // name and release of the kernel, such as "Linux 6.12.30"
	Machine string // hardware, such as "x86_64"
}

// Clocks are what to add to times of the host's clocks to get nanoseconds since 1970, as they were when recording
// began. bpf_ktime_get_ns, bpf_ktime_get_boot_ns and bpf_ktime_get_tai_ns return such times.
type Clocks struct{ Monotonic, Boottime, TAI int64 }

// AppendHeader appends the beginning of a capture of one ring to dst, as [AppendSection] and [AppendRing] do.
func AppendHeader(dst []byte, info Info) ([]byte, error) {
	return AppendRing(AppendSection(dst, info.Section), 0, info)
}

// AppendSection appends the beginning of a capture of any number of rings to dst.
func AppendSection(dst []byte, s Section) []byte {
	return block(dst, blockSection, func(b []byte) []byte {
		b = le.AppendUint32(b, byteOrder)
		b = le.AppendUint16(b, 1) // version 1.0
		b = le.AppendUint16(b, 0)
		b = le.AppendUint64(b, unknownLength)
		h := &s.Host
		if h.Name != "" {
			b = option(b, optComment, text("host "+h.Name+", boot "+h.BootID))
		}
		for _, o := range []struct {
			code  uint16
			value string
		}{{optHardware, h.Machine}, {optOS, h.Kernel}, {optApplication, s.Application}, {optHost, h.Name}, {optBoot, h.BootID}} {
			b = textOption(b, o.code, o.value)
		}
		return endOptions(b)
	})
}

// AppendRing appends the description of a ring to dst. ring is its index, which its records and its end have: 0 for
// the first ring of a section, then 1, and so on. Rings can be added until the section ends. info.Section is not used. AppendRing
// returns an error only if info.Types cannot be marshalled or exceeds 16 MiB; dst is then extended by a description
// without types.
func AppendRing(dst []byte, ring int, info Info) ([]byte, error) {
	dst = block(dst, blockInterface, func(b []byte) []byte {
		b = le.AppendUint16(b, linkUser0)
		b = le.AppendUint16(b, 0)
		b = le.AppendUint32(b, 0) // snapshot length: unlimited
		b = option(b, optName, text(info.Name))
		b = option(b, optDescription, fmt.Appendf(nil, "BPF %s, map id %d, %d bytes", info.Type, info.ID, info.Size))
		b = option(b, optResolution, []byte{nanoseconds})
		fixed := le.AppendUint32(nil, uint32(info.Type))
		fixed = le.AppendUint32(fixed, uint32(info.ID))
		fixed = le.AppendUint64(fixed, info.Size)
		b = option(b, optRing, le.AppendUint64(fixed, info.Start))
		if info.Clocks != (Clocks{}) {
			clocks := le.AppendUint64(nil, uint64(info.Clocks.Monotonic))
			clocks = le.AppendUint64(clocks, uint64(info.Clocks.Boottime))
			b = option(b, optClocks, le.AppendUint64(clocks, uint64(info.Clocks.TAI)))
		}
		return endOptions(textOption(b, optPin, info.Pin))
	})
	if info.Types == nil {
		return dst, nil
	}
	return appendTypes(dst, ring, info.Types)
}

// appendTypes appends the types of the records of a ring, with only the BTF that they need.
func appendTypes(dst []byte, ring int, types *decode.Set) ([]byte, error) {
	set, err := types.MarshalBinary()
	if err != nil {
		return dst, fmt.Errorf("write capture: %w", err)
	}
	if len(set) > maxTypes {
		return dst, fmt.Errorf("write capture: types have %d bytes, more than %d", len(set), maxTypes)
	}
	if len(set) <= maxRest {
		return block(dst, blockTypes, func(b []byte) []byte {
			b = le.AppendUint32(le.AppendUint32(b, uint32(ring)), typesVersion)
			return append(b, set...)
		}), nil
	}
	for from := 0; from < len(set); from += maxRest {
		dst = block(dst, blockTypes, func(b []byte) []byte {
			b = le.AppendUint32(le.AppendUint32(b, uint32(ring)), typesInParts)
			b = le.AppendUint32(le.AppendUint32(b, uint32(len(set))), uint32(from))
			return append(b, set[from:min(from+maxRest, len(set))]...)
		})
	}
	return dst, nil
}

// textOption appends an option unless its text is empty.
func textOption(dst []byte, code uint16, value string) []byte {
	if value == "" {
		return dst
	}
	return option(dst, code, text(value))
}

// text returns s, truncated to the length allowed for the text of an option.
func text(s string) []byte { return []byte(s[:min(len(s), 1024)]) }
