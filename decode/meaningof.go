package decode

import (
	"math"
	"strings"

	"github.com/cilium/ebpf/btf"
)

// meaning returns what the value of type t at off, of the field name, means. What is known from outside the
// type counts most.
func (c *compiler) meaning(name string, t btf.Type, off int) Meaning {
	known, own := c.meanings[off], meaningOf(name, t)
	switch {
	case known == NoMeaning || c.element || !known.fits(shapeOf(t)):
		return own
	case known != HostOrder:
		return known
	case own == IPv4:
		return IPv4Host
	case own == Port || own == BigEndian:
		return Plain
	}
	return own
}

// eventTime returns the operation for the time of the event that a record of type n reports: its first field, perhaps of a
// header, that meanings, those known from outside the type, say is a time. It returns nil if there is none: a name does not say
// whose time it is, nor its unit.
func eventTime(n *node, meanings map[int]Meaning) *op {
	for _, f := range n.fields {
		if f.object {
			if when := eventTime(f, meanings); when != nil {
				return when
			}
		} else if f.meaning.IsTime() && meanings[f.off].IsTime() && f.elem == nil {
			return &f.op
		}
	}
	return nil
}

// meaningOf returns what the type of a field says about its values, or else what its name says. A type is
// believed; a name only where it hardly ever means something else. Names never change process ids.
func meaningOf(name string, t btf.Type) Meaning {
	s := shapeOf(t)
	w := fieldNameOf(name)
	m := typeMeaning(t, w, s)
	if m == NoMeaning {
		m = nameMeaning(w, s)
	}
	if !m.fits(s) {
		return NoMeaning
	}
	return m
}

// shapeOf returns the shape of t.
func shapeOf(t btf.Type) (s shape) {
	size, err := sizeof(t)
	if err != nil {
		return s
	}
	s.size = size
	switch t := btf.UnderlyingType(t).(type) {
	case *btf.Int:
		s.integer, s.signed = t.Encoding != btf.Bool, t.Encoding == btf.Signed
	case *btf.Pointer:
		s.integer = true
	case *btf.Array:
		elem, ok := btf.UnderlyingType(t.Type).(*btf.Int)
		s.integer, s.elems = ok && elem.Encoding != btf.Bool && !isChar(t.Type), int(t.Nelems)
		s.signed = ok && elem.Encoding == btf.Signed
	case *btf.Struct:
		s.socket = isSocketAddress(t)
		s.integer = structMeanings[t.Name] != NoMeaning || valueOnly(t)
	}
	return s
}

// structMeanings has the structs of the kernel that are shown as one value.
var structMeanings = map[string]Meaning{"in_addr": IPv4, "in6_addr": IPv6}

// isSocketAddress reports whether s is one of sockaddr, sockaddr_in, sockaddr_storage and so on: it begins with the family
// (include/linux/socket.h).
func isSocketAddress(s *btf.Struct) bool {
	if !strings.HasPrefix(strings.TrimPrefix(s.Name, "__kernel_"), "sockaddr") || s.Size < 16 || s.Size > math.MaxUint8 {
		return false
	}
	for _, m := range s.Members {
		if size, err := sizeof(m.Type); m.Offset == 0 && m.BitfieldSize == 0 && err == nil && size == 2 && !isObject(m.Type) {
			return true
		}
		if u, ok := btf.UnderlyingType(m.Type).(*btf.Struct); m.Offset == 0 && ok && m.Name == "" && len(u.Members) > 0 {
			size, err := sizeof(u.Members[0].Type)
			return err == nil && size == 2
		}
	}
	return false
}

// valueOnly reports whether s only wraps an integer, as kuid_t does (include/linux/uidgid_types.h).
func valueOnly(s *btf.Struct) bool {
	return len(s.Members) == 1 && s.Members[0].Name == "val" && s.Members[0].BitfieldSize == 0
}

// typeMeaning returns what the names of types say.
func typeMeaning(t btf.Type, w fieldName, s shape) Meaning {
	for range maxDepth {
		switch u := t.(type) {
		case *btf.Typedef:
			if m := typedefMeaning(u.Name, w, s); m != NoMeaning {
				return m
			}
			t = u.Type
		case *btf.Const:
			t = u.Type
		case *btf.Volatile:
			t = u.Type
		case *btf.TypeTag:
			t = u.Type
		case *btf.Struct:
			if s.socket {
				return SocketAddress
			}
			return structMeanings[u.Name]
		case *btf.Pointer:
			return Address
		case *btf.Array:
			if s.size == 16 && s.elems == 4 && typeMeaning(u.Type, w, shapeOf(u.Type)) == IPv4 {
				return IPAddress
			}
			return NoMeaning
		default:
			return NoMeaning
		}
	}
	return NoMeaning
}

func typedefMeaning(typedef string, w fieldName, s shape) Meaning {
	switch typedef {
	case "__be16", "be16":
		if w.isPort() {
			return Port
		}
		return BigEndian
	case "__be32", "be32":
		if w.isAddress() || w.has("addr", "ip", "src", "dst", "gw", "gateway", "nexthop") {
			return IPv4
		}
		return BigEndian
	case "__be64", "be64":
		return BigEndian
	case "in_addr_t":
		return IPv4
	case "in_port_t":
		return Port
	case "uid_t", "kuid_t":
		return UserID
	case "gid_t", "kgid_t":
		return GroupID
	case "dev_t":
		return Device
	case "pid_t", "loff_t":
		return Plain
	// Those of Inspektor Gadget (include/gadget/types.h).
	case "gadget_timestamp":
		return Boottime
	case "gadget_errno":
		return ErrorNo
	case "gadget_signal":
		return Signal
	case "gadget_uid":
		return UserID
	case "gadget_gid":
		return GroupID
	}
	return NoMeaning
}

// nameMeaning returns what the name of a field says.
func nameMeaning(w fieldName, s shape) Meaning {
	switch {
	case !s.integer:
		return NoMeaning
	case s.size == 16:
		return w.wideAddress(s)
	case s.elems > 0:
		return w.array(s)
	case s.size == 4 && w.isAddress() && w.family != 6:
		return IPv4
	}
	for _, m := range []Meaning{w.time(), w.duration(), w.identity(), w.status(), w.pointer()} {
		if m.fits(s) && m != NoMeaning {
			return m
		}
	}
	return NoMeaning
}
