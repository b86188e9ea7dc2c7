package command

import (
	"regexp"
	"slices"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/rbtool/rbtool/decode"
	"github.com/rbtool/rbtool/inspect"
	"github.com/rbtool/rbtool/internal/stream"
)

// Complete adds the completion of --type, --btf, --fields and --filter to a command, of those that it has. Names are those in the files of --btf,
// otherwise those that are known of the map that the command's first argument names.
func (o *TypeOptions) Complete(cmd *cobra.Command) {
	_ = cmd.RegisterFlagCompletionFunc("btf", cobra.FixedCompletions([]string{"kernel", "prog:"}, cobra.ShellCompDirectiveDefault))
	_ = cmd.RegisterFlagCompletionFunc("type", func(_ *cobra.Command, args []string, toComplete string) ([]string, cobra.ShellCompDirective) {
		done, last := "", toComplete // a list: only its last name is completed
		if i := strings.LastIndexByte(toComplete, ','); i >= 0 {
			done, last = toComplete[:i+1], toComplete[i+1:]
		}
		var found []string
		for _, name := range stream.TypeNames(o.sources(args)) {
			if strings.HasPrefix(name, last) {
				found = append(found, done+name)
			}
		}
		return found, cobra.ShellCompDirectiveNoFileComp
	})
	for _, flag := range []string{"fields", "filter"} {
		if cmd.Flags().Lookup(flag) != nil {
			o.completeFields(cmd, flag)
		}
	}
}

// completeFields adds the completion of a flag that takes names of fields, those of the types of the map that the command's
// first argument names.
func (o *TypeOptions) completeFields(cmd *cobra.Command, flag string) {
	_ = cmd.RegisterFlagCompletionFunc(flag, func(_ *cobra.Command, args []string, typed string) ([]string, cobra.ShellCompDirective) {
		if len(args) == 0 {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		m, err := inspect.LookupToRead(args[0], ebpf.RingBuf, ebpf.UserRingbuf)
		if err != nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		defer m.Close()
		types, err := o.Find(m)
		if err != nil || types.Set == nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		i := strings.LastIndexAny(typed, ", ") + 1
		var found []string
		for _, field := range FieldNames([]*decode.Set{types.Set}) {
			if strings.HasPrefix(field, typed[i:]) {
				found = append(found, typed[:i]+field)
			}
		}
		return found, cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveNoSpace
	})
}

// FieldNames returns the names of the fields of types, with those of the members of structs and of the rest of a record,
// each once. Sets may be nil.
func FieldNames(sets []*decode.Set) (names []string) {
	add := func(name string) {
		if name != "" && !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	for _, set := range sets {
		if set == nil {
			continue
		}
		for _, c := range set.Codecs() {
			add(c.Rest())
			for _, f := range c.Fields() {
				for i := range f.Path { // a struct is a field, too
					add(strings.Join(f.Path[:i+1], "."))
				}
			}
		}
	}
	return names
}

// sources returns where names of types can come from, for a command with these arguments; nil if nothing can be read.
func (o *TypeOptions) sources(args []string) []stream.TypeSource {
	if len(o.from) > 0 {
		sources, err := stream.LoadSources(o.from)
		if err != nil {
			return nil
		}
		return sources
	}
	if len(args) == 0 {
		return nil
	}
	m, err := inspect.LookupToRead(args[0])
	if err != nil {
		return nil
	}
	defer m.Close()
	sources, _ := stream.SourcesOf(m)
	return slices.DeleteFunc(sources, stream.TypeSource.IsKernel) // it has too many names to choose from
}

// CompleteChoices adds the completion of each flag of cmd that takes one of several words.
func CompleteChoices(cmd *cobra.Command) {
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		if c, ok := f.Value.(*Choice); ok {
			_ = cmd.RegisterFlagCompletionFunc(f.Name, cobra.FixedCompletions(c.Among, cobra.ShellCompDirectiveNoFileComp))
		}
	})
}

// harmless matches words that a shell takes as they are.
var harmless = regexp.MustCompile(`^[A-Za-z0-9_./:+-]+$`)

// Harmless reports whether a word can be offered to a shell, which might evaluate others. Users choose the names of files and
// processes.
func Harmless(word string) bool { return harmless.MatchString(word) }
