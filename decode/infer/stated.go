package infer

import (
	"fmt"
	"slices"

	"github.com/cilium/ebpf/btf"

	"github.com/rbtool/rbtool/internal/recordflow"
	"github.com/rbtool/rbtool/internal/sametype"
	"github.com/rbtool/rbtool/internal/srcline"
)

// stated returns what the program itself states: the memory that the records are copied from, the functions
// that get a pointer to the record, and the source line of the call.
func (p *program) stated(s *Site) (claims []claim) {
	for _, d := range s.flow.Data {
		if c, ok := p.memory(s, d); ok {
			claims = append(claims, c)
		}
	}
	for _, pass := range s.flow.Passes {
		if pass.Param == nil || pass.Off != 0 {
			continue
		}
		if t := pointee(pass.Param.Type); t != nil {
			claims = append(claims, claim{
				typ: t, why: fmt.Sprintf("it is passed to %s as %s", pass.Func, pass.Param.Name), member: memberPassed(pass),
				doubtful: casts(srcline.Parse(pass.Line.Text).Call(pass.Func), pass.Arg),
			})
		}
	}
	claims = append(claims, p.defined(s)...)
	claims = append(claims, p.inLines(s)...)
	claims = append(claims, p.local(s)...)
	if slices.ContainsFunc(s.flow.Data, p.converts) {
		doubtful(claims)
	}
	return slices.DeleteFunc(claims, func(c claim) bool { return untyped(c.typ) })
}

// untyped reports whether t is an array of characters or numbers: memory for anything.
func untyped(t btf.Type) bool {
	a, ok := btf.UnderlyingType(t).(*btf.Array)
	for range maxNesting {
		if !ok {
			return false
		}
		inner, nested := btf.UnderlyingType(a.Type).(*btf.Array)
		if !nested {
			return object(a.Type) == nil
		}
		a = inner
	}
	return false
}

// memberPassed returns the name of the record's member that the source line of a call passes, as in "f(&e->header)", or
// else the name of the argument.
func memberPassed(pass recordflow.Pass) string {
	call := srcline.Parse(pass.Line.Text).Call(pass.Func)
	if call != nil && pass.Arg < len(call.Args) {
		if path := call.Args[pass.Arg].Place.Path; len(path) == 1 && path[0].Member != "" {
			return path[0].Member
		}
	}
	return pass.Param.Name
}

// defined returns the type of records that the ring's definition in an object gives, as in __type(value, struct event).
// The program states the type if all definitions give only one that the records can have.
func (p *program) defined(s *Site) (claims []claim) {
	for _, src := range p.sources {
		for _, t := range src.records(p.ring) {
			known := slices.ContainsFunc(claims, func(c claim) bool { return sametype.Same(c.typ, t) })
			if !src.same && s.agree(t).unlike > 0 {
				continue // it is another object's
			}
			if !known && s.relate(t, false) > headerFit && misfit(t, s.flow.Writes) == "" {
				claims = append(claims, claim{typ: t, why: "the definition of the ring says so in " + src.why, foreign: !src.same, weak: !src.same})
			}
		}
	}
	if len(claims) > 1 {
		s.because("the definition of the ring gives it %d types that fit", len(claims))
		return nil
	}
	return claims
}

// memory returns the claim of the memory that d describes.
func (p *program) memory(s *Site, d recordflow.Data) (claim, bool) {
	switch d.Kind {
	case recordflow.Variable:
		for _, src := range p.sources {
			v, off, ok := src.at(p.maps[d.Map].Name, d.Off)
			if ok && src.same {
				return s.from(v.typ, off, "the variable "+v.name, true)
			}
		}
	case recordflow.Element:
		if t, name := p.element(d.Map); t != nil {
			return s.from(t, d.Off, "an element of the map "+name, true)
		}
	case recordflow.Argument:
		if d.Param == nil {
			break
		}
		if t := pointee(d.Param.Type); t != nil {
			return s.from(t, d.Off, fmt.Sprintf("the argument %s of %s", d.Param.Name, d.Func), false)
		}
	}
	return claim{}, false
}

// from returns the claim that the records are what is at off in an object of type t.
func (s *Site) from(t btf.Type, off int64, what string, memory bool) (claim, bool) {
	found := part(t, off, s.flow.Min, s.flow.Max)
	switch {
	case found == nil || off < 0:
		return claim{}, false
	case found != t && off == 0:
		what = "the beginning of " + what
	case found != t:
		what = fmt.Sprintf("a part of %s, at %d", what, off)
	}
	return claim{typ: sametype.Unqualified(found), why: "it is " + what, memory: memory, weak: memory && wraps(found)}, true
}

// wraps reports whether t is a struct of nothing but an array of characters or numbers: a buffer for anything.
func wraps(t btf.Type) bool {
	s, ok := btf.UnderlyingType(t).(*btf.Struct)
	return ok && len(s.Members) == 1 && untyped(s.Members[0].Type)
}

// element returns the type of the values of a map, and the map's full name.
func (p *program) element(id uint32) (btf.Type, string) {
	name := p.maps[id].Name
	for _, src := range p.sources {
		if t, full := src.value(name); t != nil && src.same {
			return t, full
		}
	}
	return p.values[id], name
}
