package cli

import (
	"strings"

	"github.com/spf13/cobra"
)

// expected maps flags that people try to what does the same here.
var expected = map[string]string{
	"format": "-o", "output-format": "-o", "out": "-o", "pretty": "-o",
	"where": "--filter", "grep": "--filter", "match": "--filter", "expr": "--filter", "e": "--filter",
	"lines": "-n", "limit": "-n", "max": "-n", "head": "-n", "c": "-n", "max-events": "-n", "max-count": "-n",
	"timeout": "--for", "duration": "--for", "time": "--for", "t": "--for",
	"sort": "--order", "merge": "--order", "any": "--all", "process": "--comm", "p": "--pid",
	"columns": "--fields", "keys": "--fields", "path": "--pin", "file": "--pin",
	"bytes": "--size", "s": "--size", "max-entries": "--size", "entries": "--size", "pages": "--size",
	"port": "--web.listen-address", "addr": "--web.listen-address", "address": "--web.listen-address", "bind": "--web.listen-address",
	"config": "--web.config.file", "web-config": "--web.config.file", "tls": "--web.config.file", "cert": "--web.config.file",
	"delay": "--interval", "refresh": "--interval", "every": "--interval", "iterations": "-n", "samples": "-n",
	"max-size": "--rotate", "split": "--rotate", "C": "--rotate", "files": "--keep", "W": "--keep",
	"after": "--since", "begin": "--since", "before": "--until", "end": "--until", "lua": "--dissector", "wireshark": "--dissector",
	"force": "--overwrite", "peek": "--observe", "passive": "--observe", "v": "--explain", "verbose": "--explain",
	"H": "--no-header", "q": "--no-header", "noheader": "--no-header", "no-headers": "--no-header",
}

// instead has hints for flags in whose place commands have something else, by the command and the flags; * is any command.
var instead = []struct{ command, flags, hint string }{
	{"record", "w write o output out file", "the file is the last argument: rbtool record MAP FILE"},
	{"record", "z compress gzip", "rbtool record MAP - | zstd >FILE compresses, zstd -dc FILE | rbtool replay - reads it"},
	{"replay", "r read input i file", "the file needs no flag: rbtool replay FILE"},
	{"replay", "f follow", "tail -c +1 -f FILE | rbtool replay - follows a capture that is being written"},
	{"tail", "tail last", "tail begins with the oldest record; --from now skips those that wait"},
	{"tail", "once no-follow nofollow exit", "--idle 100ms ends when no more records come"},
	{"tail", "w watch interval refresh", "tail prints records as they come"},
	{"tail", "s", "--since does this here: rbtool tail --help"},
	{"tail", "x hex raw", "-o hex and -o raw print the bytes of records"},
	{"replay", "x hex raw", "-o hex and -o raw print the bytes of records"},
	{"produce", "x hex json base64", "--format says how samples are written: lines, hex, base64, lp32 or json"},
	{"produce", "d data message m", "echo TEXT | rbtool produce MAP writes a sample"},
	{"ls", "a all l la long 1", "ls lists every map with its details: rbtool ls -o json has all of them"},
	{"ls", "t", "--type does this here: rbtool ls --help"},
	{"ls", "size S", "--sort size sorts by size"},
	{"ls", "pid p comm", "ls shows the owners of maps; rbtool tail --pid and --comm observe the rings of processes"},
	{"inspect", "w watch interval f follow", "--for 10s watches a ring; rbtool top MAP shows it live"},
	{"inspect", "a all", "rbtool ls -o json shows all maps"},
	{"create", "type t", "the type is a word: rbtool create ringbuf --pin PATH --size SIZE"},
	{"unpin", "f force r rf y yes", "unpin asks no questions: rbtool unpin PATH"},
	{"pin", "name id", "MAP comes first: rbtool pin name:NAME PATH"},
	{"features", "check missing c", "rbtool features | grep NAME finds a feature"},
	{"exporter", "once", "rbtool top --once prints one sample"},
	{"arena dump", "offset start address", "the address follows MAP: rbtool arena dump MAP ADDRESS"},
	{"*", "no-color no-colour color colour nocolor", "NO_COLOR=1 in the environment turns colours off, and so does a pipe"},
	{"*", "i m map", "MAP needs no flag"},
}

// insteadOf returns a hint for a flag that cmd does not have, or "".
func insteadOf(cmd *cobra.Command, flag string) string {
	if !cmd.HasParent() {
		return "rbtool --help; the flags of a command follow it, as in rbtool ls -o json"
	}
	path := strings.TrimPrefix(cmd.CommandPath(), cmd.Root().Name()+" ")
	for _, i := range instead {
		takes := i.command == path || i.command == "*" && (flag != "i" && flag != "m" && flag != "map" || strings.Contains(cmd.Use, " MAP"))
		if takes && strings.Contains(" "+i.flags+" ", " "+flag+" ") {
			return i.hint
		}
	}
	return ""
}
