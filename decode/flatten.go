package decode

// flatten returns the operations that decode a value of type n: a record, or if element is set an element of an
// array. They do not close the object of a record.
func flatten(n *node, element bool) []op {
	f := flattener{element: element}
	f.add(n, true)
	if len(f.json) > 0 || len(f.text) > 0 {
		f.emit(op{kind: kindLiteral}) // the punctuation after the last value
	}
	return f.ops
}

type flattener struct {
	ops []op
	// Names and punctuation since the last operation: the literals of the next operation.
	json, text []byte
	opened     bool // a '{' was written, and no member after it
	element    bool
	field      *field
}

// emit adds an operation.
func (f *flattener) emit(o op) {
	if n := len(f.ops); n > 0 && !f.element && len(f.text) > 0 && f.text[0] == ' ' {
		f.ops[n-1].column = true // a space follows the value, so padding does not change how text is read
	}
	o.json, o.text = string(f.json), string(f.text)
	o.field = f.field
	f.json, f.text = f.json[:0], f.text[:0]
	f.ops = append(f.ops, o)
}

func (f *flattener) add(n *node, root bool) {
	if !n.object {
		n.index = len(f.ops)
		f.emit(n.op)
		return
	}
	braces := !root || f.element // a record has no braces around it in text
	f.json = append(f.json, '{')
	if braces {
		f.text = append(f.text, '{')
	}
	f.opened = true
	for _, m := range n.fields {
		f.key(m)
		outer := f.field
		f.field = &field{m.name, outer}
		f.add(m, false)
		f.field = outer
	}
	if braces {
		f.json = append(f.json, '}')
		f.text = append(f.text, '}')
	}
	f.opened = false
}

// key adds the name of a member.
func (f *flattener) key(m *node) {
	if !f.opened {
		f.json = append(f.json, ',')
		f.text = append(f.text, ' ')
	}
	f.opened = false
	f.json = append(f.json, m.json...)
	f.text = append(f.text, m.text...)
}
