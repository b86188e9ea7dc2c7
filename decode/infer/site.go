package infer

import (
	"fmt"
	"regexp"
	"slices"

	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/btf"
)

// Certainty is how certain an inferred type is.
type Certainty int

const (
	// Unknown means that no type was found.
	Unknown Certainty = iota
	// Likely means that the program does not state the type, but only this type fits.
	Likely
	// Certain means that the program states the type.
	Certain
)

// String returns "unknown", "likely" or "certain".
func (c Certainty) String() string { return [...]string{"unknown", "likely", "certain"}[c] }

// Site is a place in a program that puts records into the ring: a call of a helper such as
// bpf_ringbuf_reserve.
type Site struct {
	Program string // "program 12 (name)"
	Call    string // name of the helper that is called
	Line    string // source line; "" if the program has no line information
	Size    int64  // size of the records in bytes; -1 if it is not constant
	// Tags are the values that the program stores at the start of the records; nil unless
	// all of them are constants.
	Tags []uint64

	Type      btf.Type // nil if unknown
	Certainty Certainty
	Why       string // how the type is known, or why it is unknown
	How       string // if the kernel hides the helper, how its name was found; "" otherwise

	stores   []store
	untagged bool // some value stored at the start is not a constant
}

// store is a store of size bytes at off in a record.
type store struct{ off, size int64 }

// sites returns the places where p puts records into the ring.
func (p *program) sites() []*Site {
	byCall := map[int]*Site{}
	var starts []int
	for i := range p.before {
		starts = append(starts, i)
	}
	slices.Sort(starts)
	var found []*Site
	// Find all calls first, then the uses of their records: a block can use the record of a later block's call.
	for _, start := range starts {
		p.block(start, func(i int, ins *asm.Instruction, s *state) {
			if site := p.siteAt(i, ins, s); site != nil && byCall[i] == nil {
				byCall[i] = site
				found = append(found, site)
			}
		})
	}
	for _, start := range starts {
		p.block(start, func(i int, ins *asm.Instruction, s *state) { p.watch(i, ins, s, byCall) })
	}
	for _, site := range found {
		p.fallBack(site)
	}
	return found
}

// siteAt returns the Site for the instruction, if it is a call that puts a record into the ring.
func (p *program) siteAt(i int, ins *asm.Instruction, s *state) *Site {
	ring := value{kind: mapItself, id: p.ring}
	if !isCall(ins) || ins.Src != 0 || s.regs[asm.R1] != ring {
		return nil
	}
	line := p.code.lineOf(i)
	name, how := p.calls.name(ins, line, s)
	site := &Site{Program: p.String(), Call: name, How: how, Line: line, Size: -1}
	size := s.regs[asm.R2]
	switch name {
	case callQuery:
		return nil
	case callOutput:
		size = s.regs[asm.R3]
	case callReserve, callDynptr:
	default:
		site.Call = "a helper that the kernel does not name"
	}
	if size.kind == constant {
		site.Size = size.off
	}
	if name == callOutput {
		p.output(i, site, s.regs[asm.R2], s)
	}
	return site
}

// output finds the type of the memory that data points to.
func (p *program) output(i int, site *Site, data value, s *state) {
	switch data.kind {
	case mapValue:
		if t, name := p.global(data.id, data.off); t != nil {
			site.settle(t, fmt.Sprintf("it is the variable %s", name))
		}
	case mapInside:
		if t, name := p.element(data.id); t != nil {
			site.settle(t, fmt.Sprintf("it is an element of the map %s", name))
		}
	case argument:
		f := p.code.functionOf(i)
		if n := int(data.id); n < len(f.params) && data.off == 0 {
			if t := pointee(f.params[n].Type); t != nil {
				site.settle(t, fmt.Sprintf("it is the argument %s of %s", f.params[n].Name, f.name))
			}
		}
	case stack:
		if sl, ok := s.stack[data.off]; ok && sl.val.kind == constant {
			site.tag(truncate(sl.val.off, sl.size))
		}
	}
}

// watch notes what the instruction does to a record that one of sites reserved: a store into it, or a call that
// passes it to a function.
func (p *program) watch(i int, ins *asm.Instruction, s *state, sites map[int]*Site) {
	if target, ok := p.code.callee(i); ok {
		f := p.code.funcs[target]
		for n, param := range f.params {
			if n >= 5 {
				break
			}
			v := s.regs[n+1]
			if site := sites[int(v.id)]; v.kind == record && v.off == 0 && site != nil {
				if t := pointee(param.Type); t != nil {
					site.settle(t, fmt.Sprintf("it is passed to %s as %s", f.name, param.Name))
				}
			}
		}
		return
	}
	class := ins.OpCode.Class()
	if class != asm.StClass && class != asm.StXClass || ins.OpCode.Mode() != asm.MemMode {
		return
	}
	to := s.regs[ins.Dst]
	site := sites[int(to.id)]
	if to.kind != record || site == nil {
		return
	}
	at := store{to.off + int64(ins.Offset), int64(ins.OpCode.Size().Sizeof())}
	site.stores = append(site.stores, at)
	if at.off != 0 {
		return
	}
	if v := stored(s, ins); v.kind == constant {
		site.tag(truncate(v.off, at.size))
	} else {
		site.Tags, site.untagged = nil, true
	}
}

// tag records a constant at the start of the site's records.
func (s *Site) tag(v uint64) {
	if !s.untagged && !slices.Contains(s.Tags, v) {
		s.Tags = append(s.Tags, v)
	}
}

func truncate(v, size int64) uint64 {
	if size >= 8 {
		return uint64(v)
	}
	return uint64(v) & (1<<(8*size) - 1)
}

// settle sets the type of the site's records to t, which the program states, if t has their size.
func (s *Site) settle(t btf.Type, why string) {
	size, err := btf.Sizeof(t)
	if s.Certainty == Certain || object(t) == nil || err != nil || size == 0 {
		return
	}
	if s.Size >= 0 && s.Size != int64(size) {
		s.Why = fmt.Sprintf("%s, but that has %d bytes", why, size)
		return
	}
	s.Type, s.Certainty, s.Why = t, Certain, why
}

// pointee returns the struct or union that a pointer points to, or nil.
func pointee(t btf.Type) btf.Type {
	p, ok := btf.UnderlyingType(t).(*btf.Pointer)
	if !ok {
		return nil
	}
	return object(p.Target)
}

// object returns t without its qualifiers if it is a struct or union, otherwise nil.
func object(t btf.Type) btf.Type {
	for {
		switch q := t.(type) {
		case *btf.Const:
			t = q.Type
		case *btf.Volatile:
			t = q.Type
		case *btf.Restrict:
			t = q.Type
		default:
			switch btf.UnderlyingType(t).(type) {
			case *btf.Struct, *btf.Union:
				return t
			}
			return nil
		}
	}
}

// named matches the names of types in a line of C source: "struct x", "union x", "sizeof(x)".
var named = regexp.MustCompile(`\b(?:struct|union)\s+(\w+)|sizeof\s*\(\s*(\w+)\s*\)`)

// fallBack looks for the type of a site that no instruction determined: in the source line of the call, then
// among the types of the records' size.
func (p *program) fallBack(site *Site) {
	if site.Certainty == Certain {
		return
	}
	if p.spec == nil {
		site.Why = "the program has no BTF"
		return
	}
	var absent string
	for _, m := range named.FindAllStringSubmatch(site.Line, -1) {
		name := m[1] + m[2]
		t, ok := p.object(name)
		if ok {
			site.settle(t, fmt.Sprintf("its source line names %s", name))
		} else if m[1] != "" {
			absent = fmt.Sprintf("its source line names struct %s, which the program's BTF lacks", name)
		}
	}
	switch {
	case site.Certainty == Certain:
	case absent != "":
		site.Why = absent
	case site.Size < 0:
		site.because("the size of its records is not constant")
	default:
		p.bySize(site)
	}
}

func (s *Site) because(why string) {
	if s.Why != "" {
		why = s.Why + "; " + why
	}
	s.Why = why
}

// object returns the struct or union called name.
func (p *program) object(name string) (btf.Type, bool) {
	found, err := p.spec.AnyTypesByName(name)
	if err != nil {
		return nil, false
	}
	for _, t := range found {
		if object(t) != nil {
			return t, true
		}
	}
	return nil, false
}

// bySize sets the type of the site's records if only one type has their size and fields that match the
// program's stores.
func (p *program) bySize(site *Site) {
	var fit, exported []btf.Type
	pointed := map[btf.Type]bool{} // by variables that exist to export a type
	for t, err := range p.spec.All() {
		if err != nil {
			site.because(fmt.Sprintf("the program's BTF cannot be read: %v", err))
			return
		}
		if v, ok := t.(*btf.Var); ok {
			if t := pointee(v.Type); t != nil {
				pointed[t] = true
			}
		}
	}
	for t := range p.spec.All() {
		switch t.(type) {
		case *btf.Struct, *btf.Union:
		default:
			continue
		}
		size, err := btf.Sizeof(t)
		if t.TypeName() == "" || err != nil || int64(size) != site.Size || !fits(t, site.stores) {
			continue
		}
		fit = append(fit, t)
		if pointed[t] {
			exported = append(exported, t)
		}
	}
	switch {
	case len(exported) == 1:
		site.Type, site.Certainty = exported[0], Likely
		site.because(fmt.Sprintf("a variable exports %s, which has this size", exported[0].TypeName()))
	case len(fit) == 1:
		site.Type, site.Certainty = fit[0], Likely
		site.because(fmt.Sprintf("%s is the only type in the program's BTF that has this size", fit[0].TypeName()))
	case len(fit) == 0:
		site.because(fmt.Sprintf("the program's BTF has no type of %d bytes that fits", site.Size))
	default:
		site.because(fmt.Sprintf("the program's BTF has %d types of %d bytes that fit: %s", len(fit), site.Size, names(fit)))
	}
}
