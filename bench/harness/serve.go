package harness

import (
	"bufio"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// The first words of the lines that a peer sends.
const (
	wordReady = "ready" // the work starts: events may be produced now
	wordOK    = "ok"    // followed by the numbers of the answer
	wordError = "error" // followed by the text of an error
)

// Request has the arguments of a line that a peer received: its words after the first, which names
// the command.
type Request struct {
	args []string
	out  *bufio.Writer
	err  error
}

// Word returns argument i. If it is missing, [Request.Err] returns an error.
func (r *Request) Word(i int) string {
	if i >= len(r.args) {
		r.err = fmt.Errorf("request has no argument %d", i)
		return ""
	}
	return r.args[i]
}

// Number returns argument i as a number. If it is missing or not a number, [Request.Err] returns an
// error.
func (r *Request) Number(i int) uint64 {
	n, err := strconv.ParseUint(r.Word(i), 10, 64)
	if err != nil && r.err == nil {
		r.err = fmt.Errorf("request argument %d: %w", i, err)
	}
	return n
}

// Err returns an error if an argument that was read is missing or not a number.
func (r *Request) Err() error { return r.err }

// Ready tells the sender of the request that the work starts: its [Peer.Begin] returns.
func (r *Request) Ready() {
	fmt.Fprintln(r.out, wordReady)
	r.out.Flush()
}

// Serve is the peer's side: it reads requests from in, one a line, and answers each on out, until
// in ends. The C peer does the same in bench/peer/main.c.
func Serve(in io.Reader, out io.Writer, commands map[string]func(*Request) ([]uint64, error)) error {
	lines, w := bufio.NewScanner(in), bufio.NewWriter(out)
	for lines.Scan() {
		name, args, _ := strings.Cut(lines.Text(), " ")
		numbers, err := []uint64(nil), fmt.Errorf("unknown command %q", name)
		if run := commands[name]; run != nil {
			numbers, err = run(&Request{args: strings.Fields(args), out: w})
		}
		if err != nil {
			fmt.Fprintln(w, wordError, err)
		} else {
			w.WriteString(wordOK)
			for _, n := range numbers {
				fmt.Fprintf(w, " %d", n)
			}
			w.WriteByte('\n')
		}
		if err := w.Flush(); err != nil {
			return fmt.Errorf("send answer: %w", err)
		}
	}
	return lines.Err()
}
