package cstruct

import (
	"encoding/binary"
	"fmt"
	"maps"
	"slices"
	"strings"

	"modernc.org/cc/v4"
)

// unnamed is the name of a struct that has none.
const unnamed = "record"

// abi has the sizes and alignments in bytes of clang's target bpf.
var abi = &cc.ABI{ByteOrder: binary.LittleEndian, SignedChar: true, Types: abiTypes()}

func abiTypes() map[cc.Kind]cc.AbiType {
	types := make(map[cc.Kind]cc.AbiType)
	for size, kinds := range map[int64][]cc.Kind{
		1:  {cc.Bool, cc.Char, cc.SChar, cc.UChar, cc.Void},
		2:  {cc.Short, cc.UShort, cc.Float16},
		4:  {cc.Int, cc.UInt, cc.Enum, cc.Float, cc.Float32},
		8:  {cc.Long, cc.ULong, cc.LongLong, cc.ULongLong, cc.Ptr, cc.Function, cc.Double, cc.Float64, cc.Float32x, cc.LongDouble},
		16: {cc.Int128, cc.UInt128, cc.Float128},
	} {
		for _, kind := range kinds {
			types[kind] = cc.AbiType{Size: size, Align: int(size), FieldAlign: int(size)}
		}
	}
	return types
}

// needed are declarations without which the parser does not work.
const needed = `int __predefined_declarator;
typedef unsigned long __predefined_size_t;
typedef int __predefined_wchar_t;
typedef long __predefined_ptrdiff_t;
`

// integers maps C types to the names that the kernel, stdint.h and Inspektor Gadget (gadget/types.h) have for them.
var integers = map[string]string{
	"char":           "gadget_comm gadget_pcomm",
	"signed char":    "s8 __s8 int8_t",
	"unsigned char":  "u8 __u8 uint8_t u_char unchar u_int8_t",
	"short":          "s16 __s16 int16_t",
	"unsigned short": "u16 __u16 uint16_t u_short ushort u_int16_t umode_t __be16 __le16 __sum16 sa_family_t __kernel_sa_family_t",
	"int":            "s32 __s32 int32_t pid_t __kernel_pid_t clockid_t",
	"unsigned int": "u32 __u32 uint32_t u_int uint u_int32_t gfp_t dev_t __kernel_dev_t uid_t gid_t __kernel_uid_t __kernel_gid_t __kernel_uid32_t " +
		"__kernel_gid32_t fmode_t blk_opf_t nlink_t __be32 __le32 __wsum __poll_t " +
		"gadget_netns_id gadget_signal gadget_errno gadget_uid gadget_gid gadget_file_mode gadget_file_flags gadget_kernel_stack gadget_pid gadget_ppid " +
		"gadget_tid gadget_ptid gadget_counter__u32 gadget_gauge__u32 gadget_histogram_slot__u32",
	"long":          "ssize_t intptr_t ptrdiff_t loff_t off_t time_t suseconds_t __kernel_long_t __kernel_time_t",
	"unsigned long": "size_t uintptr_t u_long ulong ino_t __kernel_size_t __kernel_ulong_t",
	"long long":     "s64 __s64 int64_t ktime_t time64_t __kernel_time64_t __kernel_loff_t",
	"unsigned long long": "u64 __u64 uint64_t u_int64_t sector_t blkcnt_t __be64 __le64 __addrpair " +
		"gadget_mntns_id gadget_timestamp gadget_syscall gadget_bytes gadget_duration gadget_counter__u64 gadget_gauge__u64 gadget_histogram_slot__u64",
	"_Bool": "bool",
}

// structs are types that records have as members, by name.
var structs = map[string]string{
	"kuid_t":               "typedef struct { unsigned int val; } kuid_t;",
	"kgid_t":               "typedef struct { unsigned int val; } kgid_t;",
	"struct in_addr":       "struct in_addr { unsigned int s_addr; };",
	"struct in6_addr":      "struct in6_addr { union { unsigned char u6_addr8[16]; unsigned short u6_addr16[8]; unsigned int u6_addr32[4]; } in6_u; };",
	"struct timespec64":    "struct timespec64 { long long tv_sec; long tv_nsec; };",
	"struct bpf_timer":     "struct bpf_timer { unsigned long long __opaque[2]; } __attribute__((aligned(8)));",
	"struct bpf_spin_lock": "struct bpf_spin_lock { unsigned int val; };",
}

// constants are the enumerators of the prelude. A macro of the text takes precedence.
var constants = map[string]int{
	"TASK_COMM_LEN": 16, "PATH_MAX": 4096, "NAME_MAX": 255, "IFNAMSIZ": 16, "ETH_ALEN": 6, "BPF_OBJ_NAME_LEN": 16,
	"PERF_MAX_STACK_DEPTH": 127, "MAX_STACK_DEPTH": 127, "NSIG": 64, "AF_INET": 2, "AF_INET6": 10,
}

// macros make a program's source readable: those of libbpf's headers that stand outside of functions.
const macros = `#define SEC(name)
#define __uint(name, value) int name
#define __type(name, value) int name
#define __array(name, value) int name
#define __ulong(name, value) int name
#define __always_inline inline
#define __noinline
#define __weak
#define __hidden
#define __kconfig
#define __ksym
#define __arena
#define __maybe_unused
#define __unused
#define __packed __attribute__((packed))
#define __aligned(n) __attribute__((aligned(n)))
#define __attribute_const__
#define __bitwise
#define __user
#define __rcu
#define __percpu
#define BPF_PROG(name, ...) name(void)
#define BPF_KPROBE(name, ...) name(void)
#define BPF_KRETPROBE(name, ...) name(void)
#define BPF_UPROBE(name, ...) name(void)
#define BPF_URETPROBE(name, ...) name(void)
#define BPF_KSYSCALL(name, ...) name(void)
#define NULL ((void *)0)
#define true 1
#define false 0
#define __bpf__ 1
#define __BPF__ 1
#define __LITTLE_ENDIAN_BITFIELD 1
#define __LITTLE_ENDIAN 1234
#define __BIG_ENDIAN 4321
#define __BYTE_ORDER 1234
#define __ORDER_LITTLE_ENDIAN__ 1234
#define __ORDER_BIG_ENDIAN__ 4321
#define __BYTE_ORDER__ 1234
#define __aligned_u64 unsigned long long __attribute__((aligned(8)))
`

// end stands after a text. At the end of its input, the parser may loop forever: it stops at this name.
var end = cc.Source{Name: "<end>", Value: ";int __end_of_text;"}

// sources returns a text and the prelude for it, without the names that the text declares itself.
func sources(name, text string, own map[string]bool) []cc.Source {
	var b strings.Builder
	b.WriteString(needed)
	for _, c := range sorted(integers) {
		for known := range strings.FieldsSeq(integers[c]) {
			if !own[known] {
				fmt.Fprintf(&b, "typedef %s %s;\n", c, known)
			}
		}
	}
	for _, known := range sorted(structs) {
		if !own[known] {
			fmt.Fprintln(&b, structs[known])
		}
	}
	for _, known := range sorted(constants) {
		if !own[known] {
			fmt.Fprintf(&b, "enum { %s = %d };\n", known, constants[known])
		}
	}
	b.WriteString(macros)
	return []cc.Source{{Name: "<prelude>", Value: b.String()}, {Name: name, Value: text}, end}
}

func sorted[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
