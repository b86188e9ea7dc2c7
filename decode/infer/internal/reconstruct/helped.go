package reconstruct

import (
	"slices"

	"github.com/rbtool/rbtool/internal/recordflow"
	"github.com/rbtool/rbtool/internal/srcline"
)

// result is what helpers return: all of it, or a half.
type result struct {
	helper string
	shift  uint8
	size   int64
}

// results are names for what helpers return.
var results = map[result]string{
	{"bpf_get_current_pid_tgid", 32, 4}: "tgid", {"bpf_get_current_pid_tgid", 0, 4}: "pid",
	{"bpf_get_current_uid_gid", 0, 4}: "uid", {"bpf_get_current_uid_gid", 32, 4}: "gid",
	{"bpf_ktime_get_ns", 0, 8}: "ktime", {"bpf_ktime_get_boot_ns", 0, 8}: "boottime", {"bpf_ktime_get_tai_ns", 0, 8}: "tai",
	{"bpf_get_current_cgroup_id", 0, 8}: "cgroup_id", {"bpf_get_smp_processor_id", 0, 4}: "cpu",
	{"bpf_get_socket_cookie", 0, 8}: "socket_cookie", {"bpf_get_attach_cookie", 0, 8}: "attach_cookie",
}

// buffers are names for what helpers write.
var buffers = map[string]string{
	"bpf_get_current_comm": "comm", "bpf_d_path": "path", "bpf_path_d_path": "path", "bpf_sysctl_get_name": "sysctl_name",
	"bpf_sysctl_get_current_value": "current_value", "bpf_sysctl_get_new_value": "new_value",
}

// helped returns a name for what a write writes, if a helper tells it; "" otherwise.
func helped(w *recordflow.Write) string {
	switch {
	case w.Off < 0 || w.Size <= 0 || w.Off > maxRecord || w.Size > maxRecord:
		return ""
	case w.By != "":
		return buffers[w.By]
	}
	return results[result{w.From.Helper, w.From.Shift, w.Size}]
}

// addHelped adds members where helpers tell what they are, to a layout that has none: the program has no source lines.
// Each name is given once. What overlaps other writes is left out.
func (l *layout) addHelped() {
	seen := map[string]bool{}
	for _, e := range l.sites {
		for i := range e.site.Writes[:min(len(e.site.Writes), maxFields)] {
			w := &e.site.Writes[i]
			name := helped(w)
			if name == "" || seen[name] || slices.ContainsFunc(l.items, func(i *item) bool { return i.off < w.Off+w.Size && i.end() > w.Off }) {
				continue
			}
			seen[name] = true
			l.items = append(l.items, &item{
				path: []srcline.Step{{Member: name}}, writes: []namedWrite{{Write: w, text: w.By != ""}},
				off: w.Off, size: w.Size, told: true,
			})
		}
	}
	l.sort()
}

// hasHelped reports whether helpers tell what the site writes.
func (e *evidence) hasHelped() bool {
	return slices.ContainsFunc(e.site.Writes, func(w recordflow.Write) bool { return helped(&w) != "" })
}
