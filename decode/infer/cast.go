package infer

import (
	"slices"
	"strings"

	"github.com/cilium/ebpf/btf"

	"github.com/rbtool/rbtool/internal/recordflow"
	"github.com/rbtool/rbtool/internal/srcline"
)

// converts reports whether the memory is what an argument of a function points to, and a line calls the function with a
// pointer to something else: it casts the pointer, or declares the variable with another type. Only lines can
// tell: what the callers of a global function pass is not followed.
func (p *program) converts(d recordflow.Data) bool {
	if d.Kind != recordflow.Argument || d.Param == nil || pointee(d.Param.Type) == nil {
		return false
	}
	key := d.Func + " " + d.Param.Name
	converted, known := p.converted[key]
	if !known {
		if p.converted == nil {
			p.converted = map[string]bool{}
		}
		converted = p.calledWithOther(d.Func, p.argument(d.Func, d.Param.Name), pointee(d.Param.Type))
		p.converted[key] = converted
	}
	return converted
}

// calledWithOther reports whether a line calls a function with an argument that does not point to a t.
func (p *program) calledWithOther(fn string, arg int, t btf.Type) bool {
	for _, l := range p.lines {
		if arg < 0 || l.fn == fn || !strings.Contains(l.text, fn) {
			continue
		}
		call := srcline.Parse(l.text).Call(fn)
		if casts(call, arg) || call != nil && arg < len(call.Args) && p.declaresOther(l.fn, call.Args[arg], t) {
			return true
		}
	}
	return false
}

// casts reports whether the line of a call casts the argument. It can be called with nil.
func casts(call *srcline.Call, arg int) bool {
	return call != nil && arg < len(call.Args) && strings.HasPrefix(call.Args[arg].Text, "(") && strings.Contains(call.Args[arg].Text, "*)")
}

// argument returns the number of a function's argument; -1 if the program's BTF does not have it.
func (p *program) argument(fn, param string) int {
	for _, src := range p.sources {
		var f *btf.Func
		if !src.same || src.spec.TypeByName(fn, &f) != nil {
			continue
		}
		if proto, ok := f.Type.(*btf.FuncProto); ok {
			return slices.IndexFunc(proto.Params, func(p btf.FuncParam) bool { return p.Name == param })
		}
	}
	return -1
}

// declaresOther reports whether a line of a function declares the variable that is passed with another type than t.
func (p *program) declaresOther(fn string, arg srcline.Arg, t btf.Type) bool {
	if !arg.Named || len(arg.Place.Path) > 0 {
		return false
	}
	return slices.ContainsFunc(p.function(fn).declarations(arg.Place.Var), func(d declaration) bool {
		return d.typ.Name != t.TypeName() && !p.means(d.typ, t)
	})
}

// means reports whether a source has a type of the name that is t, or one of them begins with the other.
func (p *program) means(name srcline.TypeName, t btf.Type) bool {
	return slices.ContainsFunc(p.sources, func(src source) bool {
		return slices.ContainsFunc(src.named(name.Name, name.Tag), func(o btf.Type) bool { return related(o, t) })
	})
}
