package inspect

import (
	"errors"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"

	"github.com/cilium/ebpf"

	"github.com/rbtool/rbtool/internal/bpffs"
	"github.com/rbtool/rbtool/internal/near"
	"github.com/rbtool/rbtool/pin"
)

// miss collects what was tried to find a map, and why it is not the one.
type miss struct {
	tried  []string
	causes []error
}

func (m *miss) add(tried string, cause error) {
	m.tried, m.causes = append(m.tried, tried), append(m.causes, cause)
}

// missError is the error for a word that means no map.
type missError struct {
	text   string
	causes []error
}

func (e *missError) Error() string   { return e.text }
func (e *missError) Unwrap() []error { return e.causes }

// err returns the error for word. It matches the causes that say most: a lack of privileges, because of which a map
// may be overlooked; otherwise what else was found; otherwise [ErrNotFound]. A map of another type is what the user means.
func (m *miss) err(r *resolver, word string) error {
	is := func(target error) func(error) bool {
		return func(err error) bool { return errors.Is(err, target) }
	}
	if i := slices.IndexFunc(m.causes, is(pin.ErrWrongType)); i >= 0 {
		return m.causes[i]
	}
	blind := slices.ContainsFunc(m.causes, is(fs.ErrPermission))
	e := missError{text: "no such map", causes: slices.Clone(m.causes)}
	if blind {
		e.text = "not found"
		e.causes = slices.DeleteFunc(e.causes, func(err error) bool { return !errors.Is(err, fs.ErrPermission) })
	} else if found := slices.DeleteFunc(slices.Clone(m.causes), is(ErrNotFound)); len(found) > 0 {
		e.causes = found
	}
	if len(m.tried) == 1 {
		e.text = m.causes[0].Error()
	} else {
		e.text += " (tried " + m.list() + ")"
	}
	if !blind && slices.ContainsFunc(m.causes, is(ErrNotFound)) {
		e.text += r.near(word)
	}
	if len(e.causes) == 1 && e.text == e.causes[0].Error() {
		return e.causes[0]
	}
	return &e
}

// list lists what was tried.
func (m *miss) list() string {
	var texts []string
	for i, tried := range m.tried {
		if m.causes[i] != ErrNotFound {
			tried += ": " + m.causes[i].Error()
		}
		texts = append(texts, tried)
	}
	return strings.Join(texts, ", ")
}

// longest is the length of the longest word for which near looks for similar ones.
const longest = 256

// near returns the names and pins of maps of the caller's types that are near to word, as a part of an error, or "".
func (r *resolver) near(word string) string {
	all, err := r.hostMaps()
	if err != nil || len(word) > longest {
		return ""
	}
	refs := map[string][]string{} // references to maps, by their last component
	var keys []string
	add := func(key, ref string) {
		keys, refs[key] = append(keys, key), append(refs[key], ref)
	}
	names := map[ebpf.MapID]string{}
	for _, m := range all {
		if r.wants(m.Type) && m.Name != "" {
			names[m.ID] = m.Name
		}
	}
	mounts, _ := bpffs.Mounts()
	for e, err := range everyPin(mounts) {
		if err != nil || e.Kind != pin.KindMap || !r.wants(e.Type) {
			continue
		}
		if e.Name == filepath.Base(e.Path) { // one reference suffices
			if !strings.Contains(word, "/") {
				continue
			}
			delete(names, e.ID)
		}
		add(filepath.Base(e.Path), e.Path)
	}
	for _, name := range names {
		ref := name
		if isNumber(name) {
			ref = "name:" + name // the word is an id
		}
		if !slices.Contains(refs[name], ref) {
			add(name, ref)
		}
	}
	var found []string
	for _, key := range near.Names(filepath.Base(word), keys) {
		found = append(found, refs[key]...)
	}
	return near.List(found)
}
