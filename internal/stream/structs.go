package stream

import (
	"cmp"
	"fmt"
	"os"
	"strings"

	"github.com/rbtool/rbtool/decode"
	"github.com/rbtool/rbtool/internal/cstruct"
	"github.com/rbtool/rbtool/internal/elffile"
)

// IsDeclaration reports whether the value of --struct is C text, not the name of a file.
func IsDeclaration(value string) bool { return strings.Contains(value, "{") }

// Declaration is C text with the names of the types in it that count.
type Declaration struct {
	Text  string
	From  string   // the file; "" for the command line
	Names []string // an empty name stands for the last struct
}

// ReadDeclaration reads what a value of --struct names: it is C text, of which the last struct counts, or
// FILE[:NAME[,NAME...]]. If a file does not exist, the error matches [fs.ErrNotExist].
func ReadDeclaration(value string) (Declaration, error) {
	if IsDeclaration(value) {
		return Declaration{Text: value, Names: []string{""}}, nil
	}
	path, names := value, ""
	if _, err := os.Stat(path); err != nil {
		if i := strings.LastIndexByte(value, ':'); i > 0 {
			path, names = value[:i], value[i+1:]
		}
	}
	text, err := elffile.ReadFile(path, cstruct.MaxSize)
	return Declaration{string(text), path, strings.Split(names, ",")}, err
}

// Types returns the types of d. If one does not exist, the error matches [cstruct.ErrNotFound].
func (d Declaration) Types() (found []Named, err error) {
	file, err := cstruct.Parse(cmp.Or(d.From, "C"), d.Text)
	if err != nil {
		return nil, err
	}
	for _, name := range d.Names {
		t, err := file.Type(strings.TrimSpace(name))
		if err != nil {
			return nil, err
		}
		found = append(found, Named{t, cmp.Or(d.From, "the command line")})
	}
	return found, nil
}

// FindStructs returns the types that values of --struct name. Its errors name the flag, and are those of
// [ReadDeclaration] and [Declaration.Types].
func FindStructs(values ...string) (found []Named, err error) {
	for _, value := range values {
		d, err := ReadDeclaration(value)
		if err != nil {
			return nil, fmt.Errorf("--struct: %w", err)
		}
		types, err := d.Types()
		if err != nil {
			return nil, fmt.Errorf("--struct: %w", err)
		}
		found = append(found, types...)
	}
	return found, nil
}

// StructSet returns a Set of the types that [FindStructs] found, and lines that say where each was found. If there
// is one type, bytes of a record after it are shown in hex.
func StructSet(found []Named) (set *decode.Set, origin []string, err error) {
	if len(found) != 1 {
		if set, origin, err = newSet(found); err != nil {
			return nil, nil, fmt.Errorf("--struct: %w", err)
		}
		return set, origin, nil
	}
	options := decode.Options{Header: isObject(found[0].Type)}
	if set, err = decode.NewCases([]decode.Case{{Type: found[0].Type, Options: options}}); err != nil {
		return nil, nil, fmt.Errorf("--struct: %w", err)
	}
	return set, []string{found[0].String()}, nil
}
