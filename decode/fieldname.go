package decode

import (
	"slices"
	"strconv"
	"strings"
	"unicode"
)

// fieldName has the words of a field's name, in lower case: src and ip for src_ip, srcIP and src_ip4.
type fieldName struct {
	words  []string
	family int // 4 or 6 if the name says that it is an address of that version of IP
}

// maxMeaningful is the length in bytes from which on names say nothing: only hostile BTF has such names.
const maxMeaningful = 128

func fieldNameOf(name string) (w fieldName) {
	if len(name) > maxMeaningful {
		return w
	}
	var last rune
	for _, c := range name {
		switch {
		case c == '_':
			last = c
			continue
		case len(w.words) == 0 || last == '_' || unicode.IsUpper(c) && !unicode.IsUpper(last):
			w.words = append(w.words, "")
		}
		w.words[len(w.words)-1] += string(unicode.ToLower(c))
		last = c
	}
	for i, word := range w.words {
		for suffix, family := range map[string]int{"v4": 4, "v6": 6, "ip4": 4, "ip6": 6, "addr4": 4, "addr6": 6} {
			if strings.HasSuffix(word, suffix) {
				w.family, w.words[i] = family, strings.TrimRight(word, "v46")
			}
		}
	}
	w.words = slices.DeleteFunc(w.words, func(word string) bool { return word == "" })
	if n := len(w.words); n > 1 && w.words[n-1] == "raw" { // as Inspektor Gadget calls the numbers that it shows otherwise
		w.words = w.words[:n-1]
	}
	return w
}

// last returns the nth word from the end, "" if there are fewer.
func (w fieldName) last(n int) string {
	if n > len(w.words) {
		return ""
	}
	return w.words[len(w.words)-n]
}

// ends reports whether the last word is one of those given.
func (w fieldName) ends(with ...string) bool { return slices.Contains(with, w.last(1)) }

// has reports whether any word is one of those given.
func (w fieldName) has(any ...string) bool {
	return slices.ContainsFunc(w.words, func(word string) bool { return slices.Contains(any, word) })
}

// isPort reports whether the name is that of a port.
func (w fieldName) isPort() bool {
	return w.ends("port", "sport", "dport", "lport", "rport", "srcport", "dstport", "source", "dest", "src", "dst")
}

var sides = []string{"s", "d", "l", "r", "src", "dst", "source", "dest", "local", "remote", "peer", "client", "server", "rcv", "nat"}

// isAddress reports whether the name is that of an IP address.
func (w fieldName) isAddress() bool {
	switch {
	case w.ends("saddr", "daddr", "laddr", "raddr", "sip", "dip", "srcip", "dstip", "srcaddr", "dstaddr", "ipaddr"):
		return true
	case w.ends("addr", "ip"):
		return slices.Contains(sides, w.last(2)) || w.last(2) == "ip" || w.family != 0 || len(w.words) == 1 && w.ends("ip")
	}
	return w.family != 0 && len(w.words) == 0 || w.last(2) == "ip" && slices.Contains(sides, w.last(1))
}

// wideAddress is for values of 16 bytes.
func (w fieldName) wideAddress(s shape) Meaning {
	switch {
	case w.family == 6:
		return IPv6
	case w.isAddress() || w.ends("addr") && s.elems == 4:
		return IPAddress
	}
	return w.array(s)
}

// array is for arrays of integers.
func (w fieldName) array(s shape) Meaning {
	switch {
	case s.bytes(4) && w.isAddress() && w.family != 6:
		return IPv4
	case s.bytes(6) && w.isMAC():
		return MAC
	case s.elems == s.size && w.ends("comm", "filename", "fname", "path", "pathname", "cmdline", "name", "ifname", "devname", "str", "string",
		"hostname", "msg", "message", "command", "exe"):
		return Chars
	case s.elems > 0 && s.elems < s.size && w.ends("stack", "kstack", "ustack", "stacktrace", "callchain", "callers", "ips", "pcs", "frames", "addrs"):
		return Address
	case s.elems == s.size && !s.signed && (s.elems >= fewBytes || w.last(2) == "at" && isNumber(w.last(1))):
		return Bytes
	}
	return NoMeaning
}

// fewBytes is the least number of bytes of an array that are seldom a list of numbers. A member that was reconstructed
// without its name, such as at_12, is none either.
const fewBytes = 8

func isNumber(word string) bool {
	_, err := strconv.ParseUint(word, 10, 32)
	return err == nil
}

// isMAC reports whether the name is that of a hardware address.
func (w fieldName) isMAC() bool {
	switch w.last(2) + " " + w.last(1) {
	case "h source", "h dest", "eth src", "eth dst", "ether shost", "ether dhost", "hw addr", "ll addr", "mac addr":
		return true
	}
	return w.has("mac", "smac", "dmac", "hwaddr", "lladdr", "macaddr", "bssid")
}

// time is for clocks in nanoseconds. A name tells the clock only if it has its name.
func (w fieldName) time() Meaning {
	if w.duration() != NoMeaning || w.has("us", "usec", "ms", "msec", "sec", "secs", "delta", "duration", "latency") {
		return NoMeaning
	}
	if w.ends("ns", "nsec") {
		w.words = w.words[:len(w.words)-1]
	}
	switch {
	case w.has("ktime", "monotime"), w.has("monotonic") && w.has("ts", "timestamp"):
		return Ktime
	case w.has("boottime") || w.last(2) == "boot" && w.ends("time"):
		return Boottime
	case w.ends("ts", "timestamp", "tstamp"):
		return Timestamp
	case w.ends("time") && (len(w.words) == 1 || slices.Contains(events, w.last(2))):
		return Timestamp
	case len(w.words) == 1 && w.ends("start", "end", "begin", "now"):
		return Timestamp
	}
	return NoMeaning
}

// events have times.
var events = []string{"start", "end", "begin", "stop", "finish", "event", "enter", "exit", "entry", "create", "creation", "fork", "kernel",
	"submit", "issue", "insert", "send", "recv"}

// duration is for durations with a unit.
func (w fieldName) duration() Meaning {
	units := map[string]Meaning{"ns": Nanoseconds, "nsec": Nanoseconds, "us": Microseconds, "usec": Microseconds, "ms": Milliseconds, "msec": Milliseconds}
	switch w.last(2) {
	case "delta", "latency", "lat", "duration", "dur", "elapsed", "delay", "wait", "runtime", "timeout", "interval", "period", "rtt":
		return units[w.last(1)]
	}
	return NoMeaning
}

// identity is for users, groups and devices.
func (w fieldName) identity() Meaning {
	user, group := w.ends("uid", "euid", "suid", "ruid", "fsuid", "auid", "loginuid"), w.ends("gid", "egid", "sgid", "rgid", "fsgid")
	switch {
	case user && !w.has("gid"):
		return UserID
	case group && !w.has("uid"):
		return GroupID
	case len(w.words) == 2 && w.last(2) == "s" && w.ends("dev"), w.ends("rdev"):
		return Device
	}
	return NoMeaning
}

// status is for results of functions and for signals.
func (w fieldName) status() Meaning {
	switch {
	case w.ends("errno"):
		return ErrorNo
	case w.ends("err", "error"):
		return Errno
	case w.ends("ret", "retval"), w.ends("code", "value") && (w.last(2) == "ret" || w.last(2) == "return"):
		return Returned
	case w.ends("sig", "signal", "signo", "signum"):
		return Signal
	}
	return NoMeaning
}

// pointer is for addresses in integers.
func (w fieldName) pointer() Meaning {
	if w.ends("addr", "address", "kaddr", "ip", "pc", "rip", "ptr", "location", "caller", "callsite", "func", "fn", "skaddr", "skbaddr") ||
		w.last(2) == "call" && w.ends("site") {
		return Address
	}
	return NoMeaning
}
