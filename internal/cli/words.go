package cli

import (
	"slices"
	"strings"

	"github.com/spf13/cobra"
)

// words are other names of commands.
type words struct {
	aliases string // do the same
	similar string // are answered with the command's name
}

// otherNames has the words that people try for the commands of rbtool, by the names of the commands.
var otherNames = map[string]words{
	"create":   {"", "new mk make add init"},
	"pin":      {"", "ln link attach persist"},
	"unpin":    {"rm remove", "delete del unlink destroy"},
	"ls":       {"list show", "ps ll dir maps map rings find status"},
	"inspect":  {"", "info describe stat stats get debug"},
	"tail":     {"cat dump", "follow watch stream read consume listen events trace log logs print sniff"},
	"produce":  {"", "send write push echo publish post emit inject"},
	"record":   {"", "capture save store tee"},
	"replay":   {"", "play open merge"},
	"drain":    {"", "pump move"},
	"forward":  {"", "ship relay nats jetstream"},
	"drops":    {"", "drop dropped lost loss losses lose misses overflow overruns"},
	"run":      {"", "load exec attach loadall autoattach"},
	"stop":     {"", "detach unload"},
	"headers":  {"", "cflags include pkg-config"},
	"top":      {"", "monitor htop dashboard ui"},
	"exporter": {"", "metrics prometheus export serve"},
	"features": {"feature", "check doctor kernel support probes"},
	"types":    {"type", "struct structs btf decode"},
	"demo":     {"", "example tutorial quickstart try"},
	"version":  {"", "about"},
	"help":     {"", "h man usage"},

	"arena heap":             {"", "ls list show info inspect stat"},
	"arena del":              {"", "delete rm remove unset"},
	"arena put":              {"", "set add store write"},
	"arena get":              {"", "read lookup"},
	"types ls":               {"list", "show dump"},
	"types rm":               {"", "del delete forget remove"},
	"probe proctrace status": {"", "list ls show"},
	"probe proctrace start":  {"", "run load on"},
	"probe proctrace stop":   {"", "rm off kill"},
}

// addOtherNames gives the commands of root their other names.
func addOtherNames(root *cobra.Command) {
	for path, w := range otherNames {
		cmd, rest, err := root.Find(strings.Fields(path))
		if err != nil || len(rest) > 0 {
			continue
		}
		cmd.Aliases = strings.Fields(w.aliases)
		cmd.SuggestFor = slices.DeleteFunc(strings.Fields(w.similar), func(word string) bool {
			other, rest, err := root.Find(append(strings.Fields(path)[:strings.Count(path, " ")], word))
			return err == nil && len(rest) == 0 && other != cmd.Parent() // a command may have taken the word
		})
	}
}
