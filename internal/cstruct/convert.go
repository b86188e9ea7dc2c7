package cstruct

import (
	"errors"
	"fmt"
	"math"

	"github.com/cilium/ebpf/btf"
	"modernc.org/cc/v4"
)

var (
	errIncomplete = errors.New("incomplete type")
	errRecursive  = errors.New("a struct that contains itself")
)

// collect finds the types that the text declares, in order.
func (f *File) collect(ast *cc.AST) {
	f.convert.targets = make(map[*cc.Declarator]cc.Type)
	for unit := ast.TranslationUnit; unit != nil; unit = unit.TranslationUnit {
		external := unit.ExternalDeclaration
		if external == nil || external.Declaration == nil || external.Declaration.DeclarationSpecifiers == nil {
			continue
		}
		own := external.Position().Filename == f.name
		specifiers := external.Declaration.DeclarationSpecifiers
		var variable bool
		var typedefs []declared
		for l := external.Declaration.InitDeclaratorList; l != nil; l = l.InitDeclaratorList {
			d := l.InitDeclarator.Declarator
			if !d.IsTypename() {
				variable = true
				continue
			}
			if plain(d) {
				f.convert.targets[d] = specifiers.Type()
			}
			typedefs = append(typedefs, declared{"", d.Name(), isRecord(d.Type()), d.Type(), d.Position().Offset})
		}
		if !own {
			continue
		}
		f.define(specifiers, variable || len(typedefs) > 0)
		f.declared = append(f.declared, typedefs...)
	}
}

// define adds the struct, union or enum that specifiers define. A type without a name is added only if the
// declaration has no declarator.
func (f *File) define(specifiers *cc.DeclarationSpecifiers, declarator bool) {
	for ; specifiers != nil; specifiers = specifiers.DeclarationSpecifiers {
		s := specifiers.TypeSpecifier
		if s == nil {
			continue
		}
		d := declared{at: s.Position().Offset}
		switch {
		case s.StructOrUnionSpecifier != nil && s.StructOrUnionSpecifier.Case == cc.StructOrUnionSpecifierDef:
			d.keyword, d.name, d.record = "struct", s.StructOrUnionSpecifier.Token.SrcStr(), true
			d.typ = s.StructOrUnionSpecifier.Type()
			if d.typ.Kind() == cc.Union {
				d.keyword = "union"
			}
		case s.EnumSpecifier != nil && s.EnumSpecifier.Case == cc.EnumSpecifierDef:
			d.keyword, d.name, d.typ = "enum", s.EnumSpecifier.Token2.SrcStr(), s.EnumSpecifier.Type()
		default:
			continue
		}
		if d.name != "" || d.record && !declarator {
			f.declared = append(f.declared, d)
		}
	}
}

// plain reports whether the type of a declarator is that of its specifiers.
func plain(d *cc.Declarator) bool {
	return d.Pointer == nil && d.DirectDeclarator != nil && d.DirectDeclarator.Case == cc.DirectDeclaratorIdent
}

func isRecord(t cc.Type) bool { return t.Kind() == cc.Struct || t.Kind() == cc.Union }

// converter converts types of C to types of BTF.
type converter struct {
	targets map[*cc.Declarator]cc.Type // types that typedefs name, if a typedef's declarator is a plain name
}

// builder builds one type.
type builder struct {
	converter
	made  map[string]btf.Type // structs and unions, by keyword and tag; nil while one is built
	count int
}

// add counts a type or member.
func (b *builder) add() error {
	if b.count++; b.count > maxTypes {
		return errTypes
	}
	return nil
}

// typeOf converts a type. A typedef keeps its name.
func (b *builder) typeOf(t cc.Type) (btf.Type, error) {
	if err := b.add(); err != nil {
		return nil, err
	}
	d := t.Typedef()
	if d == nil {
		return b.bare(t)
	}
	key := "typedef " + d.Name()
	if made, ok := b.made[key]; ok && made != nil {
		return made, nil
	}
	var inner btf.Type
	var err error
	if target, ok := b.targets[d]; ok && target.Typedef() != d {
		inner, err = b.typeOf(target)
	} else {
		inner, err = b.bare(t)
	}
	if err != nil {
		return nil, err
	}
	named := &btf.Typedef{Name: d.Name(), Type: inner}
	b.made[key] = named
	return named, nil
}

// bare converts a type, ignoring that a typedef names it.
func (b *builder) bare(t cc.Type) (btf.Type, error) {
	switch t := t.(type) {
	case *cc.PointerType:
		return &btf.Pointer{Target: &btf.Void{}}, nil
	case *cc.ArrayType:
		return b.array(t)
	case *cc.EnumType:
		return enumOf(t)
	case *cc.StructType:
		return b.object("struct", t.Tag(), t)
	case *cc.UnionType:
		return b.object("union", t.Tag(), t)
	case *cc.PredefinedType:
		return scalar(t)
	}
	return nil, fmt.Errorf("%s cannot be a part of a record", t)
}

// scalars are the names that clang gives to arithmetic types in BTF.
var scalars = map[cc.Kind]struct {
	name     string
	encoding btf.IntEncoding
}{
	cc.Bool: {"_Bool", btf.Bool}, cc.Char: {"char", btf.Signed},
	cc.SChar: {"signed char", btf.Signed}, cc.UChar: {"unsigned char", btf.Unsigned},
	cc.Short: {"short", btf.Signed}, cc.UShort: {"unsigned short", btf.Unsigned},
	cc.Int: {"int", btf.Signed}, cc.UInt: {"unsigned int", btf.Unsigned},
	cc.Long: {"long", btf.Signed}, cc.ULong: {"unsigned long", btf.Unsigned},
	cc.LongLong: {"long long", btf.Signed}, cc.ULongLong: {"unsigned long long", btf.Unsigned},
	cc.Int128: {"__int128", btf.Signed}, cc.UInt128: {"unsigned __int128", btf.Unsigned},
}

var floats = map[cc.Kind]string{cc.Float: "float", cc.Double: "double", cc.LongDouble: "long double"}

func scalar(t *cc.PredefinedType) (btf.Type, error) {
	if s, ok := scalars[t.Kind()]; ok {
		return &btf.Int{Name: s.name, Size: uint32(t.Size()), Encoding: s.encoding}, nil
	}
	if name, ok := floats[t.Kind()]; ok {
		return &btf.Float{Name: name, Size: uint32(t.Size())}, nil
	}
	return nil, fmt.Errorf("%s cannot be a part of a record", t)
}

func (b *builder) array(t *cc.ArrayType) (btf.Type, error) {
	if t.IsVLA() || t.Len() > math.MaxUint32 {
		return nil, fmt.Errorf("an array of %s has no length", t.Elem())
	}
	elem, err := b.typeOf(t.Elem())
	if err != nil {
		return nil, err
	}
	index := &btf.Int{Name: "__ARRAY_SIZE_TYPE__", Size: 4}
	return &btf.Array{Index: index, Type: elem, Nelems: uint32(max(t.Len(), 0))}, nil // a flexible array has no length
}

func enumOf(t *cc.EnumType) (btf.Type, error) {
	tag := t.Tag()
	e := &btf.Enum{Name: tag.SrcStr(), Size: uint32(t.Size())}
	if t.IsIncomplete() {
		return nil, fmt.Errorf("enum %s: %w", e.Name, errIncomplete)
	}
	for _, v := range t.Enumerators() {
		var value uint64
		switch known := v.Value().(type) {
		case cc.Int64Value:
			value = uint64(known)
			e.Signed = e.Signed || known < 0
		case cc.UInt64Value:
			value = uint64(known)
		default:
			return nil, fmt.Errorf("enumerator %s has no integer value", v.Token.SrcStr())
		}
		e.Values = append(e.Values, btf.EnumValue{Name: v.Token.SrcStr(), Value: value})
	}
	return e, nil
}

// object is a struct or union.
type object interface {
	cc.Type
	NumFields() int
	FieldByIndex(i int) *cc.Field
}

func (b *builder) object(keyword string, token cc.Token, t object) (btf.Type, error) {
	tag := token.SrcStr()
	key := keyword + " " + tag
	if made, ok := b.made[key]; ok && tag != "" {
		if made == nil {
			return nil, fmt.Errorf("%s: %w", key, errRecursive)
		}
		return made, nil
	}
	b.made[key] = nil
	var members []btf.Member
	for i := range t.NumFields() {
		f := t.FieldByIndex(i)
		if f.IsBitfield() && f.Name() == "" {
			continue
		}
		m, err := b.member(f)
		if err != nil {
			return nil, fmt.Errorf("%s of %s: %w", f.Name(), key, err)
		}
		members = append(members, m)
	}
	if t.IsIncomplete() || t.Size() < 0 || t.Size() > math.MaxInt32 {
		return nil, fmt.Errorf("%s: %w", key, errIncomplete)
	}
	var made btf.Type = &btf.Struct{Name: tag, Size: uint32(t.Size()), Members: members}
	if keyword == "union" {
		made = &btf.Union{Name: tag, Size: uint32(t.Size()), Members: members}
	}
	if b.made[key] = made; tag == "" {
		delete(b.made, key)
	}
	return made, nil
}

func (b *builder) member(f *cc.Field) (m btf.Member, err error) {
	m = btf.Member{Name: f.Name(), Offset: btf.Bits(f.Offset() * 8)}
	if f.IsBitfield() {
		m.Offset += btf.Bits(f.OffsetBits())
		m.BitfieldSize = btf.Bits(f.ValueBits())
	}
	m.Type, err = b.typeOf(f.Type())
	return m, err
}
