package ring

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/rbtool/rbtool/internal/cli/command"
)

// produceOptions are the flags of produce.
type produceOptions struct {
	format   *command.Choice
	onFull   *command.Choice
	typ, btf string
	rate     rate
	userRing
}

func newProduce() *cobra.Command {
	var opts produceOptions
	cmd := &cobra.Command{
		Use:   "produce --user MAP [FILE]",
		Short: "Write samples into a user ring buffer",
		Long: `Write the samples in FILE, or on standard input, into a user ring buffer. Programs in
the kernel drain it; rbtool drain loads one. Samples are published before the command
waits for input, and at least every 64 KiB.

Formats: lines, a sample per line, without the newline; hex and base64, an encoded sample
per line; lp32, the output of rbtool tail -o raw: each sample preceded by its length as 4
bytes little-endian; json, a value per line, in the form in which rbtool tail -o json shows
the data of a record, of the type that --type and --btf name. In JSON, a string that is not
UTF-8 is an array of its bytes.

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
the ring.`,
		Example: `  seq 1 1000000 | rbtool produce --user /sys/fs/bpf/commands
  rbtool tail name:events -o raw | rbtool produce --user name:commands --format lp32
  rbtool produce --user id:12 --format json --type command --btf prog:34 commands.json`,
		Args: command.NonEmpty(cobra.MaximumNArgs(1)),
	}
	opts.format = &command.Choice{Value: "lines", Among: []string{"lines", "hex", "base64", "lp32", "json"}}
	opts.onFull = &command.Choice{Value: "wait", Among: []string{"wait", "drop", "fail"}}
	f := cmd.Flags()
	f.StringVar(&opts.user, "user", "", "write into this user ring buffer: a pin, id:NUMBER or name:NAME")
	f.Var(opts.format, "format", "parse the input in this format")
	f.StringVar(&opts.typ, "type", "", "encode samples as this type (for --format json)")
	f.StringVar(&opts.btf, "btf", "", "read the type from FILE (BTF or ELF), prog:ID or kernel")
	f.Var(opts.onFull, "on-full", "while the ring is full, wait, drop samples, or fail")
	f.Var(&opts.rate, "rate", "write at most this many samples a second")
	opts.overrideFlags(f)
	_ = cmd.MarkFlagRequired("user")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if err := opts.check(); err != nil {
			return err
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
	case asJSON && (o.typ == "" || o.btf == ""):
		return command.Usagef("produce: --format json needs --type NAME and --btf FILE|prog:ID|kernel, to encode the samples")
	case !asJSON && (o.typ != "" || o.btf != ""):
		return command.Usagef("produce: --type and --btf go with --format json")
	}
	return nil
}

func produce(ctx context.Context, stdin io.Reader, stderr io.Writer, file string, opts produceOptions) (err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("produce %s: %w", opts.user, err)
		}
	}()
	// Open the input before the ring: if that fails, the ring is unchanged.
	encode, err := opts.encoder()
	if err != nil {
		return err
	}
	in, err := openInput(ctx, stdin, file)
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
