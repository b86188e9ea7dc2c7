// Package types provides the command types, which remembers the types of records that the user knows.
package types

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/spf13/cobra"

	"github.com/rbtool/rbtool/inspect"
	"github.com/rbtool/rbtool/internal/cli/command"
	"github.com/rbtool/rbtool/internal/near"
	"github.com/rbtool/rbtool/internal/sentinel"
	"github.com/rbtool/rbtool/internal/stream"
	"github.com/rbtool/rbtool/internal/usertypes"
)

// Commands returns the commands of this package.
func Commands() []*cobra.Command {
	return []*cobra.Command{command.Group("types", "Remember the types of records that programs do not tell",
		"  rbtool types add events --struct event.h\n  rbtool types ls", newAdd(), newLs(), newRm())}
}

// maxName is the longest name of a map in bytes: BPF_OBJ_NAME_LEN - 1 (include/uapi/linux/bpf.h).
const maxName = 15

var (
	validName = regexp.MustCompile(`^[A-Za-z0-9_.]+$`)

	errForgotten = command.WithHint(sentinel.New(sentinel.NotFound, "nothing is remembered"), "rbtool types ls lists what is remembered")
)

// nameOf returns the name of the maps that ref means: of the map with an id or a pin, or a name, which no map needs to
// have yet.
func nameOf(ref string) (string, error) {
	name := strings.TrimPrefix(ref, "name:")
	if validName.MatchString(name) {
		return name[:min(len(name), maxName)], nil
	}
	m, err := inspect.LookupToRead(ref, ebpf.RingBuf, ebpf.UserRingbuf)
	if err != nil {
		return "", err
	}
	defer m.Close()
	info, err := m.Info()
	if err == nil && info.Name == "" {
		err = errors.New("the map has no name")
	}
	if err != nil {
		return "", err
	}
	return info.Name, nil
}

func newAdd() *cobra.Command {
	var structs []string
	var size int64
	cmd := &cobra.Command{
		Use:   "add MAP",
		Short: "Remember the struct of a map's records",
		Long: `Remember the struct of a map's records, for all maps of its name whose records have the size
of the struct. MAP is a name, a pin or id:NUMBER. rbtool tail and record then use this struct rather
than what the programs say, and a note says so. A struct with the same map and size is replaced.
The C text is kept, not the name of its file.

The file is rbtool/types in $XDG_CONFIG_HOME or ~/.config; under sudo, in the home of the user who
called sudo, with that user's rights.`,
		Example: `  rbtool types add events --struct event.h
  rbtool types add id:12 --struct 'struct event { u32 pid; char comm[16]; }'
  rbtool types add events --struct event.h:open_event,close_event`,
		Args: command.NonEmpty(cobra.ExactArgs(1)),
	}
	f := cmd.Flags()
	f.StringArrayVar(&structs, "struct", nil, "remember this struct in `C`: FILE.h[:NAME], or text")
	f.Int64Var(&size, "size", -1, "the struct is for records of this many bytes, if that is not its size; 0 for any")
	_ = cmd.MarkFlagRequired("struct")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if err := command.CheckStructs("types add", structs...); err != nil {
			return err
		}
		if cmd.Flags().Changed("size") && size < 0 {
			return command.Usagef("types add: --size %d: not a number of bytes", size)
		}
		if err := add(cmd.ErrOrStderr(), args[0], structs, size); err != nil {
			return fmt.Errorf("types add %s: %w", args[0], err)
		}
		return nil
	}
	return cmd
}

func add(stderr io.Writer, ref string, structs []string, size int64) error {
	name, err := nameOf(ref)
	if err != nil {
		return err
	}
	var entries []usertypes.Entry
	for _, value := range structs {
		d, err := stream.ReadDeclaration(value)
		if err != nil {
			return err
		}
		more, err := d.Remembered(name, size)
		if err != nil {
			return err
		}
		entries = append(entries, more...)
	}
	file, err := usertypes.Find()
	if err != nil {
		return err
	}
	err = file.Update(func(known []usertypes.Entry) ([]usertypes.Entry, error) {
		replaced := func(k usertypes.Entry) bool {
			return slices.ContainsFunc(entries, func(e usertypes.Entry) bool { return e.Map == k.Map && e.Size == k.Size })
		}
		return append(slices.DeleteFunc(known, replaced), entries...), nil
	})
	if err != nil {
		return err
	}
	for _, e := range entries {
		fmt.Fprintf(stderr, "%s: records of %s are %s\n", e.Map, sizeText(e), e.Type)
	}
	return nil
}

func sizeText(e usertypes.Entry) string {
	if e.Size == 0 {
		return "any size"
	}
	return fmt.Sprintf("%d bytes", e.Size)
}

func newLs() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "ls",
		Short:   "List the remembered types",
		Example: "  rbtool types ls\n  rbtool types ls -o json",
		Args:    cobra.NoArgs,
	}
	var noHeader bool
	output := command.OutputFlag(cmd, command.ListFormats()...)
	command.NoHeaderFlag(cmd.Flags(), &noHeader)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		file, err := usertypes.Find()
		if err != nil {
			return fmt.Errorf("types ls: %w", err)
		}
		entries, err := file.Read()
		if err != nil {
			return fmt.Errorf("types ls: %w", err)
		}
		entries = append([]usertypes.Entry{}, entries...) // in JSON, none are an empty list
		list := command.List{
			Document: entries, Objects: entries, NoHeader: noHeader, Rows: func(forPrograms bool) [][]string { return typeRows(entries, forPrograms) },
		}
		return list.Print(cmd.OutOrStdout(), output.Value)
	}
	return cmd
}

// typeRows returns the table of remembered types. For programs, what is not known is empty.
func typeRows(entries []usertypes.Entry, forPrograms bool) [][]string {
	anySize, none := "any", "-"
	if forPrograms {
		anySize, none = "", ""
	}
	rows := [][]string{strings.Fields("MAP SIZE TYPE FROM")}
	for _, e := range entries {
		size := anySize
		if e.Size > 0 {
			size = fmt.Sprint(e.Size)
		}
		rows = append(rows, []string{e.Map, size, e.Type, cmp.Or(e.From, none)})
	}
	return rows
}

func newRm() *cobra.Command {
	return &cobra.Command{
		Use:     "rm MAP [TYPE...]",
		Short:   "Forget the types of a map's records, or those that are named",
		Example: "  rbtool types rm events\n  rbtool types rm events open_event",
		Args:    command.NonEmpty(cobra.MinimumNArgs(1)),
		RunE: func(_ *cobra.Command, args []string) error {
			file, err := usertypes.Find()
			if err == nil {
				err = file.Update(func(known []usertypes.Entry) ([]usertypes.Entry, error) { return without(known, args[0], args[1:]) })
			}
			if err != nil {
				return fmt.Errorf("types rm %s: %w", args[0], err)
			}
			return nil
		},
	}
}

// without returns the entries but those of a map: all, or those of the given types.
func without(known []usertypes.Entry, ref string, types []string) ([]usertypes.Entry, error) {
	var maps []string
	for _, e := range known {
		maps = append(maps, e.Map)
	}
	name := strings.TrimPrefix(ref, "name:")
	if !slices.Contains(maps, name) {
		found, err := nameOf(ref)
		if err != nil || !slices.Contains(maps, found) {
			return nil, fmt.Errorf("%w%s", errForgotten, near.Hint(name, maps))
		}
		name = found
	}
	missing := slices.Clone(types)
	kept := slices.DeleteFunc(slices.Clone(known), func(e usertypes.Entry) bool {
		if e.Map != name || len(types) > 0 && !slices.Contains(types, e.Type) {
			return false
		}
		missing = slices.DeleteFunc(missing, func(t string) bool { return t == e.Type })
		return true
	})
	if len(missing) > 0 {
		return nil, fmt.Errorf("%s: %w", strings.Join(missing, ", "), errForgotten)
	}
	return kept, nil
}
