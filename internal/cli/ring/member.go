package ring

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/cilium/ebpf"

	"github.com/rbtool/rbtool/consumer"
	"github.com/rbtool/rbtool/decode"
	"github.com/rbtool/rbtool/decode/infer"
	"github.com/rbtool/rbtool/inspect"
	"github.com/rbtool/rbtool/internal/cli/command"
	"github.com/rbtool/rbtool/internal/filter"
	"github.com/rbtool/rbtool/internal/stream"
)

// member is one of the rings that a command reads.
type member struct {
	chosen
	*typing
	lacks []string    // flags for which its records have no field
	why   string      // why it goes
	gone  atomic.Bool // it is not read any more
}

// typing is what is known of the records of a ring, or of all rings in a map of maps: programs write to any of them.
type typing struct {
	of     string // the ring or the map of maps
	types  stream.Types
	filter *filter.Filter // nil without --filter
}

// title is the prefix of errors that concern a ring.
func (r *reading) titleOf(m *member) string {
	if r.several {
		return r.verb + " " + m.name
	}
	return r.title()
}

// identify finds the types of rings and compiles their filters. It leaves out those for which that fails, and calls
// refused for them.
func (r *reading) identify(rings []*member, refused func(*member, error)) []*member {
	if r.typed && len(rings) > 1 {
		if h, err := infer.ReadHost(); err == nil { // otherwise each search says why it cannot
			r.opts.types.Host = h
			defer func() {
				h.Close()
				r.opts.types.Host = nil
			}()
		}
	}
	return slices.DeleteFunc(rings, func(m *member) bool {
		err := r.setTyping(m)
		if err != nil {
			refused(m, err)
		}
		return err != nil
	})
}

func (r *reading) setTyping(m *member) error {
	if m.typing = r.inOuter[m.outer]; m.typing != nil {
		return nil
	}
	t := &typing{of: m.name}
	if m.outer != 0 {
		t.of, _, _ = strings.Cut(m.name, "[")
	}
	var err error
	if r.typed {
		if t.types, err = r.opts.types.Find(m.Map); err != nil {
			return fmt.Errorf("%s: %w", r.titleOf(m), err)
		}
	}
	name := r.verb
	if r.several {
		name = r.titleOf(m)
	}
	if t.filter, err = newFilter(name, r.opts.filter, t.types.Set); err != nil {
		return err
	}
	m.typing = t
	if t.filter != nil {
		r.filters = append(r.filters, t.filter)
	}
	if m.outer != 0 {
		r.inOuter[m.outer] = t
	}
	return nil
}

// sets returns the types of the waiting rings.
func (r *reading) sets() (sets []*decode.Set) {
	for _, m := range r.waiting {
		sets = append(sets, m.types.Set)
	}
	return sets
}

// unconsumed leaves out the rings that other processes consume, and calls refused for them.
func (r *reading) unconsumed(rings []*member, refused func(*member, error)) ([]*member, error) {
	if r.opts.observe || r.opts.steal || r.opts.rings.given != nil || len(rings) == 0 {
		return rings, nil
	}
	var all []*ebpf.Map
	for _, m := range rings {
		all = append(all, m.Map)
	}
	rivals, err := inspect.Rivals(all...)
	if err != nil {
		return nil, fmt.Errorf("find the ring's consumer: %w", err)
	}
	i := -1
	return slices.DeleteFunc(rings, func(m *member) bool {
		i++
		err := consumedError(rivals[i])
		if err != nil {
			refused(m, fmt.Errorf("%s: %w", r.titleOf(m), err))
		}
		return err != nil
	}), nil
}

// leftOut are the rings that were found and are not read: an error if the user named one of them or if no other is left,
// otherwise a note.
type leftOut struct {
	r        *reading
	rings    []ebpf.MapID
	consumed []string // by other processes
	others   []string // notes
	named    error    // of the first ring that was named
	first    error
}

// add closes a ring. err is why it is left out.
func (l *leftOut) add(m *member, err error) {
	l.rings = append(l.rings, m.id)
	m.Close()
	if m.named && l.named == nil {
		l.named = err
	}
	if l.first == nil {
		l.first = err
	}
	reason := strings.TrimPrefix(err.Error(), l.r.titleOf(m)+": ")
	if errors.Is(err, consumer.ErrBusy) || command.StatusOf(err) == command.StatusBusy {
		l.consumed = append(l.consumed, fmt.Sprintf("%s (%s)", m.name, reason))
		return
	}
	l.others = append(l.others, fmt.Sprintf("%s is left out: %s", m.name, reason))
}

// error returns an error if a ring was named, or if there are no others.
func (l *leftOut) error(others int) error {
	switch {
	case l.named != nil:
		return l.named
	case others > 0 || l.first == nil:
		return nil
	case len(l.consumed) > 1 && len(l.others) == 0:
		err := fmt.Errorf("%s: other processes consume all %d rings: %s", l.r.title(), len(l.consumed), listed(l.consumed))
		return command.WithHint(command.WithStatus(err, command.StatusBusy), consumeHint)
	}
	return l.first
}

// mostListed is how many rings a note names.
const mostListed = 8

// listed joins the first of names.
func listed(names []string) string {
	if more := len(names) - mostListed; more > 0 {
		names = append(names[:mostListed:mostListed], fmt.Sprintf("and %d more", more))
	}
	return strings.Join(names, ", ")
}

// notes returns what to tell of the rings.
func (l *leftOut) notes() []string {
	notes := l.others
	if more := len(notes) - mostListed; more > 0 {
		notes = append(notes[:mostListed:mostListed], fmt.Sprintf("%d more rings are left out", more))
	}
	if len(l.consumed) > 0 {
		notes = append(notes, "left out, because other processes consume them (--observe watches them too): "+listed(l.consumed))
	}
	return notes
}

// join starts to read a ring. joined reports whether it is a member now, even if there is an error.
func (r *reading) join(m *member, now bool) (joined bool, err error) {
	i, err := r.rings.Add(m.Map, now)
	if err != nil {
		return false, fmt.Errorf("%s: %w", r.titleOf(m), explainReader(err))
	}
	if pos, ok := r.until[m.id]; ok {
		r.rings.Skip(i, pos)
	}
	r.members[i] = m
	for i >= len(r.Filters) {
		r.Filters = append(r.Filters, nil)
	}
	r.Filters[i] = m.filter
	m.lacks = r.order.add(i, m.types.Set)
	r.refuses = r.refuses || stream.Refuses(m.Map)
	if r.added != nil {
		err = r.added(i, m)
	}
	return true, r.fail(err)
}

// leave ends the reading of a ring. broken is the error because of which it cannot be read, or nil.
func (r *reading) leave(i int, broken error) {
	m := r.members[i]
	if broken != nil {
		m.why = fmt.Sprintf("cannot be read any more: %v", explainReader(broken))
	}
	t := r.rings.TotalsOf(i)
	if r.ending && broken == nil {
		r.printEnd(m, t)
	} else {
		r.noteGone(m, t, broken)
	}
	if r.gone != nil {
		r.sinkErr = errors.Join(r.sinkErr, r.gone(i, m))
	}
	if r.opts.observe {
		r.until[m.id] = t.Pos
	}
	delete(r.members, i)
	m.Close()
	m.gone.Store(true)
}

// noteGone tells that a ring is not read any more, and why.
func (r *reading) noteGone(m *member, t stream.Totals, broken error) {
	unread := ""
	if broken == nil && t.End != t.Pos {
		unread = fmt.Sprintf(", %d bytes were not read", t.End-t.Pos)
	}
	command.Note(r.stderr, "%s %s; %d records were read, %d bytes lost%s", m.name, m.why, t.Records, t.Lost, unread)
}

// reportTypes prints how the records of rings are decoded, and what filters probably do not mean.
func (r *reading) reportTypes(rings []*member) {
	var told []*typing
	var notes []string // those on filters do not depend on the ring
	for _, m := range rings {
		if slices.Contains(told, m.typing) {
			continue
		}
		told = append(told, m.typing)
		of := ""
		if r.several {
			of = m.of
		}
		r.opts.types.ReportOf(r.stderr, of, m.types)
		if len(m.lacks) > 0 {
			command.Note(r.stderr, "%s: %s has no effect: no field of its records is known to be the time, or the one to order by", m.of, strings.Join(m.lacks, ", "))
		}
		if m.filter == nil {
			continue
		}
		for _, note := range m.filter.Notes() {
			if !slices.Contains(notes, note) {
				notes = append(notes, note)
				command.Note(r.stderr, "%s", note)
			}
		}
	}
}
