package recordflow

import "strings"

// kfuncCall applies the call of a kfunc, a function of the kernel's BTF. The instruction has the id of its type, or
// its address, and the source line its name.
func (a *analysis) kfuncCall(c call, s *state) value {
	e, fills := effects[c.name]
	through, isThrough := effects[strings.TrimSuffix(c.name, "_dynptr")]
	w := access{by: c.name}
	switch {
	case c.name == "bpf_dynptr_slice", c.name == "bpf_dynptr_slice_rdwr":
		data := a.throughDynptr(s, c.args[0], c.args[1])
		w.size, w.max = sizeOf(c.args[3])
		a.noteRead(c.at, s, data, w)
		return data
	case c.name == "bpf_dynptr_memset":
		w.size, w.max = sizeOf(c.args[2])
		a.write(c.at, s, a.throughDynptr(s, c.args[0], c.args[1]), w)
	case c.name == "bpf_dynptr_copy":
		w.size, w.max = sizeOf(c.args[4])
		a.write(c.at, s, a.throughDynptr(s, c.args[0], c.args[1]), w)
	case c.name == "bpf_dynptr_clone":
		if d := a.throughDynptr(s, c.args[0], constant(0)); d.kind == pointer {
			d.kind = dynptr
			a.write(c.at, s, c.args[1], access{size: 16, max: 16, val: d})
		}
	case isThrough && !fills: // bpf_probe_read_kernel_dynptr(dynptr, off, size, from) and the like
		w.by, w.partial = strings.TrimSuffix(c.name, "_dynptr"), through.partial
		w.size, w.max = sizeOf(c.args[2])
		a.write(c.at, s, a.throughDynptr(s, c.args[0], c.args[1]), w)
	case fills:
		a.fill(c, s, e)
	default:
		for _, v := range c.args {
			a.lose(c.at, s, v)
		}
	}
	return value{}
}

// knowsKfunc reports whether kfuncCall knows what the function does.
func knowsKfunc(name string) bool {
	switch name {
	case "bpf_dynptr_slice", "bpf_dynptr_slice_rdwr", "bpf_dynptr_memset", "bpf_dynptr_copy", "bpf_dynptr_clone":
		return true
	}
	_, fills := effects[strings.TrimSuffix(name, "_dynptr")]
	return fills
}
