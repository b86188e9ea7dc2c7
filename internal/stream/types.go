package stream

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/cilium/ebpf"

	"github.com/rbtool/rbtool/decode"
	"github.com/rbtool/rbtool/decode/infer"
	"github.com/rbtool/rbtool/internal/bpf/tracering"
	"github.com/rbtool/rbtool/internal/sametype"
)

// Types is how the records of a ring are decoded.
type Types struct {
	// Set decodes the records. If it is nil, they are shown in hex.
	Set *decode.Set
	// Notes name what is uncertain about the types, one line each.
	Notes []string
	// Explanation tells in full how the types were found, including what Notes say. It is empty if there
	// is nothing to explain.
	Explanation []string

	known    bool          // the ring is rbtool's own or bpftrace's
	inferred *infer.Result // what the ring's programs tell; nil if they were not asked
}

func (t *Types) note(format string, args ...any) {
	t.Notes = append(t.Notes, fmt.Sprintf(format, args...))
}

// FindTypes finds the types of the records of m. For a ring of the bundled tracer they are known, for one
// of bpftrace in part; for others they are inferred from the programs that use m and from the given sources. The searches
// for several rings can share host, which may be nil.
func FindTypes(m *ebpf.Map, given []TypeSource, host *infer.Host) (t Types, err error) {
	t.Set, err = tracerTypes(m)
	if errors.Is(err, tracering.ErrStopped) {
		if t.Set, err = stoppedTypes(m); err == nil {
			t.known = true
			t.note("a tracer that was stopped seems to have written the records: they are decoded with the types of this rbtool (--no-decode shows them in hex)")
			return t, nil
		}
	}
	t.known = err == nil || errors.Is(err, tracering.ErrStopped)
	switch {
	case err == nil:
		t.Explanation = []string{"the ring is rbtool's own: records are " + t.Set.String()}
	case !t.known: // also without CAP_SYS_ADMIN, which it takes to know tracers
		if pid := bpftraceOwner(m); pid != 0 {
			return t, t.bpftrace(pid)
		}
		t.infer(m, infer.Options{Given: forInference(given), Host: host})
	default:
		t.note("records are shown in hex: %v", err)
	}
	return t, nil
}

// infer sets t to the types inferred from the programs that use m.
func (t *Types) infer(m *ebpf.Map, o infer.Options) {
	found, err := infer.Of(m, o)
	if err != nil {
		t.note("records are shown in hex: %v", err)
		return
	}
	t.Set, t.Explanation, t.inferred = found.Set, found.Explain(), found
	switch {
	case found.Set == nil:
		t.note("records are shown in hex: %s", found.Why)
	case found.Certainty < infer.Certain || found.Partial:
		t.note("records are shown as %s", found.Why)
	}
}

// AddMeanings gives the fields of types that the user named the meanings that the programs of m tell, such as times of a
// clock. The searches for several rings can share host, which may be nil.
func (t *Types) AddMeanings(m *ebpf.Map, host *infer.Host) {
	if t.inferred == nil {
		found, err := infer.Of(m, infer.Options{Host: host})
		if err != nil {
			return // nothing tells more than the types do
		}
		t.inferred = found
	}
	if set, err := t.Set.WithMeanings(t.inferred.Meanings); err == nil {
		t.Set = set
	}
}

// sizesOf returns the sizes of the records of all sites, or nil if some site has no constant size.
func sizesOf(sites []*infer.Site) (sizes []int64) {
	for _, s := range sites {
		if s.Size < 0 {
			return nil
		}
		sizes = append(sizes, s.Size)
	}
	return sizes
}

// FindNamedTypes finds the types of the records of m by their names, in sources if there are any, otherwise in
// all that is known of the ring. If the ring has records of these types and of others, only theirs are decoded by
// them: see [Types.Keep]. host can be nil. Its errors are those of [FindNamed].
func FindNamedTypes(m *ebpf.Map, names []string, sources []TypeSource, host *infer.Host) (t Types, err error) {
	given := len(sources) > 0
	var notes []string
	if !given {
		sources, notes = SourcesOf(m)
	}
	found, err := FindNamed(names, sources, !given)
	if err != nil {
		return t, fmt.Errorf("%w%s", err, strings.Join(append([]string{""}, notes...), "; "))
	}
	if t.Set, t.Explanation, err = SetOf(found); err == nil && !given {
		t.Notes = t.Explanation
	}
	if err != nil {
		return t, err
	}
	if known, err := FindTypes(m, sources, host); err == nil {
		t.inferred = known.inferred
		t.inferred = known.inferred
		t.Keep(known.Set, found)
	}
	return t, nil
}

// Keep makes the types of a ring or capture stay, if they are those that were named and others: they tell whose a record is.
// known can be nil.
func (t *Types) Keep(known *decode.Set, named []Named) {
	if known == nil || len(known.Codecs()) <= len(named) {
		return
	}
	var quoted []string
	for _, n := range named {
		if !slices.ContainsFunc(known.Codecs(), func(c *decode.Codec) bool { return sametype.Same(c.Type(), n.Type) }) {
			return
		}
		quoted = append(quoted, strconv.Quote(n.Type.TypeName()))
	}
	condition := "== " + quoted[0]
	if len(quoted) > 1 {
		condition = "in [" + strings.Join(quoted, ", ") + "]"
	}
	t.Set = known
	t.note("records of other types are there too, and keep theirs: --filter 'type %s' leaves them out", condition)
	t.Explanation = append(t.Explanation, "records of other types keep theirs: "+known.String())
}
