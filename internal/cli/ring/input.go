package ring

import (
	"bufio"
	"context"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/cilium/ebpf"

	"github.com/rbtool/rbtool/decode"
	"github.com/rbtool/rbtool/inspect"
	"github.com/rbtool/rbtool/internal/cli/command"
	"github.com/rbtool/rbtool/internal/stream"
)

// openInput opens file, or returns stdin for "-". Opening a FIFO waits for a writer, until ctx is
// done.
func openInput(ctx context.Context, stdin io.Reader, file string) (io.ReadCloser, error) {
	if file == "-" {
		return io.NopCloser(stdin), nil
	}
	type opened struct {
		f   *os.File
		err error
	}
	done := make(chan opened, 1)
	go func() {
		f, err := os.Open(file)
		done <- opened{f, err}
	}()
	select {
	case <-ctx.Done():
		return nil, ctx.Err()
	case o := <-done:
		if o.err != nil {
			return nil, o.err
		}
		return o.f, nil
	}
}

// input is a reader that returns when ctx is done, although r may block: reads from a terminal or a
// pipe have no deadline. If over is not nil and its channel is closed, the input ends where a read would block.
type input struct {
	ctx    context.Context
	r      io.Reader
	before func() error // Read calls it before each read of r
	over   func() <-chan struct{}
}

// atEnd is how long a read waits for bytes when the input is over: those that are there come at once.
const atEnd = 100 * time.Millisecond

func (in *input) Read(p []byte) (int, error) {
	if err := in.before(); err != nil {
		return 0, err
	}
	type result struct {
		n   int
		err error
	}
	buf := make([]byte, len(p)) // the goroutine may use buf after Read has returned
	done := make(chan result, 1)
	go func() {
		n, err := in.r.Read(buf)
		done <- result{n, err}
	}()
	var over <-chan struct{}
	var end <-chan time.Time
	if in.over != nil {
		over = in.over()
	}
	for {
		select {
		case <-in.ctx.Done():
			return 0, in.ctx.Err()
		case res := <-done:
			return copy(p, buf[:res.n]), res.err
		case <-over:
			over, end = nil, time.After(atEnd)
		case <-end:
			return 0, io.EOF
		}
	}
}

// sampleReader parses the samples of the input.
type sampleReader struct {
	in     *bufio.Reader
	max    int    // largest sample, in bytes
	unit   string // what number counts: "line" or "sample"
	number uint64 // number of the last sample, from 1
	line   []byte // holds a line that is longer than the buffer of in
	sample []byte // the decoded sample
	parse  func() ([]byte, error)
}

// encoder encodes a JSON value as a record: see [decode.Codec.AppendRecord].
type encoder func(dst, text []byte, limit int) ([]byte, error)

// encoder returns the encoder for the type that the flags name, or nil if the format is not json.
func (o *produceOptions) encoder(stderr io.Writer) (encoder, error) {
	if o.format.Value != "json" {
		return nil, nil
	}
	found, err := o.find(stderr)
	if err != nil {
		return nil, err
	}
	if len(found) != 1 {
		return nil, fmt.Errorf("samples have one type, not %d", len(found))
	}
	e, err := decode.New(found[0].Type)
	if err != nil {
		return nil, err
	}
	return e.AppendRecord, nil
}

// find returns the types that --struct or --type names. Without --btf, it looks for --type in all that is known of the
// user ring buffer.
func (o *produceOptions) find(stderr io.Writer) ([]stream.Named, error) {
	if len(o.structs) > 0 {
		return stream.FindStructs(o.structs...)
	}
	sources, err := stream.LoadSources(o.btf)
	if err != nil {
		return nil, err
	}
	if o.btf == nil {
		m, err := inspect.LookupToRead(o.user, ebpf.UserRingbuf)
		if err != nil {
			return nil, err
		}
		defer m.Close()
		sources, _ = stream.SourcesOf(m)
	}
	found, err := stream.FindNamed([]string{o.typ}, sources, o.btf == nil)
	if err == nil && o.btf == nil {
		command.Note(stderr, "%s", found[0])
	}
	return found, err
}

func newSampleReader(in io.Reader, format string, largest int, encode encoder) *sampleReader {
	s := &sampleReader{in: bufio.NewReaderSize(in, 64<<10), max: largest, unit: "line"}
	switch format {
	case "lines":
		s.parse = func() ([]byte, error) { return s.readLine(s.max) }
	case "hex":
		s.parse = s.decoded(2*s.max, hex.Decode)
	case "base64":
		s.parse = s.decoded(base64.StdEncoding.EncodedLen(s.max), base64.StdEncoding.Strict().Decode)
	case "lp32":
		s.unit, s.parse = "sample", s.readPrefixed
	case "json":
		// Names of members and enumerators are repeated in each element of an array. A real type has
		// less than 1 KiB of JSON for each byte of a record. The limit only ends input that has no
		// newlines.
		s.parse = func() ([]byte, error) {
			text, err := s.readLine(1<<20 + 1<<10*s.max)
			if err != nil {
				return nil, err
			}
			s.sample, err = encode(s.sample[:0], text, s.max)
			return s.sample, err
		}
	}
	return s
}

// next returns the next sample, or io.EOF at the end of the input. The sample is valid until the next
// call.
func (s *sampleReader) next() ([]byte, error) {
	s.number++
	sample, err := s.parse()
	if err == nil || err == io.EOF || errors.Is(err, context.Canceled) {
		return sample, err
	}
	return nil, s.at(err)
}

// at adds the number of the current line or sample to the text of err.
func (s *sampleReader) at(err error) error {
	return command.WithHint(fmt.Errorf("%s %d: %w", s.unit, s.number, err), "--format says how samples are written: rbtool produce --help")
}

// errTooLong returns the error of a sample that does not fit into an empty ring.
func (s *sampleReader) errTooLong() error {
	return fmt.Errorf("too long: the ring takes samples of at most %d bytes", s.max)
}

// readLine returns the next line without its newline.
func (s *sampleReader) readLine(limit int) ([]byte, error) {
	s.line = s.line[:0]
	for {
		part, err := s.in.ReadSlice('\n')
		whole := err == nil
		if whole {
			part = part[:len(part)-1]
		}
		if len(s.line)+len(part) > limit {
			return nil, s.errTooLong()
		}
		if whole && len(s.line) == 0 {
			return part, nil
		}
		s.line = append(s.line, part...)
		switch {
		case whole || err == io.EOF && len(s.line) > 0:
			return s.line, nil
		case err != bufio.ErrBufferFull:
			return nil, err
		}
	}
}

// decoded returns a parser that decodes lines of at most limit bytes.
func (s *sampleReader) decoded(limit int, decode func(dst, src []byte) (int, error)) func() ([]byte, error) {
	return func() ([]byte, error) {
		line, err := s.readLine(limit)
		if err != nil {
			return nil, err
		}
		if s.sample == nil {
			s.sample = make([]byte, s.max+3) // base64 decodes into groups of three bytes
		}
		n, err := decode(s.sample, line)
		return s.sample[:n], err
	}
}

// readPrefixed returns the next sample of the format lp32.
func (s *sampleReader) readPrefixed() ([]byte, error) {
	var prefix [4]byte
	if n, err := io.ReadFull(s.in, prefix[:]); err == io.ErrUnexpectedEOF {
		return nil, fmt.Errorf("truncated: %d of the 4 length bytes", n)
	} else if err != nil {
		return nil, err
	}
	size := binary.LittleEndian.Uint32(prefix[:])
	if uint64(size) > uint64(s.max) {
		return nil, fmt.Errorf("length %d: %w", size, s.errTooLong())
	}
	if s.sample == nil {
		s.sample = make([]byte, s.max)
	}
	n, err := io.ReadFull(s.in, s.sample[:size])
	if err == io.EOF && size > 0 || err == io.ErrUnexpectedEOF {
		return nil, fmt.Errorf("truncated: %d of %d bytes", n, size)
	}
	return s.sample[:n], err
}
