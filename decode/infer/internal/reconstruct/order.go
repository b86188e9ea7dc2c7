package reconstruct

import (
	"regexp"
	"slices"
	"strings"

	"github.com/rbtool/rbtool/decode"
	"github.com/rbtool/rbtool/internal/recordflow"
	"github.com/rbtool/rbtool/internal/srcline"
)

// lineMeaning returns what the source line of a write says of the number that it writes: whether addresses and
// ports are in network order, which the types of C programs seldom say.
func lineMeaning(w *recordflow.Write) decode.Meaning { return valueMeaning(valueOf(w), w.Size) }

// valueMeaning returns what the text of a value of size bytes says of it. The value must be one variable or member,
// as it is or with its bytes swapped: nothing is known of what is computed.
func valueMeaning(text string, size int64) decode.Meaning {
	v, ok := readValue(text)
	is := func(names []string) bool { return slices.Contains(names, v.member) }
	switch {
	case !ok:
	case size == 2:
		if v.swapped && v.toNetwork && !v.toHost && !is(networkPorts) && !is(hostPorts) {
			return decode.Port
		}
		return portMeaning(is(networkPorts), is(hostPorts), v.swapped, v.toHost)
	case size == 4 && is(addresses) && !v.swapped:
		return decode.IPv4
	case size == 4 && is(addresses):
		return decode.IPv4Host
	case size == 4 && v.swapped && v.toHost:
		return decode.HostOrder
	case size == 16 && is(wideAddresses):
		return decode.IPv6
	}
	return decode.NoMeaning
}

// value is a variable or member that is read.
type value struct {
	member    string // the last member that leads to it; "" if it is a variable or an element of an array
	swapped   bool   // its bytes are swapped
	toHost    bool   // from network order
	toNetwork bool   // to network order
}

// maxCalls bounds the nesting of the calls that a value is read with.
const maxCalls = 4

// readValue reads the text of a value. It returns false for anything that is computed.
func readValue(text string) (v value, ok bool) {
	for range maxCalls {
		text = strings.TrimSpace(strings.TrimRight(text, " \t,;}"))
		if strings.Contains(text, "+") { // srcline takes "a->b + n" for an element of an array
			return v, false
		}
		if f := wholeOf("f(" + text + ")"); f != nil && len(f.Args) == 1 && f.Args[0].Named {
			v.member = lastMember(f.Args[0].Place)
			return v, true
		}
		c := wholeOf(casts.ReplaceAllString(text, ""))
		switch {
		case c == nil || len(c.Args) == 0:
			return v, false
		case strings.Contains(c.Name, "READ") && !strings.Contains(c.Name, "INTO"):
			arg := c.Args[len(c.Args)-1]
			if v.member = lastMember(arg.Place); len(c.Args) > 1 && len(arg.Place.Path) == 0 {
				v.member = arg.Place.Var // BPF_CORE_READ(tcp, source)
			}
			return v, arg.Named
		case len(c.Args) > 1:
			return v, false
		case hasPart(c.Name, "ntoh", "be16_to_cpu", "be32_to_cpu"):
			v.toHost = true
		case hasPart(c.Name, "hton", "cpu_to_be"):
			v.toNetwork = true
		case !hasPart(c.Name, "bswap", "swab"):
			return v, false
		}
		v.swapped = !v.swapped
		text = c.Args[0].Text
	}
	return v, false
}

// casts matches the casts that a value begins with.
var casts = regexp.MustCompile(`^(?:\(\s*[A-Za-z_][\w\s]*\)\s*)+`)

// wholeOf returns the call that is all of text, or nil.
func wholeOf(text string) *srcline.Call {
	line := srcline.Parse(text)
	if len(line.Calls) == 0 || line.Calls[0].Column != 1 || line.Calls[0].Open {
		return nil
	}
	c := &line.Calls[0]
	var args []string
	for _, arg := range c.Args {
		args = append(args, arg.Text)
	}
	compact := func(s string) string { return strings.Join(strings.Fields(s), "") }
	if compact(c.Name+"("+strings.Join(args, ",")+")") != compact(text) {
		return nil // more follows it
	}
	return c
}

func lastMember(p srcline.Place) string {
	if len(p.Path) == 0 {
		return ""
	}
	return p.Path[len(p.Path)-1].Member
}

// portMeaning is for a value of two bytes that is read from a port in network order, or from one in host order.
func portMeaning(network, host, swapped, toHost bool) decode.Meaning {
	switch {
	case network && host:
		return decode.NoMeaning
	case network && !swapped || host && swapped:
		return decode.Port
	case network || host || swapped && toHost:
		return decode.HostOrder
	}
	return decode.NoMeaning
}

// Members of the kernel's structs (include/net/sock.h, inet_sock.h, uapi/linux/{in,ip,tcp,bpf}.h) and their byte order.
var (
	networkPorts  = []string{"skc_dport", "inet_dport", "inet_sport", "sin_port", "sin6_port", "source", "dest", "user_port"}
	hostPorts     = []string{"skc_num", "inet_num", "local_port"}
	addresses     = []string{"skc_daddr", "skc_rcv_saddr", "inet_saddr", "inet_daddr", "inet_rcv_saddr", "s_addr", "saddr", "daddr", "remote_ip4", "local_ip4", "user_ip4", "msg_src_ip4"}
	wideAddresses = []string{"skc_v6_daddr", "skc_v6_rcv_saddr", "in6_u", "u6_addr8", "u6_addr32", "s6_addr", "saddr", "daddr", "sin6_addr"}
)

// hasPart reports whether a word contains one of the parts.
func hasPart(word string, parts ...string) bool {
	return slices.ContainsFunc(parts, func(part string) bool { return strings.Contains(word, part) })
}

// valueOf returns the text of the value that w writes, "" if its line does not show it: the value of an assignment,
// or what a call reads.
func valueOf(w *recordflow.Write) string {
	line := srcline.Parse(w.Line.Text)
	if a := line.AssignAt(w.Line.Column); a != nil && a.Op == "=" {
		return w.Line.Text[a.Start-1 : a.End-1]
	}
	if name := loaded(w, line); name != "" {
		return "header->" + name
	}
	c := line.CallAt(w.Line.Column)
	if c == nil || len(c.Args) < 2 {
		return ""
	}
	return argsAfterFirst(c)
}

// argsAfterFirst returns the text of the value that c reads into the place that its first argument names; "" if the
// call is not known.
func argsAfterFirst(c *srcline.Call) string {
	var texts, members []string
	for _, arg := range c.Args[1:] {
		texts = append(texts, arg.Text)
		if arg.Named && len(arg.Place.Path) > 0 {
			members = append(members, arg.Text)
		}
	}
	switch {
	case c.Open:
	case strings.HasSuffix(c.Name, "READ_INTO"), strings.HasSuffix(c.Name, "READ_USER_INTO"):
		return "READ(" + strings.Join(texts, ", ") + ")"
	case hasPart(c.Name, "probe_read", "core_read", "memcpy") && len(members) == 1:
		return members[0]
	}
	return ""
}

// textHelpers write C strings.
var textHelpers = []string{
	"bpf_get_current_comm", "bpf_probe_read_str", "bpf_probe_read_kernel_str", "bpf_probe_read_user_str", "bpf_copy_from_user_str", "bpf_d_path",
}
