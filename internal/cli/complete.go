package cli

import (
	"cmp"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/spf13/cobra"

	"github.com/rbtool/rbtool/inspect"
	"github.com/rbtool/rbtool/internal/bpffs"
	"github.com/rbtool/rbtool/internal/cli/command"
)

// rings are the types of maps that have records.
var rings = []ebpf.MapType{ebpf.RingBuf, ebpf.UserRingbuf}

// readable are the types of the maps that tail and record take: also maps of rings.
var readable = slices.Concat(rings, []ebpf.MapType{ebpf.ArrayOfMaps, ebpf.HashOfMaps})

// mapArgs has the types of the maps that commands take. Commands below arena take arenas, pin takes maps of any type, others
// all that rbtool lists.
var mapArgs = map[string][]ebpf.MapType{
	"pin": {}, "tail": readable, "record": readable, "drain": {ebpf.UserRingbuf}, "produce": {ebpf.UserRingbuf}, "types add": rings, "types rm": rings,
}

// mapFlags has the types of the maps that flags take.
var mapFlags = map[string][]ebpf.MapType{
	"drain --to": {ebpf.RingBuf}, "produce --user": {ebpf.UserRingbuf}, "replay --to": {ebpf.UserRingbuf},
}

// completeMaps adds the completion of maps to cmd, for the arguments that are called MAP in its usage, and its flags.
func completeMaps(cmd *cobra.Command) {
	name := strings.TrimPrefix(cmd.CommandPath(), cmd.Root().Name()+" ")
	for flag, types := range mapFlags {
		if of, flag, _ := strings.Cut(flag, " --"); of == name {
			_ = cmd.RegisterFlagCompletionFunc(flag, func(_ *cobra.Command, _ []string, typed string) ([]string, cobra.ShellCompDirective) {
				return candidates(typed, types), cobra.ShellCompDirectiveDefault
			})
		}
	}
	words := strings.Fields(cmd.Use)
	first := slices.IndexFunc(words, func(word string) bool { return strings.Contains(word, "MAP") })
	if cmd.ValidArgsFunction != nil || first < 0 || strings.HasPrefix(words[first-1], "-") {
		return
	}
	types, ok := mapArgs[name]
	if !ok {
		types = []ebpf.MapType{ebpf.RingBuf, ebpf.UserRingbuf, ebpf.Arena}
	}
	if strings.HasPrefix(name, "arena ") {
		types = []ebpf.MapType{ebpf.Arena}
	}
	several := strings.Contains(words[first], "...")
	toFile := several && words[len(words)-1] == "FILE"
	cmd.ValidArgsFunction = func(_ *cobra.Command, args []string, typed string) ([]string, cobra.ShellCompDirective) {
		if len(args) > 0 && !several {
			return nil, cobra.ShellCompDirectiveDefault // a file, or a value that is not known here
		}
		found := candidates(typed, types)
		if toFile && len(args) > 0 {
			return append(found, captures(typed)...), cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveNoSpace
		}
		if strings.HasPrefix(typed, "/") || strings.HasPrefix(typed, ".") || len(found) == 0 {
			return found, cobra.ShellCompDirectiveDefault // of the shell: directories
		}
		return found, cobra.ShellCompDirectiveNoFileComp
	}
}

// candidates returns the references to maps of the types that begin with what is typed, each with a tab and a description.
// It offers ids, absolute paths and the prefix name: only to those who begin one.
func candidates(typed string, types []ebpf.MapType) (found []string) {
	roots, _ := bpffs.Roots()
	byName, number := strings.HasPrefix(typed, "name:"), typed != "" && strings.Trim(typed, "0123456789") == ""
	for _, c := range inspect.Candidates(types...) {
		ref, isPin := c.Ref, strings.HasPrefix(c.Ref, "/")
		id, isID := strings.CutPrefix(ref, "id:")
		switch {
		case isID && number:
			ref = id
		case isID && typed == "":
			continue
		case byName && !isID && !isPin:
			ref = "name:" + ref
		case isPin && !strings.HasPrefix(typed, "/"):
			ref = belowRoot(roots, ref)
		}
		if strings.HasPrefix(ref, typed) {
			found = append(found, ref+"\t"+c.About)
		}
	}
	return found
}

// belowRoot returns the path of a pin relative to its bpffs, as a command takes it.
func belowRoot(roots []string, path string) string {
	for _, root := range roots {
		if rel, err := filepath.Rel(root, path); err == nil && filepath.IsLocal(rel) {
			return rel
		}
	}
	return path
}

// captures returns the directories and captures whose paths begin with what is typed. The shell does not add its own names to
// those of maps.
func captures(typed string) (found []string) {
	dir, base := filepath.Split(typed)
	entries, err := os.ReadDir(cmp.Or(dir, "."))
	if err != nil {
		return nil
	}
	for _, e := range entries {
		hidden := strings.HasPrefix(e.Name(), ".") && !strings.HasPrefix(base, ".")
		switch name := dir + e.Name(); {
		case hidden || !strings.HasPrefix(e.Name(), base) || !command.Harmless(name):
		case e.IsDir():
			found = append(found, name+"/")
		case filepath.Ext(name) == ".pcapng":
			found = append(found, name)
		}
	}
	return found
}
