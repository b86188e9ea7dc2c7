package recordflow

import "strings"

// Helpers that take a ring as their first argument.
const (
	Reserve       = "bpf_ringbuf_reserve"
	ReserveDynptr = "bpf_ringbuf_reserve_dynptr"
	Output        = "bpf_ringbuf_output"
	DrainHelper   = "bpf_user_ringbuf_drain"
	query         = "bpf_ringbuf_query" // produces no record
)

// Other helpers that return or move pointers.
const (
	lookup        = "bpf_map_lookup_elem"
	dynptrRead    = "bpf_dynptr_read"
	dynptrWrite   = "bpf_dynptr_write"
	dynptrData    = "bpf_dynptr_data"
	dynptrFromMem = "bpf_dynptr_from_mem"
)

// effect is a buffer that a helper fills: which of the arguments, counted from 0, point to it and have its size.
// What cannot be an argument is -1.
type effect struct {
	to, size int
	fixed    int64 // the size if no argument has it
	partial  bool  // the helper fills a part of the buffer: a string ends where it ends
}

// effects are the buffers that helpers fill (include/uapi/linux/bpf.h), and some kfuncs (kernel/bpf/helpers.c,
// fs/bpf_fs_kfuncs.c). Other helpers fill none.
var effects = map[string]effect{
	"bpf_probe_read":               {to: 0, size: 1},
	"bpf_probe_read_kernel":        {to: 0, size: 1},
	"bpf_probe_read_user":          {to: 0, size: 1},
	"bpf_probe_read_str":           {to: 0, size: 1, partial: true},
	"bpf_probe_read_kernel_str":    {to: 0, size: 1, partial: true},
	"bpf_probe_read_user_str":      {to: 0, size: 1, partial: true},
	"bpf_copy_from_user":           {to: 0, size: 1},
	"bpf_copy_from_user_task":      {to: 0, size: 1},
	"bpf_get_current_comm":         {to: 0, size: 1},
	"bpf_d_path":                   {to: 1, size: 2, partial: true},
	"bpf_get_stack":                {to: 1, size: 2, partial: true},
	"bpf_get_task_stack":           {to: 1, size: 2, partial: true},
	"bpf_get_branch_snapshot":      {to: 0, size: 1, partial: true},
	"bpf_read_branch_records":      {to: 1, size: 2, partial: true},
	"bpf_skb_load_bytes":           {to: 2, size: 3},
	"bpf_skb_load_bytes_relative":  {to: 2, size: 3},
	"bpf_xdp_load_bytes":           {to: 2, size: 3},
	"bpf_skb_get_tunnel_key":       {to: 1, size: 2},
	"bpf_skb_get_tunnel_opt":       {to: 1, size: 2, partial: true},
	"bpf_skb_get_xfrm_state":       {to: 2, size: 3},
	"bpf_fib_lookup":               {to: 1, size: 2, partial: true},
	"bpf_getsockopt":               {to: 3, size: 4},
	"bpf_load_hdr_opt":             {to: 1, size: 2, partial: true},
	"bpf_perf_prog_read_value":     {to: 1, size: 2},
	"bpf_perf_event_read_value":    {to: 2, size: 3},
	"bpf_get_ns_current_pid_tgid":  {to: 2, size: 3},
	"bpf_sysctl_get_name":          {to: 1, size: 2, partial: true},
	"bpf_sysctl_get_current_value": {to: 1, size: 2, partial: true},
	"bpf_sysctl_get_new_value":     {to: 1, size: 2, partial: true},
	"bpf_ima_inode_hash":           {to: 1, size: 2, partial: true},
	"bpf_ima_file_hash":            {to: 1, size: 2, partial: true},
	"bpf_snprintf":                 {to: 0, size: 1, partial: true},
	"bpf_snprintf_btf":             {to: 0, size: 1, partial: true},
	dynptrRead:                     {to: 0, size: 1},
	"bpf_strtol":                   {to: 3, size: -1, fixed: 8},
	"bpf_strtoul":                  {to: 3, size: -1, fixed: 8},
	"bpf_get_func_arg":             {to: 2, size: -1, fixed: 8},
	"bpf_get_func_ret":             {to: 1, size: -1, fixed: 8},
	"bpf_check_mtu":                {to: 2, size: -1, fixed: 4},
	"bpf_kallsyms_lookup_name":     {to: 3, size: -1, fixed: 8},
	"bpf_map_pop_elem":             {to: 1, size: -1},
	"bpf_map_peek_elem":            {to: 1, size: -1},
	// kfuncs
	"bpf_copy_from_user_str":      {to: 0, size: 1, partial: true},
	"bpf_copy_from_user_task_str": {to: 0, size: 1, partial: true},
	"bpf_path_d_path":             {to: 1, size: 2, partial: true},
}

// ending is how a helper ends a record.
type ending uint8

const (
	noRecord ending = iota // it does not
	submits                // the record is seen
	discards
)

// endings are the helpers that end a record, which is the first argument, or its dynptr.
var endings = map[string]ending{
	"bpf_ringbuf_submit": submits, "bpf_ringbuf_submit_dynptr": submits,
	"bpf_ringbuf_discard": discards, "bpf_ringbuf_discard_dynptr": discards,
}

// lookups are the helpers that return a pointer to the value of a map, which is the first argument.
var lookups = map[string]bool{
	lookup:                       true,
	"bpf_map_lookup_percpu_elem": true,
	"bpf_get_local_storage":      true,
	"bpf_sk_storage_get":         true,
	"bpf_task_storage_get":       true,
	"bpf_inode_storage_get":      true,
	"bpf_cgrp_storage_get":       true,
}

// symbols are the helpers that have another name among the kernel's symbols.
var symbols = map[string]string{
	"bpf_user_rnd_u32":              "bpf_get_prandom_u32",
	"bpf_get_raw_cpu_id":            "bpf_get_smp_processor_id",
	"bpf_probe_read_compat":         "bpf_probe_read",
	"bpf_probe_read_compat_str":     "bpf_probe_read_str",
	"bpf_flow_dissector_load_bytes": "bpf_skb_load_bytes",
	"bpf_get_cgroup_classid_curr":   "bpf_get_cgroup_classid",
}

// variants are the beginnings of the kernel's symbols of helpers that have one for each type of program.
var variants = []string{
	"bpf_get_stackid", "bpf_get_stack", "bpf_get_task_stack", "bpf_get_socket_cookie", "bpf_get_netns_cookie",
	"bpf_get_attach_cookie", "bpf_get_func_ip", "bpf_sk_storage_get", "bpf_task_storage_get",
	"bpf_inode_storage_get", "bpf_cgrp_storage_get", "bpf_task_storage_delete",
}

// helperOf returns the helper that is the kernel's function symbol.
func helperOf(symbol string) string {
	if name, ok := symbols[symbol]; ok {
		return name
	}
	switch {
	case symbol == nodeLookup:
		return symbol
	case strings.HasSuffix(symbol, "_map_lookup_elem"):
		return lookup
	case strings.HasSuffix(symbol, "_map_lookup_percpu_elem"):
		return "bpf_map_lookup_percpu_elem"
	case strings.HasSuffix(symbol, "_map_update_elem"):
		return "bpf_map_update_elem"
	case strings.HasSuffix(symbol, "_map_peek_elem"):
		return "bpf_map_peek_elem"
	case strings.HasSuffix(symbol, "_map_pop_elem"):
		return "bpf_map_pop_elem"
	case strings.HasSuffix(symbol, "_getsockopt"):
		return "bpf_getsockopt"
	case strings.HasSuffix(symbol, "_fib_lookup"):
		return "bpf_fib_lookup"
	}
	for _, name := range variants {
		if strings.HasPrefix(symbol, name+"_") {
			return name
		}
	}
	return symbol
}

// nodeLookup is the kernel's function that a lookup in a hash table calls if the verifier inlines the rest
// (kernel/bpf/hashtab.c, htab_map_gen_lookup). It returns what holds the element.
const nodeLookup = "__htab_map_lookup_elem"

// macros are the macros of libbpf's headers that call helpers, by the name that begins the macro.
var macros = []struct{ macro, helper string }{
	{"BPF_CORE_READ_USER_STR_INTO(", "bpf_probe_read_user_str"},
	{"BPF_CORE_READ_USER", "bpf_probe_read_user"},
	{"BPF_PROBE_READ_USER_STR_INTO(", "bpf_probe_read_user_str"},
	{"BPF_PROBE_READ_USER", "bpf_probe_read_user"},
	{"BPF_CORE_READ_STR_INTO(", "bpf_probe_read_kernel_str"},
	{"BPF_PROBE_READ_STR_INTO(", "bpf_probe_read_kernel_str"},
	{"BPF_CORE_READ", "bpf_probe_read_kernel"},
	{"BPF_PROBE_READ", "bpf_probe_read_kernel"},
	{"bpf_core_read_user_str(", "bpf_probe_read_user_str"},
	{"bpf_core_read_user(", "bpf_probe_read_user"},
	{"bpf_core_read_str(", "bpf_probe_read_kernel_str"},
	{"bpf_core_read(", "bpf_probe_read_kernel"},
	{"BPF_SNPRINTF(", "bpf_snprintf"},
}

// helperIn returns the only helper that a source line calls; "" if there is none or several.
func helperIn(line string) (name string) {
	for _, m := range macros {
		if strings.Contains(line, m.macro) {
			return m.helper
		}
	}
	for rest := line; ; {
		i := strings.Index(rest, "bpf_")
		if i < 0 {
			return name
		}
		rest = rest[i:]
		n := strings.IndexFunc(rest, func(r rune) bool {
			return r != '_' && (r < 'a' || r > 'z') && (r < '0' || r > '9')
		})
		if n < 0 {
			return name
		}
		if rest[n] == '(' {
			if name != "" && name != rest[:n] {
				return ""
			}
			name = rest[:n]
		}
		rest = rest[n:]
	}
}
