// Package cstruct reads C declarations as types for records.
//
//	file, err := cstruct.Parse("event.h", text)
//	...
//	t, err := file.Type("event")
//
// Layouts are those of clang -target bpf: LP64, little-endian, char is signed. Packed and aligned
// attributes, #pragma pack, bitfields, anonymous members and flexible arrays count. The kernel's names of
// integers (u32, __be16, pid_t, ...), those of stdint.h and some constants (TASK_COMM_LEN) are predeclared;
// a declaration in the text replaces them. No file is read: #include has no effect, see [File.Ignored].
//
// A text may be the source of a program: functions and variables are left out. A declaration that cannot be read
// is an error only for those who ask for its type, or for one that needs it.
//
// The text is not trusted. Its size, its nesting, the expansion of its macros and the number of types are
// bounded. Any number of goroutines can use a File.
package cstruct

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/cilium/ebpf/btf"
	"modernc.org/cc/v4"

	"github.com/rbtool/rbtool/internal/near"
	"github.com/rbtool/rbtool/internal/sentinel"
)

// ErrNotFound reports that a text does not declare a type. It matches fs.ErrNotExist.
var ErrNotFound = sentinel.New(sentinel.NotFound, "not declared")

// File has the types that a text declares.
type File struct {
	// Ignored are the names of the files that the text includes, in order. They were not read.
	Ignored []string

	name     string
	declared []declared
	convert  converter

	refused     map[string]error // why a type could not be read
	lastRefused piece            // the last struct or union that could not be read
	lastError   error            // why
}

// declared is a struct, union or enum that a text defines, or a typedef.
type declared struct {
	keyword string // "struct", "union", "enum", or "" for a typedef
	name    string // "" for a struct that has neither a tag nor a variable
	record  bool   // it is a struct or union, or a typedef of one
	typ     cc.Type
	at      int // offset in the text
}

// Parse reads the declarations in text. name is the text's name in errors, which have the form
// "name:line:column: cause". It takes 5 seconds at most. If it takes longer, it returns an error, and its goroutine
// runs on.
func Parse(name, text string) (*File, error) {
	if err := checkText(text); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	type result struct {
		file *File
		err  error
	}
	done := make(chan result, 1)
	go func() {
		f, err := parse(name, text)
		done <- result{f, err}
	}()
	select {
	case r := <-done:
		return r.file, r.err
	case <-time.After(maxTime):
		return nil, fmt.Errorf("%s: %w", name, errTime)
	}
}

// parse does the work of Parse. The parser may panic on texts that no compiler accepts.
func parse(name, text string) (f *File, err error) {
	defer func() {
		if cause := recover(); cause != nil {
			f, err = nil, fmt.Errorf("%s: cannot be parsed as C", name)
		}
	}()
	var kept []piece
	for _, p := range slice(text) {
		if p.directive || p.types {
			kept = append(kept, p)
		}
	}
	f = &File{name: name, refused: map[string]error{}}
	var first error
	for range maxRefused {
		include := &included{}
		declarations := only(text, kept)
		ast, err := translate(include, name, declarations)
		f.Ignored = include.names
		if err == nil {
			f.collect(ast)
			return f, f.orElse(first)
		}
		err = f.explain(err, text)
		first = cmp.Or(first, err)
		if kept = f.refuse(err, text, kept); kept == nil {
			break
		}
	}
	return nil, first
}

// orElse returns err if the text declares no type.
func (f *File) orElse(err error) error {
	if len(f.declared) == 0 {
		return err
	}
	return nil
}

// refuse removes the piece in which an error is. It returns nil if there is none. An error about a piece matters only
// to those who ask for its types.
func (f *File) refuse(err error, text string, kept []piece) []piece {
	m := position.FindStringSubmatch(strings.TrimPrefix(err.Error(), f.name))
	if m == nil {
		return nil
	}
	at := offsetOf(text, m[1], m[2])
	guilty := -1
	for i, p := range kept {
		if p.start <= at {
			guilty = i
		}
	}
	if guilty < 0 {
		return nil
	}
	p := kept[guilty]
	names, record := declaredBy(text[p.start:p.end])
	for _, name := range names {
		f.refused[name] = err
	}
	if record && p.start >= f.lastRefused.start {
		f.lastRefused, f.lastError = p, err
	}
	return slices.Delete(kept, guilty, guilty+1)
}

// translate parses a text, after the names of the prelude that it does not declare itself.
func translate(include *included, name, text string) (*cc.AST, error) {
	if err := checkDeclarations(text); err != nil {
		return nil, err
	}
	config := &cc.Config{
		ABI: abi, ABILayout: true,
		Header: true, // do not check the bodies of functions
		FS:     include, FSOnly: true, IncludePaths: []string{"/"}, SysIncludePaths: []string{"/"},
		ExpansionLimit: maxExpansion,
	}
	parsed, err := cc.Parse(config, sources(name, text, nil))
	if err != nil {
		return nil, err
	}
	own, err := ownNames(parsed, name)
	if err != nil {
		return nil, err
	}
	include.names = nil
	return cc.Translate(config, sources(name, text, own))
}

// ownNames returns the names that a text declares: typedefs and enumerators, and tags with "struct" before them.
func ownNames(parsed *cc.AST, name string) (map[string]bool, error) {
	own := make(map[string]bool)
	for known, nodes := range parsed.Scope.Nodes {
		if _, ok := nodes[0].(*cc.Enumerator); ok && len(nodes) > maxRepeated {
			return nil, fmt.Errorf("enumerator %s is declared %d times", known, len(nodes))
		}
		for _, n := range nodes {
			if n.Position().Filename != name {
				continue
			}
			switch n := n.(type) {
			case *cc.Declarator, *cc.Enumerator:
				own[known] = true
			case *cc.StructOrUnionSpecifier:
				if n.Case == cc.StructOrUnionSpecifierDef {
					own["struct "+known] = true
				}
			}
		}
	}
	return own, nil
}

// included is a file system in which each file exists and is empty. It notes the names of the files.
type included struct{ names []string }

func (in *included) Open(name string) (fs.File, error) {
	in.names = append(in.names, strings.TrimPrefix(name, "/"))
	return emptyFile{strings.NewReader("")}, nil
}

type emptyFile struct{ *strings.Reader }

func (emptyFile) Close() error               { return nil }
func (emptyFile) Stat() (fs.FileInfo, error) { return nil, fs.ErrInvalid }

var (
	internalPosition = regexp.MustCompile(` \([a-z0-9]+\.go:\d+:[^)]*\)$`)
	position         = regexp.MustCompile(`^:(\d+):(\d+):`)
	unknownType      = regexp.MustCompile(`:(\d+):(\d+): unexpected identifier, expected`)
	lastIdentifier   = regexp.MustCompile(`([A-Za-z_]\w*)\s*$`)
)

// explain returns an error of one line for an error of the parser.
func (f *File) explain(err error, text string) error {
	cause, _, _ := strings.Cut(err.Error(), "\n")
	cause = internalPosition.ReplaceAllString(cause, "")
	if strings.HasPrefix(cause, end.Name) {
		cause = f.name + ": the text ends within a declaration"
	}
	switch {
	case strings.HasPrefix(cause, ":"):
		cause = f.name + cause
	case !strings.HasPrefix(cause, f.name+":"):
		cause = f.name + ": " + cause
	}
	if m := unknownType.FindStringSubmatchIndex(cause); m != nil {
		before := text[:offsetOf(text, cause[m[2]:m[3]], cause[m[4]:m[5]])]
		if last := lastIdentifier.FindStringSubmatch(before); last != nil {
			cause = fmt.Sprintf("%s: unknown type %s", cause[:m[5]], last[1])
		}
	}
	return errors.New(cause + f.hint())
}

// hint says that files were not included, if that is so.
func (f *File) hint() string {
	if len(f.Ignored) == 0 {
		return ""
	}
	return fmt.Sprintf(" (#include of %s is not followed: declare here what the struct needs)", f.Ignored[0])
}

// offsetOf returns the offset of a line and column, decimal numbers from 1, in a text.
func offsetOf(text, line, column string) int {
	var l, c int
	if _, err := fmt.Sscan(line+" "+column, &l, &c); err != nil {
		return 0
	}
	at := 0
	for ; l > 1; l-- {
		n := strings.IndexByte(text[at:], '\n')
		if n < 0 {
			return len(text)
		}
		at += n + 1
	}
	return min(len(text), at+max(0, c-1))
}

// Type returns a type that the text declares: a struct, union, enum or typedef. A C keyword before the name
// restricts the kind. If name is empty, it returns the struct or union that is declared last. If there is no such
// type, the error matches [ErrNotFound] and lists similar names.
func (f *File) Type(name string) (btf.Type, error) {
	keyword, bare, ok := strings.Cut(name, " ")
	if !ok {
		keyword, bare = "", name
	}
	for i := len(f.declared) - 1; i >= 0; i-- {
		d := f.declared[i]
		if name == "" && d.record && f.lastError != nil && f.lastRefused.start > d.at {
			return nil, f.lastError
		}
		if name == "" && d.record || name != "" && d.name == bare && (keyword == "" || keyword == d.keyword) {
			return f.build(d)
		}
	}
	switch {
	case f.refused[bare] != nil:
		return nil, f.refused[bare]
	case name == "" && f.lastError != nil:
		return nil, f.lastError
	case name == "":
		return nil, fmt.Errorf("%s: no struct is declared: %w", f.name, ErrNotFound)
	}
	return nil, fmt.Errorf("%s: %s is %w%s", f.name, name, ErrNotFound, near.Hint(name, f.names()))
}

// names returns the names of the declared types.
func (f *File) names() (names []string) {
	for _, d := range f.declared {
		names = append(names, d.name)
	}
	return names
}

func (f *File) build(d declared) (t btf.Type, err error) {
	defer func() {
		if cause := recover(); cause != nil {
			t, err = nil, fmt.Errorf("%s: %s has no layout", f.name, d.name)
		}
	}()
	b := builder{converter: f.convert, made: make(map[string]btf.Type)}
	if t, err = b.typeOf(d.typ); err != nil {
		return nil, fmt.Errorf("%s: %s: %w%s", f.name, d.name, err, f.hint())
	}
	if s, ok := t.(*btf.Struct); ok && s.Name == "" {
		s.Name = unnamed
	}
	return t, nil
}
