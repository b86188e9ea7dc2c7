// Package mapflag has the flags of maps (bpf_attr.map_flags, include/uapi/linux/bpf.h) that
// golang.org/x/sys/unix lacks.
package mapflag

const (
	SegvOnFault = 1 << 17 // BPF_F_SEGV_ON_FAULT, of an arena
	NoUserConv  = 1 << 18 // BPF_F_NO_USER_CONV, of an arena
	RBOverwrite = 1 << 19 // BPF_F_RB_OVERWRITE, of a RINGBUF: new records overwrite the oldest ones
)
