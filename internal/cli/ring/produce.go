package ring

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"

	"github.com/spf13/cobra"

	"github.com/rbtool/rbtool/internal/cli/command"
)

const produceHelp = `Write the samples in FILE, or on standard input, into the user ring buffer MAP, which --user
can name, too. Programs in the kernel drain it; rbtool drain loads one. Samples are published before the command
waits for input, and at least every 64 KiB.

Formats: lines, a sample per line, without the newline; hex and base64, an encoded sample
per line; lp32, the output of rbtool tail -o raw: each sample preceded by its length as 4
bytes little-endian; json, a value per line, in the form in which rbtool tail -o json shows
the data of a record, of the type that --struct gives as C, or that --type names, in the files of
--btf or else in all that is known of the ring. In JSON, a string that is not UTF-8 is an array of its bytes.

If the input cannot be parsed, the command fails with the number of the line; the samples
before it are in the ring. At the end, a line on standard error shows how many samples and
bytes were written, how many samples were dropped, and how often the command waited.

A ring has one producer. If another process produces into the ring, it is refused with
status 5, even if that process is outside the container: the kernel counts producers in
all pid namespaces. Reading the count takes CAP_BPF and CAP_PERFMON; without them a ring is
refused while some processes cannot be seen, unless --ignore-unseen accepts that two
producers may overwrite each other's samples. Samples that a dead producer left half-written
are discarded. --steal takes the ring from a process that cannot be seen and may have ended,
and from any holder if no process has the ring mapped for producing. A live producer keeps
the ring.`

// produceOptions are the flags of produce.
type produceOptions struct {
	format  *command.Choice
	onFull  *command.Choice
	typ     string
	btf     []string
	structs []string
	rate    rate
	userRing
}

func newProduce() *cobra.Command {
	var opts produceOptions
	cmd := &cobra.Command{
		Use:   "produce MAP [FILE]",
		Short: "Write samples into a user ring buffer",
		Long:  produceHelp,
		Example: `  seq 1 1000000 | rbtool produce /sys/fs/bpf/commands
  rbtool tail events -o raw | rbtool produce commands --format lp32
  rbtool produce --user 12 --format json --type command --btf prog:34 commands.json`,
		Args: command.NonEmpty(func(cmd *cobra.Command, args []string) error {
			if cmd.Flags().Changed("user") {
				return cobra.MaximumNArgs(1)(cmd, args)
			}
			return cobra.RangeArgs(1, 2)(cmd, args)
		}),
	}
	opts.format = &command.Choice{Value: "lines", Among: []string{"lines", "hex", "base64", "lp32", "json"}}
	opts.onFull = &command.Choice{Value: "wait", Among: []string{"wait", "drop", "fail"}}
	f := cmd.Flags()
	f.StringVar(&opts.user, "user", "", "write into this user ring buffer; without the flag, the first argument names it")
	f.Var(opts.format, "format", "parse the input in this format")
	f.StringVar(&opts.typ, "type", "", "encode samples as the type of this `NAME` (for --format json)")
	f.StringSliceVar(&opts.btf, "btf", nil, "read the type from `FILE` (BTF, ELF, or an executable with a BPF object inside), prog:ID or kernel")
	f.StringArrayVar(&opts.structs, "struct", nil, "encode samples as a struct in `C`: FILE.h[:NAME], or text (for --format json)")
	f.Var(opts.onFull, "on-full", "while the ring is full, wait, drop samples, or fail")
	f.Var(&opts.rate, "rate", "write at most this many samples a second")
	opts.overrideFlags(f)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if err := opts.check(); err != nil {
			return err
		}
		if !cmd.Flags().Changed("user") {
			opts.user, args = args[0], args[1:]
		}
		file := "-"
		if len(args) > 0 {
			file = args[0]
		}
		return produce(cmd.Context(), cmd.InOrStdin(), cmd.ErrOrStderr(), file, opts)
	}
	return cmd
}

// check returns an error for flags that are wrong on any machine.
func (o *produceOptions) check() error {
	asJSON := o.format.Value == "json"
	switch {
	case len(o.structs) > 1:
		return command.Usagef("produce: samples have one type: give one --struct")
	case len(o.structs) > 0 && (o.typ != "" || o.btf != nil):
		return command.Usagef("produce: --struct names the type by itself: it does not go with --type or --btf")
	case asJSON && len(o.structs) == 0 && o.typ == "":
		return command.Usagef("produce: --format json needs --type NAME or --struct, to encode the samples")
	case !asJSON && (o.typ != "" || o.btf != nil || len(o.structs) > 0):
		return command.Usagef("produce: --type, --btf and --struct go with --format json")
	}
	return command.CheckStructs("produce", o.structs...)
}

func produce(ctx context.Context, stdin io.Reader, stderr io.Writer, file string, opts produceOptions) (err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("produce %s: %w", opts.user, err)
		}
	}()
	// Open the input before the ring: if that fails, the ring is unchanged.
	encode, err := opts.encoder(stderr)
	if err != nil {
		return err
	}
	in, err := openInput(ctx, stdin, file)
	if errors.Is(err, fs.ErrNotExist) && !strings.Contains(file, "/") {
		return command.WithHint(err, "FILE has a sample on each line; echo TEXT | rbtool produce %s writes one", opts.user)
	}
	if err != nil {
		return err
	}
	defer in.Close()
	p, err := openProducer(stderr, opts.userRing)
	if err != nil {
		return err
	}
	w := newSampleWriter(p, opts)
	src := newSampleReader(&input{ctx: ctx, r: in, before: w.publish}, opts.format.Value, p.MaxSample(), encode)
	stop := showProgress(stderr, &w.counts)
	err = w.copy(ctx, src)
	stop()
	fmt.Fprintln(stderr, w.summary())
	return errors.Join(err, p.Close())
}
