package decode

import (
	"bytes"
	"regexp"
	"testing"

	"github.com/cilium/ebpf/btf"
)

var (
	luaText = regexp.MustCompile(`"([ -!#-\[\]-~]|\\[0-9]{3})*"`)
	luaData = regexp.MustCompile(`^(--[^\n]*\n)?([ \n{}\[\]=,.\-0-9]|\b(local|fields|enums|types|rings|names|cases|type|min|max|all|tags|rivals|views|least|items|name|rest|tag|arms|true|` +
		`k|f|o|n|v|t|e|b|s|w|g|x|u|be|c|z|l|i|f4|1e)\b)*$`)
)

// FuzzDissector makes a dissector of a type made from arbitrary bytes, with an arbitrary name. Its data is tables of
// numbers and string literals, whatever the names are.
func FuzzDissector(f *testing.F) {
	f.Add([]byte{0, 0, 1, 1, 0, 1, 1, 4, 1, 0, 4, 3, 8, 0, 0, 0, 1, 0, 0, 4}, "event")
	f.Add([]byte{1, 1, 0, 7, 8, 2, 0, 0, 0, 4}, "\"}} os.exit() --")
	f.Add([]byte{0, 0, 0}, "\\\n]]\x00\xff")
	f.Fuzz(func(t *testing.T, recipe []byte, name string) {
		g := generator{bytes: recipe}
		o := g.options()
		typ := g.typ()
		enum := &btf.Enum{Name: name, Size: 4, Values: []btf.EnumValue{{Name: name, Value: 1}}}
		named := &btf.Struct{Name: name, Size: 4, Members: []btf.Member{{Name: name, Type: enum}}}
		set, err := NewCases([]Case{{Type: typ, Options: o, Tags: []Tag{g.tag()}}, {Type: named}})
		if err != nil {
			set, err = NewCases([]Case{{Type: named}})
		}
		if err != nil {
			return
		}
		script, err := AppendDissector(nil, Dissected{Name: name, Types: set}, Dissected{Name: "other", Types: set})
		if err != nil {
			return
		}
		data, fixed := bytes.CutSuffix(script, dissectorLua)
		if rest := luaText.ReplaceAll(data, nil); !fixed || !luaData.Match(rest) {
			t.Errorf("not only data:\n%s", rest)
		}
	})
}
