package arena

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"github.com/rbtool/rbtool/arena"
	"github.com/rbtool/rbtool/arena/container"
	"github.com/rbtool/rbtool/internal/arenamem"
	"github.com/rbtool/rbtool/internal/cli/command"
	"github.com/rbtool/rbtool/internal/escape"
)

// kvName is the name of the table that put, get, del and serve use.
const kvName = "kv"

func newPut() *cobra.Command {
	return &cobra.Command{
		Use:   "put MAP KEY VALUE",
		Short: "Put a value into the table of byte strings in an arena",
		Long: fmt.Sprintf(`Put a value into the table %q of an arena. Make the table if the first pages
of the arena are empty. A key has at most %d bytes, a value %d.`, kvName, container.MaxKey, container.MaxValue),
		Example: "  rbtool arena put /sys/fs/bpf/heap colour blue",
		Args:    cobra.ExactArgs(3),
		RunE: func(_ *cobra.Command, args []string) error {
			if err := checkPair("put", args[1], args[2]); err != nil {
				return err
			}
			return withArena("put", args[0], func(a *arena.Arena) error {
				kv, err := makeKV(a)
				if err != nil {
					return err
				}
				return kv.Put(args[1], []byte(args[2]))
			})
		},
	}
}

// makeKV opens the table of byte strings. In a fresh arena (no heap, and no pages where it would be) it
// makes both.
func makeKV(a *arena.Arena) (*container.KV, error) {
	formatted, err := arenamem.Of(a).Formatted()
	if err != nil {
		return nil, err
	}
	if !formatted {
		fresh, err := arenamem.Of(a).Fresh()
		if err != nil {
			return nil, err
		}
		if !fresh {
			return nil, fmt.Errorf("%w: the first pages of the arena are in use", container.ErrFormat)
		}
	}
	h, err := container.Format(a)
	if err != nil {
		return nil, err
	}
	kv, err := container.OpenKV(h, kvName)
	if !errors.Is(err, container.ErrNotFound) {
		return kv, err
	}
	// One key for each KiB of the arena: a full table then takes half of the arena, and the rest is left
	// for other structures.
	const perKey = 1024
	kv, err = container.NewKV(h, kvName, int(max(a.Size()/perKey, 8)))
	if errors.Is(err, container.ErrExists) {
		return container.OpenKV(h, kvName) // another process made the table in the meantime
	}
	return kv, err
}

// checkPair checks the length of a key and a value.
func checkPair(verb, key, value string) error {
	switch {
	case key == "":
		return command.Usagef("arena %s: KEY is empty", verb)
	case len(key) > container.MaxKey:
		return command.Usagef("arena %s: KEY has %d bytes: at most %d", verb, len(key), container.MaxKey)
	case len(value) > container.MaxValue:
		return command.Usagef("arena %s: VALUE has %d bytes: at most %d", verb, len(value), container.MaxValue)
	}
	return nil
}

func newGet() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "get MAP KEY",
		Short: "Print a value in the table of byte strings in an arena",
		Long: fmt.Sprintf(`Print the value of KEY in the table %q of an arena, followed by a newline unless -o raw is
given. The exit status is 4 if there is no such key.`, kvName),
		Example: "  rbtool arena get /sys/fs/bpf/heap colour",
		Args:    cobra.ExactArgs(2),
	}
	output := command.OutputFlag(cmd, "text", "json", "raw")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if err := checkPair("get", args[1], ""); err != nil {
			return err
		}
		return withKV("get", args[0], func(kv *container.KV) error {
			value, err := kv.Get(args[1])
			if err != nil {
				return err
			}
			return printValue(cmd.OutOrStdout(), args[1], value, output.Value)
		})
	}
	return cmd
}

func printValue(w io.Writer, key string, value []byte, output string) error {
	var err error
	switch {
	case output == "json":
		return command.PrintJSON(w, newPair([]byte(key), value))
	case output == "raw":
		_, err = escape.Unwrap(w).Write(value)
	default:
		_, err = fmt.Fprintln(w, quotedIfNeeded(value))
	}
	if err != nil {
		return fmt.Errorf("write output: %w", err)
	}
	return nil
}

func newDel() *cobra.Command {
	return &cobra.Command{
		Use:     "del MAP KEY",
		Short:   "Delete a key from the table of byte strings in an arena",
		Long:    fmt.Sprintf("Delete KEY in the table %q of an arena. The exit status is 4 if there is no such key.", kvName),
		Example: "  rbtool arena del /sys/fs/bpf/heap colour",
		Args:    cobra.ExactArgs(2),
		RunE: func(_ *cobra.Command, args []string) error {
			if err := checkPair("del", args[1], ""); err != nil {
				return err
			}
			return withKV("del", args[0], func(kv *container.KV) error { return kv.Delete(args[1]) })
		},
	}
}

// withKV opens the table of byte strings and calls f. In an arena to which nothing was ever put, it
// returns container.ErrNotFound.
func withKV(verb, ref string, f func(*container.KV) error) error {
	return withArena(verb, ref, func(a *arena.Arena) error {
		h, err := openHeap(a)
		if errors.Is(err, errNoHeap) {
			if fresh, freshErr := arenamem.Of(a).Fresh(); freshErr != nil {
				err = freshErr
			} else if fresh {
				err = command.WithHint(fmt.Errorf("%w: nothing was put yet", container.ErrNotFound), "rbtool arena put MAP KEY VALUE puts a value")
			}
		}
		if err != nil {
			return err
		}
		kv, err := container.OpenKV(h, kvName)
		if err != nil {
			return err
		}
		return f(kv)
	})
}

// pair is the JSON output of a key and its value: as strings if they are text, otherwise in hex. Scripts
// rely on its member names.
type pair struct {
	Key      *string `json:"key,omitempty"`
	KeyHex   *string `json:"key_hex,omitempty"`
	Value    *string `json:"value,omitempty"`
	ValueHex *string `json:"value_hex,omitempty"`
}

func newPair(key, value []byte) (p pair) {
	p.Key, p.KeyHex = textOrHex(key)
	p.Value, p.ValueHex = textOrHex(value)
	return p
}

// textOrHex returns b as text if it is UTF-8 without NUL, otherwise in hex.
func textOrHex(b []byte) (text, inHex *string) {
	if utf8.Valid(b) && !bytes.ContainsRune(b, 0) {
		s := string(b)
		return &s, nil
	}
	s := hex.EncodeToString(b)
	return nil, &s
}

// quotedIfNeeded returns text, quoted if it contains characters that need escaping.
func quotedIfNeeded(text []byte) string {
	if s := string(text); escape.String(s) == s {
		return s
	}
	return string(escape.AppendQuoted(nil, text))
}
