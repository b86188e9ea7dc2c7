package decode

// starts reports whether b, which begins with the record or element that has n, has a part of n to show.
func (n *node) starts(b []byte) bool { return len(b) >= n.least }

// cutRecord appends a record b that ends before some fields of root: those are left out. It returns false if the
// output exceeds r.limit.
func (r *run) cutRecord(root *node, b []byte) bool {
	if !root.object {
		return r.cut(root, b)
	}
	if !r.text {
		r.out = append(r.out, '{')
	}
	return r.cutFields(root, b)
}

// cut appends n, a value in the record b.
func (r *run) cut(n *node, b []byte) bool {
	if !n.object {
		r.last, r.lastStart = n.index+1, len(r.out)
		return r.value(&n.op, b) && int64(len(r.out)) <= r.limit
	}
	r.out = append(r.out, '{')
	if !r.cutFields(n, b) {
		return false
	}
	r.out = append(r.out, '}')
	r.last = 0
	return true
}

// cutFields appends the fields of n that b has.
func (r *run) cutFields(n *node, b []byte) bool {
	for _, f := range n.fields {
		if !f.starts(b) {
			continue
		}
		r.key(f)
		if !r.cut(f, b) {
			return false
		}
	}
	return true
}

// key appends the name of a field, and what separates it from the value before it.
func (r *run) key(f *node) {
	first := len(r.out) == r.start || r.out[len(r.out)-1] == '{' // which ends no value
	switch {
	case !r.text && !first:
		r.out = append(r.out, ',')
	case !first:
		if r.last > 0 && r.align {
			r.out = r.printer.pad(r.out, r.column+r.last-1, len(r.out)-r.lastStart)
		}
		r.out = append(r.out, ' ')
	}
	if r.text {
		r.out = append(r.out, f.text...)
	} else {
		r.out = append(r.out, f.json...)
	}
}

// end appends the bytes after a header, and closes the output of the record.
func (r *run) end(root *node, record []byte) bool {
	if r.rest != nil && len(record) > r.rest.off {
		r.key(r.rest)
		r.value(&r.rest.op, record)
	}
	if root.object && !r.text {
		r.out = append(r.out, '}')
	}
	return int64(len(r.out)) <= r.limit
}
