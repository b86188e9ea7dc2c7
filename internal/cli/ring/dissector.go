package ring

import (
	"crypto/sha256"
	"errors"
	"io"
	"slices"

	"github.com/rbtool/rbtool/capture"
	"github.com/rbtool/rbtool/decode"
	"github.com/rbtool/rbtool/internal/cli/command"
	"github.com/rbtool/rbtool/internal/escape"
	"github.com/rbtool/rbtool/internal/stream"
)

// dissected collects the rings of captures for a dissector. Each file of a series has the same rings with types of its own.
type dissected struct {
	rings []decode.Dissected
	known map[*decode.Set]*decode.Set       // of the file: its types to equal ones that were read first
	first map[[sha256.Size]byte]*decode.Set // by the hash of their encoding
}

// add reads a capture to its end: rings and other captures can follow its records.
func (d *dissected) add(r *capture.Reader) error {
	clear(d.known)
	for {
		_, next := r.Next()
		if err := d.addRings(r.Rings()); err != nil {
			return err
		}
		if next == io.EOF || errors.Is(next, capture.ErrUnfinished) {
			return nil
		} else if next != nil {
			return next
		}
	}
}

// addRings adds the rings that have types, unless they were added before.
func (d *dissected) addRings(rings []capture.Info) error {
	for _, info := range rings {
		if info.Types == nil {
			continue
		}
		types, err := d.unique(info.Types)
		if err != nil {
			return err
		}
		if ring := (decode.Dissected{Name: info.Name, Types: types}); !slices.Contains(d.rings, ring) {
			d.rings = append(d.rings, ring)
		}
	}
	return nil
}

// unique returns the first of the types that equal these.
func (d *dissected) unique(types *decode.Set) (*decode.Set, error) {
	if first := d.known[types]; first != nil {
		return first, nil
	}
	body, err := types.MarshalBinary()
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(body)
	if d.first[sum] == nil {
		d.first[sum] = types
	}
	d.known[types] = d.first[sum]
	return d.first[sum], nil
}

// writeDissector writes a dissector of the rings of captures, or of the types that flags name.
func writeDissector(w io.Writer, files []*stream.CaptureFile, flags *command.TypeOptions) error {
	all := dissected{known: map[*decode.Set]*decode.Set{}, first: map[[sha256.Size]byte]*decode.Set{}}
	if flags.Named() {
		types, err := flags.Replace(nil)
		if err != nil {
			return err
		}
		all.rings, files = []decode.Dissected{{Types: types.Set}}, nil
	}
	for _, f := range files {
		if err := all.add(f.Reader); err != nil {
			return err
		}
	}
	if len(all.rings) == 0 {
		return command.WithHint(errors.New("the file has no types to make a dissector of"),
			"--struct 'struct event { u32 pid; ... }' names the type, or --type NAME --btf FILE")
	}
	script, err := decode.AppendDissector(nil, all.rings...)
	if err == nil {
		_, err = escape.Unwrap(w).Write(script)
	}
	return err
}
