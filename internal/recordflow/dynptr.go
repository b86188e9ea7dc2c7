package recordflow

import "math"

// dynptrCall applies the call of a helper that makes a dynptr, or writes through one.
func (a *analysis) dynptrCall(c call, s *state) value {
	switch c.name {
	case dynptrFromMem:
		d := c.args[0]
		if d.kind == pointer {
			d.kind = dynptr
			a.write(c.at, s, c.args[3], access{size: 16, max: 16, val: d})
		}
		return full
	case dynptrWrite:
		to := a.throughDynptr(s, c.args[0], c.args[1])
		w := access{by: c.name}
		w.size, w.max = sizeOf(c.args[3])
		a.write(c.at, s, to, w)
		a.noteCopy(s, c.args[2], to, w.max)
		return full
	}
	data := a.throughDynptr(s, c.args[0], c.args[1]) // bpf_dynptr_data
	w := access{by: c.name}
	w.size, w.max = sizeOf(c.args[2])
	a.noteRead(c.at, s, data, w)
	return data
}

// throughDynptr returns a pointer to what is off bytes after the start of the dynptr that v points to.
func (a *analysis) throughDynptr(s *state, v, off value) value {
	if v.kind != pointer || v.min != v.max {
		return value{}
	}
	var d value
	switch o := a.objects[v.id]; o.kind {
	case sampleDynptr:
		d = a.pointerTo(objectKey{kind: sample, at: o.at})
	case stack:
		if f := s.known(v.id); f != nil {
			d = f.read(v.min, 16)
		}
		if d.kind != dynptr {
			return value{}
		}
	default:
		return value{}
	}
	lo, hi := off.bounds()
	d.kind = pointer
	moved := sum(d, value{kind: number, min: max(lo, 0), max: max(min(hi, math.MaxUint32), 0)})
	d.min, d.max = moved.min, moved.max
	return d
}
