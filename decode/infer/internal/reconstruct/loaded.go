package reconstruct

import (
	"regexp"
	"slices"
	"strings"

	"github.com/rbtool/rbtool/internal/recordflow"
	"github.com/rbtool/rbtool/internal/srcline"
)

// offsetOf matches the offset of a member of a header, which programs add to that of the header.
var offsetOf = regexp.MustCompile(`\boffsetof\(\s*struct\s+\w+\s*,\s*(\w+)\s*\)`)

// loaded returns the member of a packet's header that a call loads, as its line says: an address or port that has the size
// of the write; "" for anything else.
func loaded(w *recordflow.Write, l *srcline.Line) string {
	c := l.CallAt(w.Line.Column)
	if c == nil || !strings.Contains(c.Name, "load_bytes") {
		return ""
	}
	found := offsetOf.FindAllStringSubmatch(w.Line.Text, 2)
	if len(found) != 1 {
		return ""
	}
	name := found[0][1]
	sizes := map[int64][]string{2: slices.Concat(networkPorts, hostPorts), 4: addresses, 16: wideAddresses}
	if !slices.Contains(sizes[w.Size], name) {
		return ""
	}
	return name
}

// described returns the write with the name of what it loads, if no line has its destination: the compiler passes the
// record itself, so that the line of the argument has no instruction.
func (n *namer) described(w *recordflow.Write) (namedWrite, bool) {
	l := n.line(w.Line)
	name := loaded(w, l)
	if name == "" || w.By == "" || !l.CallAt(w.Line.Column).Open {
		return namedWrite{}, false
	}
	return namedWrite{Write: w, path: []srcline.Step{{Member: name}}}, true
}

// addDescribed adds members that nothing else names, each under a name that no other has.
func (e *evidence) addDescribed(writes []namedWrite) {
	for _, d := range writes {
		taken := func(w namedWrite) bool {
			return key(w.path) == key(d.path) || w.Off < d.Off+d.Size && d.Off < w.Off+w.length()
		}
		if !slices.ContainsFunc(e.writes, taken) {
			e.writes = append(e.writes, d)
		}
	}
}
