package decode

import (
	"testing"

	"github.com/cilium/ebpf/btf"
)

func typedef(name string, t btf.Type) btf.Type { return &btf.Typedef{Name: name, Type: t} }

func TestWhatTypesAndNamesMean(t *testing.T) {
	be16, be32 := typedef("__be16", typedef("__u16", u16)), typedef("__be32", typedef("__u32", u32))
	kuid := typedef("kuid_t", &btf.Struct{Size: 4, Members: []btf.Member{member("val", typedef("uid_t", u32), 0)}})
	inAddr := &btf.Struct{Name: "in_addr", Size: 4, Members: []btf.Member{member("s_addr", be32, 0)}}
	in6 := &btf.Struct{Name: "in6_addr", Size: 16, Members: []btf.Member{member("in6_u", arrayOf(u8, 16), 0)}}
	tests := []struct {
		name string
		typ  btf.Type
		want Meaning
	}{
		// Types.
		{"dport", be16, Port}, {"skc_dport", be16, Port}, {"proto", be16, BigEndian}, {"x", &btf.Const{Type: be16}, BigEndian},
		{"daddr", be32, IPv4}, {"src", be32, IPv4}, {"seq", be32, BigEndian}, {"x", typedef("__be64", u64), BigEndian},
		{"x", inAddr, IPv4}, {"x", in6, IPv6}, {"dst", arrayOf(be32, 4), IPAddress}, {"daddr", arrayOf(be32, 4), IPAddress},
		{"x", typedef("uid_t", u32), UserID}, {"x", kuid, UserID}, {"x", typedef("gid_t", u32), GroupID}, {"x", typedef("dev_t", u32), Device},
		{"x", &btf.Pointer{Target: u32}, Address},

		// Addresses.
		{"saddr", u32, IPv4}, {"srcIP", u32, IPv4}, {"src_ip", u32, IPv4}, {"ip_src", u32, IPv4}, {"saddr_v4", u32, IPv4}, {"ip4", u32, IPv4},
		{"addr", u32, NoMeaning}, {"saddr_len", u32, NoMeaning}, {"saddr_v6", u32, NoMeaning}, {"v4", u32, IPv4}, {"rx_ip", u32, NoMeaning},
		{"saddr", arrayOf(u8, 16), IPAddress}, {"saddr_v6", arrayOf(u8, 16), IPv6}, {"daddr6", arrayOf(u32, 4), IPv6}, {"saddr", u128, IPAddress},
		{"addr", arrayOf(u8, 16), Bytes}, {"addr", arrayOf(u32, 4), IPAddress}, {"saddr", arrayOf(u8, 4), IPv4}, {"saddr", arrayOf(char, 16), NoMeaning},
		{"dport", u16, NoMeaning}, {"port", u16, NoMeaning},
		{"mac", arrayOf(u8, 6), MAC}, {"h_source", arrayOf(u8, 6), MAC}, {"src_mac", arrayOf(u8, 6), MAC}, {"mac", arrayOf(u8, 8), Bytes}, {"key", arrayOf(u8, 6), NoMeaning},

		// Times and durations.
		{"ktime", u64, Ktime}, {"ktime_ns", u64, Ktime}, {"start_boottime", u64, Boottime}, {"ktime", u32, NoMeaning},
		{"ts", u64, Timestamp}, {"timestamp_ns", u64, Timestamp}, {"start_time", u64, Timestamp}, {"ts_us", u64, NoMeaning},
		{"cpu_time", u64, NoMeaning}, {"uptime", u64, NoMeaning}, {"runtime", u64, NoMeaning}, {"start_ns", u64, Timestamp}, {"end_monotime_ns", u64, Ktime}, {"start", typedef("loff_t", s64), Plain},
		{"latency_ns", u64, Nanoseconds}, {"delta_us", u64, Microseconds}, {"duration_ms", u32, Milliseconds}, {"latency", u64, NoMeaning},
		{"ktime_delta_ns", u64, Nanoseconds}, {"rtt_us", u32, Microseconds}, {"srtt_us", u32, NoMeaning},

		// People, results, devices and pointers.
		{"uid", u32, UserID}, {"loginuid", u32, UserID}, {"uid", u64, NoMeaning}, {"uid_gid", u64, NoMeaning}, {"gid", u32, GroupID}, {"tgid", u32, NoMeaning},
		{"pid", u32, NoMeaning}, {"ppid", typedef("pid_t", s32), Plain}, {"pgid", u32, NoMeaning},
		{"ret", s32, Returned}, {"retval", s64, Returned}, {"ret", u64, Returned}, {"err", s32, Errno}, {"errno", s32, ErrorNo}, {"ret", u8, NoMeaning}, {"ret_code", s32, Returned}, {"exit_code", s32, NoMeaning},
		{"sig", s32, Signal}, {"exit_signal", u16, Signal}, {"sig", arrayOf(u8, 64), Bytes}, {"signals", u32, NoMeaning},
		{"s_dev", u32, Device}, {"dev", u32, NoMeaning}, {"ip", u64, Address}, {"kaddr", u64, Address}, {"call_site", u64, Address}, {"saddr", u64, NoMeaning},
		{"kstack", arrayOf(u64, 64), Address}, {"stack", arrayOf(u8, 64), Bytes},
		{"comm", arrayOf(u8, 16), Chars}, {"comm", arrayOf(char, 16), NoMeaning}, {"data", arrayOf(u8, 16), Bytes}, {"data", arrayOf(u8, 7), NoMeaning}, {"data", arrayOf(s8, 16), NoMeaning},
		{"at_12", arrayOf(u8, 4), Bytes}, {"at_x", arrayOf(u8, 4), NoMeaning}, {"sig_raw", u32, Signal}, {"callers", arrayOf(u64, 2), Address},
		{"", u32, NoMeaning}, {"____", u64, NoMeaning}, {"uid", cbool, NoMeaning}, {"sig", color, NoMeaning},
	}
	for _, tt := range tests {
		if got := meaningOf(tt.name, tt.typ); got != tt.want {
			t.Errorf("%s of type %v: %v, want %v", tt.name, tt.typ, got, tt.want)
		}
	}
}

func TestWhatIsKnownOfAnOffsetCountsMost(t *testing.T) {
	be16, be32 := typedef("__be16", u16), typedef("__be32", u32)
	element := structOf(8, member("x", u64, 0))
	for _, tt := range []struct {
		name        string
		typ         btf.Type
		known, want Meaning
	}{
		{"dport", u16, Port, Port},
		{"ts", u64, Plain, Plain},
		{"x", u64, Ktime, Ktime},
		{"x", u32, Ktime, NoMeaning},
		{"list", arrayOf(element, 1), Ktime, NoMeaning},
		{"saddr", u32, HostOrder, IPv4Host},
		{"saddr", be32, HostOrder, IPv4Host},
		{"dport", be16, HostOrder, Plain},
		{"seq", be32, HostOrder, Plain},
		{"uid", u32, HostOrder, UserID},
	} {
		size, err := sizeof(tt.typ)
		if err != nil {
			t.Fatal(err)
		}
		c, err := NewWith(structOf(uint32(size), member(tt.name, tt.typ, 0)), Options{Meanings: map[int]Meaning{0: tt.known}})
		if err != nil {
			t.Fatal(err)
		}
		if got := c.root.fields[0].meaning; got != tt.want {
			t.Errorf("%s known as %v: %v, want %v", tt.name, tt.known, got, tt.want)
		}
		if elem := c.root.fields[0].elem; elem != nil && elem.fields[0].meaning != NoMeaning {
			t.Errorf("the field of an element is known as %v", elem.fields[0].meaning)
		}
	}
}
