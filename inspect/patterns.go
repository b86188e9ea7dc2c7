package inspect

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"

	"github.com/rbtool/rbtool/pin"
)

// several opens the maps that ref means, see [LookupAll].
func (r *resolver) several(ref string) ([]Found, error) {
	name, isName := strings.CutPrefix(ref, "name:")
	switch {
	case !IsPattern(ref) || strings.HasPrefix(ref, "id:"):
		found, err := r.one(ref)
		if err != nil {
			return nil, err
		}
		return []Found{found}, nil
	case isName:
		return r.byNames(ref, name)
	}
	if _, err := path.Match(ref, ""); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrReference, err)
	}
	var missed miss
	for _, pattern := range pinPaths(ref) {
		found, err := r.byPaths(ref, pattern)
		if len(found) > 0 {
			return found, nil
		}
		missed.add(pattern, err)
	}
	if !strings.Contains(ref, "/") {
		found, err := r.byNames(ref, ref)
		if len(found) > 0 {
			return found, nil
		}
		missed.add("name:"+ref, err)
	}
	return nil, missed.err(r, ref)
}

// byPaths opens the maps whose pins match a pattern. If there are none, the error says why.
func (r *resolver) byPaths(ref, pattern string) (found []Found, why error) {
	pattern = path.Clean(pattern)
	why = ErrNotFound
	for e, err := range pin.Walk(literal(pattern)) {
		switch {
		case errors.Is(err, fs.ErrNotExist) || errors.Is(err, pin.ErrNotBPFFS) && !path.IsAbs(pattern):
			continue
		case err != nil:
			why = err
			continue
		case e.Kind != pin.KindMap || !r.wants(e.Type):
			continue
		}
		if matches, _ := path.Match(pattern, e.Path); !matches && e.Path != pattern {
			continue
		}
		m, err := r.open(e.Path, r.types...)
		if err != nil {
			why = err // of a pin that has vanished too
			continue
		}
		found = append(found, Found{Map: m, ID: e.ID, Name: e.Name, Pin: e.Path, Ref: ref})
	}
	return found, why
}

// literal returns the deepest directory on the path of a pattern that is no pattern itself.
func literal(pattern string) string {
	for hasMeta(pattern) {
		pattern = path.Dir(pattern)
	}
	return pattern
}

// byNames opens the maps whose names match a pattern. If there are none, the error says why.
func (r *resolver) byNames(ref, pattern string) (found []Found, err error) {
	if _, err := path.Match(pattern, ""); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrReference, err)
	}
	all, err := r.hostMaps()
	if err != nil {
		return nil, err
	}
	for _, d := range all {
		if matches, _ := path.Match(pattern, d.Name); !matches || !r.wants(d.Type) {
			continue
		}
		m, err := r.byID(fmt.Sprint(d.ID))
		if errors.Is(err, ErrNotFound) {
			continue // it has vanished
		}
		if err != nil {
			closeAll(found)
			return nil, err
		}
		found = append(found, Found{Map: m, ID: d.ID, Name: d.Name, Ref: ref})
	}
	if len(found) == 0 {
		return nil, ErrNotFound
	}
	return found, nil
}
