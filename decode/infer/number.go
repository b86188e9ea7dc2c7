package infer

import (
	"fmt"
	"regexp"
	"strings"

	"github.com/cilium/ebpf/btf"
)

// scalars matches lines that give the size of a number or declare a pointer to it.
var scalars = regexp.MustCompile(`(?:sizeof\s*\(|^)\s*((?:unsigned\s+)?(?:int|long|short)|(?:unsigned\s+)?long\s+long|` +
	`bool|size_t|ssize_t|pid_t|(?:__)?[us](?:8|16|32|64)|u?int(?:8|16|32|64)_t)\s*[)*]`)

// scalar returns the name of the number that the source line of the call says its records are; "" if it says none.
func (s *Site) scalar() string {
	if s.Size != 1 && s.Size != 2 && s.Size != 4 && s.Size != 8 {
		return ""
	}
	if m := scalars.FindStringSubmatch(s.flow.Line.Text); m != nil {
		return m[1]
	}
	return ""
}

// number sets the type of records that are a number: the source line says so, or each write is of all bytes.
func (s *Site) number() {
	t := &btf.Int{Name: s.scalar(), Size: uint32(max(s.Size, 0))}
	if t.Name == "" {
		if len(s.flow.Writes) == 0 || s.flow.Escapes {
			return
		}
		for _, w := range s.flow.Writes {
			if w.Off != 0 || w.Size != s.Size || w.By != "" {
				return
			}
		}
		t.Name = fmt.Sprintf("__u%d", 8*s.Size)
	}
	if signed(t.Name) {
		t.Encoding = btf.Signed
	}
	name := s.variable()
	if name == "" {
		name = "value"
	}
	s.Type = &btf.Struct{Name: "record", Size: t.Size, Members: []btf.Member{{Name: name, Type: t}}}
	s.Certainty, s.KnownBy, s.Why = Likely, reconstructed, "it is a number; "+s.Why
}

// signed reports whether the number called name has a sign.
func signed(name string) bool {
	name = strings.TrimPrefix(name, "__")
	return !strings.HasPrefix(name, "u") && name != "bool" && name != "size_t"
}
