package harness

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
)

// Peer is a process that serves requests, seen from the process that sends them. [Serve] describes
// the protocol.
type Peer struct {
	cmd *exec.Cmd
	in  io.WriteCloser
	out *bufio.Reader
}

// StartPeer starts the program at path as a peer on cpus. The peer is killed when ctx ends.
func StartPeer(ctx context.Context, cpus []int, path string, env ...string) (*Peer, error) {
	cmd := exec.CommandContext(ctx, path)
	cmd.Env = append(os.Environ(), env...)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, fmt.Errorf("start peer %s: %w", path, err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, fmt.Errorf("start peer %s: %w", path, err)
	}
	if err := onCPUs(cpus, cmd.Start); err != nil {
		return nil, fmt.Errorf("start peer %s: %w", path, err)
	}
	return &Peer{cmd: cmd, in: in, out: bufio.NewReader(out)}, nil
}

// Close ends the peer and waits for it.
func (p *Peer) Close() error {
	p.in.Close() // the peer exits at the end of its input
	if err := p.cmd.Wait(); err != nil {
		return fmt.Errorf("peer %s: %w", p.cmd.Path, err)
	}
	return nil
}

// Call sends a request and returns the numbers of the answer. The words of a request are separated
// by spaces.
func (p *Peer) Call(request ...any) ([]uint64, error) {
	if err := p.send(request); err != nil {
		return nil, err
	}
	return p.Answer()
}

// Begin sends a request to which the peer first answers that it is ready, and waits for that.
// [Peer.Answer] must follow.
func (p *Peer) Begin(request ...any) error {
	if err := p.send(request); err != nil {
		return err
	}
	word, _, err := p.receive()
	if err == nil && word != wordReady {
		err = fmt.Errorf("peer sent %q, want ready", word)
	}
	return err
}

// Answer waits for the answer and returns its numbers.
func (p *Peer) Answer() ([]uint64, error) {
	word, rest, err := p.receive()
	if err != nil {
		return nil, err
	}
	if word != wordOK {
		return nil, fmt.Errorf("peer sent %q, want ok or error", word)
	}
	var numbers []uint64
	for field := range strings.FieldsSeq(rest) {
		n, err := strconv.ParseUint(field, 10, 64)
		if err != nil {
			return nil, fmt.Errorf("parse answer of peer: %w", err)
		}
		numbers = append(numbers, n)
	}
	return numbers, nil
}

func (p *Peer) send(request []any) error {
	if _, err := fmt.Fprintln(p.in, request...); err != nil {
		return fmt.Errorf("peer: send request: %w", err)
	}
	return nil
}

// receive reads a line and splits off its first word. An error that the peer reports becomes an
// error.
func (p *Peer) receive() (word, rest string, err error) {
	line, err := p.out.ReadString('\n')
	if errors.Is(err, io.EOF) {
		return "", "", fmt.Errorf("peer %s exited before it answered", p.cmd.Path)
	}
	if err != nil {
		return "", "", fmt.Errorf("peer: receive answer: %w", err)
	}
	word, rest, _ = strings.Cut(strings.TrimSpace(line), " ")
	if word == wordError {
		return "", "", fmt.Errorf("peer failed: %s", rest)
	}
	return word, rest, nil
}
