package ring

import (
	"context"
	"errors"
	"io"

	"github.com/spf13/cobra"

	"github.com/rbtool/rbtool/internal/stream"
)

const tailHelp = `Print the records of a ring buffer and consume them. Records are printed in the order of
the ring, which is the order of their reservation. Their timestamps may run backwards where
two CPUs write at once; --order time sorts.

Several rings are read as one stream, fairly: several MAPs; a pattern of pins or names
('/sys/fs/bpf/agent/*'); a map of maps, such as an array with a ring for each CPU. Each record
has the name of its ring: in text as the first column, in JSON as ring and ring_id. Rings that
appear later are read too, and rings of which nothing is left are dropped; notes say so. A
ring that another process consumes is left out of a pattern. --all, --pid and --comm find
the rings of others, and only observe them.

A ring ends when no program, pin or other process has it any more, and tail with its last ring.

--order time merges records by their own time, and --order FIELD by another number: each is held
back for --window, in memory, and printed in its turn. What comes later still is printed at once,
and counted at the end. --since 5m leaves out records that are older by their own time; --since 18:04
those before the last 18:04.

A ring has one consumer. If another process consumes the ring, it is refused with status 5,
even if that process is outside the container: the kernel counts consumers in all pid
namespaces. Reading the count takes CAP_BPF and CAP_PERFMON; without them a ring is refused
while some processes cannot be seen. --steal takes the ring from its consumer, seen or not;
a tail that loses its ring this way exits with status 5. A record is consumed once its output
has been written: a tail that is killed loses no record, and the next one prints the last
records again.

If another program sets a wrong consumer position, the ring cannot be read and its producers
may find no room. --recover moves the position to the oldest intact record and reports how
many bytes are lost.

--observe copies the records beside their consumer. It consumes nothing, writes nothing and
does not poll the map. Records that are overwritten before they can be copied are counted and
reported at the end. It works for user ring buffers too.

The kernel refuses records while the ring is full. It does not count them, and so neither does
--stats. Only the producing program notices: bpf_ringbuf_reserve returns NULL, bpf_ringbuf_output
-EAGAIN. rbtool drops MAP counts them where the kernel allows that; rbtool inspect MAP --for 10s
shows how long the ring is full, and rbtool exporter counts that time.

Formats: text for people; json or jsonl, one object a line; yaml, a document a record; csv, with a
first line of names, best with --fields; hex, one record a line; raw, each record preceded by its
length as 4 bytes little-endian. All but raw escape unprintable characters. In JSON a string that
is not UTF-8 is an array of its bytes.

Text shows what numbers mean where types, helpers or unmistakable names tell: times of day,
durations, addresses, errors, signals, users. JSON keeps the numbers. A record begins with its
own time if it has one, otherwise with the time at which it was read. On a terminal that is wide
enough, records of one type are a table, and with --fields those of several types. Text shortens
long strings, arrays and records of unknown type; --full does not.

tail finds the types of records in the programs that write them, and decodes by these types;
--explain shows how. --btf FILE adds types to choose from: BTF, DWARF, or an executable with BPF
objects inside. --type names the type, in these files, or else in all that is known of the ring.
Records of unknown type are shown in hex, and a note on stderr says why.

--struct gives the type as C: a header or the program's source (FILE.h, its last struct;
FILE.h:NAME, another one), or C text. The layout is that of clang -target bpf. u32, __be16, pid_t,
TASK_COMM_LEN and other names of the kernel and of stdint.h are known; #include has no effect.
Bytes of a record after a single struct are shown in hex. rbtool types add MAP --struct remembers it.

nats://HOST/STREAM is a stream of NATS JetStream, in which rbtool forward stores the rings of any number of
hosts. It is read from any machine, without privileges, and decoded by the types that are stored with
it. Batches come in the order in which they were stored; --since counts from then.

A filter is an expression in the syntax of expr-lang.org over the members of the record (pid,
or data.pid), type, len, pos and seq. It is checked before the first record is read. Records
that it leaves out are consumed too.

  == != < <= > >=  in [1, 2]  in 1..9  and or not  ?:  ??   contains startsWith endsWith matches
  + - * / % **   abs min max sum floor ceil round int float string
  bitand bitor bitxor bitnot bitshl bitshr   len(list) first last list[0] list[1:3]
  all any none one count filter map find findIndex findLast findLastIndex
  upper lower trim trimPrefix trimSuffix split splitAfter replace join indexOf lastIndexOf
  hasPrefix hasSuffix   let x = pid; ...
  saddr in ip("10.0.0.0/8")  daddr == ip("2001:db8::1")  dport == port(443)  uid == uid("root")
  gid("adm")  latency_ns > 1.5ms  state == TCP_ESTABLISHED  ret == -ENOENT  sig == SIGKILL
  bitand(flags, MAY_WRITE) != 0

ip takes an address or a network, and fits fields in network order: integers, arrays, in6_addr,
sockaddr_in, and text. port swaps the bytes of a port, as in port(dport) < 1024. Durations (ns us ms s m h) are
numbers of nanoseconds; compared with a field that counts microseconds or milliseconds, of those.
Enumerators of the types need no quotes; errors, signals, AF_*, IPPROTO_* and TCP states are
numbers, as in C. An enum of flags is text such as "READ|WRITE"; bitand takes its number.

Integers are exact at every size: addr - 1 > 0xffffffff81000000 does not wrap or round, and
3 / 2 is 1.5. Records without an exact result, as for addr + 0.5 or a division by 0, are left
out and counted at the end.`

// tailOptions are the flags of tail.
type tailOptions struct {
	readOptions
	show   showOptions
	stream streamOptions
}

func newTail() *cobra.Command {
	var opts tailOptions
	cmd := &cobra.Command{
		Use:   "tail MAP...",
		Short: "Print the records of ring buffers as they come, consuming or observing them",
		Long:  tailHelp,
		Example: `  rbtool tail /sys/fs/bpf/rbtool/proctrace/events
  rbtool tail name:events -o json -n 100 --idle 5s
  rbtool tail '/sys/fs/bpf/agent/*' --order time
  rbtool tail --comm agent -o json --since 5m
  rbtool tail id:12 --observe --stats --for 10s
  rbtool tail id:12 --filter 'type == "exec_event" && comm contains "sh"'
  rbtool tail id:12 --fields pid,comm,latency_ns
  rbtool tail id:12 --filter 'saddr in ip("10.0.0.0/8") && latency_ns > 1ms'
  rbtool tail id:12 --type my_event
  rbtool tail id:12 --struct 'struct event { u32 pid; char comm[16]; }'
  rbtool tail id:12 --btf /usr/sbin/agent,agent.bpf.o --explain
  rbtool tail nats://server/EVENTS --creds my.creds --host web1 --since 10m`,
		Args: opts.rings.args(),
	}
	opts.show.flags(cmd)
	opts.flags(cmd)
	opts.stream.flags(cmd)
	cmd.Flags().BoolP("follow", "f", true, "no effect: tail follows")
	_ = cmd.Flags().MarkHidden("follow")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		ofStream, err := opts.checkStream(cmd, args)
		if err != nil {
			return err
		}
		if ofStream {
			ctx, stop := whileRead(cmd.Context(), cmd.OutOrStdout())
			defer stop()
			return tailStream(ctx, cmd.OutOrStdout(), cmd.ErrOrStderr(), &opts)
		}
		if err := opts.check(cmd, args); err != nil {
			return err
		}
		if err := opts.show.check("tail"); err != nil {
			return err
		}
		ctx, stop := whileRead(cmd.Context(), cmd.OutOrStdout())
		defer stop()
		return tail(ctx, cmd.OutOrStdout(), cmd.ErrOrStderr(), opts)
	}
	return cmd
}

func tail(ctx context.Context, stdout, stderr io.Writer, opts tailOptions) (err error) {
	p, err := opts.print("tail", stdout, stderr)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, p.close()) }()
	return p.run(ctx)
}

// printing prints the records of rings. The caller calls close.
type printing struct {
	*reading
	shown stacks
}

// print finds the rings, the types of their records and how they are shown, and starts to read.
func (o *tailOptions) print(verb string, stdout, stderr io.Writer) (_ *printing, err error) {
	format := o.show.output.Value
	r, err := o.find(verb, stderr, stream.Decodes(format) || o.filter != "" || o.types.Explain)
	if err != nil {
		return nil, err
	}
	p := &printing{reading: r, shown: stacks{reading: r}}
	defer func() {
		if err != nil {
			err = errors.Join(err, p.close())
		}
	}()
	formats, err := o.show.formats(verb, stdout, r.several, r.sets())
	if err != nil {
		return nil, err
	}
	out := &stream.Writer{W: stdout, Format: formats.Append}
	r.added = func(i int, m *member) error {
		formats.Set(i, stream.Shown{Name: m.name, ID: m.id, Types: m.types.Set, Extras: p.shown.add(i, m, format)})
		return nil
	}
	r.gone = func(i int, _ *member) error { return p.shown.remove(i) }
	if err := r.open(out.Flush); err != nil {
		return nil, err
	}
	r.Sink = out
	return p, nil
}

// run prints records until a limit is reached or ctx is done, and then notes and counts.
func (p *printing) run(ctx context.Context) error {
	p.announce()
	defer p.report()
	return p.fail(p.reading.run(ctx))
}

func (p *printing) close() error {
	p.shown.close()
	return p.reading.close()
}
