package decode

// Meaning says what the number in a field stands for. Text shows it in the form that people know; JSON and
// Go values keep the number.
type Meaning uint8

// The meanings of fields. Clocks count nanoseconds.
const (
	NoMeaning Meaning = iota // none is known

	Plain // a number, whatever the name of its field suggests

	Ktime     // CLOCK_MONOTONIC, as bpf_ktime_get_ns returns it
	Boottime  // CLOCK_BOOTTIME, as bpf_ktime_get_boot_ns returns it
	TAI       // CLOCK_TAI, as bpf_ktime_get_tai_ns returns it
	WallTime  // CLOCK_REALTIME: since 1970
	Timestamp // one of the clocks: only a name says that the field is a time

	Nanoseconds  // a duration
	Microseconds // a duration
	Milliseconds // a duration

	IPv4      // an IPv4 address in network order
	IPv4Host  // an IPv4 address in the order of the host
	IPv6      // an IPv6 address: 16 bytes
	IPAddress // 16 bytes with an IPv6 address, or an IPv4 address in the first four and zeros
	Port      // a port in network order
	BigEndian // a number in network order
	MAC       // a hardware address: 6 bytes

	Errno   // an error number if it is negative
	ErrorNo // an error number, positive or negative
	Signal  // a signal
	UserID  // a user in the initial user namespace
	GroupID // a group in the initial user namespace
	Device  // a device number of the kernel: major<<20 | minor (include/linux/kdev_t.h)
	Address // an address of the kernel or of a process
	Chars   // bytes that hold a C string

	// HostOrder is a number that was converted from network order: its name still says whether it is an
	// address, its type or its name no longer that it is in network order.
	HostOrder

	Bytes // bytes that are not a list of numbers, such as a hash

	// Returned is what a function returned, maybe one of user space: an error number if it is less than -1,
	// which such functions return for any error.
	Returned

	SocketAddress // a struct of the family sockaddr: address and port
)

// String returns the meaning for people, such as "IPv4 address".
func (m Meaning) String() string {
	if int(m) < len(meaningNames) {
		return meaningNames[m]
	}
	return "unknown meaning"
}

var meaningNames = [...]string{
	NoMeaning: "none", Plain: "number", Ktime: "monotonic time", Boottime: "time since boot", TAI: "TAI time", WallTime: "wall-clock time",
	Timestamp: "time", Nanoseconds: "nanoseconds", Microseconds: "microseconds", Milliseconds: "milliseconds",
	IPv4: "IPv4 address", IPv4Host: "IPv4 address in host order", IPv6: "IPv6 address", IPAddress: "IP address", Port: "port", BigEndian: "number in network order",
	MAC: "MAC address", Errno: "negative errno", ErrorNo: "errno", Signal: "signal", UserID: "user", GroupID: "group",
	Device: "device", Address: "address", Chars: "string", HostOrder: "number in host order", Bytes: "bytes",
	Returned: "returned value", SocketAddress: "socket address",
}

// IsTime reports whether m is a point in time.
func (m Meaning) IsTime() bool { return m >= Ktime && m <= Timestamp }

// IsDuration reports whether m is a duration.
func (m Meaning) IsDuration() bool { return m >= Nanoseconds && m <= Milliseconds }

// fits reports whether a value of the shape s can have this meaning.
func (m Meaning) fits(s shape) bool {
	whole := s.elems == 0 && s.integer
	switch m {
	case Plain:
		return true
	case Ktime, Boottime, TAI, WallTime, Timestamp:
		return whole && s.size == 8
	case Nanoseconds, Microseconds, Milliseconds, Errno, ErrorNo, Returned, Device:
		return whole && (s.size == 4 || s.size == 8)
	case IPv4:
		return whole && s.size == 4 || s.bytes(4)
	case HostOrder:
		return whole && s.size > 1
	case IPv4Host, UserID, GroupID:
		return whole && s.size == 4
	case IPv6, IPAddress:
		return s.size == 16 && s.integer
	case Port:
		return whole && s.size == 2
	case BigEndian:
		return whole && s.size > 1 && s.size <= 8
	case MAC:
		return s.bytes(6)
	case Signal:
		return whole && s.size <= 8
	case Address:
		return s.integer && (s.size == 8 || s.elems > 0 && s.size/s.elems == 8)
	case SocketAddress:
		return s.socket
	case Chars, Bytes:
		return s.elems > 0 && s.size == s.elems && s.integer
	}
	return false
}

// shape is what a meaning needs to know of the layout of a value.
type shape struct {
	size    int  // bytes
	elems   int  // elements of an array; 0 for another value
	integer bool // the value or the elements are integers that fill their bytes
	signed  bool // so are the integers
	socket  bool // the value is a struct of the family sockaddr
}

// bytes reports whether the value is an array of n bytes.
func (s shape) bytes(n int) bool { return s.integer && s.elems == n && s.size == n }
