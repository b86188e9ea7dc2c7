package ring

import (
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/rbtool/rbtool/decode"
	"github.com/rbtool/rbtool/internal/cli/command"
	"github.com/rbtool/rbtool/internal/near"
	"github.com/rbtool/rbtool/internal/stream"
)

// orderOptions are the flags that depend on the times of records.
type orderOptions struct {
	field  string // that orders records; "" keeps the order of the rings
	window command.Duration
	since  timeFlag
}

// ordering orders the records of a reading and leaves out old ones.
type ordering struct {
	by, age *stream.Times // nil if they are not asked for
	ordered *stream.Ordered
	since   *stream.Since
}

func (o *orderOptions) flags(cmd *cobra.Command) {
	o.window = command.Duration(250 * time.Millisecond)
	f := cmd.Flags()
	f.StringVar(&o.field, "order", "", "merge records by their `time`, or by another FIELD that is a number")
	f.Var(&o.window, "window", "with --order, hold records back this long for earlier ones")
	f.Var(&o.since, "since", "leave out records before this `TIME` by their own time: 5m or 1d ago, 18:04 or 2026-12-01T18:04:05Z")
}

func (o *orderOptions) check(cmd *cobra.Command) error {
	if o.field == "" && cmd.Flags().Changed("window") {
		return command.Usagef("%s: --window goes with --order", cmd.Name())
	}
	if o.since.set && o.since.past(time.Now()).After(time.Now()) {
		return command.Usagef("%s: --since %s is in the future", cmd.Name(), o.since.text)
	}
	return nil
}

// needsTypes reports whether the records must be decoded.
func (o *orderOptions) needsTypes() bool { return o.field != "" || o.since.set }

// start sets what the flags ask for. The Times know the rings by [ordering.add].
func (o *ordering) start(src stream.Source, opts *orderOptions) stream.Source {
	host := command.Host()
	if opts.since.set {
		o.age = stream.NewTimes(stream.ByTime, host)
		o.since = stream.NewSince(src, o.age, opts.since.past(time.Now()))
		src = o.since
	}
	if opts.field != "" {
		o.by = stream.NewTimes(opts.field, host)
		o.ordered = stream.NewOrdered(src, o.by.Key, time.Duration(opts.window))
		src = o.ordered
	}
	return src
}

// add adds a ring. It returns the flags for which its records have no field.
func (o *ordering) add(i int, types *decode.Set) (lacks []string) {
	if o.by != nil && !o.by.Set(i, types) {
		lacks = append(lacks, "--order")
	}
	if o.age != nil && !o.age.Set(i, types) {
		lacks = append(lacks, "--since")
	}
	return lacks
}

// orderError returns a usage error if no ring has the field of a flag.
func (r *reading) orderError() error {
	var sets []*decode.Set
	for _, m := range r.members {
		sets = append(sets, m.types.Set)
	}
	for _, flag := range []string{"--order", "--since"} {
		lacking := func(m *member) bool { return slices.Contains(m.lacks, flag) }
		all := true
		for _, m := range r.members {
			all = all && lacking(m)
		}
		switch field := r.opts.order.field; {
		case !all || len(r.members) == 0:
		case flag == "--since" || field == stream.ByTime:
			err := command.Usagef("%s: %s: the records have no field that is known to be a time", r.title(), flag)
			return command.WithHint(err, "%s", fieldHint(sets))
		default:
			return command.Usagef("%s: --order: the records have no field %q that is a number%s", r.title(), field, near.Hint(field, command.FieldNames(sets)))
		}
	}
	return nil
}

// fieldHint says what there is instead of a time.
func fieldHint(sets []*decode.Set) string {
	if names := command.FieldNames(sets); len(names) > 0 {
		return "--order FIELD merges by any number in the records: " + listed(names)
	}
	return "the type of the records is not known: --type, --btf or --struct says it"
}

// reportOrder prints which records came too late, or are missing.
func (r *reading) reportOrder() {
	if o := r.order.ordered; o != nil {
		if n := o.Late(); n > 0 {
			command.Note(r.stderr, "%d records came after later ones were printed: a --window above %v merges more", n, time.Duration(r.opts.order.window))
		}
		switch n := o.Held(); {
		case n > 0 && r.opts.observe:
			command.Note(r.stderr, "%d more records were read, and not printed", n)
		case n > 0:
			command.Note(r.stderr, "%d more records are consumed, and not printed: which come first was only known with them; --observe consumes none", n)
		}
	}
	if s := r.order.since; s != nil && s.Older() > 0 && r.opts.stats {
		command.Note(r.stderr, "%d records were before --since %s", s.Older(), r.opts.order.since.text)
	}
}
